"""The frames that a model is measured on, and one run of it on some of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from ..contract import zero_inputs
from ..errors import SourceError
from ..model import Model
from ..sources import open_source
from ..tasks import Result
from ..windows.level import Level
from ..windows.plan import PlanLike

#: Frames when no source is named: a street at the size of a common camera.
DEFAULT_SOURCE = "synthetic://street?size=1280x720"
#: Frames held in memory; the runs go through them again and again.
_FRAMES = 8


def read_frames(uri: str) -> tuple[str, list[np.ndarray]]:
    """Name of the source and its first frames, (H, W, 3) uint8 BGR, all of one size.

    Raises:
        SourceError: it cannot be opened or has no frames in the host's memory.
    """
    with open_source(uri) as source:
        images = (frame.image for frame in islice(source, _FRAMES))
        frames = [image for image in images if isinstance(image, np.ndarray)]
        if not frames:
            raise SourceError(f"{uri} has no frames; name another source")
        return source.name, [f for f in frames if f.shape == frames[0].shape]


def run_frames(model: Model, frames: Sequence[np.ndarray], sparsity: PlanLike | Level | None) -> list[Result]:
    """`Model.batch`; what the model takes with each frame beside its pixels is zero: no source brings it."""
    if not model.runner.contract.frame_inputs:
        return model.batch(frames, sparsity)
    nothing = {name: array[0] for name, array in zero_inputs(model.runner.contract, 1).items()}
    return model.batch(frames, sparsity, inputs=[nothing] * len(frames))
