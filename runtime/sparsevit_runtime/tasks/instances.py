"""Instance segmentation: boxes with class, score and a mask each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from ..agreement import Limits, TensorAgreement
from ..arguments import as_number
from ..contract import BATCH, TensorSpec
from ..errors import SelectionError, SinkError
from ..images.annotate import check_picture, line_width
from ..images.placement import Placement
from .base import Task
from .columns import Column
from .detection import Detections, DetectionTask, draw_detections
from .found_by_both import OBJECTS, compare_masks, compare_objects
from .masks import encode_mask
from .palette import OPACITY, hues
from .pasting import MASK_THRESHOLD, Patch, paste, patch_of
from .results import CategoryIds, Result, expect, expect_result
from .segmentation import COCO_MASK
from .tinting import outline_object, tint_object

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Instances(Detections):
    """Objects found, best first, each with its mask.

    They are counted, selected, walked through and tracked as `Detections` are. A mask is kept as the model gave it, a
    few probabilities over its box, and made for the frame's pixels when it is asked for: `mask`, `mask_stack`, `masks`.

    `save` writes .json (`to_dict` and `masks`), .npz (the arrays of `Detections`, `grids` and `grid_xyxy`) and .png
    (16-bit grey: 0 where nothing is, else the number of the object, from 1, the better one where two are).

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

    def masks(self, form: str = "rle") -> list[dict[str, Any]]:
        """See `Result.masks`: one per object, in their order. `bbox` is around the mask's pixels; 0, 0, 0, 0 where
        it has none."""
        width, height = self.image_wh
        encode_mask(np.zeros((1, 1), bool), form)  # a wrong form is one also where there is nothing
        return [
            {
                "class_id": int(c),
                "name": self.names[c],
                "area": int(part.sum()),
                "bbox": _bounds(patch, part),
                COCO_MASK: encode_mask(part, form, xy=(patch.x, patch.y), image_hw=(height, width)),
            }
            for c, (patch, part) in zip(self.class_id, self._patches())
        ]

    def to_supervision(self) -> supervision.Detections:
        """As `Detections.to_supervision`, with `mask_stack` as its `mask`."""
        return self._for_supervision(self.mask_stack())

    def to_coco(
        self, image_id: int | str | None = None, category_ids: CategoryIds | None = None, *, masks: str = "rle"
    ) -> list[dict[str, Any]]:
        """COCO records: those of `Detections.to_coco`, with `segmentation` and its `area` in pixels.

        Args:
            image_id: image id of this frame; `frame_index` when None.
            category_ids: COCO category of each class; class + 1 when None.
            masks: form of the masks, see `Result.masks`.

        Raises:
            ArgumentError: no id, a class without a category, or another form of masks.
        """
        boxes = super(Instances, self).to_coco(image_id, category_ids)
        told = self.masks(masks)
        return [box | {key: each[key] for key in (COCO_MASK, "area")} for box, each in zip(boxes, told)]

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

    def columns(self) -> dict[str, Any]:
        """See `Result.columns`."""
        masks = [each[COCO_MASK] | {"area": each["area"]} for each in self.masks("rle")]
        return super(Instances, self).columns() | {"masks": masks}

    def to_dict(self) -> dict[str, Any]:
        """As `Detections.to_dict`; masks are beside it, see `masks`."""
        return super(Instances, self).to_dict() | {"task": InstancesTask.name}

    def _what(self) -> str:
        return "instances"

    def _formats(self) -> dict[str, Callable[[], bytes]]:
        return {**super(Instances, self)._formats(), ".png": self._png}

    def _json(self) -> dict[str, Any]:
        return self.to_dict() | {"masks": self.masks()}

    def _arrays(self) -> dict[str, np.ndarray]:
        return super(Instances, self)._arrays() | {"grids": self.grids, "grid_xyxy": self.grid_xyxy}

    def _png(self) -> bytes:
        width, height = self.image_wh
        numbers = np.zeros((height, width), np.uint16)
        for i in reversed(range(len(self))):  # the best on top
            patch, part = self.mask_patch(i)
            numbers[patch.rows, patch.columns][part] = i + 1
        done, data = cv2.imencode(".png", numbers)
        if not done:
            raise SinkError("OpenCV cannot encode PNG; install an OpenCV build with PNG, or save as .npz")
        return bytes(data.tobytes())

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        """See `Result.draw_answer`.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        return draw_instances(image, self)


class InstancesTask(DetectionTask):
    """See `Task`. The graph returns a fixed number of boxes in input pixels, best first, and probabilities over each;
    rows past the last object have score 0."""

    name: ClassVar[str] = "instances"
    result_type: ClassVar[type[Result]] = Instances
    columns: ClassVar[tuple[Column, ...]] = (*DetectionTask.columns, Column("masks", "masks"))

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (*super().answers, TensorSpec.of("masks", np.float32, BATCH, "detections", "mask_rows", "mask_columns"))

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        scores = answers["scores"]
        fields, chosen = self._objects(answers, letterbox, (scores >= threshold) & (scores > 0))
        boxes = letterbox.boxes_to_frame(answers["boxes"][chosen], clip=False)
        return {**fields, "grids": answers["masks"][chosen], "grid_xyxy": boxes}

    def agreement(
        self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
    ) -> list[TensorAgreement]:
        """See `Task.agreement`. Boxes, classes and masks are those of objects that both have, see `compare_objects` and
        `compare_masks`."""
        rows = Task.agreement(self, ours, theirs, limits)
        if not all(name in theirs for name in OBJECTS):
            return rows
        return [
            row
            if row.tensor == "scores"
            else compare_masks(row.tensor, ours, theirs, limits)
            if row.tensor == "masks"
            else compare_objects(row.tensor, ours, theirs, limits, filled=True)
            for row in rows
        ]


def draw_instances(image: np.ndarray, result: Instances, *, opacity: float = OPACITY) -> np.ndarray:
    """Tints every object's pixels with the colour of its class, with smooth edges and an outline, and draws what
    `draw_detections` draws.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: result of that frame.
        opacity: opacity of the tint, 0 to 1.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the result's size.
        ArgumentError: not the result of an instance segmentation, or the opacity is not one.
        MissingDependencyError: supervision is not installed.
    """
    expect_result(result, Instances)
    opacity = as_number(opacity, "opacity", 0, 1)
    image = check_picture(image, result.image_wh)
    canvas = image.copy()
    palette = hues(len(result.names)) if result.palette is None else result.palette
    for i in reversed(range(len(result))):  # the best on top
        patch, probabilities = result._pasted(i)
        if not probabilities.size:
            continue
        red, green, blue = (int(channel) for channel in palette[result.class_id[i]])
        part = canvas[patch.rows, patch.columns]
        tint_object(part, image[patch.rows, patch.columns], probabilities, (blue, green, red), opacity)
        outline_object(part, probabilities >= MASK_THRESHOLD, (blue, green, red), line_width(canvas))
    return draw_detections(canvas, result)


def _bounds(patch: Patch, part: np.ndarray) -> list[int]:
    """x, y, width, height around the pixels of a part of a mask."""
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not rows.size:
        return [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    return [patch.x + x, patch.y + y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
