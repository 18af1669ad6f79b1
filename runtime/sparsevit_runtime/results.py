"""What a model says about a frame, in the frame's own pixels."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .dependencies import require
from .errors import SinkError
from .files import write_atomic

if TYPE_CHECKING:
    import supervision

    from .windows.activity import WindowActivity

#: Version of the dictionaries `to_dict` returns.
RESULT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Timings:
    """Wall time of a frame's way through the model, in milliseconds.

    In a stream the four stages of successive frames overlap, so frames come faster than `total_ms` says.

    Attributes:
        capture_ms: reading the frame from its source; 0 when the caller brought the frame.
        preprocess_ms: letterboxing.
        inference_ms: the backend's run.
        postprocess_ms: coordinates and maps back to the frame.
    """

    capture_ms: float = 0.0
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0
    postprocess_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.capture_ms + self.preprocess_ms + self.inference_ms + self.postprocess_ms

    def to_dict(self) -> dict[str, float]:
        names = ("capture_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "total_ms")
        return {name: round(getattr(self, name), 3) for name in names}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Result(ABC):
    """Base of the results.

    Attributes:
        image_wh: width and height of the frame in pixels.
        frame_index: position in the stream; gaps are frames a live source dropped.
        timestamp_ns: wall clock at capture for live sources, position in the media for files.
        timings: per stage.
        keep: windows computed per block pair, all stages in one; None when a fixed plan has pairs of two counts.
        window_share: windows computed among all windows of all blocks, 0 to 1.
        activity: which windows those were, when asked for.
        dropped: frames the stream has dropped so far.
        image: the frame itself, (H, W, 3) uint8 BGR, not copied; neither saved nor part of `to_dict`.
    """

    image_wh: tuple[int, int]
    frame_index: int = 0
    timestamp_ns: int = 0
    timings: Timings = field(default_factory=Timings)
    keep: tuple[int, ...] | None = None
    window_share: float = 1.0
    activity: WindowActivity | None = None
    dropped: int = 0
    image: np.ndarray | None = field(default=None, repr=False)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; key `schema` is the version of the layout."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Writes the answer whole or not at all.

        Raises:
            SinkError: the suffix is not one this result can be saved as, or the file cannot be written.
        """

    def _head(self, task: str) -> dict[str, Any]:
        return {
            "schema": RESULT_SCHEMA,
            "task": task,
            "frame": self.frame_index,
            "timestamp_ns": self.timestamp_ns,
            "image_wh": list(self.image_wh),
            "timings": self.timings.to_dict(),
            "keep": None if self.keep is None else list(self.keep),
            "window_share": round(self.window_share, 4),
            "dropped": self.dropped,
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detections(Result):
    """Objects found, best first.

    Attributes:
        xyxy: (N, 4) float32 corners in frame pixels, inside the frame.
        confidence: (N,) float32, 0 to 1.
        class_id: (N,) int64 into `names`.
        names: class names.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.xyxy)
        for name, shape, dtype in (
            ("xyxy", (count, 4), np.float32),
            ("confidence", (count,), np.float32),
            ("class_id", (count,), np.int64),
        ):
            _expect(name, getattr(self, name), shape, dtype)
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
        return require("supervision").Detections(
            xyxy=self.xyxy, confidence=self.confidence, class_id=self.class_id, data={"class_name": names}
        )

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO detection records: bbox is x, y, width, height in frame pixels.

        Args:
            image_id: of this frame.
            category_ids: COCO category of each class; class + 1 when None.
        """
        boxes = np.concatenate([self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]], axis=1)
        return [
            {
                "image_id": image_id,
                "category_id": _category(int(c), category_ids),
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
        return {**self._head("detection"), "objects": objects}

    def save(self, path: str | Path) -> None:
        """Writes `to_dict` as .json. Raises SinkError."""
        _expect_suffix(path, ".json", "detections")
        write_atomic(path, (json.dumps(self.to_dict()) + "\n").encode())


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
        _expect("label_map", self.label_map, (self.image_wh[1], self.image_wh[0]), np.uint8)
        _expect("palette", self.palette, (len(self.names), 3), np.uint8)

    def class_pixels(self) -> np.ndarray:
        """Pixels of each class, (K,) int64."""
        counts = cv2.calcHist([self.label_map], [0], None, [256], [0, 256])  # four times as fast as np.bincount
        return counts.ravel()[: len(self.names)].astype(np.int64)

    def to_supervision(self) -> supervision.Detections:
        """A `supervision.Detections` with one full-size mask and its bounding box per class present.

        Raises:
            MissingDependencyError: supervision is not installed.
        """
        present = self._present()
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (self._bounds(c) for c in present)]
        masks = [self.label_map == c for c in present]
        return require("supervision").Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            mask=np.stack(masks) if masks else np.zeros((0, *self.label_map.shape), bool),
            class_id=np.array(present, np.int64),
            data={"class_name": np.array([self.names[c] for c in present], dtype=str)},
        )

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO stuff records, one per class present, with the mask as uncompressed run lengths.

        The run lengths go down the columns and start with the zeros, as COCO's `counts` do.

        Args:
            image_id: of this frame.
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
                    "category_id": _category(c, category_ids),
                    "segmentation": {"size": [height, width], "counts": np.diff(edges).tolist()},
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
        return {**self._head("segmentation"), "class_shares": shares}

    def save(self, path: str | Path) -> None:
        """Writes the label map as an 8-bit grey .png. Raises SinkError."""
        _expect_suffix(path, ".png", "a label map")
        done, data = cv2.imencode(".png", self.label_map)
        if not done:
            raise SinkError(f"OpenCV cannot encode PNG for {path}; install an OpenCV build with PNG")
        write_atomic(path, data.tobytes())

    def _present(self) -> list[int]:
        return np.flatnonzero(self.class_pixels()).tolist()

    def _bounds(self, class_id: int) -> tuple[int, int, int, int]:
        """x, y, width, height around the pixels of a class that is present."""
        member = self.label_map == class_id
        rows, columns = np.flatnonzero(member.any(axis=1)), np.flatnonzero(member.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Features(Result):
    """The backbone's maps, for a model without a head.

    Attributes:
        maps: per stage (C, h, w) float32, over the letterboxed input.
    """

    maps: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        for i, m in enumerate(self.maps):
            if m.ndim != 3 or m.dtype != np.float32:
                raise ValueError(f"map {i} must be (C, h, w) float32, got {m.shape} {m.dtype}")

    def to_dict(self) -> dict[str, Any]:
        """The common head and `maps`: the shape of each map."""
        return {**self._head("backbone"), "maps": [list(m.shape) for m in self.maps]}

    def save(self, path: str | Path) -> None:
        """Writes the maps as .npz, arrays `stage0`, `stage1`, ... Raises SinkError."""
        _expect_suffix(path, ".npz", "feature maps")
        data = io.BytesIO()
        np.savez(data, **{f"stage{i}": m for i, m in enumerate(self.maps)})
        write_atomic(path, data.getvalue())


def _expect(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {shape} {np.dtype(dtype)}, got {array.shape} {array.dtype}")


def _expect_suffix(path: str | Path, suffix: str, what: str) -> None:
    if Path(path).suffix.lower() != suffix:
        raise SinkError(f"{what} can be saved as {suffix}, not as {Path(path).name!r}; name a {suffix} file")


def _category(class_id: int, category_ids: Sequence[int] | None) -> int:
    return class_id + 1 if category_ids is None else int(category_ids[class_id])
