"""Object detection: boxes with class and score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..agreement import Limits, TensorAgreement, compare_share, incomparable
from ..contract import BATCH, TensorSpec
from ..dependencies import require
from ..files import write_atomic
from ..images.annotate import check_picture, line_width, write_tag
from ..images.letterbox import Letterbox
from .base import Task
from .palette import class_palette, hues
from .results import Result, category_of, expect, expect_suffix

if TYPE_CHECKING:
    import supervision

    from ..card import ModelCard

#: Names of the graph's answers.
_ANSWERS = ("boxes", "scores", "classes")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detections(Result):
    """Objects found, best first.

    Attributes:
        xyxy: (N, 4) float32 corners in frame pixels, inside the frame.
        confidence: (N,) float32, 0 to 1.
        class_id: (N,) int64 into `names`.
        names: class names.
        palette: (K, 3) uint8 RGB, one colour per class, as it is drawn; None for distinct hues.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    names: tuple[str, ...]
    palette: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        for name, shape, dtype in (
            ("xyxy", (count, 4), np.float32),
            ("confidence", (count,), np.float32),
            ("class_id", (count,), np.int64),
        ):
            expect(name, getattr(self, name), shape, dtype)
        if self.palette is not None:
            expect("palette", self.palette, (len(self.names), 3), np.uint8)
        if count and not 0 <= self.class_id.min() <= self.class_id.max() < len(self.names):
            raise ValueError(
                f"class_id must be 0 to {len(self.names) - 1}, got {self.class_id.min()} to {self.class_id.max()}"
            )

    def __len__(self) -> int:
        return len(self.xyxy)

    def to_supervision(self) -> supervision.Detections:
        """A `supervision.Detections` with the class names under ``data["class_name"]``.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        names = np.array([self.names[c] for c in self.class_id], dtype=str)
        found: supervision.Detections = require("supervision").Detections(
            xyxy=self.xyxy, confidence=self.confidence, class_id=self.class_id, data={"class_name": names}
        )
        return found

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO detection records: bbox is x, y, width, height in frame pixels.

        Args:
            image_id: image id of this frame.
            category_ids: COCO category of each class; class + 1 when None.
        """
        boxes = np.concatenate([self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]], axis=1)
        return [
            {
                "image_id": image_id,
                "category_id": category_of(int(c), category_ids),
                "bbox": [round(float(v), 3) for v in box],
                "score": round(float(score), 5),
            }
            for box, score, c in zip(boxes, self.confidence, self.class_id)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The common head and `objects`: class, name, score and box of each."""
        objects = [
            {
                "class_id": int(c),
                "name": self.names[c],
                "confidence": round(float(score), 5),
                "xyxy": [round(float(v), 2) for v in box],
            }
            for box, score, c in zip(self.xyxy, self.confidence, self.class_id)
        ]
        return {**self._head(DetectionTask.name), "objects": objects}

    def save(self, path: str | Path) -> None:
        """Writes `to_dict` as .json. Raises SinkError."""
        expect_suffix(path, ".json", "detections")
        write_atomic(path, (json.dumps(self.to_dict()) + "\n").encode())

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        """See `Result.draw_answer`.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        return draw_detections(image, self)


class DetectionTask(Task):
    """See `Task`. The graph returns a fixed number of boxes in input pixels, best first."""

    name: ClassVar[str] = "detection"
    result_type: ClassVar[type[Result]] = Detections

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self._palette = class_palette(card)

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec.of("boxes", np.float32, BATCH, "detections", 4),
            TensorSpec.of("scores", np.float32, BATCH, "detections"),
            TensorSpec.of("classes", np.int64, BATCH, "detections"),
        )

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Letterbox, threshold: float) -> dict[str, Any]:
        scores, boxes = answers["scores"], letterbox.boxes_to_frame(answers["boxes"])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # some lie wholly in the borders
        chosen = visible & (scores >= threshold)
        return {
            "xyxy": boxes[chosen],
            "confidence": scores[chosen],
            "class_id": answers["classes"][chosen],
            "names": self.card.class_names,
            "palette": self._palette,
        }

    def agreement(
        self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
    ) -> list[TensorAgreement]:
        """See `Task.agreement`. Boxes and classes are those of detections that both have, see `_compare_boxes`."""
        rows = super().agreement(ours, theirs, limits)
        if not all(name in theirs for name in _ANSWERS):
            return rows
        return [row if row.tensor == "scores" else _compare_boxes(row.tensor, ours, theirs, limits) for row in rows]


def draw_detections(image: np.ndarray, result: Detections) -> np.ndarray:
    """Draws boxes with name and confidence, by supervision's annotators.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: result of that frame.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the result's size.
        MissingDependencyError: supervision is not installed.
    """
    canvas = check_picture(image, result.image_wh).copy()
    supervision = require("supervision")
    palette = hues(len(result.names)) if result.palette is None else result.palette
    colors = [(int(r), int(g), int(b)) for r, g, b in palette]
    of_classes = supervision.ColorPalette(colors=[supervision.Color(*color) for color in colors])
    annotator = supervision.BoxAnnotator(color=of_classes, thickness=line_width(canvas))
    canvas = np.asarray(annotator.annotate(canvas, result.to_supervision()))
    for box, score, c in reversed(list(zip(result.xyxy, result.confidence, result.class_id))):  # the best on top
        write_tag(canvas, f"{result.names[c]} {score:.2f}", (box[0], box[1]), colors[c][::-1])
    return canvas


def _compare_boxes(
    tensor: str, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
) -> TensorAgreement:
    """Boxes, or their classes, by the least share, of any image and either side, that the other side has too.

    Boxes of nearly equal score may change places, and those of the lowest score may fall off the list, so a box is
    looked for among the other side's boxes of its score, and may be missing where its score is about the last one's.

    Args:
        tensor: ``boxes`` or ``classes``.
        ours, theirs: by name ``boxes`` (B, N, 4), ``scores`` (B, N) and ``classes`` (B, N).
        limits: limits of what is accepted.
    """
    if (row := incomparable(tensor, ours[tensor], theirs[tensor])) is not None:
        return row
    share = 0.0
    if all(ours[key].shape == theirs[key].shape for key in _ANSWERS):
        share = min(_shares_of_both(ours, theirs, limits.same, of_classes=tensor == "classes"), default=1.0)
    return compare_share(tensor, theirs[tensor].size, share, limits.detections)


def _shares_of_both(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], same: float, *, of_classes: bool
) -> Iterator[float]:
    score_step, box_step = (same * float(np.abs(theirs[key]).max(initial=0.0)) for key in ("scores", "boxes"))
    for image in range(len(theirs["scores"])):
        (boxes, scores, classes), (their_boxes, their_scores, their_classes) = (
            [side[key][image].astype(np.float64) for key in _ANSWERS] for side in (ours, theirs)
        )
        if not scores.size:
            continue
        found = np.abs(scores[:, None] - their_scores[None]) <= score_step  # (N, N), ours by theirs; False for NaN
        found &= np.abs(boxes[:, None] - their_boxes[None]).max(-1, initial=0.0) <= box_step
        named = found & (classes[:, None] == their_classes[None])
        last = max(scores.min(), their_scores.min()) + score_step
        for axis, own in ((1, scores), (0, their_scores)):
            of_both, same_class = found.any(axis), named.any(axis)
            counted = of_both if of_classes else of_both | (own > last)
            if not counted.any():
                counted = np.ones_like(counted)
            yield float((same_class if of_classes else of_both)[counted].mean())
