"""MetaCLIP 2: a CLIP that reads any language."""
