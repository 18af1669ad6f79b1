"""Sources of frames, opened by URI."""

from __future__ import annotations

from .base import Frame, Source, Truth

__all__ = ["Frame", "Source", "Truth"]
