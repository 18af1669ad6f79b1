"""Time of the network's parts: single layers, grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..graph.parts import part_of_layer
from ..runner import Request, Runner
from .profile_report import PartTime

#: Runs per sparsity; each is slower than a usual one.
RUNS = 5


def time_parts(runner: Runner, request: Request, images: np.ndarray, runs: int = RUNS) -> tuple[PartTime, ...]:
    """Median time of each part, the slowest first.

    Args:
        runner: runner of a model whose backend can time layers.
        request: request to run with.
        images: (B, h, w, 3) uint8, letterboxed.
        runs: number of runs, at least 1.

    Raises:
        BackendError: the layers cannot be timed.
    """
    return group_layers([runner.layers(images, request) for _ in range(runs)])


def group_layers(runs: Sequence[Sequence[tuple[str, float]]]) -> tuple[PartTime, ...]:
    """Groups layers by part.

    Args:
        runs: name and milliseconds of each layer, per run, at least one.
    """
    times: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    counts: dict[str, int] = defaultdict(int)
    for i, layers in enumerate(runs):
        for name, ms in layers:
            part = part_of_layer(name)
            times[part][i] += ms
            counts[part] += i == 0
    medians = {part: float(np.median(values)) for part, values in times.items()}
    whole = sum(medians.values())
    return tuple(
        PartTime(part=part, ms=round(ms, 4), share=round(ms / whole, 4) if whole else 0.0, layers=counts[part])
        for part, ms in sorted(medians.items(), key=lambda item: -item[1])
    )
