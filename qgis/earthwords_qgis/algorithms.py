"""The algorithms: each is a verb of the command."""

from __future__ import annotations

from qgis.core import (
    QgsProcessing,
    QgsProcessingException,
    QgsProcessingOutputFile,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputString,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
)

from .base import EarthwordsAlgorithm, Told, folder_of
from .command import Cancelled, diagnose, words_of
from .inputs import extent_in, raster_path

VECTOR, RASTER = QgsProcessing.SourceType.TypeVector, QgsProcessing.SourceType.TypeRaster
BUNDLE = "Map, polygons, their styles (.qml), a picture and a report.json with the areas, in one folder. "
CANCEL = "A run that was cancelled goes on where it stopped when it is started again with the same folder."


class SceneAlgorithm(EarthwordsAlgorithm):
    """A verb that reads rasters and writes a folder with layers."""

    rasters = (("INPUT", "Raster"),)
    words_text = "Words, a class a line, commas between synonyms"
    words_default = ""
    optional_words = True
    preset = "tiny"
    taught = True
    layers = (("labels", "LABELS", "Map"), ("polygons", "POLYGONS", "Polygons"))
    """Kind of an output of the command, its name and title here."""

    def initAlgorithm(self, configuration=None):
        for name, title in self.rasters:
            self.add(QgsProcessingParameterRasterLayer(name, title))
        self.add_words(self.words_text, self.words_default, self.optional_words)
        self.add_own()
        self.add_model(self.preset, self.taught)
        self.add(
            QgsProcessingParameterExtent("EXTENT", "Only this part", optional=True),
            "In any CRS; it is taken into that of the raster.",
        )
        self.add_running()
        self.add_loading()
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of the results"))
        for _, name, title in self.layers:
            kind = QgsProcessingOutputRasterLayer if name in ("LABELS", "CHANGE") else QgsProcessingOutputVectorLayer
            self.addOutput(kind(name, title))
        self.addOutput(QgsProcessingOutputFile("REPORT", "Report"))

    def add_own(self):
        """Parameters that this verb alone has."""

    def own_options(self, parameters, context):
        """What they say, by the names of the command's options."""
        return {}

    def checkParameterValues(self, parameters, context):
        no_words = not words_of(self.parameterAsString(parameters, "WORDS", context))
        if no_words and not (self.taught and self.text(parameters, "TAUGHT", context)):
            return False, f"Say what to look for: {self.words_text.lower()}."
        return super().checkParameterValues(parameters, context)

    def processAlgorithm(self, parameters, context, feedback):
        layers = [self.parameterAsRasterLayer(parameters, name, context) for name, _ in self.rasters]
        if None in layers:
            raise QgsProcessingException("A raster could not be opened.")
        folder = folder_of(self.parameterAsString(parameters, "OUTPUT", context))
        options = {
            **self.model_options(parameters, context),
            **self.own_options(parameters, context),
            "bounds": extent_in(self, parameters, "EXTENT", context, layer=layers[0]),
        }
        plain = [*(raster_path(layer, feedback) for layer in layers), folder]
        outcome = self.call(parameters, context, feedback, plain, options, self.words(parameters, context))
        if outcome is None:
            return {}
        self.load(parameters, context, outcome, layers[-1].name())
        written = dict(outcome.outputs)
        found = {name: written[kind] for kind, name, _ in self.layers if kind in written}
        return {"OUTPUT": folder, "REPORT": written.get("report"), **found}


class Segment(SceneAlgorithm):
    """A map of classes."""

    verb = "segment"
    title = "Segment by words"
    about = f"A map of classes that are named by words. {BUNDLE}{CANCEL}"
    words_default = "building,roof,house\nroad\nwater\ntrees\ngrass"

    def add_own(self):
        number = QgsProcessingParameterNumber.Type.Double
        self.add(QgsProcessingParameterNumber("MIN_AREA", "Smallest polygon, m2", number, 0.0, minValue=0.0))

    def own_options(self, parameters, context):
        return {"min-area": self.parameterAsDouble(parameters, "MIN_AREA", context) or None}


class Refer(SceneAlgorithm):
    """One thing, by a sentence."""

    verb = "refer"
    title = "Point at a thing with a sentence"
    about = f"The surest place that a sentence fits, or all of them. {BUNDLE}{CANCEL}"
    words_text = "Sentences, one a line"
    optional_words = False
    preset = "refseg-tiny"
    taught = False

    def add_own(self):
        self.add(QgsProcessingParameterBoolean("ALL", "All places that fit, not the surest alone", defaultValue=False))

    def own_options(self, parameters, context):
        return {"all": self.parameterAsBoolean(parameters, "ALL", context)}


class Change(SceneAlgorithm):
    """What is different between two dates."""

    verb = "change"
    title = "What changed between two dates"
    about = f"From which class to which, between two rasters of the same ground. {BUNDLE}{CANCEL}"
    rasters = (("BEFORE", "Before"), ("AFTER", "After"))
    layers = (("labels", "CHANGE", "Map of changes"), ("polygons", "POLYGONS", "Polygons of changes"))
    taught = False
    optional_words = False
    words_default = "building,roof,house\ntrees\nwater\ngrass"

    def add_own(self):
        self.add(
            QgsProcessingParameterBoolean("ALIGN", "Take out the shift between the dates", defaultValue=False),
            "It is estimated, and told, in any case.",
        )

    def own_options(self, parameters, context):
        return {"align": self.parameterAsBoolean(parameters, "ALIGN", context)}


class Count(SceneAlgorithm):
    """Things, each for itself."""

    verb = "count"
    title = "Count things by words"
    about = (
        "Where each thing of a class is, and how many there are. Instances, their style (.qml), a picture and a "
        f"report.json. {CANCEL}"
    )
    layers = (("instances", "INSTANCES", "Instances"),)
    words_default = "house,building"
    KINDS = ("polygons", "boxes", "points")

    def add_own(self):
        self.add(QgsProcessingParameterEnum("AS", "Each thing as", list(self.KINDS), defaultValue=0))

    def own_options(self, parameters, context):
        return {"as": self.KINDS[self.parameterAsEnum(parameters, "AS", context)]}


class Teach(EarthwordsAlgorithm):
    """A preset of one's own from marks."""

    verb = "teach"
    title = "Teach from marks"
    about = (
        "Learns classes from a few points or polygons in rasters. The result is a folder that Segment and Count take "
        'as "Folder that Teach has made". A mark of the class "not water" says what is no water.'
    )

    def initAlgorithm(self, configuration=None):
        self.add(
            QgsProcessingParameterVectorLayer("LABELS", "Marks: points or polygons", [VECTOR]),
            "Edits that were not saved count, too.",
        )
        self.add(QgsProcessingParameterField("COLUMN", "Column with the classes", parentLayerParameterName="LABELS"))
        self.add(
            QgsProcessingParameterMultipleLayers(
                "SCENES", "Rasters that the marks lie in", QgsProcessing.SourceType.TypeRaster
            )
        )
        self.add_words("Words that help, a class a line, commas between synonyms", optional=True)
        self.add_model(taught=False)
        self.add_running()
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", "Folder of what is learned"))

    def processAlgorithm(self, parameters, context, feedback):
        scenes = self.parameterAsLayerList(parameters, "SCENES", context)
        # no format is taken as it is: the copy has what was edited or lies in the memory of QGIS
        marks = self.parameterAsCompatibleSourceLayerPath(parameters, "LABELS", context, [], "gpkg", feedback)
        folder = folder_of(self.parameterAsString(parameters, "OUTPUT", context))
        options = {
            **self.model_options(parameters, context),
            "scenes": [raster_path(layer, feedback) for layer in scenes],
            "column": self.parameterAsString(parameters, "COLUMN", context),
        }
        outcome = self.call(parameters, context, feedback, [marks, folder], options, self.words(parameters, context))
        return {} if outcome is None else {"OUTPUT": folder}


class Index(EarthwordsAlgorithm):
    """A folder of rasters that can be searched."""

    verb = "index"
    title = "Make a folder searchable"
    about = (
        "Reads all rasters of a folder once, so that Search finds places in them by words. Run again, it adds what is "
        "new."
    )

    def initAlgorithm(self, configuration=None):
        folder = QgsProcessingParameterFile.Behavior.Folder
        self.add(QgsProcessingParameterFile("INPUT", "Folder of rasters", behavior=folder))
        self.add_model(taught=False)
        self.add_running()
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", "Index"))

    def processAlgorithm(self, parameters, context, feedback):
        folder = folder_of(self.parameterAsString(parameters, "OUTPUT", context))
        plain = [self.parameterAsString(parameters, "INPUT", context), folder]
        outcome = self.call(parameters, context, feedback, plain, self.model_options(parameters, context))
        return {} if outcome is None else {"OUTPUT": folder}


class Search(EarthwordsAlgorithm):
    """Places of an index."""

    verb = "search"
    title = "Search by words or an example"
    about = (
        "The places of an index that fit words best, or that look like a raster, as polygons with score, source and "
        "rank."
    )

    def initAlgorithm(self, configuration=None):
        folder = QgsProcessingParameterFile.Behavior.Folder
        self.add(QgsProcessingParameterFile("INDEX", "Index", behavior=folder))
        self.add(QgsProcessingParameterString("WORDS", "Words, such as: harbour with many ships", optional=True))
        self.add(QgsProcessingParameterRasterLayer("LIKE", "Or what looks like this raster", optional=True))
        whole = QgsProcessingParameterNumber.Type.Integer
        self.add(QgsProcessingParameterNumber("TOP", "Results at most", whole, 20, minValue=1))
        self.add(QgsProcessingParameterExtent("EXTENT", "Only places that touch this", optional=True))
        self.add_running()
        self.add(QgsProcessingParameterVectorDestination("OUTPUT", "Places"))

    def processAlgorithm(self, parameters, context, feedback):
        like = self.parameterAsRasterLayer(parameters, "LIKE", context)
        path = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        options = {
            "like": None if like is None else raster_path(like, feedback),
            "top": self.parameterAsInt(parameters, "TOP", context),
            "bounds": extent_in(self, parameters, "EXTENT", context, crs="EPSG:4326"),
            "text": self.text(parameters, "WORDS", context),
            "out": path,
        }
        outcome = self.call(
            parameters, context, feedback, [self.parameterAsString(parameters, "INDEX", context)], options
        )
        return {} if outcome is None else {"OUTPUT": path}


class Doctor(EarthwordsAlgorithm):
    """Is the command well?"""

    verb = "doctor"
    title = "Test the command earthwords"
    about = "Whether the command is there and well, what it is and where it computes. Takes some seconds."

    def initAlgorithm(self, configuration=None):
        self.addOutput(QgsProcessingOutputString("FOUND", "What was found"))

    def processAlgorithm(self, parameters, context, feedback):
        try:
            ok, text = diagnose(self.command_setting(), Told(feedback))
        except Cancelled:
            return {}
        if not ok:
            raise QgsProcessingException(text)
        feedback.pushInfo(text)
        return {"FOUND": text}


ALGORITHMS = (Segment, Refer, Change, Count, Teach, Index, Search, Doctor)
