"""Sets of scenes with a class, captions or counts."""
