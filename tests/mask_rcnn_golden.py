"""Recorded outputs of the published Mask R-CNN on SparseViT, for a small network and three sizes of input.

`FILE` holds a part of them: the maps at some places, every fifth mask, and of the weights those that are not drawn from
a seed. The whole recording, 17 MB, is read where `WHOLE` names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from sparsevit_exporter import InstanceModel, SparseViT

FILE = Path(__file__).with_name("mask_rcnn_golden.npz")
WHOLE = "SPARSEVIT_MASK_RCNN_GOLDEN"
CASES = ("224", "256x320", "250x333")
MEAN = np.array((123.675, 116.28, 103.53), np.float32)
STD = np.array((58.395, 57.12, 57.375), np.float32)
CHANNELS, HIDDEN, CLASSES = 64, 128, 80
_SEED = 7
#: Pixels by which a box may be off.
_SAME_PIXELS = 1e-3


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        image: (H, W, 3) uint8 BGR, as it was read.
        input_hw: pixels that it is stretched to; the network pads what is no multiple of 32.
        maps: positions into the flattened (1, C, H, W) level, and the values there, fine to coarse.
        proposals: (1000, 5) x1, y1, x2, y2, score.
        boxes: (100, 5) the same, in pixels of `image`.
        labels: (100,).
        sampled: (n,) which of them the masks are of.
        mask_logits: (n, 28, 28).
        masks: (n, H, W) bool.
    """

    name: str
    image: np.ndarray
    input_hw: tuple[int, int]
    maps: list[tuple[np.ndarray, np.ndarray]]
    proposals: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    sampled: np.ndarray
    mask_logits: np.ndarray
    masks: np.ndarray

    @property
    def scale(self) -> np.ndarray:
        """(4,) float32: pixels of the input over those of the image, for a box."""
        height, width = self.image.shape[:2]
        return np.array([self.input_hw[1] / width, self.input_hw[0] / height] * 2, np.float32)

    def stretched(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR of the input's size."""
        return cv2.resize(self.image, self.input_hw[::-1], interpolation=cv2.INTER_LINEAR)

    def normalized(self) -> torch.Tensor:
        """(1, 3, H, W) float32 RGB."""
        pixels = (self.stretched()[..., ::-1].astype(np.float32) - MEAN) / STD
        return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())


def whole_file() -> Path | None:
    """Where the whole recording is; None where nothing says."""
    path = os.environ.get(WHOLE)
    return Path(path) if path else None


def load_case(name: str, path: Path = FILE) -> Case:
    with np.load(path) as archive:
        got = {key.removeprefix(f"{name}/"): archive[key] for key in archive.files if key.startswith(f"{name}/")}
    whole = "image_bgr" in got
    maps = [
        (np.arange(got[f"fpn{i}"].size), got[f"fpn{i}"].ravel())
        if whole
        else (got[f"fpn{i}/positions"], got[f"fpn{i}/values"])
        for i in range(5)
    ]
    image = got["image_bgr"] if whole else cv2.imdecode(got["image_png"], cv2.IMREAD_COLOR)
    height, width = (int(size) for size in got["net_hw"])
    masks = np.unpackbits(got["masks"], axis=-1)[..., : image.shape[1]].astype(bool)
    sampled = got.get("sampled", np.arange(len(got["labels"])))
    return Case(
        name,
        image,
        (height, width),
        maps,
        got["proposals"],
        got["boxes"],
        got["labels"],
        sampled,
        got["mask_logits"],
        masks,
    )


def ratios() -> list[list[float]]:
    with np.load(FILE) as archive:
        return archive["ratios"].tolist()


def golden_state() -> dict[str, torch.Tensor]:
    """The network's weights under the published names: drawn one after the other from one seed, in the order of the
    published state dict, but for the last layers, which are stored."""
    network = InstanceModel(SparseViT(32, (2, 2, 2, 2), (1, 2, 4, 8)), CLASSES, CHANNELS, HIDDEN)
    state = network.state_dict()
    with np.load(FILE) as archive:
        stored = {key[2:]: torch.from_numpy(archive[key]) for key in archive.files if key.startswith("w/")}
    generator = torch.Generator().manual_seed(_SEED)
    for name in sorted((n for n in state if not n.endswith("_index")), key=_published_place):
        drawn = torch.randn(state[name].shape, generator=generator)
        state[name] = stored.get(name, _spread(name, drawn))
    return state


def golden_network() -> InstanceModel:
    network = InstanceModel(SparseViT(32, (2, 2, 2, 2), (1, 2, 4, 8)), CLASSES, CHANNELS, HIDDEN)
    network.load_state_dict(golden_state(), strict=True)
    return network.eval()


def check_proposals(found: np.ndarray, case: Case) -> None:
    """All of them, as a set."""
    apart = np.abs(found[:, None, :4] - case.proposals[None, :, :4]).max(-1)
    assert (apart.min(0) < _SAME_PIXELS).all() and (apart.min(1) < _SAME_PIXELS).all()
    np.testing.assert_allclose(np.sort(found[:, 4]), np.sort(case.proposals[:, 4]), atol=1e-5)


def check_detections(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, case: Case) -> None:
    """All of them in order, in pixels of the network's input; those of equal score may change places."""
    assert len(scores) == len(case.labels)
    np.testing.assert_allclose(scores, case.boxes[:, 4], atol=2e-5)
    expected = case.boxes[:, :4] * case.scale
    for i in np.flatnonzero((np.abs(boxes - expected).max(1) > 2 * _SAME_PIXELS) | (classes != case.labels)):
        tied = np.flatnonzero(np.abs(case.boxes[:, 4] - scores[i]) < 2e-5)
        same = (np.abs(expected[tied] - boxes[i]).max(1) < 2 * _SAME_PIXELS) & (case.labels[tied] == classes[i])
        assert same.any(), f"detection {i}"


def _spread(name: str, drawn: torch.Tensor) -> torch.Tensor:
    if name.endswith("relative_position_bias_table"):
        return 0.3 * drawn
    if name.endswith("bias"):
        return 0.05 * drawn
    if "norm" in name:
        return 1 + 0.2 * drawn
    return drawn * (1.6 / drawn[0].numel()) ** 0.5


def _published_place(name: str) -> tuple[bool, bool]:
    """The sort is stable: the published box head has its classifier before its shared layers, and every backbone norm
    of an output stands last, as here."""
    return name.startswith("roi_head.mask_head"), "shared_fcs" in name
