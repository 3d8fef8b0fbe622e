"""What all algorithms share: parameters, the run, layers that are loaded with their styles."""

from __future__ import annotations

import os
from pathlib import Path

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterString,
)

from .command import Cancelled, CommandError, Listener, arguments, find_command, run, shown, words_of

RASTERS, VECTORS = (".tif", ".tiff"), (".gpkg", ".geojson", ".fgb", ".parquet")


_KEPT: list = []
"""What QGIS is given and does not own."""


class Told(Listener):
    """Hands on to QGIS what a run tells."""

    def __init__(self, feedback):
        self.feedback = feedback

    def progress(self, percent, text):
        self.feedback.setProgressText(text)
        if percent is not None:
            self.feedback.setProgress(percent)

    def say(self, text):
        self.feedback.pushInfo(text)

    def caution(self, text):
        self.feedback.pushWarning(text)

    def is_cancelled(self):
        return self.feedback.isCanceled()


class Styled(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style that was written beside it."""

    def __init__(self, style):
        super().__init__()
        self.style = style
        _KEPT.append(self)

    def postProcessLayer(self, layer, context, feedback):
        if layer is not None and layer.isValid():
            layer.loadNamedStyle(self.style)
            layer.triggerRepaint()


class EarthwordsAlgorithm(QgsProcessingAlgorithm):
    """One verb of the command."""

    verb = ""
    title = ""
    about = ""

    def __init__(self, command_setting):
        super().__init__()
        self.command_setting = command_setting

    def createInstance(self):
        return type(self)(self.command_setting)

    def name(self):
        return self.verb

    def displayName(self):
        return self.title

    def shortHelpString(self):
        return self.about

    def shortDescription(self):
        return self.about.split(". ")[0]

    def icon(self):
        return self.provider().icon() if self.provider() is not None else super().icon()

    def canExecute(self):
        """Whether the command is there, and the sentence that tells what to do if it is not."""
        try:
            find_command(self.command_setting())
        except CommandError as error:
            return False, str(error)
        return True, ""

    # parameters
    def add(self, parameter, help="", advanced=False):
        """A parameter, with a sentence about it."""
        if help:
            parameter.setHelp(help)
        if advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(parameter)

    def add_words(self, what="Words, a class a line, commas between synonyms", default="", optional=False):
        """The classes or sentences."""
        self.add(
            QgsProcessingParameterString("WORDS", what, defaultValue=default, multiLine=True, optional=optional),
            "One a line, or semicolons between.",
        )

    def add_model(self, preset="tiny", taught=True):
        """Which model, and how a raster is read."""
        self.add(
            QgsProcessingParameterString("PRESET", "Preset", defaultValue=preset, optional=True),
            "A name of `earthwords models`. The default is small and comes with the command; others are downloaded.",
        )
        if taught:
            folder = QgsProcessingParameterFile.Behavior.Folder
            self.add(
                QgsProcessingParameterFile("TAUGHT", "Folder that Teach has made", behavior=folder, optional=True),
                "A preset that has learned from marks, instead of Preset; without words it maps what it was taught.",
            )
        self.add(
            QgsProcessingParameterString("BANDS", "Bands used as red, green, blue", optional=True),
            "Such as 4,3,2, or a sensor: sentinel-2, landsat-8, naip. Empty: found by the file.",
        )

    def add_running(self):
        """What every run has."""
        self.add(
            QgsProcessingParameterString("EXTRA", "Further options, as on the command line", optional=True),
            "Such as --threshold 0.5 --device cpu; `earthwords VERB --help` lists them.", advanced=True,
        )  # fmt: skip
        self.add(
            QgsProcessingParameterBoolean("OVERWRITE", "Replace results that exist", defaultValue=False), advanced=True
        )

    def add_loading(self):
        """Whether results come into the project."""
        self.add(QgsProcessingParameterBoolean("LOAD", "Open results with their styles", defaultValue=True))

    # what was given
    def text(self, parameters, name, context):
        """A line of text; None: it is empty."""
        return self.parameterAsString(parameters, name, context).strip() or None

    def words(self, parameters, context):
        """The classes or sentences."""
        return words_of(self.parameterAsString(parameters, "WORDS", context))

    def model_options(self, parameters, context):
        """Options of `add_model`."""
        taught = self.text(parameters, "TAUGHT", context) if self.parameterDefinition("TAUGHT") else None
        return {"preset": taught or self.text(parameters, "PRESET", context),
                "bands": self.text(parameters, "BANDS", context)}  # fmt: skip

    # the run
    def call(self, parameters, context, feedback, plain, options, words=()):
        """Run the command; what it came to, or None if it was cancelled."""
        options = dict(options)
        if self.parameterDefinition("OVERWRITE"):
            options["overwrite"] = self.parameterAsBoolean(parameters, "OVERWRITE", context)
        try:
            extra = self.parameterAsString(parameters, "EXTRA", context) if self.parameterDefinition("EXTRA") else ""
            argv = arguments(self.verb, plain, options, words, extra)
            command = find_command(self.command_setting())
            feedback.pushCommandInfo(shown([*command, *argv]))
            return run(command, argv, Told(feedback))
        except Cancelled:
            feedback.pushInfo("Cancelled.")
            return None
        except CommandError as error:
            raise QgsProcessingException(str(error)) from error

    def load(self, parameters, context, outcome, of):
        """Open what was written, each with the style beside it; `of` is what it was made of."""
        if not self.parameterAsBoolean(parameters, "LOAD", context) or context.project() is None:
            return
        for kind, path in outcome.outputs:
            if Path(path).suffix.lower() not in (*RASTERS, *VECTORS):
                continue
            details = QgsProcessingContext.LayerDetails(f"{of}: {kind}", context.project(), kind)
            style = Path(path).with_suffix(".qml")
            if style.exists():
                details.setPostProcessor(Styled(str(style)))
            context.addLayerToLoadOnCompletion(path, details)


def folder_of(path):
    """A folder as a destination, also where its name looks like that of a file; an empty one is given back."""
    if Path(path).suffix:
        os.makedirs(path, exist_ok=True)
    elif os.path.isdir(path) and not os.listdir(path):
        os.rmdir(path)
    return path
