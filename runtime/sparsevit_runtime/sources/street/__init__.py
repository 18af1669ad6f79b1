"""A rendered street: perspective camera, scenery, moving actors, exact labels."""

from __future__ import annotations

from .classes import STREET_CLASSES
from .scene import StreetScene

__all__ = ["STREET_CLASSES", "StreetScene"]
