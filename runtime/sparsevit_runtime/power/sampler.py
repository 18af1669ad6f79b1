"""Energy of a stretch of time: a meter read at a fixed rate in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from .reading import MeterError, PowerMeter, PowerReading

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Energy:
    """What a stretch of time took.

    Attributes:
        seconds: time from the first sample to the last.
        samples: read.
        joules: energy by difference where the meter counts, else the trapezoids under the watts; None without power or
            with fewer than two samples.
        clocks_mhz, temperatures_c: smallest and largest by name.
        throttled: every reason seen, with the share of samples that gave it.
        problem: reason why sampling ended early; None when it did not.
    """

    seconds: float = 0.0
    samples: int = 0
    joules: float | None = None
    clocks_mhz: dict[str, tuple[float, float]] = field(default_factory=dict)
    temperatures_c: dict[str, tuple[float, float]] = field(default_factory=dict)
    throttled: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    @property
    def mean_watts(self) -> float | None:
        return None if self.joules is None or self.seconds <= 0 else self.joules / self.seconds

    @classmethod
    def of(cls, samples: Sequence[tuple[float, PowerReading]], problem: str | None = None) -> Energy:
        """Sums up samples: seconds on any clock, in order, and readings."""
        if not samples:
            return cls(problem=problem)
        reasons: dict[str, int] = {}
        for _, reading in samples:
            for reason in filter(None, (reading.throttled or "").split(", ")):
                reasons[reason] = reasons.get(reason, 0) + 1
        return cls(
            seconds=samples[-1][0] - samples[0][0],
            samples=len(samples),
            joules=_joules(samples),
            clocks_mhz=_ranges([reading.clocks_mhz for _, reading in samples]),
            temperatures_c=_ranges([reading.temperatures_c for _, reading in samples]),
            throttled={reason: count / len(samples) for reason, count in reasons.items()},
            problem=problem,
        )


class EnergySampler:
    """Samples a meter while its block runs.

    Threads: the meter is read by one thread only, from entering until leaving; nobody else may read it meanwhile.

    Usage:
        with EnergySampler(meter) as sampler:
            ...
        sampler.energy.joules
    """

    def __init__(self, meter: PowerMeter, rate_hz: float = 20.0) -> None:
        """
        Args:
            meter: open; stays open.
            rate_hz: samples a second.

        Raises:
            ValueError: the rate is not above zero.
        """
        if not rate_hz > 0:
            raise ValueError(f"the rate is {rate_hz} Hz; give one above zero")
        self._meter = meter
        self._period = 1.0 / rate_hz
        self._samples: list[tuple[float, PowerReading]] = []
        self._problem: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def energy(self) -> Energy:
        """What was sampled so far; final once the block is left."""
        return Energy.of(list(self._samples), self._problem)

    def close(self) -> None:
        """Takes the last sample and ends the thread. Safe to repeat."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self._sample()  # before the work begins
        self._thread = threading.Thread(target=self._loop, name="energy", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _loop(self) -> None:
        due = time.monotonic() + self._period
        while self._problem is None and not self._stop.wait(max(0.0, due - time.monotonic())):
            self._sample()
            due = max(due + self._period, time.monotonic())  # late samples are left out, never made up for in a burst
        self._sample()  # after the work ended

    def _sample(self) -> None:
        if self._problem is not None:
            return
        try:
            reading = self._meter.read()
        except MeterError as error:
            self._problem = str(error)
        else:
            self._samples.append((time.monotonic(), reading))


def _joules(samples: Sequence[tuple[float, PowerReading]]) -> float | None:
    if len(samples) < 2:
        return None
    counts = [reading.joules for _, reading in samples if reading.joules is not None]
    if len(counts) == len(samples):
        return counts[-1] - counts[0]
    watts = [reading.watts for _, reading in samples if reading.watts is not None]
    if len(watts) < len(samples):
        return None
    times = [moment for moment, _ in samples]
    return sum((t1 - t0) * (a + b) / 2 for t0, t1, a, b in zip(times, times[1:], watts, watts[1:]))


def _ranges(readings: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    names = dict.fromkeys(name for reading in readings for name in reading)
    values = {name: [reading[name] for reading in readings if name in reading] for name in names}
    return {name: (min(v), max(v)) for name, v in values.items()}
