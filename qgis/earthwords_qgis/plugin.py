"""The plugin: the provider, and an entry of the menu that tests the command."""

from __future__ import annotations

from qgis.core import Qgis, QgsApplication, QgsTask
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction

from .command import diagnose
from .provider import ICON, EarthwordsProvider, command_setting

MENU = "earthwords"


class EarthwordsPlugin:
    """Registers the provider; `iface` is None where QGIS has no window."""

    def __init__(self, iface):
        self.iface = iface
        self.provider = None
        self.action = None
        self.task = None

    def initProcessing(self):
        """The algorithms; QGIS without a window calls this alone."""
        self.provider = EarthwordsProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        """The algorithms and the menu."""
        self.initProcessing()
        self.action = QAction(QIcon(ICON), "Test earthwords", self.iface.mainWindow())
        self.action.triggered.connect(self.test)
        self.iface.addPluginToMenu(MENU, self.action)

    def unload(self):
        """Nothing is left in QGIS."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        if self.action is not None:
            self.iface.removePluginMenu(MENU, self.action)
            self.action = None

    def test(self):
        """Look whether the command is there and well, in the background."""
        setting = command_setting()
        self.task = QgsTask.fromFunction("Testing earthwords", lambda task: diagnose(setting), on_finished=self._tested)
        QgsApplication.taskManager().addTask(self.task)
        self.iface.messageBar().pushMessage("earthwords", "Testing; it takes seconds.", Qgis.MessageLevel.Info, 5)

    def _tested(self, exception, found=None):
        ok, text = found if exception is None and found is not None else (False, str(exception))
        level = Qgis.MessageLevel.Success if ok else Qgis.MessageLevel.Critical
        self.iface.messageBar().pushMessage("earthwords", text, level, 0)
