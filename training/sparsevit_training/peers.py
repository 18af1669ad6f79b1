"""Small COCO detectors of other projects, run as they were meant to be: to label frames, and to compare with.

The format is recognised from the file's outputs:

- YOLOX (Ge et al., 2021): one output (1, N, 85) over the grids of strides 8, 16, 32.
- NanoDet (RangiLyu, 2021): class maps (1, N, 80) and box distributions (1, N, 32) per stride, as of "Generalized Focal
  Loss" (Li et al., NeurIPS 2020).
- FastestDet (dog-qiuqiu, 2022): one map (1, 85, h, w).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from sparsevit_runtime import Detections, Timings
from sparsevit_runtime.errors import ModelError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.tasks.coco_classes import COCO_CLASSES
from sparsevit_runtime.tasks.detection import DetectionTask

_STRIDES = (8, 16, 32)
_NMS_IOU = 0.65
#: Boxes (N, 4) of input pixels -> of the frame's.
_ToFrame = Callable[[np.ndarray], np.ndarray]
_MOST = 300  # boxes per frame, before the caller takes fewer


class Peer(ABC):
    """A detector with its own input and its own decoding.

    Args:
        path: the file.
        session: an open ONNX Runtime session of it.

    Attributes:
        name: name of the file.
        task: task as model cards name it.
        class_names: COCO's 80.
    """

    task = DetectionTask.name
    class_names = COCO_CLASSES

    def __init__(self, path: Path, session: onnxruntime.InferenceSession) -> None:
        self.name = path.stem
        self._session = session
        self._input = session.get_inputs()[0]
        self.input_hw: tuple[int, int] = tuple(self._input.shape[2:])

    def __call__(self, frame: np.ndarray, threshold: float = 0.25) -> Detections:
        """Objects of a frame.

        Args:
            frame: (H, W, 3) uint8 BGR.
            threshold: objects of a lower score are left out.
        """
        start = time.perf_counter()
        image, to_frame = self._prepare(frame)
        ready = time.perf_counter()
        outputs = self._session.run(None, {self._input.name: image})
        done = time.perf_counter()
        scores, boxes = self._decode(outputs)  # (N, 80), (N, 4)
        classes = scores.argmax(1)
        confidence = scores[np.arange(len(scores)), classes]
        chosen = confidence >= threshold
        boxes, confidence, classes = to_frame(boxes[chosen]), confidence[chosen], classes[chosen]
        boxes = boxes.clip(0, np.tile(frame.shape[1::-1], 2))
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = suppress(boxes, confidence, classes, threshold)
        kept = kept[(sides[kept] > 0).all(1)]
        spent = Timings(0.0, (ready - start) * 1e3, (done - ready) * 1e3, (time.perf_counter() - done) * 1e3)
        return Detections(
            xyxy=boxes[kept].astype(np.float32),
            confidence=confidence[kept].astype(np.float32),
            class_id=classes[kept].astype(np.int64),
            names=self.class_names,
            image_wh=frame.shape[1::-1],
            timings=spent,
            image=frame,
        )

    @abstractmethod
    def _prepare(self, frame: np.ndarray) -> tuple[np.ndarray, _ToFrame]:
        """The input (1, 3, h, w) float32, and a function from its boxes (N, 4) to the frame's."""

    @abstractmethod
    def _decode(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N, 80) and boxes (N, 4) xyxy in input pixels."""


class YoloX(Peer):
    """Letterboxed into the upper left corner; BGR as it is."""

    def _prepare(self, frame: np.ndarray) -> tuple[np.ndarray, _ToFrame]:
        height, width = self.input_hw
        scale = min(height / frame.shape[0], width / frame.shape[1])
        size_wh = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
        canvas = np.full((height, width, 3), 114, np.uint8)
        canvas[: size_wh[1], : size_wh[0]] = cv2.resize(frame, size_wh, interpolation=cv2.INTER_LINEAR)
        return _planes(canvas), lambda boxes: boxes / scale

    def _decode(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        scores, boxes, start = [], [], 0
        for stride in _STRIDES:
            height, width = (n // stride for n in self.input_hw)
            level = outputs[0][:, start : start + height * width].transpose(0, 2, 1).reshape(1, -1, height, width)
            said, where = decode_yolox_level(level, stride)
            scores.append(said[0])
            boxes.append(where[0])
            start += height * width
        return np.concatenate(scores), np.concatenate(boxes)


class NanoDet(Peer):
    """Letterboxed in the middle; BGR normalised with ImageNet's figures."""

    def _prepare(self, frame: np.ndarray) -> tuple[np.ndarray, _ToFrame]:
        letterbox = Letterbox(frame.shape[1::-1], self.input_hw)
        image = letterbox.apply(frame, pad_value=0).astype(np.float32)
        mean, std = np.array([(103.53, 116.28, 123.675), (57.375, 57.12, 58.395)], np.float32)
        image = (image - mean) / std
        return _planes(image), letterbox.boxes_to_frame

    def _decode(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        classes = [o for o in outputs if o.shape[2] == len(COCO_CLASSES)]
        sides = [o for o in outputs if o.shape[2] == 32]
        boxes = []
        for distribution, stride in zip(sides, _STRIDES, strict=True):
            x, y = ((c + 0.5) * stride for c in _cells(*(-(-n // stride) for n in self.input_hw)))
            bins = distribution[0].reshape(-1, 4, 8)  # left, top, right, bottom
            bins = np.exp(bins - bins.max(-1, keepdims=True))
            reach = (bins / bins.sum(-1, keepdims=True)) @ np.arange(8, dtype=np.float32) * stride  # (N, 4)
            boxes.append(np.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], 1))
        return np.concatenate([c[0] for c in classes]), np.concatenate(boxes)


class FastestDet(Peer):
    """Stretched to the input; BGR divided by 255."""

    def _prepare(self, frame: np.ndarray) -> tuple[np.ndarray, _ToFrame]:
        height, width = self.input_hw
        image = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        factor = np.tile((frame.shape[1] / width, frame.shape[0] / height), 2)
        return _planes(image), lambda boxes: boxes * factor

    def _decode(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        grid = outputs[0][0]
        height, width = grid.shape[1:]
        grid = grid.reshape(len(grid), -1)  # (85, h*w)
        x, y = _cells(height, width)
        center = np.stack([(np.tanh(grid[1]) + x) / width, (np.tanh(grid[2]) + y) / height], 1)
        half = _sigmoid(grid[3:5]).T / 2
        boxes = np.hstack([center - half, center + half]) * np.tile(self.input_hw[::-1], 2)
        return (grid[0] ** 0.6 * grid[5:] ** 0.4).T, boxes


def open_peer(path: str | Path, threads: int | None = None) -> Peer:
    """Opens a detector of another project on the CPU.

    Args:
        path: an ONNX file.
        threads: threads of the session; None lets ONNX Runtime decide.

    Raises:
        ModelError: not readable, or none of the formats known here.
    """
    path = Path(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own types
        raise ModelError(f"{path} cannot be opened as ONNX ({error})") from error
    count = len(COCO_CLASSES)
    shapes = [tuple(o.shape) for o in session.get_outputs()]
    inputs = session.get_inputs()
    square = len(inputs) == 1 and len(inputs[0].shape) == 4 and all(isinstance(n, int) for n in inputs[0].shape)
    if square and len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] == count + 5:
        return YoloX(path, session)
    if square and len(shapes) == 1 and len(shapes[0]) == 4 and shapes[0][1] == count + 5:
        return FastestDet(path, session)
    if square and sorted(s[-1] for s in shapes) == [32] * 3 + [count] * 3:
        return NanoDet(path, session)
    raise ModelError(
        f"{path} has inputs {[tuple(i.shape) for i in inputs]} and outputs {shapes}; known are COCO detectors of YOLOX "
        f"(1, N, {count + 5}), NanoDet (three (1, N, {count}), three (1, N, 32)) and FastestDet (1, {count + 5}, h, w)"
    )


def decode_yolox_level(level: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """One level of YOLOX's grid.

    Args:
        level: (B, 5 + K, h, w): centre offset, log size, objectness and class probabilities.
        stride: pixels per cell.

    Returns:
        scores (B, h*w, K), objectness times class, and boxes (B, h*w, 4) xyxy in input pixels, float32.
    """
    height, width = level.shape[2:]
    flat = level.reshape(*level.shape[:2], -1).transpose(0, 2, 1)  # (B, h*w, 5 + K)
    center = (flat[..., :2] + np.stack(_cells(height, width), 1)) * stride
    half = np.exp(flat[..., 2:4].clip(max=10)) * stride / 2
    boxes = np.concatenate([center - half, center + half], -1)
    return (flat[..., 4:5] * flat[..., 5:]).astype(np.float32), boxes.astype(np.float32)


def suppress(boxes: np.ndarray, confidence: np.ndarray, classes: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression per class; indices of what stays, best first, (M,) int64."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    found = cv2.dnn.NMSBoxesBatched(
        xywh.tolist(), confidence.tolist(), classes.tolist(), score_threshold=threshold, nms_threshold=_NMS_IOU
    )
    kept = np.array(found, np.int64).reshape(-1)
    return kept[np.argsort(-confidence[kept], kind="stable")][:_MOST]


def _cells(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of every cell, row by row, (h*w,) float32 each."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x.ravel(), y.ravel()


def _planes(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(x / 2)  # does not overflow
