"""A rendered street: perspective camera, scenery, moving actors, exact labels. Needs NumPy and OpenCV."""

from __future__ import annotations

from .classes import STREET_CLASSES
from .scene import StreetScene
from .truth import Truth

__all__ = ["STREET_CLASSES", "StreetScene", "Truth"]
