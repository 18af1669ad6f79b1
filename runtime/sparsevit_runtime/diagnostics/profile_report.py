"""The profile document: what was measured, how, on what. Written by `sparsevit profile --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .machine import MachineInfo
from .measurement import EnergyUse, ModelInfo, PowerInfo, ReportPart, Stats

PROFILE_SCHEMA: Literal[2] = 2

StageName = Literal["preprocess", "inference", "postprocess", "total"]
StageTimeName = Literal["h2d", "compute", "d2h", "enqueue", "total"]
#: How a report names these sparsities.
DENSE, FIXED = "dense", "fixed"


class Settings(ReportPart):
    """How it was measured.

    Attributes:
        iterations, warm_up: rounds per entry.
        batch: images per run.
        backend, library, device, threads: names of what ran the graph.
        source: origin of the frames.
        frame_wh: size of the frames before letterboxing.
    """

    iterations: int
    warm_up: int
    batch: int
    backend: str
    library: str
    device: str
    threads: str
    source: str
    frame_wh: tuple[int, int]


class PartTime(ReportPart):
    """Time of the layers of one part of the network, median over the runs.

    Attributes:
        part: part of `graph.parts`; several joined by ``+`` for layers fused across parts; ``other`` for layers
            whose name does not say.
        ms: milliseconds per run.
        share: share of all layers' time.
        layers: that ran.
    """

    part: str
    ms: float
    share: float
    layers: int


class Entry(ReportPart):
    """One sparsity.

    Attributes:
        sparsity: sparsity as asked for: a ratio, a plan file, ``dense``, or ``fixed`` for a fixed export's own plan.
        keep: windows per block pair; None for a fixed plan whose pairs hold two counts.
        window_share: windows computed among all windows of all blocks.
        macs: multiply-accumulates of the backbone for one image.
        mac_ratio: `macs` over those of the dense model: the floor of `time_ratio`.
        time_ratio: inference time over the dense run's, median over the rounds of the quotient within a round; None
            without a dense run.
        above_floor: `time_ratio` less `mac_ratio`.
        stages: times per stage of the way, for the whole batch.
        stage_times: inside the inference, measured on the device; None where the backend cannot tell.
        energy: None without a meter.
        parts: parts of the network, slowest first; None unless asked for.
        part_macs: multiply-accumulates of one image, by part; the head's are not there for a file that was exported
            before they were counted.
    """

    sparsity: str
    keep: tuple[int, ...] | None
    window_share: float
    macs: int
    mac_ratio: float
    time_ratio: float | None
    above_floor: float | None
    stages: dict[StageName, Stats]
    stage_times: dict[StageTimeName, Stats] | None = None
    energy: EnergyUse | None = None
    parts: tuple[PartTime, ...] | None = None
    part_macs: dict[str, int] = Field(default_factory=dict)


class ProfileReport(ReportPart):
    """Schema-versioned result of a profile. `power_note` says why there is no energy, where there is none."""

    schema_version: Literal[2] = PROFILE_SCHEMA
    created: str
    model: ModelInfo
    settings: Settings
    timed_region: str
    machine: MachineInfo
    load_average_after: float | None
    power: PowerInfo | None = None
    power_note: str = ""
    entries: tuple[Entry, ...]
