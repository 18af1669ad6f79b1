"""Instance segmentation: boxes with class, score and a mask each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..contract import BATCH, TensorSpec
from ..errors import SelectionError
from ..images.placement import Placement
from .base import Task
from .detection import Detections
from .palette import class_palette
from .pasting import MASK_THRESHOLD, Patch, paste, patch_of
from .results import Result, expect

if TYPE_CHECKING:
    from ..card import ModelCard


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Instances(Detections):
    """Objects found, best first, each with its mask.

    They are counted, selected, walked through and tracked as `Detections` are. A mask is kept as the model gave it, a
    few probabilities over its box, and made for the frame's pixels when it is asked for: `mask`, `mask_stack`.

    Attributes:
        grids: (N, h, w) float32 probability that a place in the box is of the object.
        grid_xyxy: (N, 4) float32 corners of the box that the grid lies over, in frame pixels; unlike `xyxy`, they may
            lie beyond the frame.
    """

    grids: np.ndarray
    grid_xyxy: np.ndarray

    def __post_init__(self) -> None:
        super(Instances, self).__post_init__()
        expect("grids", self.grids, (len(self), None, None), np.float32)
        expect("grid_xyxy", self.grid_xyxy, (len(self), 4), np.float32)

    def mask(self, index: int) -> np.ndarray:
        """The mask of one object, (H, W) bool in the frame's pixels.

        Raises:
            SelectionError: there is no such object.
        """
        width, height = self.image_wh
        whole = np.zeros((height, width), bool)
        patch, part = self.mask_patch(index)
        whole[patch.rows, patch.columns] = part
        return whole

    def mask_patch(self, index: int) -> tuple[Patch, np.ndarray]:
        """The part of the frame where the mask of one object can be, and that part of the mask, (h, w) bool.

        Raises:
            SelectionError: there is no such object.
        """
        patch, probabilities = self._pasted(index)
        return patch, probabilities >= MASK_THRESHOLD

    def mask_stack(self) -> np.ndarray:
        """All masks, (N, H, W) bool; a hundred of a 3840x2160 frame are 830 MB, of which `mask` makes one at a time."""
        width, height = self.image_wh
        masks = np.zeros((len(self), height, width), bool)
        for i, (patch, part) in enumerate(self._patches()):
            masks[i, patch.rows, patch.columns] = part
        return masks

    def _patches(self) -> Iterator[tuple[Patch, np.ndarray]]:
        return (self.mask_patch(i) for i in range(len(self)))

    def _pasted(self, index: int) -> tuple[Patch, np.ndarray]:
        """Where the mask of an object can be, and its probabilities there."""
        if not -len(self) <= index < len(self):
            raise SelectionError(f"no object {index} among {len(self)}")
        patch = patch_of(self.grid_xyxy[index], self.image_wh)
        return patch, paste(self.grids[index], self.grid_xyxy[index], patch)

    def _parts(self, chosen: slice | np.ndarray) -> dict[str, Any]:
        own = {"grids": self.grids[chosen], "grid_xyxy": self.grid_xyxy[chosen]}
        return super(Instances, self)._parts(chosen) | own

    def to_dict(self) -> dict[str, Any]:
        """As `Detections.to_dict`; masks are beside it, see `masks`."""
        return super(Instances, self).to_dict() | {"task": InstancesTask.name}

    def _what(self) -> str:
        return "instances"


class InstancesTask(Task):
    """See `Task`. The graph returns a fixed number of boxes in input pixels, best first, and probabilities over each;
    rows past the last object have score 0."""

    name: ClassVar[str] = "instances"
    result_type: ClassVar[type[Result]] = Instances

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self._palette = class_palette(card)

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec.of("boxes", np.float32, BATCH, "detections", 4),
            TensorSpec.of("scores", np.float32, BATCH, "detections"),
            TensorSpec.of("classes", np.int64, BATCH, "detections"),
            TensorSpec.of("masks", np.float32, BATCH, "detections", "mask_rows", "mask_columns"),
        )

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        scores, boxes = answers["scores"], letterbox.boxes_to_frame(answers["boxes"])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # some lie wholly in the borders
        chosen = visible & (scores >= threshold) & (scores > 0)
        return {
            "xyxy": boxes[chosen],
            "confidence": scores[chosen],
            "class_id": answers["classes"][chosen],
            "grids": answers["masks"][chosen],
            "grid_xyxy": letterbox.boxes_to_frame(answers["boxes"][chosen], clip=False),
            "names": self.card.class_names,
            "palette": self._palette,
        }
