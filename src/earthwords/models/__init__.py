"""Neural networks: they know tensors and nouns, not files of pixels."""
