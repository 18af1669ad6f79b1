"""What reports of time and energy share: statistics, the model, what measured the power."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..model import Model
from ..power import Energy, PowerMeter
from .machine import MachineInfo


class ReportPart(BaseModel):
    """A part of a report: complete, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Stats(ReportPart):
    """Distribution of a time, in milliseconds.

    Attributes:
        count: samples. Percentiles interpolate linearly between them, so p99 of fewer than 100 leans on the largest.
        cov: coefficient of variation, standard deviation over mean.
    """

    count: int = Field(ge=1)
    mean: float
    min: float
    max: float
    p50: float
    p90: float
    p95: float
    p99: float
    cov: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Stats:
        """Summarises at least one sample."""
        values = np.asarray(samples_ms, np.float64)
        p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99))
        mean = values.mean()
        rounded = {
            "mean": mean,
            "min": values.min(),
            "max": values.max(),
            "p50": p50,
            "p90": p90,
            "p95": p95,
            "p99": p99,
            "cov": values.std() / mean if mean else 0.0,
        }
        return cls(count=len(values), **{name: round(float(value), 4) for name, value in rounded.items()})


class ModelInfo(ReportPart):
    """Which model."""

    name: str
    file: str
    task: str
    precision: str
    input_hw: tuple[int, int]
    parameters: int
    fixed: bool

    @classmethod
    def of(cls, model: Model, file: str | Path) -> ModelInfo:
        """The model as reports name it; `file` is what it was loaded from."""
        card = model.card
        return cls(
            name=card.name,
            file=os.path.basename(file),
            task=card.task,
            precision=card.precision,
            input_hw=model.input_hw,
            parameters=card.architecture.parameters,
            fixed=card.windows.fixed is not None,
        )


class PowerInfo(ReportPart):
    """What measured the energy.

    Attributes:
        meter, scope: origin of the figures, and what they are of.
        idle_watts: drawn with the model loaded and nothing running.
    """

    meter: str
    scope: str
    idle_watts: float | None

    @classmethod
    def of(cls, meter: PowerMeter, idle_watts: float | None) -> PowerInfo:
        return cls(meter=meter.name, scope=meter.scope, idle_watts=None if idle_watts is None else round(idle_watts, 3))


class EnergyUse(ReportPart):
    """Energy of a stretch of runs, one after the other.

    Attributes:
        frames, seconds: those of the stretch.
        mj_per_frame: millijoules, everything the meter sees included; None when it could not be measured.
        mj_above_idle: the same, less what the machine draws at idle in that time.
        mean_watts: over the stretch.
        clocks_mhz, temperatures_c: smallest and largest by name.
        throttled: reasons, with the share of samples that gave them.
        problem: why measuring ended early.
    """

    frames: int
    seconds: float
    mj_per_frame: float | None
    mj_above_idle: float | None
    mean_watts: float | None
    clocks_mhz: dict[str, tuple[float, float]]
    temperatures_c: dict[str, tuple[float, float]]
    throttled: dict[str, float]
    problem: str | None

    @classmethod
    def of(cls, energy: Energy, frames: int, idle_watts: float | None = None) -> EnergyUse:
        """Sums up what was sampled during at least one frame."""
        joules = energy.joules
        above = None if joules is None or idle_watts is None else joules - idle_watts * energy.seconds
        return cls(
            frames=frames,
            seconds=round(energy.seconds, 3),
            mj_per_frame=None if joules is None else round(joules * 1e3 / frames, 4),
            mj_above_idle=None if above is None else round(above * 1e3 / frames, 4),
            mean_watts=None if energy.mean_watts is None else round(energy.mean_watts, 3),
            clocks_mhz=energy.clocks_mhz,
            temperatures_c=energy.temperatures_c,
            throttled={reason: round(share, 4) for reason, share in energy.throttled.items()},
            problem=energy.problem,
        )


def threads_used(asked: str, machine: MachineInfo) -> str:
    """The number of threads as reports say it."""
    return f"auto ({machine.physical_cores} physical cores)" if asked == "auto" else asked
