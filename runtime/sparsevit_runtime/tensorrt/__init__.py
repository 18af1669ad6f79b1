"""Compiles exported models into TensorRT engines, on the device that runs them. Importing this needs no TensorRT."""

from __future__ import annotations

from .builder import BuildOptions, BuildReport, build_cached, build_engine
from .engine_card import EngineCard, read_sidecar, sidecar_path
from .plugin_library import find_plugins

__all__ = [
    "BuildOptions",
    "BuildReport",
    "EngineCard",
    "build_cached",
    "build_engine",
    "find_plugins",
    "read_sidecar",
    "sidecar_path",
]
