"""The document of a soak. Written by `sparsevit profile --soak TIME --json`."""

from __future__ import annotations

from typing import Literal

from .machine import MachineInfo
from .measurement import EnergyUse, ModelInfo, PowerInfo, ReportPart, Stats

SOAK_SCHEMA: Literal[2] = 2


class SoakInterval(ReportPart):
    """A stretch of a soak.

    Attributes:
        start_s, seconds: since the soak began, and how long.
        latency: time from the frame to the answer, for the whole batch.
        resident_mb: resident mb of the process at the end, 1e6 bytes; None where the system does not tell.
        use: energy, clocks, temperatures and throttling.
    """

    start_s: float
    seconds: float
    latency: Stats
    resident_mb: float | None
    use: EnergyUse


class SoakReport(ReportPart):
    """Schema-versioned result of `sparsevit profile --soak`.

    Attributes:
        sparsity: sparsity as asked for; ``dense``, or ``fixed`` for a fixed export's own plan.
        seconds_asked, seconds, frames: length of the soak as asked for, as it was, and in frames.
        stopped: before its time.
        drift: median latency of the last interval over that of the first, less 1; None with one interval.
        memory_growth_mb: resident memory at the end less that after the first interval, which allocates what stays.
        throttled: reasons, with the seconds of the intervals in which they were seen.
    """

    schema_version: Literal[2] = SOAK_SCHEMA
    created: str
    model: ModelInfo
    machine: MachineInfo
    backend: str
    library: str
    device: str
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
