"""Energy per frame: runs of one sparsity after the other, under a power meter."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..model import Model
from ..power import Energy, EnergySampler, PowerMeter, open_meter
from ..progress import SILENT, Progress, track
from ..windows.level import Level
from ..windows.plan import PlanLike
from .frames import run_frames
from .measurement import EnergyUse

_IDLE_SECONDS = 2.0


def find_meter(model: Model) -> tuple[PowerMeter | None, str]:
    """The meter of what runs the model, for the caller to close, and the line that says why there is none."""
    reasons: list[str] = []
    meter = open_meter(kind=model.backend.device.kind, why_not=reasons.append)
    return meter, "" if meter else f"no energy figures, there is no power meter: {'; '.join(reasons)}"


def idle_watts(meter: PowerMeter, seconds: float = _IDLE_SECONDS) -> float | None:
    """Drawn while nothing runs; None where the meter cannot tell."""
    with EnergySampler(meter) as sampler:
        time.sleep(seconds)
    return sampler.energy.mean_watts


def measure_energy(
    model: Model,
    frames: Sequence[np.ndarray],
    sparsities: Sequence[PlanLike | Level | None],
    meter: PowerMeter,
    *,
    seconds: float = 3.0,
    batch: int = 1,
    idle: float | None = None,
    progress: Progress = SILENT,
) -> list[EnergyUse]:
    """Energy per frame of each sparsity, from the frame to the answer.

    Each has two stretches of half the time, the second ones in reverse order, so that a machine that warms up slowly
    favours none.

    Args:
        frames: (H, W, 3) uint8 BGR.
        meter: open.
        seconds: time per sparsity.
        batch: frames per run.
        idle: watts at idle.
        progress: listener, told the stretches.

    Raises:
        PlanError, BackendError: as the model's calls.
    """
    order = [*range(len(sparsities)), *reversed(range(len(sparsities)))]
    stretches: list[list[tuple[Energy, int]]] = [[] for _ in sparsities]
    for position in track(order, "measuring energy", progress):
        images = [frames[i % len(frames)] for i in range(batch)]
        run_frames(model, images, sparsities[position])  # what this sparsity allocates is not energy of its frames
        count, end = 0, time.monotonic() + seconds / 2
        with EnergySampler(meter) as sampler:
            while count == 0 or time.monotonic() < end:
                images = [frames[(count + i) % len(frames)] for i in range(batch)]
                run_frames(model, images, sparsities[position])
                count += batch
        stretches[position].append((sampler.energy, count))
    return [EnergyUse.of(_sum([e for e, _ in pair]), sum(n for _, n in pair), idle) for pair in stretches]


def _sum(parts: Sequence[Energy]) -> Energy:
    known = [part.joules for part in parts if part.joules is not None]
    samples = sum(part.samples for part in parts)
    reasons = dict.fromkeys(reason for part in parts for reason in part.throttled)
    return Energy(
        seconds=sum(part.seconds for part in parts),
        samples=samples,
        joules=sum(known) if len(known) == len(parts) else None,
        clocks_mhz=_union([part.clocks_mhz for part in parts]),
        temperatures_c=_union([part.temperatures_c for part in parts]),
        throttled={r: sum(part.throttled.get(r, 0.0) * part.samples for part in parts) / samples for r in reasons},
        problem=next((part.problem for part in parts if part.problem), None),
    )


def _union(ranges: Sequence[dict[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    names = dict.fromkeys(name for each in ranges for name in each)
    found = {name: [each[name] for each in ranges if name in each] for name in names}
    return {name: (min(low for low, _ in r), max(high for _, high in r)) for name, r in found.items()}
