"""Rasters and vectors: the only room that speaks to GDAL. It never imports torch.

* `scene`: `open_scene` turns any raster into stretched RGB windows on a working grid
* `tiling`: how a grid is cut into overlapping windows
* `geotiff`: `RasterWriter` streams rows into a cloud optimised GeoTIFF
* `vectorize`, `vectors`: label rows to polygons, polygons to GeoPackage, GeoJSON, FlatGeobuf, GeoParquet
* `area`: square metres of pixels in any CRS
* `picture`, `styles`: a preview with a legend, QGIS styles
* `outputs`: files that appear whole or not at all; `drivers`: what this GDAL can write
* `opening`: what can be a scene beside files: open datasets, `arrays`, and arrays with named dimensions (`labelled`)
* `bands`, `sensors`: which bands are red, green and blue; `masks`: what else hides pixels, such as clouds
"""
