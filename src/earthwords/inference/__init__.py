"""Raster in, result out."""
