"""Sets of two images of a place and what changed between them."""
