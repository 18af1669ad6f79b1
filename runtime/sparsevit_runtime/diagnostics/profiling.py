"""Measures a model at several sparsities within one session, round by round.

Each round runs every sparsity once, in an order drawn anew, on the same frames. Whatever slows the machine for a while
slows all of them, so the ratios hold where the milliseconds do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import get_args

import numpy as np

from ..contract import zero_inputs
from ..errors import BackendError, PlanError
from ..model import Model
from ..power import PowerMeter
from ..progress import SILENT, Progress, track
from ..runner import Request, Runner
from ..windows.macs import card_macs, card_parts
from .energy import idle_watts, measure_energy
from .frames import DEFAULT_SOURCE, read_frames, run_frames
from .layers import time_parts
from .machine import read_load_average, read_machine
from .measurement import EnergyUse, ModelInfo, PowerInfo, Stats, threads_used
from .profile_report import DENSE, FIXED, Entry, PartTime, ProfileReport, Settings, StageName, StageTimeName


@dataclass(slots=True)
class _Timing:
    """Samples of one sparsity, in milliseconds, one per round."""

    label: str
    request: Request
    samples: dict[StageName, list[float]] = field(
        default_factory=lambda: {"preprocess": [], "inference": [], "postprocess": [], "total": []}
    )
    stage_times: dict[StageTimeName, list[float]] = field(default_factory=dict)
    energy: EnergyUse | None = None
    parts: tuple[PartTime, ...] | None = None


def profile(
    model: Model,
    sweep: Sequence[str] | None = None,
    *,
    file: str | Path = "",
    iterations: int = 50,
    warm_up: int = 5,
    batch: int = 1,
    source: str = DEFAULT_SOURCE,
    meter: PowerMeter | None = None,
    energy_seconds: float = 3.0,
    no_meter: str = "",
    layers: bool = False,
    progress: Progress = SILENT,
) -> ProfileReport:
    """Profiles a model.

    Args:
        model: loaded.
        sweep: sparsities in any form `Plan.parse` reads, "0" for the dense run that the ratios need; None for that run
            alone, or a fixed export's own plan.
        file: the model was loaded from, for the report.
        iterations: timed rounds.
        warm_up: rounds before, not timed.
        batch: images per run.
        source: URI whose first frames are used.
        meter: open (`find_meter`); measures the energy of each entry after the rounds. None for none.
        energy_seconds: time per entry.
        no_meter: why there is none, for the report.
        layers: wish for the times of the network's parts, too, at each entry.
        progress: listener, told the rounds, and the entries of what is measured after them.

    Raises:
        PlanError: an entry does not fit the model, or a sweep was asked of a fixed export.
        SourceError: the source cannot be opened or has no frames.
        BackendError: a run failed, or the backend cannot time layers.
        ValueError: no rounds, or no images per run.
    """
    if iterations < 1 or warm_up < 0 or batch < 1:
        raise ValueError(f"{iterations} rounds after {warm_up} of warm-up, batch {batch}: at least one round and image")
    if layers and not model.backend.capabilities.layers:
        raise BackendError(f"the {model.backend.name} backend cannot time single layers; leave layers (--layers) out")
    timings = _timings(model, sweep)
    name, frames = read_frames(source)
    letterboxed = _letterboxed(model.runner, frames)
    machine = read_machine()
    measures = model.backend.capabilities.measure
    random = np.random.RandomState(0)
    rounds = warm_up + iterations
    for number in track(range(rounds), "measuring", progress):
        images = [frames[(number * batch + i) % len(frames)] for i in range(batch)]
        for position in random.permutation(len(timings)):
            _run_once(model, timings[position], images, timed=number >= warm_up)
            if measures:
                chosen = np.arange(number * batch, (number + 1) * batch) % len(frames)
                _measure_once(model, timings[position], letterboxed[chosen], timed=number >= warm_up)
    load_after = read_load_average()
    if layers:
        for timing in track(timings, "timing layers", progress):
            timing.parts = time_parts(model.runner, timing.request, letterboxed[np.arange(batch) % len(frames)])
    power = None
    if meter is not None:
        progress.start("measuring idle power")
        idle = idle_watts(meter)
        power = PowerInfo.of(meter, idle)
        used = measure_energy(
            model,
            frames,
            [timing.request.level for timing in timings],
            meter,
            seconds=energy_seconds,
            batch=batch,
            idle=idle,
            progress=progress,
        )
        for timing, energy in zip(timings, used, strict=True):
            timing.energy = energy
    details = model.backend.details
    return ProfileReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=ModelInfo.of(model, file),
        settings=Settings(
            iterations=iterations,
            warm_up=warm_up,
            batch=batch,
            backend=model.backend.name,
            library=details.get("library", ""),
            device=str(model.backend.device),
            threads=threads_used(details.get("threads", ""), machine),
            source=name,
            frame_wh=(frames[0].shape[1], frames[0].shape[0]),
        ),
        timed_region=_timed_region(model, batch, measures),
        machine=machine,
        load_average_after=load_after,
        power=power,
        power_note=no_meter if meter is None else "",
        entries=_entries(model, timings),
    )


def _timings(model: Model, sweep: Sequence[str] | None) -> list[_Timing]:
    if model.card.windows.fixed is None:
        return [_Timing(DENSE if s == "0" else s, model.runner.request(model.level(s))) for s in sweep or ("0",)]
    if sweep is not None:
        raise PlanError(
            f"{model.card.name} is a fixed export and has one plan only: give no sweep (leave --sweep out), or export "
            "without --fixed"
        )
    return [_Timing(FIXED, model.runner.request(model.level()))]


def _letterboxed(runner: Runner, frames: Sequence[np.ndarray]) -> np.ndarray:
    """(N, h, w, 3) uint8."""
    images = runner.new_buffer(len(frames))
    nothing = {name: array[0] for name, array in zero_inputs(runner.contract, 1).items()}
    for frame, image in zip(frames, images):
        runner.letterbox(runner.place(frame, nothing), image)
    return images


def _measure_once(model: Model, timing: _Timing, images: np.ndarray, *, timed: bool) -> None:
    times = model.runner.measure(images, timing.request)
    if timed:
        for name in get_args(StageTimeName):
            timing.stage_times.setdefault(name, []).append(getattr(times, f"{name}_ms"))


def _run_once(model: Model, timing: _Timing, images: list[np.ndarray], *, timed: bool) -> None:
    results = run_frames(model, images, timing.request.level)
    if not timed:
        return
    stages = results[0].timings
    after = sum(r.timings.postprocess_ms for r in results)
    timing.samples["preprocess"].append(stages.preprocess_ms)
    timing.samples["inference"].append(stages.inference_ms)
    timing.samples["postprocess"].append(after)
    timing.samples["total"].append(stages.preprocess_ms + stages.inference_ms + after)


def _entries(model: Model, timings: Sequence[_Timing]) -> tuple[Entry, ...]:
    dense = next((np.array(t.samples["inference"]) for t in timings if t.label == DENSE), None)
    dense_macs = card_macs(model.card, 0)
    entries = []
    for timing in timings:
        level = timing.request.level
        macs = card_macs(model.card, level.plan)
        floor = macs / dense_macs
        ratio = None if dense is None else float(np.median(np.array(timing.samples["inference"]) / dense))
        entries.append(
            Entry(
                sparsity=timing.label,
                keep=level.kept,
                window_share=round(level.window_share, 4),
                macs=macs,
                mac_ratio=round(floor, 4),
                time_ratio=None if ratio is None else round(ratio, 4),
                above_floor=None if ratio is None else round(ratio - floor, 4),
                stages={name: Stats.of(samples) for name, samples in timing.samples.items()},
                stage_times={name: Stats.of(samples) for name, samples in timing.stage_times.items()} or None,
                energy=timing.energy,
                parts=timing.parts,
                part_macs=card_parts(model.card, level.plan),
            )
        )
    return tuple(entries)


def _timed_region(model: Model, batch: int, measures: bool) -> str:
    """Says what lies inside the timed region."""
    images = "one frame" if batch == 1 else f"{batch} frames in one run"
    inference = "the backend's run alone, from the input array to the output arrays in host memory"
    if model.card.input.layout == "normalized":
        inference += ", normalising the images in NumPy before it included"
    if model.backend.device.copies:
        inference += ", copies to and from the GPU included"
    return (
        f"Wall time of {images}. preprocess: letterbox to the model's input. inference: {inference}. postprocess: "
        "coordinates and maps back to the frame. total: their sum. Not inside: reading or decoding the source, "
        "drawing, writing."
        + (
            " Stage times are of runs of their own: H2D, GPU compute and D2H between events on the device, enqueue and "
            "end to end on the host's clock."
            if measures
            else ""
        )
    )
