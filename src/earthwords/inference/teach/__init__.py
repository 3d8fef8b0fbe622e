"""A few marks beside the words: a preset that has learned from them."""
