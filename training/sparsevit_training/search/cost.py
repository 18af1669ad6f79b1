"""What a plan costs on this device, against the dense model: measured side by side, or predicted from measurements.

Absolute times drift with the machine; here every plan runs in turn with the dense one, and the median of the ratios
counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Protocol

import numpy as np

from sparsevit_runtime.dependencies import require
from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.model import Model
from sparsevit_runtime.power import EnergySampler, PowerMeter
from sparsevit_runtime.progress import SILENT, Progress
from sparsevit_runtime.windows.plan import Plan

from .space import LEVELS, Space

_SCHEMA = 1


class CostError(SparseViTError):
    """A cost model cannot be read, or is of another model."""


class Gauge(Protocol):
    """Measures one run.

    Attributes:
        unit: unit of what it returns, ``ms`` or ``mJ`` per frame.
    """

    unit: str

    def __call__(self, plan: Plan) -> float:
        """Runs the model at a plan."""


class LatencyGauge:
    """Wall time of the backend's run, copies included; letterbox and decoding not, they are the same for every plan.

    Args:
        model: loaded.
        frames: frames run in turn, (H, W, 3) uint8 BGR each.
    """

    unit = "ms"

    def __init__(self, model: Model, frames: Iterable[np.ndarray]) -> None:
        self._model = model
        self._frames = cycle(frames)

    def __call__(self, plan: Plan) -> float:
        return self._model(next(self._frames), plan).timings.inference_ms


class EnergyGauge:
    """Energy of the device per frame, by its own meter, over as many frames as fill the meter's period.

    Args:
        model: loaded.
        frames: frames run in turn.
        meter: meter of the device that runs the model; the caller closes it.
        seconds: each measurement lasts at least.
    """

    unit = "mJ"

    def __init__(
        self,
        model: Model,
        frames: Iterable[np.ndarray],
        meter: PowerMeter,
        seconds: float = 1.0,
    ) -> None:
        self._model = model
        self._frames = cycle(frames)
        self._meter = meter
        self._seconds = seconds

    def __call__(self, plan: Plan) -> float:
        """Raises CostError when the meter has no reading."""
        count = 0
        with EnergySampler(self._meter) as sampler:
            end = time.perf_counter() + self._seconds
            while time.perf_counter() < end:
                self._model(next(self._frames), plan)
                count += 1
        energy = sampler.energy
        if not energy.joules:
            raise CostError(f"the power meter gave no energy ({energy.problem or 'no reading'}); search by latency")
        return 1e3 * energy.joules / count


@dataclass(frozen=True)
class Measurement:
    """Cost of one plan.

    Attributes:
        ratio: against the dense model, median over the rounds.
        absolute: median, in the gauge's unit.
    """

    ratio: float
    absolute: float


def measure(
    gauge: Gauge,
    plans: Sequence[Plan],
    rounds: int,
    seed: int = 0,
    progress: Progress = SILENT,
    title: str = "measuring",
) -> list[Measurement]:
    """Runs the plans and the dense model round by round, in an order drawn anew each round.

    Args:
        rounds: timed; one more goes before to warm up.
        progress: listener, told the runs.
        title: title of the work, for the progress.

    Returns:
        One measurement per plan.
    """
    if not plans:
        return []
    dense = Plan.dense([len(stage) for stage in plans[0].ratios])
    everything = [dense, *(plan for plan in plans if plan != dense)]
    progress.start(title, (rounds + 1) * len(everything))
    rng = np.random.default_rng(seed)
    samples = np.empty((rounds, len(everything)))
    for number in range(-1, rounds):
        for done, position in enumerate(rng.permutation(len(everything)), (number + 1) * len(everything)):
            progress.advance(done)
            samples[max(number, 0), position] = gauge(everything[position])
    ratios = np.median(samples / samples[:, :1], axis=0)  # of dense: 1
    absolute = np.median(samples, axis=0)
    measured = iter(Measurement(float(r), float(a)) for r, a in zip(ratios, absolute, strict=True))
    itself = next(measured)
    return [itself if plan == dense else next(measured) for plan in plans]


@dataclass(frozen=True)
class CostModel:
    """Cost against dense, linear in the share of windows that each block pair computes, with no negative part.

    Attributes:
        model: sha256 of the model file it was measured with.
        device: name in words.
        unit: unit of `dense`.
        dense: cost of the dense model per frame.
        fixed: ratio that remains with no window computed.
        pairs: ratio that each block pair adds when it computes all its windows.
        error: mean absolute error over the plans it was fitted to.
    """

    model: str
    device: str
    unit: str
    dense: float
    fixed: float
    pairs: tuple[float, ...]
    error: float

    def ratio(self, shares: Sequence[float]) -> float:
        """Cost against dense of a plan.

        Args:
            shares: windows computed, of all, per block pair.
        """
        return self.fixed + float(np.dot(self.pairs, shares))

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all. Raises SinkError."""
        write_atomic(path, (json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=1) + "\n").encode())

    @classmethod
    def of(cls, kept: dict) -> CostModel:
        """From plain values, as `dataclasses.asdict` gives them.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: they are something else.
        """
        found = cls(**{**kept, "pairs": tuple(float(p) for p in kept["pairs"])})
        numbers = (found.dense, found.fixed, found.error, *found.pairs)
        if not all(np.isfinite(float(n)) and float(n) >= 0 for n in numbers) or found.dense <= 0:
            raise ValueError("not all of its numbers are positive")
        return found

    @classmethod
    def load(cls, path: str | Path, model: str, pairs: int) -> CostModel:
        """Reads what `save` wrote.

        Args:
            model: sha256 of the file that it must have been measured with.
            pairs: block pairs of that model.

        Raises:
            CostError: not readable, not a cost model, or another model's.
        """
        try:
            document = json.loads(Path(path).read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CostError(f"the cost model {path} is not readable JSON ({error})") from error
        try:
            if document.pop("schema") != _SCHEMA:
                raise ValueError("of another schema")
            found = cls.of(document)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CostError(
                f"{path} is no cost model ({error}); write one with `sparsevit search --save-cost`"
            ) from error
        if found.model != model or len(found.pairs) != pairs:
            raise CostError(
                f"{path} was measured with another model (sha256 {found.model[:12]}, {len(found.pairs)} block pairs; "
                f"this one is {model[:12]}, {pairs}); measure this model on the device"
            )
        return found


def calibrate(
    gauge: Gauge,
    space: Space,
    shares_of: Callable[[Plan], Sequence[float]],
    rounds: int,
    seed: int,
    model: str,
    device: str,
    progress: Progress = SILENT,
) -> CostModel:
    """Fits a cost model to measured plans: every stage's tail pruned alone, everything pruned, and random ones.

    Args:
        shares_of: windows computed, of all, per block pair of a plan.
        rounds: number of rounds per plan.
        model, device: names for the record.
        progress: progress as in `measure`.
    """
    require("scipy")
    from scipy.optimize import nnls

    rng = np.random.default_rng([seed, 3])
    genomes = [space.uniform(0), space.uniform(LEVELS - 1), space.uniform(LEVELS // 2)]
    start = 0
    for pairs in space.pairs:
        for first in range(start, start + pairs):
            genomes.append(tuple(LEVELS - 1 if first <= i < start + pairs else 0 for i in range(sum(space.pairs))))
        start += pairs
    genomes += [space.random(rng) for _ in range(2 * sum(space.pairs))]
    plans = [space.plan(genome) for genome in genomes]
    measured = measure(gauge, plans, rounds, seed, progress, "calibrating")
    features = np.array([[1.0, *shares_of(plan)] for plan in plans])
    ratios = np.array([m.ratio for m in measured])
    weights, _ = nnls(features, ratios)
    error = float(np.abs(features @ weights - ratios).mean())
    return CostModel(
        model=model,
        device=device,
        unit=gauge.unit,
        dense=measured[0].absolute,
        fixed=float(weights[0]),
        pairs=tuple(float(w) for w in weights[1:]),
        error=error,
    )
