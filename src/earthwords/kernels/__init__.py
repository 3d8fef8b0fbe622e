"""Pure tensor functions: a plain `reference` and a fast path of each."""
