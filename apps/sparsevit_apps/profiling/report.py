"""The profile document: what was measured, how, on what. Written by `sparsevit profile --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..machine import MachineInfo

PROFILE_SCHEMA = 1

StageName = Literal["preprocess", "inference", "postprocess", "total"]


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
    """

    sparsity: str
    keep: tuple[int, ...] | None
    window_share: float
    macs: int
    mac_ratio: float
    time_ratio: float | None
    above_floor: float | None
    stages: dict[StageName, Stats]


class ProfileReport(_Part):
    """Schema-versioned result of a profile."""

    schema_version: Literal[1] = PROFILE_SCHEMA
    created: str
    model: ModelInfo
    settings: Settings
    timed_region: str
    machine: MachineInfo
    load_average_after: float | None
    entries: tuple[Entry, ...]
