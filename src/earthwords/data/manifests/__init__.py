"""Lists of training examples: JSON lines with images, captions, masks, expressions; and crops of rasters."""
