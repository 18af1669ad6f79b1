"""The session's counts for Prometheus, read when they are asked for, so that they always add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ... import __version__
from .control import Control, kept_by_stage, shown_outlets
from .figures import AGE_BUCKETS_S, Figures
from .protocol import LiveSession, SourceLike

_OUTCOMES = ("captured", "processed", "dropped", "failed")


def registry_of(control: Control, figures: Figures, viewers: Callable[[], int], device: Collector) -> CollectorRegistry:
    """A registry of one sink's own.

    Args:
        control: session that is measured.
        figures: ages of its frames.
        viewers: tells how many look.
        device: readings of the machine.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SessionCollector(control, figures, viewers))
    registry.register(device)
    return registry


class _SessionCollector(Collector):
    """Threads: safe from any thread."""

    def __init__(self, control: Control, figures: Figures, viewers: Callable[[], int]) -> None:
        self._control, self._figures, self._viewers = control, figures, viewers

    def collect(self) -> Iterator[Metric]:
        model, backend = self._control.model
        about = {"version": __version__, "model": model, "backend": backend}
        yield _gauge("sparsevit_build_info", "Versions and names; always 1.", about, 1)
        yield _gauge("sparsevit_viewers", "Pages and pictures that are open.", {}, self._viewers())
        yield self._ages()
        yield self._crossings()
        session = self._control.session
        if session is None:
            return
        counts = {self._control.labels[name]: each for name, each in session.metrics.sources.items()}
        yield from _frames(counts)
        yield _stages(counts)
        yield self._states(session)
        yield from _level(session)
        yield from _outlets(session)
        yield from self._governor()

    def _ages(self) -> Metric:
        family = HistogramMetricFamily(
            "sparsevit_frame_age_seconds", "Age of frames when their results came here.", labels=["source"]
        )
        for camera, ages in self._figures.ages().items():
            buckets, total = [], 0
            for end, count in zip((*map(str, AGE_BUCKETS_S), "+Inf"), ages.counts):
                total += count
                buckets.append((end, float(total)))
            family.add_metric([camera], buckets, ages.total_s)
        return family

    def _crossings(self) -> Metric:
        family = CounterMetricFamily(
            "sparsevit_crossings",
            "Tracked objects that crossed a line or the border of a zone.",
            labels=["source", "line", "direction", "class"],
        )
        for camera, counts in self._figures.counts().items():
            for each in counts:
                for direction, of_class in (("in", each.into), ("out", each.out)):
                    for name, count in of_class.items():
                        family.add_metric([camera, each.name, direction, name], count)
        return family

    def _states(self, session: LiveSession) -> Metric:
        family = GaugeMetricFamily(
            "sparsevit_source_state", "1 for the state that a source is in.", labels=["source", "state"]
        )
        for name, status in session.sources.items():
            for state in type(status.state):
                family.add_metric([self._control.labels[name], state.value], float(state is status.state))
        return family

    def _governor(self) -> Iterator[Metric]:
        governor = self._control.governor
        if governor is None:
            return
        yield _gauge("sparsevit_governor_enabled", "Whether the governor moves the level.", {}, governor.enabled)
        yield _gauge("sparsevit_governor_met", "Whether some level is expected to meet the target.", {}, governor.met)
        if governor.target.latency_ms is not None:
            target_s = governor.target.latency_ms / 1e3
            yield _gauge("sparsevit_target_seconds", "Longest latency that the governor aims at.", {}, target_s)
        changes = CounterMetricFamily(
            "sparsevit_governor_changes", "Steps towards more windows, and towards fewer.", labels=["direction"]
        )
        for direction, count in governor.changes.items():
            changes.add_metric([direction], count)
        yield changes


def _frames(counts: Mapping[str, SourceLike]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        "sparsevit_frames", "Frames: captured = processed + dropped + failed + in flight.", labels=["source", "outcome"]
    )
    flight = GaugeMetricFamily("sparsevit_frames_in_flight", "Frames on their way through.", labels=["source"])
    damaged = CounterMetricFamily(
        "sparsevit_frames_damaged", "Frames that did not decode, in none of the other counts.", labels=["source"]
    )
    returns = CounterMetricFamily(
        "sparsevit_source_reconnects",
        "Times a source came back, after it was silent or broke.",
        labels=["source", "reason"],
    )
    newest = GaugeMetricFamily(
        "sparsevit_source_last_frame_timestamp_seconds", "Wall clock when the newest frame came.", labels=["source"]
    )
    for source, each in counts.items():
        for outcome in _OUTCOMES:
            frames.add_metric([source, outcome], getattr(each, outcome))
        flight.add_metric([source], each.in_flight)
        damaged.add_metric([source], getattr(each, "damaged", 0))
        for reason, times in getattr(each, "reconnect_reasons", {"broke": each.reconnects}).items():
            returns.add_metric([source, reason], times)
        if each.last_frame_ns is not None:
            newest.add_metric([source], each.last_frame_ns / 1e9)
    yield from (frames, flight, damaged, returns, newest)


def _stages(counts: Mapping[str, SourceLike]) -> Metric:
    family = SummaryMetricFamily(
        "sparsevit_stage_seconds", "Time of frames in each stage; latency is from arrival to result.", labels=["stage"]
    )
    stages: dict[str, tuple[int, float]] = {}
    for each in counts.values():
        for stage, spent in each.stages.items():
            count, total_ms = stages.get(stage, (0, 0.0))
            stages[stage] = count + spent.count, total_ms + spent.total_ms
    for stage, (count, total_ms) in stages.items():
        family.add_metric([stage], count, total_ms / 1e3)
    return family


def _level(session: LiveSession) -> Iterator[Metric]:
    level = session.level
    yield _gauge("sparsevit_sparsity_ratio", "Share of windows pruned.", {}, 1 - level.window_share)
    kept = GaugeMetricFamily(
        "sparsevit_kept_windows", "Windows that the blocks of a stage compute in a frame.", labels=["stage"]
    )
    for stage, windows in enumerate(kept_by_stage(level)):
        kept.add_metric([str(stage)], windows)
    yield kept


def _outlets(session: LiveSession) -> Iterator[Metric]:
    errors = CounterMetricFamily("sparsevit_sink_errors", "Errors that ended an output.", labels=["sink"])
    depth = GaugeMetricFamily("sparsevit_sink_queue_depth", "Results that wait for an output.", labels=["sink"])
    results = CounterMetricFamily(
        "sparsevit_sink_results",
        "Results written, skipped while an output was busy, dropped by it later.",
        labels=["sink", "outcome"],
    )
    for name, each in shown_outlets(session).items():
        errors.add_metric([name], float(bool(each.error)))
        depth.add_metric([name], each.waiting)
        results.add_metric([name, "written"], each.written)
        results.add_metric([name, "skipped"], each.skipped)
        results.add_metric([name, "dropped"], getattr(each, "dropped", 0))
    yield from (errors, depth, results)


def _gauge(name: str, documentation: str, labels: Mapping[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family
