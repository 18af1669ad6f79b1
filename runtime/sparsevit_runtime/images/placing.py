"""Which way a model's frames are scaled, as its card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .letterbox import Letterbox
from .placement import Placement
from .stretch import Stretch

if TYPE_CHECKING:
    from ..card import InputCard


def place_frame(frame_wh: tuple[int, int], card: InputCard) -> Placement:
    """How a frame of a size lies in a model's input.

    Raises:
        FrameError: a side of the frame is below one pixel.
    """
    kind = Stretch if card.resize == "stretch" else Letterbox
    return kind(frame_wh, (card.height, card.width))
