"""Runs in the Python of QGIS: algorithms of the plugin, one after the other; writes what came of each as JSON.

python3 session.py PLUGINS JOBS.json RESULTS.json
"""

import json
import os
import sys
import traceback
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

sys.path[:0] = [sys.argv[1], "/usr/share/qgis/python/plugins"]

COMMAND = os.environ["EARTHWORDS_COMMAND"]


class Heard(QgsProcessingFeedback):
    """Keeps what it is told; may cancel at the first sign of progress."""

    def __init__(self, cancels):
        super().__init__(False)
        self.cancels = cancels
        self.info, self.warnings, self.texts, self.percents = [], [], [], []
        self.progressChanged.connect(self.percents.append)

    def pushInfo(self, text):
        self.info.append(text)

    def pushWarning(self, text):
        self.warnings.append(text)

    def setProgressText(self, text):
        self.texts.append(text)
        if self.cancels and "segmenting" in text:
            self.cancel()


def layer_of(described):
    """A layer that is no plain path: points in memory, or a raster of another kind."""
    if "points" in described:
        layer = QgsVectorLayer(f"Point?crs={described['crs']}&field=kind:string", "marks", "memory")
        features = []
        for kind, x, y in described["points"]:
            feature = QgsFeature(layer.fields())
            feature.setAttributes([kind])
            feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(x, y)))
            features.append(feature)
        layer.dataProvider().addFeatures(features)
    elif "copy" in described:
        gdal.Translate("/vsimem/copy.tif", described["copy"])
        layer = QgsRasterLayer("/vsimem/copy.tif", "copy")
    else:
        layer = QgsRasterLayer(described["source"], "odd")
    QgsProject.instance().addMapLayer(layer, False)
    assert layer.isValid(), described
    return layer


def loaded(context):
    """Layers that would be opened, and how they look."""
    found = {}
    for path, details in context.layersToLoadOnCompletion().items():
        layer = QgsRasterLayer(path) if path.endswith(".tif") else QgsVectorLayer(path)
        if details.postProcessor() is not None:
            details.postProcessor().postProcessLayer(layer, context, None)
        renderer = layer.renderer()
        labels = (
            [each.label for each in renderer.classes()]
            if renderer.type() == "paletted"
            else [each.label() for each in renderer.categories()]
            if renderer.type() == "categorizedSymbol"
            else []
        )
        found[details.outputName] = {"name": details.name, "path": path, "renderer": renderer.type(), "labels": labels}
    return found


def one(job):
    """Run one algorithm."""
    environment = {"EARTHWORDS_COMMAND": COMMAND, **job.get("environment", {})}
    os.environ.update(environment)
    context, feedback = QgsProcessingContext(), Heard(job.get("cancels", False))
    context.setProject(QgsProject.instance())
    parameters = {
        name: layer_of(value) if isinstance(value, dict) else value for name, value in job["parameters"].items()
    }
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(job["algorithm"])
    found = {"can": list(algorithm.canExecute())}
    right, why = algorithm.checkParameterValues(parameters, context)
    if right and found["can"][0]:
        try:
            results, found["ok"] = algorithm.run(parameters, context, feedback, {}, False)
            found["results"] = {name: value for name, value in results.items() if isinstance(value, str)}
            found["loaded"] = loaded(context)
        except Exception as error:
            found["error"] = str(error)
            found["traceback"] = traceback.format_exc()
    else:
        found["refused"] = why
    return {
        **found,
        "info": feedback.info,
        "warnings": feedback.warnings,
        "texts": feedback.texts,
        "percents": feedback.percents,
    }


def main():
    """All jobs."""
    application = QgsApplication([], False)
    application.initQgis()
    import processing
    from processing.core.Processing import Processing

    assert processing
    Processing.initialize()
    from earthwords_qgis import classFactory

    plugin = classFactory(None)
    plugin.initProcessing()
    jobs = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    done = {name: one(job) for name, job in jobs.items()}
    Path(sys.argv[3]).write_text(json.dumps(done), encoding="utf-8")
    plugin.unload()
    application.exitQgis()


main()
