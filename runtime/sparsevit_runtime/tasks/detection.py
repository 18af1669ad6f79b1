"""Object detection: boxes with class and score."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..agreement import Limits, TensorAgreement
from ..contract import BATCH, TensorSpec
from ..dependencies import require
from ..errors import ArgumentError, SelectionError
from ..images.annotate import check_picture, line_width, write_tag
from ..images.placement import Placement
from .base import Task
from .columns import Column
from .counts import Counts, draw_counts
from .found_by_both import OBJECTS, compare_objects
from .named_once import named_once
from .palette import class_palette, hues
from .results import (
    CategoryIds,
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
    from typing_extensions import Self

    from ..card import ModelCard


class Detection(NamedTuple):
    """One object.

    Attributes:
        xyxy: (4,) float32 corners in frame pixels.
        confidence: confidence, 0 to 1.
        class_id: class, into the names of the result.
        name: name of the class.
        track_id: number of the object, from 1; None where it is not tracked, or not yet.
    """

    xyxy: np.ndarray
    confidence: float
    class_id: int
    name: str
    track_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Detections(Result):
    """Objects found, best first.

    They are counted, selected and walked through as `supervision.Detections` are: `len(result)`, `result.empty`,
    `result[0]`, `result[:5]`, `result[result.confidence > 0.5]`, `result[result.class_id == 2]` give results with those
    objects only; a loop gives each as a `Detection`. `save` writes .json and .npz (`xyxy`, `confidence`, `class_id`,
    and `track_ids` where objects are tracked).

    Attributes:
        xyxy: (N, 4) float32 corners in frame pixels, inside the frame.
        confidence: (N,) float32, 0 to 1.
        class_id: (N,) int64 into `names`.
        names: class names.
        palette: (K, 3) uint8 RGB, one colour per class, as it is drawn; None for distinct hues.
        track_ids: (N,) int64 number of each object, from 1, its own for as long as its source sees it; -1 for one that
            has none yet. None where nothing is tracked.
        counts: counts at lines and in zones, from the start of the stream to this frame.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    names: tuple[str, ...]
    palette: np.ndarray | None = None
    track_ids: np.ndarray | None = None
    counts: tuple[Counts, ...] = ()

    def __post_init__(self) -> None:
        expect_size(self.image_wh)
        expect_names(self.names)
        count = len(self.xyxy) if np.ndim(self.xyxy) else None
        for name, shape, dtype in (
            ("xyxy", (count, 4), np.float32),
            ("confidence", (count,), np.float32),
            ("class_id", (count,), np.int64),
        ):
            expect(name, getattr(self, name), shape, dtype)
        if self.track_ids is not None:
            expect("track_ids", self.track_ids, (count,), np.int64)
        if self.palette is not None:
            expect("palette", self.palette, (len(self.names), 3), np.uint8)
        if count and not 0 <= self.class_id.min() <= self.class_id.max() < len(self.names):
            raise ArgumentError(
                f"class_id must be 0 to {len(self.names) - 1}, got {self.class_id.min()} to {self.class_id.max()}"
            )

    def __len__(self) -> int:
        return len(self.xyxy)

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        return len(self) == 0

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | np.ndarray) -> Self:
        """The result with some of its objects only.

        Args:
            index: one of them, a slice, a list of them, or a mask (N,) bool.

        Raises:
            SelectionError: there is no such object, the mask is of another length, or it is no index.
        """
        return replace(self, **self._parts(self._chosen(index)))

    def __iter__(self) -> Iterator[Detection]:
        for box, score, c, track in zip(self.xyxy, self.confidence, self.class_id, self._tracks()):
            yield Detection(box, float(score), int(c), self.names[c], track)

    def _parts(self, chosen: slice | np.ndarray) -> dict[str, Any]:
        """The arrays of some of the objects."""
        return {
            "xyxy": self.xyxy[chosen],
            "confidence": self.confidence[chosen],
            "class_id": self.class_id[chosen],
            "track_ids": None if self.track_ids is None else self.track_ids[chosen],
        }

    def _tracks(self) -> list[int | None]:
        """The number of each object, None for none."""
        if self.track_ids is None:
            return [None] * len(self)
        return [track if track >= 0 else None for track in self.track_ids.tolist()]

    def _chosen(self, index: object) -> slice | np.ndarray:
        if isinstance(index, slice):
            try:
                index.indices(len(self))
            except (TypeError, ValueError) as error:
                raise SelectionError(f"{index} is no slice of {len(self)} objects ({error})") from error
            return index
        try:
            array = np.atleast_1d(np.asarray(index))
        except ValueError as error:
            raise SelectionError(f"a list of unequal parts is no index ({error})") from error
        if array.ndim != 1 or (array.size and array.dtype != bool and not np.issubdtype(array.dtype, np.integer)):
            raise SelectionError(
                f"objects are selected by number, slice, list or mask, got {type(index).__name__} of {array.dtype}"
            )
        if array.dtype == bool:
            if len(array) != len(self) or np.ndim(np.asarray(index)) == 0:
                raise SelectionError(f"a mask of {len(array)} does not fit {len(self)} objects; make it of this result")
            return array
        array = array.astype(np.int64)
        if array.size and not -len(self) <= array.min() <= array.max() < len(self):
            raise SelectionError(f"no object {index} among {len(self)}")
        return array

    def _told(self) -> Sequence[str]:
        counts = [f"{count} {self.names[c]}" for c, count in sorted(Counter(self.class_id.tolist()).items())]
        objects = "1 object" if len(self) == 1 else f"{len(self)} objects"
        return [f"{objects} ({', '.join(counts)})" if counts else objects]

    def _what(self) -> str:
        return "detections"

    def _formats(self) -> dict[str, Callable[[], bytes]]:
        return {".json": lambda: (json.dumps(self._json()) + "\n").encode(), ".npz": self._npz}

    def _json(self) -> dict[str, Any]:
        """What `save` writes as .json."""
        return self.to_dict()

    def _arrays(self) -> dict[str, np.ndarray]:
        """What `save` writes as .npz."""
        arrays = {"xyxy": self.xyxy, "confidence": self.confidence, "class_id": self.class_id}
        return arrays if self.track_ids is None else arrays | {"track_ids": self.track_ids}

    def _npz(self) -> bytes:
        data = io.BytesIO()
        arrays: dict[str, Any] = self._arrays()
        np.savez(data, **arrays)
        return data.getvalue()

    def to_supervision(self) -> supervision.Detections:
        """A `supervision.Detections` with the class names under ``data["class_name"]``, and the numbers of tracked
        objects as `tracker_id`, -1 for those that have none yet.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        return self._for_supervision()

    def _for_supervision(self, masks: np.ndarray | None = None) -> supervision.Detections:
        names = np.array([self.names[c] for c in self.class_id], dtype=str)
        found: supervision.Detections = require("supervision").Detections(
            xyxy=self.xyxy,
            mask=masks,
            confidence=self.confidence,
            class_id=self.class_id,
            tracker_id=self.track_ids,
            data={"class_name": names},
        )
        return found

    def to_coco(
        self, image_id: int | str | None = None, category_ids: CategoryIds | None = None
    ) -> list[dict[str, Any]]:
        """COCO detection records: bbox is x, y, width, height in frame pixels. Tracked objects have a `track_id`.

        Args:
            image_id: image id of this frame; `frame_index` when None.
            category_ids: COCO category of each class; class + 1 when None.

        Raises:
            ArgumentError: no id, or a class without a category.
        """
        image_id = image_id_of(self, image_id)
        boxes = np.concatenate([self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]], axis=1)
        return [
            {
                "image_id": image_id,
                "category_id": category_of(int(c), category_ids),
                "bbox": [round(float(v), 3) for v in box],
                "score": round(float(score), 5),
            }
            | ({} if track is None else {"track_id": track})
            for box, score, c, track in zip(boxes, self.confidence, self.class_id, self._tracks())
        ]

    def columns(self) -> dict[str, Any]:
        """See `Result.columns`."""
        return {
            "boxes": self.xyxy.tolist(),
            "scores": self.confidence.tolist(),
            "class_ids": self.class_id.tolist(),
            "class_names": [self.names[c] for c in self.class_id],
        }

    def to_dict(self) -> dict[str, Any]:
        """The common head and `objects`: class, name, score and box of each, and where objects are tracked `track_id`,
        None for one that has none yet. `counts`, where there are any, is a list of `Counts.to_dict`."""
        objects = [
            {
                "class_id": int(c),
                "name": self.names[c],
                "confidence": round(float(score), 5),
                "xyxy": [round(float(v), 2) for v in box],
            }
            | ({} if self.track_ids is None else {"track_id": track})
            for box, score, c, track in zip(self.xyxy, self.confidence, self.class_id, self._tracks())
        ]
        counts = {"counts": [each.to_dict() for each in self.counts]} if self.counts else {}
        return {**self._head(DetectionTask.name), "objects": objects, **counts}

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
    least_classes: ClassVar[int] = 1
    columns: ClassVar[tuple[Column, ...]] = (
        Column("boxes", "boxes"),
        Column("scores", "floats"),
        Column("class_ids", "integers"),
        Column("class_names", "texts"),
    )

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

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Placement, threshold: float) -> dict[str, Any]:
        wanted = answers["scores"] >= threshold
        most = self.card.objects.nms_iou
        if most is not None:
            wanted = wanted & named_once(answers["boxes"], answers["classes"], wanted, most)
        return self._objects(answers, letterbox, wanted)[0]

    def _objects(
        self, answers: Mapping[str, np.ndarray], letterbox: Placement, wanted: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Fields of the result, and which objects they are of: (D,) bool, those wanted that the frame shows."""
        boxes = letterbox.boxes_to_frame(answers["boxes"])
        visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # some lie wholly in the borders
        chosen = visible & wanted
        fields = {
            "xyxy": boxes[chosen],
            "confidence": answers["scores"][chosen],
            "class_id": answers["classes"][chosen],
            "names": self.card.class_names,
            "palette": self._palette,
        }
        return fields, chosen

    def agreement(
        self, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], limits: Limits
    ) -> list[TensorAgreement]:
        """See `Task.agreement`. Boxes and classes are those of detections that both have, see `compare_objects`."""
        rows = super().agreement(ours, theirs, limits)
        if not all(name in theirs for name in OBJECTS):
            return rows
        return [row if row.tensor == "scores" else compare_objects(row.tensor, ours, theirs, limits) for row in rows]


def draw_detections(image: np.ndarray, result: Detections) -> np.ndarray:
    """Draws boxes with name, number where the object is tracked, and confidence, by supervision's annotators; and the
    lines and zones where objects were counted.

    Args:
        image: (H, W, 3) uint8 BGR.
        result: result of that frame.

    Returns:
        A new image.

    Raises:
        FrameError: not a frame, or not of the result's size.
        ArgumentError: not the result of a detection.
        MissingDependencyError: supervision is not installed.
    """
    expect_result(result, Detections)
    canvas = check_picture(image, result.image_wh).copy()
    supervision = require("supervision")
    palette = hues(len(result.names)) if result.palette is None else result.palette
    colors = [(int(r), int(g), int(b)) for r, g, b in palette]
    of_classes = supervision.ColorPalette(colors=[supervision.Color(*color) for color in colors])
    annotator = supervision.BoxAnnotator(color=of_classes, thickness=line_width(canvas))
    canvas = np.asarray(annotator.annotate(canvas, result._for_supervision()))
    for found in reversed(list(result)):  # the best on top
        number = "" if found.track_id is None else f" #{found.track_id}"
        text = f"{found.name}{number} {found.confidence:.2f}"
        write_tag(canvas, text, (found.xyxy[0], found.xyxy[1]), colors[found.class_id][::-1])
    draw_counts(canvas, result.counts)
    return canvas
