"""What can be handed in as a raster, and how it is opened and read."""
