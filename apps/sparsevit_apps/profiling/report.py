"""The profile document: what was measured, how, on what. Written by `sparsevit profile --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sparsevit_runtime.power import Energy

from ..machine import MachineInfo

PROFILE_SCHEMA = 1
SOAK_SCHEMA = 1

StageName = Literal["preprocess", "inference", "postprocess", "total"]
SpanName = Literal["h2d", "compute", "d2h", "enqueue", "total"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stats(_Part):
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


class ModelInfo(_Part):
    """Which model."""

    name: str
    file: str
    task: str
    precision: str
    input_hw: tuple[int, int]
    parameters: int
    fixed: bool


class Settings(_Part):
    """How it was measured.

    Attributes:
        iterations, warm_up: rounds per entry.
        batch: images per run.
        backend, library, processor, threads: what ran the graph.
        source: where the frames came from.
        frame_wh: size of the frames before letterboxing.
    """

    iterations: int
    warm_up: int
    batch: int
    backend: str
    library: str
    processor: str
    threads: str
    source: str
    frame_wh: tuple[int, int]


class PowerInfo(_Part):
    """What measured the energy.

    Attributes:
        meter, scope: where the figures come from, and what they are of.
        idle_watts: drawn with the model loaded and nothing running.
    """

    meter: str
    scope: str
    idle_watts: float | None


class EnergyUse(_Part):
    """Energy of a stretch of runs, one after the other.

    Attributes:
        frames, seconds: of the stretch.
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
        idle = None if joules is None or idle_watts is None else idle_watts * energy.seconds
        return cls(
            frames=frames,
            seconds=round(energy.seconds, 3),
            mj_per_frame=None if joules is None else round(joules * 1e3 / frames, 4),
            mj_above_idle=None if idle is None else round((joules - idle) * 1e3 / frames, 4),
            mean_watts=None if energy.mean_watts is None else round(energy.mean_watts, 3),
            clocks_mhz=energy.clocks_mhz,
            temperatures_c=energy.temperatures_c,
            throttled={reason: round(share, 4) for reason, share in energy.throttled.items()},
            problem=energy.problem,
        )


class PartTime(_Part):
    """Time of the layers of one part of the network, median over the runs.

    Attributes:
        part: of `graph.parts`; several joined by ``+`` for layers fused across parts; ``other`` for layers
            whose name does not say.
        ms: per run.
        share: of all layers' time.
        layers: that ran.
    """

    part: str
    ms: float
    share: float
    layers: int


class Entry(_Part):
    """One sparsity.

    Attributes:
        sparsity: as asked for: a ratio, a plan file, ``dense``, or ``fixed`` for a fixed export's own plan.
        keep: windows per block pair; None for a fixed plan whose pairs hold two counts.
        window_share: windows computed among all windows of all blocks.
        macs: multiply-accumulates of the backbone for one image.
        mac_ratio: `macs` over those of the dense model: the floor of `time_ratio`.
        time_ratio: inference time over the dense run's, median over the rounds of the quotient within a round; None
            without a dense run.
        above_floor: `time_ratio` less `mac_ratio`.
        stages: per stage of the way, for the whole batch.
        spans: inside the inference, measured on the device; None where the backend cannot tell.
        energy: None without a meter.
        parts: of the network, slowest first; None unless asked for.
    """

    sparsity: str
    keep: tuple[int, ...] | None
    window_share: float
    macs: int
    mac_ratio: float
    time_ratio: float | None
    above_floor: float | None
    stages: dict[StageName, Stats]
    spans: dict[SpanName, Stats] | None = None
    energy: EnergyUse | None = None
    parts: tuple[PartTime, ...] | None = None


class ProfileReport(_Part):
    """Schema-versioned result of a profile. `power_note` says why there is no energy, where there is none."""

    schema_version: Literal[1] = PROFILE_SCHEMA
    created: str
    model: ModelInfo
    settings: Settings
    timed_region: str
    machine: MachineInfo
    load_average_after: float | None
    power: PowerInfo | None = None
    power_note: str = ""
    entries: tuple[Entry, ...]


class SoakInterval(_Part):
    """A stretch of a soak.

    Attributes:
        start_s, seconds: since the soak began, and how long.
        latency: from the frame to the answer, for the whole batch.
        resident_mb: of the process at the end, 1e6 bytes; None where the system does not tell.
        use: energy, clocks, temperatures and throttling.
    """

    start_s: float
    seconds: float
    latency: Stats
    resident_mb: float | None
    use: EnergyUse


class SoakReport(_Part):
    """Schema-versioned result of `sparsevit profile --soak`.

    Attributes:
        sparsity: as asked for; ``dense``, or ``fixed`` for a fixed export's own plan.
        seconds_asked, seconds, frames: of the soak.
        stopped: before its time.
        drift: median latency of the last interval over that of the first, less 1; None with one interval.
        memory_growth_mb: resident memory at the end less that after the first interval, which allocates what stays.
        throttled: reasons, with the seconds of the intervals in which they were seen.
    """

    schema_version: Literal[1] = SOAK_SCHEMA
    created: str
    model: ModelInfo
    machine: MachineInfo
    backend: str
    library: str
    processor: str
    batch: int
    source: str
    sparsity: str
    keep: tuple[int, ...] | None
    power: PowerInfo | None
    power_note: str
    seconds_asked: float
    seconds: float
    frames: int
    stopped: bool
    drift: float | None
    memory_growth_mb: float | None
    throttled: dict[str, float]
    intervals: tuple[SoakInterval, ...]
