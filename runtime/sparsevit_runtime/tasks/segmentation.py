"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from ..contract import BATCH, TensorSpec
from ..dependencies import require
from ..errors import SinkError
from ..files import write_atomic
from ..images.annotate import check_picture, write_legend
from ..images.letterbox import Letterbox
from .base import Task
from .palette import class_palette
from .results import Legend, Result, category_of, expect, expect_suffix

if TYPE_CHECKING:
    import supervision

    from ..card import ModelCard

#: Field of COCO JSON that holds the mask of an object.
COCO_MASK = "segmentation"
#: Classes covering less of the picture than this are not in the legend.
_LEGEND_SHARE = 0.002


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Segmentation(Result):
    """A class for every pixel.

    Attributes:
        label_map: (H, W) uint8 at the frame's size.
        names: class names.
        palette: (K, 3) uint8 RGB, one colour per class.
    """

    label_map: np.ndarray
    names: tuple[str, ...]
    palette: np.ndarray

    def __post_init__(self) -> None:
        expect("label_map", self.label_map, (self.image_wh[1], self.image_wh[0]), np.uint8)
        expect("palette", self.palette, (len(self.names), 3), np.uint8)

    def class_pixels(self) -> np.ndarray:
        """Pixels of each class, (K,) int64."""
        counts = cv2.calcHist([self.label_map], [0], None, [256], [0, 256])  # four times as fast as np.bincount
        return np.asarray(counts.ravel()[: len(self.names)], np.int64)

    def to_supervision(self) -> supervision.Detections:
        """A `supervision.Detections` with one full-size mask and its bounding box per class present.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        present = self._present()
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (self._bounds(c) for c in present)]
        masks = [self.label_map == c for c in present]
        found: supervision.Detections = require("supervision").Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            mask=np.stack(masks) if masks else np.zeros((0, *self.label_map.shape), bool),
            class_id=np.array(present, np.int64),
            data={"class_name": np.array([self.names[c] for c in present], dtype=str)},
        )
        return found

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO stuff records, one per class present, with the mask as uncompressed run lengths.

        The run lengths go down the columns and start with the zeros, as COCO's `counts` do.

        Args:
            image_id: image id of this frame.
            category_ids: COCO category of each class; class + 1 when None.
        """
        height, width = self.label_map.shape
        columns = self.label_map.T.ravel()
        records = []
        for c in self._present():
            member = columns == c
            turns = np.flatnonzero(member[1:] != member[:-1]) + 1
            edges = np.concatenate([[0] if member[0] else [], [0], turns, [member.size]]).astype(np.int64)
            x, y, w, h = self._bounds(c)
            records.append(
                {
                    "image_id": image_id,
                    "category_id": category_of(c, category_ids),
                    COCO_MASK: {"size": [height, width], "counts": np.diff(edges).tolist()},
                    "area": int(member.sum()),
                    "bbox": [x, y, w, h],
                    "iscrowd": 1,  # what makes COCO readers take run lengths
                }
            )
        return records

    def to_dict(self) -> dict[str, Any]:
        """The common head and `class_shares`: share of the pixels of each class present."""
        pixels = self.class_pixels()
        shares = {n: round(int(p) / self.label_map.size, 5) for n, p in zip(self.names, pixels) if p}
        return {**self._head(SegmentationTask.name), "class_shares": shares}

    def save(self, path: str | Path) -> None:
        """Writes the label map as an 8-bit grey .png. Raises SinkError."""
        expect_suffix(path, ".png", "a label map")
        done, data = cv2.imencode(".png", self.label_map)
        if not done:
            raise SinkError(f"OpenCV cannot encode PNG for {path}; install an OpenCV build with PNG")
        write_atomic(path, data.tobytes())

    def _present(self) -> list[int]:
        return [int(c) for c in np.flatnonzero(self.class_pixels())]

    def _bounds(self, class_id: int) -> tuple[int, int, int, int]:
        """x, y, width, height around the pixels of a class that is present."""
        member = self.label_map == class_id
        rows, columns = np.flatnonzero(member.any(axis=1)), np.flatnonzero(member.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        """See `Result.draw_answer`."""
        return draw_segmentation(image, self, legend=False)

    def legend(self) -> Legend:
        """Classes that cover a visible part of the picture."""
        sample = self.label_map[::4, ::4]
        pixels = np.bincount(sample.ravel(), minlength=len(self.names))[: len(self.names)]
        present = np.flatnonzero(pixels >= max(1, _LEGEND_SHARE * sample.size))
        return [(self.names[c], tuple(self.palette[c].tolist())) for c in present]


class SegmentationTask(Task):
    """See `Task`. The graph returns one label per square of whole input pixels."""

    name: ClassVar[str] = "segmentation"
    result_type: ClassVar[type[Result]] = Segmentation

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self._palette = class_palette(card)

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec.of("labels", np.uint8, BATCH, "label_rows", "label_columns"),)

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Letterbox, threshold: float) -> dict[str, Any]:
        label_map = letterbox.map_to_frame(answers["labels"])
        return {"label_map": label_map, "palette": self._palette, "names": self.card.class_names}


def draw_segmentation(
    image: np.ndarray, result: Segmentation, *, opacity: float = 0.5, legend: bool = True
) -> np.ndarray:
    """Tints every pixel with the colour of its class.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: result of that frame.
        opacity: opacity of the tint, 0 to 1.
        legend: name the classes present, in the lower left corner.

    Returns:
        A new image. Labels beyond the palette (void) are left untinted.

    Raises:
        FrameError: not a frame, or not of the result's size.
    """
    image = check_picture(image, result.image_wh)
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(result.palette), 0] = result.palette[:, ::-1]
    tint = cv2.applyColorMap(result.label_map, table)
    canvas = cv2.addWeighted(image, 1.0 - opacity, tint, opacity, 0.0, dst=tint)
    if cv2.minMaxLoc(result.label_map)[1] >= len(result.palette):
        cv2.copyTo(image, (result.label_map >= len(result.palette)).view(np.uint8), canvas)
    if legend:
        write_legend(canvas, result.legend())
    return np.asarray(canvas)
