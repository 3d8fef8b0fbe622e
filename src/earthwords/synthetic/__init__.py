"""Synthetic aerial scenes with known truth: images that carry nobody's rights.

`render_scene` lays out a theme (`themes.py`) as outlines, ribbons and stamps in metres
(`plan.py`), paints them (`ground.py`, `painting.py`, `water.py`) under the conditions of a day (`conditions.py`), and
passes them through a sensor (`sensor.py`). Everything follows from the seed.
"""

from __future__ import annotations

from earthwords.synthetic.change import CHANGES, ScenePair, render_pair
from earthwords.synthetic.conditions import SPECIAL
from earthwords.synthetic.render import Landscape, render_scene
from earthwords.synthetic.scene import CLASSES, Change, RenderedScene, SceneClass, SceneObject, vocabulary
from earthwords.synthetic.themes import DRAWN_THEMES, THEMES, usual_conditions

CONDITIONS: tuple[str, ...] = tuple(SPECIAL)
"""Names of special conditions a scene can be drawn under."""

__all__ = [
    "CHANGES",
    "CLASSES",
    "CONDITIONS",
    "DRAWN_THEMES",
    "THEMES",
    "Change",
    "Landscape",
    "RenderedScene",
    "SceneClass",
    "SceneObject",
    "ScenePair",
    "render_pair",
    "render_scene",
    "usual_conditions",
    "vocabulary",
]
