"""Objects in COCO JSON with the mask of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsevit_runtime.dependencies import require
from sparsevit_runtime.tasks.masks import encode_mask
from sparsevit_runtime.tasks.segmentation import COCO_MASK

from .coco import CocoBoxes
from .coco_masks import read_mask
from .turning import Turn


class CocoInstances(CocoBoxes):
    """Images with boxes, and each object's mask in samples and in `document`: run lengths in the image's pixels.

    Objects without a mask that can be read are left out; arguments and errors as for `CocoBoxes`.
    """

    _has_masks = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        require("pycocotools")
        super().__init__(*arguments, **options)

    def _mask(self, found: dict[str, Any], turn: Turn | None, drawn_wh: tuple[int, int]) -> dict[str, Any]:
        # One that is too thin for a pixel is an object all the same, which nobody can find: so COCO counts.
        mask = read_mask(found.get(COCO_MASK), drawn_wh[::-1], may_be_empty=True)
        packed: dict[str, Any] = encode_mask(mask if turn is None else np.ascontiguousarray(turn.array(mask)), "rle")
        return packed
