"""What every backend takes and returns, as the model card says it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..card import ModelCard
from ..errors import BackendError, FrameError, PlanError
from ..windows.plan import dense_keep, kept_windows, validate_keep


def image_layout(card: ModelCard) -> tuple[tuple[int, ...], type]:
    """Shape of one image, without the batch, and its type."""
    size = card.input.height, card.input.width
    return ((*size, 3), np.uint8) if card.input.layout == "camera" else ((3, *size), np.float32)


def check_images(images: np.ndarray, card: ModelCard) -> np.ndarray:
    """The images, contiguous.

    Raises:
        FrameError: they have another shape or type than the card says, or there are none.
    """
    shape, dtype = image_layout(card)
    if images.dtype != dtype or images.ndim != 4 or images.shape[0] < 1 or images.shape[1:] != shape:
        raise FrameError(
            f"images must be (B, {', '.join(map(str, shape))}) {np.dtype(dtype)}, got {images.shape} {images.dtype}"
        )
    return np.ascontiguousarray(images)


def check_keep(keep: np.ndarray | None, card: ModelCard, name: str) -> np.ndarray | None:
    """Windows per block pair, (pairs,) int64; None for a fixed export.

    Args:
        keep: None for all windows.
        name: of the model file, for messages.

    Raises:
        PlanError: `keep` does not fit the model.
    """
    if card.windows.fixed is None:
        return dense_keep(card.stages) if keep is None else validate_keep(keep, card.stages)
    if keep is not None:
        raise PlanError(f"{name} is a fixed export, its plan cannot change; leave `keep` out")
    return None


def check_outputs(outputs: Sequence[str], known: Sequence[str], name: str) -> None:
    """Raises BackendError for an output that the model `name` does not have."""
    unknown = [output for output in outputs if output not in known]
    if unknown:
        raise BackendError(f"{name} has no output {unknown[0]!r}; it has {', '.join(known)}")


def expected_outputs(card: ModelCard) -> dict[str, tuple[type, int]]:
    """Type and rank of each output a model with this card must have."""
    real, whole = np.float32, np.int64
    if card.task == "segmentation":
        expected = {"labels": (np.uint8, 3)}
    elif card.task == "detection":
        expected = {"boxes": (real, 3), "scores": (real, 2), "classes": (whole, 2)}
    else:
        expected = {f"stage{i}": (real, 4) for i in range(len(card.stages))}
    for i, stage in enumerate(card.stages):
        for parity, prefix in enumerate(("windows", "shifted_windows")):
            blocks = range(parity, stage.depth, 2)
            if card.windows.fixed is not None:  # a list exists where some block computes a part of the windows
                counts = (kept_windows(stage.windows, card.windows.fixed[i][j]) for j in blocks)
                needed = any(0 < k < stage.windows for k in counts)
            else:
                needed = len(blocks) > 0
            if needed:
                expected[f"{prefix}{i}"] = (whole, 2)
    return expected
