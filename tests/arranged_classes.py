"""A box head's classifier whose weights say what is found in one image: which region is of which class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from sparsevit_exporter import InstanceModel

#: Logits of a region's class, and of background everywhere else: scores of 0.998 and 0.002 among 80 classes.
_CLASS, _BACKGROUND = 12.0, 6.0
_CLASSIFIER = "roi_head.bbox_head.fc_cls"


class Seen(NamedTuple):
    """What the classifier is given of one image.

    Attributes:
        boxes: (P, 4) proposals.
        hidden: (P, C) features of each, in front of the last layer.
    """

    boxes: Tensor
    hidden: Tensor


@torch.inference_mode()
def look(network: InstanceModel, image: Tensor, proposals: int) -> Seen:
    """Proposals of a normalised image (3, H, W) with all windows, and their features."""
    given: list[Tensor] = []
    hook = network.roi_head.bbox_head.fc_cls.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    seen = network(image[None])
    boxes, scores = seen.proposals(proposals)
    seen.classified(boxes, scores)
    hook.remove()
    real = scores[0] >= 0
    return Seen(boxes[0, real], given[0][: len(real)][real])


def choose(seen: Seen, classes: Sequence[int]) -> list[int]:
    """A proposal for each of these classes: none twice, those of one class apart."""
    chosen: list[int] = []
    for i, box in enumerate(seen.boxes):
        if len(chosen) == len(classes):
            break
        others, own = seen.boxes[chosen], torch.tensor([classes[k] == classes[len(chosen)] for k in range(len(chosen))])
        shared = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0).prod(-1)
        area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(-1)
        overlap = shared / (area + areas - shared)
        if area >= 16 and not bool((overlap > torch.where(own.bool(), 0.3, 0.8)).any()):
            chosen.append(i)
    if len(chosen) < len(classes):
        raise ValueError(f"only {len(chosen)} of {len(seen.boxes)} proposals lie apart, {len(classes)} are needed")
    return chosen


def classifier(seen: Seen, classes: Sequence[int], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K + 1, C) and biases (K + 1) by which as many proposals are of these classes, all others of none."""
    wanted = np.zeros((len(seen.hidden), num_classes + 1))
    wanted[:, -1] = _BACKGROUND
    wanted[choose(seen, classes), list(classes)] = _CLASS
    known = np.hstack([seen.hidden.double().numpy(), np.ones((len(wanted), 1))])
    solved = np.linalg.lstsq(known, wanted, rcond=1e-9)[0].T.astype(np.float32)
    return np.ascontiguousarray(solved[:, :-1]), np.ascontiguousarray(solved[:, -1])


def rewrite(path: Path, target: Path, weights: tuple[np.ndarray, np.ndarray]) -> None:
    """An exported file with another classifier."""
    proto = onnx.load(path)
    for name, values in zip((f"{_CLASSIFIER}.weight", f"{_CLASSIFIER}.bias"), weights):
        (kept,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
        before = numpy_helper.to_array(kept)
        values = values if before.shape == values.shape else values.T
        kept.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(before.dtype)), name))
    onnx.save(proto, target)
