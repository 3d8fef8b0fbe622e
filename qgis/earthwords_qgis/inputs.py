"""Layers of QGIS as what the command can read: files, and numbers in their own CRS."""

from __future__ import annotations

from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingException, QgsProviderRegistry

EXPORT = "save it as a GeoTIFF first (right-click on the layer, Export, Save As)"


def raster_path(layer, feedback):
    """The path of a raster layer, as GDAL takes it.

    Raises:
        QgsProcessingException: it is no file that another program can read.
    """
    name = layer.name()
    if layer.providerType() != "gdal":
        raise QgsProcessingException(f"Layer {name} is no raster file ({layer.providerType()}): {EXPORT}.")
    source = layer.source()
    if source.lstrip().startswith("<"):
        raise QgsProcessingException(f"Layer {name} is a description without a file: {EXPORT}.")
    if "/vsimem/" in source:
        raise QgsProcessingException(f"Layer {name} lies in the memory of QGIS: {EXPORT}.")
    path, _, options = source.partition("|")
    if options:
        found = QgsProviderRegistry.instance().decodeUri("gdal", source).get("path")
        path = str(found) if found else path
        feedback.pushWarning(f"Layer {name}: the options it was opened with ({options}) are not used.")
    return path


def extent_in(algorithm, parameters, name, context, layer=None, crs=None):
    """`(west, south, east, north)` of an extent in the CRS of a layer, or of `crs`; None: none was given.

    Raises:
        QgsProcessingException: it does not touch the layer.
    """
    if parameters.get(name) in (None, ""):
        return None
    wanted = QgsCoordinateReferenceSystem(crs) if layer is None else layer.crs()
    found = algorithm.parameterAsExtent(parameters, name, context, wanted)
    if found.isNull() or found.isEmpty():
        return None
    if layer is not None:
        part = found.intersect(layer.extent())
        if part.isNull() or part.isEmpty():
            raise QgsProcessingException(f"The extent does not touch layer {layer.name()}.")
        found = part
    return found.xMinimum(), found.yMinimum(), found.xMaximum(), found.yMaximum()
