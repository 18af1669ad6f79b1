"""Runs SparseViT models on camera frames. Needs no torch, no TensorRT and no CUDA.

    import sparsevit_runtime

    model = sparsevit_runtime.load("model.onnx")
    result = model(frame, sparsity=0.6)
    for result in model.stream("clip.mp4", sparsity=0.6):
        ...

Names are imported when first used, so that importing the package needs no library at all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "load": "model",
    "bundled_models": "model",
    "Model": "model",
    "Stream": "live.stream",
    "Session": "live.session",
    "Outlet": "live.outlet",
    "Reconnect": "live.reconnect",
    "Result": "tasks.results",
    "Detections": "tasks.detection",
    "Counts": "tasks.counts",
    "Tracking": "tracking",
    "CountLine": "tracking",
    "CountZone": "tracking",
    "Instances": "tasks.instances",
    "Segmentation": "tasks.segmentation",
    "Features": "tasks.backbone",
    "Timings": "tasks.results",
    "WindowActivity": "windows.activity",
    "Letterbox": "images.letterbox",
    "Stretch": "images.stretch",
    "ModelCard": "card",
    "Plan": "windows.plan",
    "Level": "windows.level",
    "Task": "tasks.base",
    "LoadOptions": "backends.options",
    "probe_image": "images.probe",
    "open_backend": "backends",
    "Backend": "backends",
    "open_source": "sources",
    "Source": "sources.base",
    "Frame": "sources.base",
    "open_sink": "sinks",
    "Sink": "sinks.base",
    "draw_result": "draw",
    "draw_segmentation": "draw",
    "draw_detections": "draw",
    "draw_instances": "tasks.instances",
    "draw_activity": "draw",
    "SparseViTError": "errors",
    "ArgumentError": "errors",
    "SelectionError": "errors",
    "ModelError": "errors",
    "CardError": "errors",
    "PlanError": "errors",
    "FrameError": "errors",
    "SourceError": "errors",
    "SourceLostError": "errors",
    "PermanentSourceError": "errors",
    "SourceNotFoundError": "errors",
    "SessionError": "errors",
    "SinkError": "errors",
    "DiskFullError": "errors",
    "BackendError": "errors",
    "ServerError": "errors",
    "BuildError": "errors",
    "MissingDependencyError": "errors",
}

__all__ = list(_HOME)

if TYPE_CHECKING:
    from .backends import Backend as Backend
    from .backends import open_backend as open_backend
    from .card import ModelCard as ModelCard
    from .draw import draw_activity as draw_activity
    from .draw import draw_detections as draw_detections
    from .draw import draw_result as draw_result
    from .draw import draw_segmentation as draw_segmentation
    from .errors import ArgumentError as ArgumentError
    from .errors import BackendError as BackendError
    from .errors import BuildError as BuildError
    from .errors import CardError as CardError
    from .errors import DiskFullError as DiskFullError
    from .errors import FrameError as FrameError
    from .errors import MissingDependencyError as MissingDependencyError
    from .errors import ModelError as ModelError
    from .errors import PermanentSourceError as PermanentSourceError
    from .errors import PlanError as PlanError
    from .errors import SelectionError as SelectionError
    from .errors import ServerError as ServerError
    from .errors import SessionError as SessionError
    from .errors import SinkError as SinkError
    from .errors import SourceError as SourceError
    from .errors import SourceLostError as SourceLostError
    from .errors import SourceNotFoundError as SourceNotFoundError
    from .errors import SparseViTError as SparseViTError
    from .images.letterbox import Letterbox as Letterbox
    from .images.probe import probe_image as probe_image
    from .images.stretch import Stretch as Stretch
    from .live.outlet import Outlet as Outlet
    from .live.reconnect import Reconnect as Reconnect
    from .live.session import Session as Session
    from .live.stream import Stream as Stream
    from .model import Model as Model
    from .model import bundled_models as bundled_models
    from .model import load as load
    from .sinks import open_sink as open_sink
    from .sinks.base import Sink as Sink
    from .sources import open_source as open_source
    from .sources.base import Frame as Frame
    from .sources.base import Source as Source
    from .tasks.backbone import Features as Features
    from .tasks.counts import Counts as Counts
    from .tasks.detection import Detections as Detections
    from .tasks.instances import Instances as Instances
    from .tasks.instances import draw_instances as draw_instances
    from .tasks.results import Result as Result
    from .tasks.results import Timings as Timings
    from .tasks.segmentation import Segmentation as Segmentation
    from .tracking import CountLine as CountLine
    from .tracking import CountZone as CountZone
    from .tracking import Tracking as Tracking
    from .windows.activity import WindowActivity as WindowActivity
    from .windows.plan import Plan as Plan


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    except (ImportError, AttributeError) as error:
        from .dependencies import explain

        told = explain(error)
        if told is None or told is error:
            raise
        raise told from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
