"""Boxes and masks of objects, read from the formats in which people keep them."""
