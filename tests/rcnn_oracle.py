"""Mask R-CNN's heads in NumPy, written from the published rules alone: levels of the pyramid in, detections out."""

from __future__ import annotations

import numpy as np

STRIDES = (4, 8, 16, 32, 64)


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(C, H, W), (O, C, k, k), zero padding that keeps the size -> (O, H, W)."""
    k = weight.shape[2]
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    out = np.zeros((len(weight), height, width), np.float64)
    for i in range(k):
        for j in range(k):
            out += np.tensordot(weight[:, :, i, j], padded[:, i : i + height, j : j + width], 1)
    return out + bias[:, None, None]


def decode(boxes: np.ndarray, deltas: np.ndarray, stds: tuple[float, ...], input_hw: tuple[int, int]) -> np.ndarray:
    deltas = deltas * np.array(stds)
    limit = abs(np.log(16 / 1000))
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    cx = (boxes[:, 0] + boxes[:, 2]) / 2 + deltas[:, 0] * w
    cy = (boxes[:, 1] + boxes[:, 3]) / 2 + deltas[:, 1] * h
    w, h = w * np.exp(np.clip(deltas[:, 2], -limit, limit)), h * np.exp(np.clip(deltas[:, 3], -limit, limit))
    corners = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    height, width = input_hw
    return np.clip(corners, 0, np.array([width, height, width, height], np.float64))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union, without + 1; 0 with a box without area."""
    areas = [np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), 1) for b in (box[None], boxes)]
    shared = np.prod(np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0), 1)
    shared[np.minimum(*areas) == 0] = 0.0
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-300)


def suppress(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    """Indices of what stays, by descending score; the lower index first where scores tie."""
    left, kept = sorted(range(len(scores)), key=lambda i: (-scores[i], i)), []
    while left:
        best, *left = left
        kept.append(best)
        over = overlaps(boxes[best], boxes[left]) > iou
        left = [i for i, suppressed in zip(left, over) if not suppressed]
    return kept


def averages(start: float, size: float, bins: int, extent: int) -> np.ndarray:
    """(bins, extent): how much of each cell is in each bin, in cells, `start` half a cell off."""
    matrix = np.zeros((bins, extent))
    samples = int(np.ceil(size / bins))
    for p in range(bins):
        for i in range(samples):
            t = start + (p + (i + 0.5) / samples) * size / bins
            if t < -1 or t > extent:
                continue
            t = max(t, 0.0)
            low = int(t)
            high, fraction = low + 1, t - low
            if low >= extent - 1:
                low = high = extent - 1
                fraction = 0.0
            matrix[p, low] += (1 - fraction) / samples
            matrix[p, high] += fraction / samples
    return matrix


def roi_align(levels: list[np.ndarray], box: np.ndarray, bins: int) -> np.ndarray:
    """(C, H, W) levels, one box -> (C, bins, bins)."""
    w, h = (float(box[2] - box[0]), float(box[3] - box[1]))
    if not (w > 0 and h > 0):
        return np.zeros((levels[0].shape[0], bins, bins))
    level = int(np.clip(np.floor(np.log2(np.sqrt(w * h) / 56 + 1e-6)), 0, 3))
    x, stride = levels[level], STRIDES[level]
    rows = averages(box[1] / stride - 0.5, h / stride, bins, x.shape[1])
    columns = averages(box[0] / stride - 0.5, w / stride, bins, x.shape[2])
    return rows @ x @ columns.T


class Oracle:
    """Both stages over the levels of one image.

    Args:
        state: weights by their published names.
        levels: (C, H, W) float, fine to coarse, five of them.
        input_hw: pixels before padding.
    """

    def __init__(self, state: dict[str, np.ndarray], levels: list[np.ndarray], input_hw: tuple[int, int]) -> None:
        self.state, self.levels, self.input_hw = state, levels, input_hw

    def _layer(self, x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return convolve(x, weight, bias) if weight.ndim == 4 else x @ weight.T + bias

    def proposals(self, count: int) -> np.ndarray:
        """(n, 5) x1, y1, x2, y2, score."""
        found = []
        for level, stride in zip(self.levels, STRIDES):
            hidden = np.maximum(self._layer(level, "rpn_head.rpn_conv"), 0)
            height, width = hidden.shape[1:]
            logits = self._layer(hidden, "rpn_head.rpn_cls").transpose(1, 2, 0).ravel()
            deltas = self._layer(hidden, "rpn_head.rpn_reg").transpose(1, 2, 0).reshape(-1, 4)
            anchors = []
            for y in range(height):
                for x in range(width):
                    for ratio in (0.5, 1.0, 2.0):
                        w, h = 8 * stride / np.sqrt(ratio), 8 * stride * np.sqrt(ratio)
                        cx, cy = x * stride, y * stride
                        anchors.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            scores = 1 / (1 + np.exp(-logits))
            best = np.argsort(-scores, kind="stable")[:1000]
            boxes = decode(np.array(anchors)[best], deltas[best], (1, 1, 1, 1), self.input_hw)
            scores = scores[best]
            real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            boxes, scores = boxes[real], scores[real]
            kept = suppress(boxes, scores, 0.7)
            found.append(np.column_stack([boxes[kept], scores[kept]]))
        all_found = np.concatenate(found)
        return all_found[np.argsort(-all_found[:, 4], kind="stable")[:count]]

    def detections(self, proposals: np.ndarray, count: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """(n, 5) and classes (n,)."""
        head = "roi_head.bbox_head."
        x = np.stack([roi_align(self.levels, p[:4], 7).ravel() for p in proposals])
        for i in range(2):
            x = np.maximum(self._layer(x, f"{head}shared_fcs.{i}"), 0)
        logits, deltas = self._layer(x, f"{head}fc_cls"), self._layer(x, f"{head}fc_reg")
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        rows, classes = [], []
        for c in range(logits.shape[1] - 1):
            boxes = decode(proposals[:, :4], deltas[:, 4 * c : 4 * c + 4], (0.1, 0.1, 0.2, 0.2), self.input_hw)
            able = np.flatnonzero(scores[:, c] > threshold)
            kept = able[suppress(boxes[able], scores[able, c], 0.5)]
            rows.append(np.column_stack([boxes[kept], scores[kept, c]]))
            classes += [c] * len(kept)
        found = np.concatenate(rows)
        order = np.argsort(-found[:, 4], kind="stable")[:count]
        return found[order], np.array(classes, int)[order]

    def mask(self, box: np.ndarray, label: int) -> np.ndarray:
        """(28, 28) logits."""
        head = "roi_head.mask_head."
        x = roi_align(self.levels, box[:4], 14)
        for i in range(4):
            x = np.maximum(self._layer(x, f"{head}convs.{i}.conv"), 0)
        weight, bias = self.state[f"{head}upsample.weight"], self.state[f"{head}upsample.bias"]
        up = np.zeros((weight.shape[1], 28, 28))
        for i in range(2):
            for j in range(2):
                up[:, i::2, j::2] = np.tensordot(weight[:, :, i, j], x, (0, 0)) + bias[:, None, None]
        return self._layer(np.maximum(up, 0), f"{head}conv_logits")[label]
