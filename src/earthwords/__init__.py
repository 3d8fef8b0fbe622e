"""earthwords: say what you are looking for, get it from satellite and aerial images, on the map.

A table of contents: names are imported when they are first used, so that `import earthwords`
loads neither torch nor GDAL.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_CONTENTS: dict[str, str] = {
    # verbs: each is a command too
    "segment": "earthwords.tasks.segment:segment",
    "count": "earthwords.tasks.count:count",
    "refer": "earthwords.tasks.refer:refer",
    "change": "earthwords.tasks.change:change",
    "teach": "earthwords.tasks.teach:teach",
    "upsample": "earthwords.tasks.upsample:upsample",
    "assess": "earthwords.tasks.assess:assess",
    "classify": "earthwords.tasks.classify:classify",
    "evaluate": "earthwords.tasks.evaluate:evaluate",
    "evaluate_scenes": "earthwords.tasks.evaluate_scenes:evaluate_scenes",
    "evaluate_segmentation": "earthwords.tasks.evaluate_segmentation:evaluate_segmentation",
    "evaluate_referring": "earthwords.tasks.evaluate_referring:evaluate_referring",
    "evaluate_count": "earthwords.tasks.evaluate_count:evaluate_count",
    "evaluate_change": "earthwords.tasks.evaluate_change:evaluate_change",
    "index": "earthwords.tasks.index:index",
    "search": "earthwords.tasks.search:search",
    "suggest": "earthwords.tasks.suggest:suggest",
    "demo": "earthwords.tasks.demo:demo",
    "doctor": "earthwords.tasks.doctor:doctor",
    "serve": "earthwords.serve.verb:serve",
    "mcp": "earthwords.serve.mcp.verb:mcp",
    "list_models": "earthwords.tasks.models:models",
    "show_model": "earthwords.tasks.models:show_model",
    "pull": "earthwords.tasks.models:pull",
    "list_data": "earthwords.tasks.data:list_data",
    "prepare_data": "earthwords.tasks.data:prepare_data",
    "check_data": "earthwords.tasks.data:check_data",
    "pairs": "earthwords.tasks.pairs:pairs",
    "expressions": "earthwords.tasks.expressions:expressions",
    "train_change": "earthwords.tasks.train_change:train_change",
    "train_clip": "earthwords.tasks.train_clip:train_clip",
    "train_refer": "earthwords.tasks.train_refer:train_refer",
    "train_segment": "earthwords.tasks.train_segment:train_segment",
    "train_upsampler": "earthwords.tasks.train_upsampler:train_upsampler",
    # models
    "Segmenter": "earthwords.inference.segment.segmenter:Segmenter",
    "Referrer": "earthwords.inference.refer.referrer:Referrer",
    "Embedder": "earthwords.archive.embedder:Embedder",
    "Index": "earthwords.archive.index:Index",
    "Upsampler": "earthwords.inference.features.upsampler:Upsampler",
    "implicit_fit": "earthwords.training.implicit_settings:implicit_fit",
    "SegmentPreset": "earthwords.presets:SegmentPreset",
    "SEGMENT_PRESETS": "earthwords.presets:SEGMENT_PRESETS",
    "load_preset": "earthwords.presets:load_preset",
    "find_peaks": "earthwords.inference.features.peaks:find_peaks",
    # nouns
    "ClassName": "earthwords.types:ClassName",
    "FeatureReport": "earthwords.reports:FeatureReport",
    "IndexReport": "earthwords.reports:IndexReport",
    "ChangeReport": "earthwords.inference.change.dates.report:ChangeReport",
    "Assessment": "earthwords.evaluation.accuracy.assessment:Assessment",
    "Grid": "earthwords.types:Grid",
    "Raster": "earthwords.types:Raster",
    "Scene": "earthwords.geo.scene:Scene",
    "SceneReport": "earthwords.reports:SceneReport",
    "Segmentation": "earthwords.types:Segmentation",
    "SegmentationSet": "earthwords.data.segmentation.loader:SegmentationSet",
    "SearchResult": "earthwords.archive.result:SearchResult",
    "SegmentationResult": "earthwords.inference.segment.result:SegmentationResult",
    "VectorLayer": "earthwords.types:VectorLayer",
    "Vocabulary": "earthwords.types:Vocabulary",
    "Window": "earthwords.types:Window",
    "open_set": "earthwords.data.segmentation.loader:open_set",
    "open_scene": "earthwords.geo.scene:open_scene",
    "parse_classes": "earthwords.text.vocabulary:parse_classes",
    # errors
    "EarthwordsError": "earthwords.errors:EarthwordsError",
    "OutputError": "earthwords.errors:OutputError",
    "SourceError": "earthwords.errors:SourceError",
    "UsageError": "earthwords.errors:UsageError",
    "WeightsError": "earthwords.errors:WeightsError",
}
"""Name to where it lives, `module:name`. (`models` is a subpackage, so the verb is `list_models` here.)"""

__all__ = ["__version__", *_CONTENTS]


def __getattr__(name: str) -> Any:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'earthwords' has no attribute {name!r}")
    module, _, attribute = _CONTENTS[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_CONTENTS})
