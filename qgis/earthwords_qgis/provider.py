"""The provider of the algorithms, and where the command is set."""

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms import ALGORITHMS

ICON = str(Path(__file__).with_name("icon.svg"))
SETTING = "EARTHWORDS_COMMAND"


def command_setting() -> str:
    """What stands under Settings, Options, Processing, Providers, earthwords."""
    return str(ProcessingConfig.getSetting(SETTING) or "")


class EarthwordsProvider(QgsProcessingProvider):
    """All algorithms."""

    def id(self):
        return "earthwords"

    def name(self):
        return "earthwords"

    def longName(self):
        return "earthwords: by words, on the map"

    def icon(self):
        return QIcon(ICON)

    def supportedOutputVectorLayerExtensions(self):
        return ["gpkg", "geojson", "fgb"]

    def supportsNonFileBasedOutput(self):
        return False

    def load(self):
        ProcessingConfig.settingIcons[self.name()] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                self.name(), SETTING, "Path of the command earthwords (empty: look for it)", "", valuetype=Setting.FILE
            )
        )
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self):
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self):
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm(command_setting))
