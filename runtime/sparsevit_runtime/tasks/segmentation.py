"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from ..arguments import as_number
from ..contract import BATCH, TensorSpec
from ..dependencies import require
from ..errors import SinkError
from ..images.annotate import Entry, check_picture, write_panel
from ..images.placement import LabelGrid, Placement
from ..images.scratch import Scratch
from .base import Task
from .columns import Column
from .masks import encode_mask
from .palette import OPACITY, class_palette
from .results import (
    CategoryIds,
    Legend,
    Result,
    category_of,
    expect,
    expect_names,
    expect_result,
    expect_size,
    image_id_of,
)

if TYPE_CHECKING:
    import supervision

    from ..card import ModelCard

#: Field of COCO JSON that holds the mask of an object.
COCO_MASK = "segmentation"
#: Classes covering less of the picture than this are not in the legend.
_LEGEND_SHARE = 0.002
#: Labels of fewer pixels than this have no steps that could be smoothed.
_FINE = 1.5
#: Classes that `print` names.
_TOLD = 3
_EDGE = 1e-6  # of a label, which rounding may add
#: Squares of fewer pixels than this are halved, larger ones cut in three, to take their corners off.
_COARSE = 6.0
#: Bytes of a strip of the picture that is worked on at a time.
_STRIP = 1 << 17
_scratch = Scratch()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Segmentation(Result):
    """A class for every pixel.

    `save` writes the label map as 8-bit grey .png or .npy, and `to_dict` as .json.

    Attributes:
        label_map: (H, W) uint8 at the frame's size.
        names: class names.
        palette: (K, 3) uint8 RGB, one colour per class, as it is drawn.
        grid: squares of the frame that the model gave one label each; None where each pixel has its own.
    """

    label_map: np.ndarray
    names: tuple[str, ...]
    palette: np.ndarray
    grid: LabelGrid | None = None

    def __post_init__(self) -> None:
        expect_size(self.image_wh)
        expect_names(self.names)
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

    def to_coco(
        self,
        image_id: int | str | None = None,
        category_ids: CategoryIds | None = None,
        *,
        masks: str = "counts",
    ) -> list[dict[str, Any]]:
        """COCO stuff records, one per class present, with its mask.

        Args:
            image_id: image id of this frame; `frame_index` when None.
            category_ids: COCO category of each class; class + 1 when None.
            masks: form of the masks, see `encode_mask`: ``counts``, ``rle`` or ``polygons``.

        Raises:
            ArgumentError: no id, a class without a category, or another form of masks.
        """
        image_id = image_id_of(self, image_id)
        return [
            {
                "image_id": image_id,
                "category_id": category_of(each["class_id"], category_ids),
                **{key: each[key] for key in (COCO_MASK, "area", "bbox")},
                "iscrowd": int(masks != "polygons"),  # what makes COCO readers take run lengths
            }
            for each in self.masks(masks)
        ]

    def masks(self, form: str = "rle") -> list[dict[str, Any]]:
        """See `Result.masks`: one per class present."""
        present = self._present()
        if not present:
            encode_mask(np.zeros((1, 1), bool), form)  # a wrong form is one here, too
        pixels = self.class_pixels()
        return [
            {
                "class_id": c,
                "name": self.names[c],
                "area": int(pixels[c]),
                "bbox": list(self._bounds(c)),
                COCO_MASK: encode_mask(self.label_map == c, form),
            }
            for c in present
        ]

    def columns(self) -> dict[str, Any]:
        """See `Result.columns`."""
        return {"label_map": self._png()}

    def to_dict(self) -> dict[str, Any]:
        """The common head and `class_shares`: share of the pixels of each class present."""
        pixels = self.class_pixels()
        shares = {n: round(int(p) / self.label_map.size, 5) for n, p in zip(self.names, pixels) if p}
        return {**self._head(SegmentationTask.name), "class_shares": shares}

    def _told(self) -> Sequence[str]:
        pixels = self.class_pixels()
        largest = [c for c in np.argsort(-pixels, kind="stable")[:_TOLD] if pixels[c]]
        return [f"{self.names[c]} {pixels[c] / self.label_map.size:.0%}" for c in largest] or ["no class"]

    def _what(self) -> str:
        return "a label map"

    def _formats(self) -> dict[str, Callable[[], bytes]]:
        return {".png": self._png, ".npy": self._npy, **super(Segmentation, self)._formats()}

    def _png(self) -> bytes:
        done, data = cv2.imencode(".png", self.label_map)
        if not done:
            raise SinkError("OpenCV cannot encode PNG; install an OpenCV build with PNG, or save as .npy")
        return bytes(data.tobytes())

    def _npy(self) -> bytes:
        data = io.BytesIO()
        np.save(data, self.label_map)
        return data.getvalue()

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
        step = max(4, min(self.image_wh) // 90)
        sample = np.ascontiguousarray(self.label_map[::step, ::step])
        pixels = cv2.calcHist([sample], [0], None, [256], [0, 256]).ravel()[: len(self.names)]
        present = np.flatnonzero(pixels >= max(1, _LEGEND_SHARE * sample.size))
        return [(self.names[c], tuple(self.palette[c].tolist())) for c in present]


class SegmentationTask(Task):
    """See `Task`. The graph returns one label per square of whole input pixels."""

    name: ClassVar[str] = "segmentation"
    result_type: ClassVar[type[Result]] = Segmentation
    least_classes: ClassVar[int] = 1
    most_classes: ClassVar[int] = 256  # labels are uint8
    columns: ClassVar[tuple[Column, ...]] = (Column("label_map", "label_map"),)

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self._palette = class_palette(card)

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec.of("labels", np.uint8, BATCH, "label_rows", "label_columns"),)

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        labels = answers["labels"]
        return {
            "label_map": letterbox.map_to_frame(labels),
            "palette": self._palette,
            "names": self.card.class_names,
            "grid": letterbox.label_grid(*labels.shape),
        }


def draw_segmentation(
    image: np.ndarray, result: Segmentation, *, opacity: float = OPACITY, legend: bool = True
) -> np.ndarray:
    """Tints every pixel with the colour of its class, with smooth edges where a label is larger than a pixel.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: result of that frame; with `grid` None every pixel is tinted as `label_map` has it.
        opacity: opacity of the tint, 0 to 1.
        legend: name the classes present, in the lower left corner.

    Returns:
        A new image. Labels beyond the palette (void) are left untinted.

    Raises:
        FrameError: not a frame, or not of the result's size.
        ArgumentError: not the result of a segmentation, or the opacity is not one.
    """
    expect_result(result, Segmentation)
    opacity = as_number(opacity, "opacity", 0, 1)
    image = check_picture(image, result.image_wh)
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(result.palette), 0] = np.rint(result.palette[:, ::-1] * opacity)
    if result.grid is None or min(result.grid.cell_wh) < _FINE:
        labels = result.label_map
        tint = cv2.applyColorMap(labels, table)
    else:
        labels = _squares(result, result.grid)
        tint = _smooth_tint(result, result.grid, labels, table)
    canvas = _blended(image, tint, opacity)
    if cv2.minMaxLoc(labels)[1] >= len(result.palette):
        cv2.copyTo(image, (result.label_map >= len(result.palette)).view(np.uint8), canvas)
    if legend:
        write_panel(canvas, [Entry(name, color[::-1]) for name, color in result.legend()], top=False)
    return np.asarray(canvas)


def _squares(result: Segmentation, grid: LabelGrid) -> np.ndarray:
    """The label of every square of the grid that touches the frame, (rows, columns) uint8."""
    (width, height), (cell_w, cell_h), (left, top) = result.image_wh, grid.cell_wh, grid.origin_xy
    columns, rows = math.ceil((width - left) / cell_w - _EDGE), math.ceil((height - top) / cell_h - _EDGE)
    x = (left + (np.arange(columns) + 0.5) * cell_w).clip(0, width - 1).astype(np.intp)
    y = (top + (np.arange(rows) + 0.5) * cell_h).clip(0, height - 1).astype(np.intp)
    return result.label_map.take(y, axis=0, mode="clip").take(x, axis=1, mode="clip")


def _smooth_tint(result: Segmentation, grid: LabelGrid, labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The colour of every pixel, (H, W, 3) uint8 BGR, to be written over.

    Medians over parts of a square take the corners off the edges between squares. They invent no label, and a single
    square or a line of them is still seen.
    """
    (width, height), (cell_w, cell_h), (left, top) = result.image_wh, grid.cell_wh, grid.origin_xy
    rows, columns = labels.shape
    coarse = min(grid.cell_wh) >= _COARSE
    parts = 3 if coarse else 2
    shape = rows * parts, columns * parts
    finer, smooth = _scratch.array("finer", shape), _scratch.array("smooth", shape)
    cv2.resize(labels, shape[::-1], dst=finer, interpolation=cv2.INTER_NEAREST)
    cv2.medianBlur(finer, 3, dst=smooth)
    if coarse:
        cv2.medianBlur(smooth, 3, dst=finer)
    colors = cv2.applyColorMap(finer if coarse else smooth, table, dst=_scratch.array("colors", (*shape, 3)))
    # Squares are whole on a canvas that may be a little larger than the frame.
    x, y = -round(left), -round(top)
    size = max(round(columns * cell_w), width + x), max(round(rows * cell_h), height + y)
    tint = cv2.resize(colors, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(tint[y : y + height, x : x + width])


def _blended(image: np.ndarray, tint: np.ndarray, opacity: float) -> np.ndarray:
    """The picture under a tint that is scaled by its opacity, (H, W, 3) uint8 BGR; the tint is written over."""
    canvas = tint if tint.flags.c_contiguous else np.empty_like(image)
    rows = max(1, _STRIP // (3 * image.shape[1]))
    scratch = _scratch.array("strip", (rows, image.shape[1], 3))
    for y in range(0, image.shape[0], rows):  # strips stay in the CPU's cache
        strip, out = image[y : y + rows], canvas[y : y + rows]
        under = scratch[: len(strip)]
        if opacity == 0.5:
            np.right_shift(strip, 1, out=under)
        else:
            cv2.convertScaleAbs(strip, dst=under, alpha=1.0 - opacity)
        cv2.add(under, tint[y : y + rows], dst=out)
    return canvas
