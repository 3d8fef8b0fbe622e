"""Vector layers: labels to polygons, polygons to files and back."""
