"""One sparsity for a long time: does the latency stay, does the memory, what holds the clocks back?"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path

from ..model import Model
from ..power import EnergySampler, HostSensors, PowerMeter
from ..progress import SILENT, Progress
from ..tasks import Result
from .energy import idle_watts
from .frames import DEFAULT_SOURCE, read_frames, run_frames
from .machine import read_machine
from .measurement import EnergyUse, ModelInfo, PowerInfo, Stats
from .profile_report import DENSE, FIXED
from .soak_report import SoakInterval, SoakReport

#: Seconds summed up together; shorter soaks have four intervals.
INTERVAL = 60.0
#: Samples of clocks and power a second: little beside the work.
_RATE_HZ = 4.0


class Soak:
    """A soak that can be stopped at any moment and still reports.

    Usage:
        soak = Soak(model, "0.6")
        try:
            soak.run(600)
        except KeyboardInterrupt:
            ...
        soak.report()
    """

    def __init__(
        self,
        model: Model,
        sparsity: str | None = None,
        *,
        file: str | Path = "",
        batch: int = 1,
        source: str = DEFAULT_SOURCE,
        meter: PowerMeter | None = None,
        no_meter: str = "",
        warm_up: int = 5,
    ) -> None:
        """
        Args:
            model: loaded.
            sparsity: share pruned, in any form `Plan.parse` reads; None for dense, or a fixed export's own plan.
            file: the model was loaded from, for the report.
            batch: images per run.
            source: URI whose first frames are used.
            meter: open (`find_meter`); None watches clocks and temperatures alone.
            no_meter: why there is none, for the report.
            warm_up: runs before, not timed.

        Raises:
            PlanError: the sparsity does not fit the model.
            SourceError: the source cannot be opened or has no frames.
            BackendError: a run failed.
        """
        self._model, self._file, self._sparsity, self._batch = model, file, sparsity, batch
        self._level = model.level(sparsity)
        self._source, self._frames = read_frames(source)
        self._meter, self._no_meter = meter, "" if meter else no_meter
        self._sensors = meter or HostSensors()
        self._machine = read_machine()
        for _ in range(max(1, warm_up)):
            self._run()
        self._power: PowerInfo | None = None
        if meter is not None:
            self._power = PowerInfo.of(meter, idle_watts(meter))
        self._asked = 0.0
        self._intervals: list[SoakInterval] = []

    def run(self, seconds: float, progress: Progress = SILENT) -> None:
        """Runs frames until the time is over.

        Args:
            seconds: above zero.
            progress: listener, told the seconds done and the median of the last complete interval, after every run.

        Raises:
            BackendError: a run failed.
        """
        self._asked = seconds
        progress.start("soaking, s", seconds)
        length = INTERVAL if seconds >= 4 * INTERVAL else seconds / 4
        begin = time.monotonic()
        number = 0
        while time.monotonic() - begin < seconds:
            number += 1
            # The last interval takes what rounding leaves.
            until = begin + (seconds if (number + 1) * length > seconds + length / 2 else number * length)
            self._interval(begin, until, progress)

    def report(self) -> SoakReport | None:
        """What was measured so far; None before the first run ended."""
        if not self._intervals:
            return None
        first, last = self._intervals[0], self._intervals[-1]
        several = len(self._intervals) > 1
        before, after = first.resident_mb if several else None, last.resident_mb
        throttled: dict[str, float] = {}
        for interval in self._intervals:
            for reason in interval.use.throttled:
                throttled[reason] = round(throttled.get(reason, 0.0) + interval.seconds, 3)
        seconds = last.start_s + last.seconds
        details = self._model.backend.details
        fixed = self._model.card.windows.fixed is not None
        return SoakReport(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=ModelInfo.of(self._model, self._file),
            machine=self._machine,
            backend=self._model.backend.name,
            library=details.get("library", ""),
            device=str(self._model.backend.device),
            batch=self._batch,
            source=self._source,
            sparsity=self._sparsity or (FIXED if fixed else DENSE),
            keep=self._level.kept,
            power=self._power,
            power_note=self._no_meter,
            seconds_asked=self._asked,
            seconds=round(seconds, 3),
            frames=sum(interval.use.frames for interval in self._intervals),
            stopped=seconds < self._asked,
            drift=round(last.latency.p50 / first.latency.p50 - 1, 4) if several else None,
            memory_growth_mb=None if before is None or after is None else round(after - before, 2),
            throttled=throttled,
            intervals=tuple(self._intervals),
        )

    def _interval(self, begin: float, until: float, progress: Progress) -> None:
        start = time.monotonic()
        samples: list[float] = []
        note = f"p50 {self._intervals[-1].latency.p50:.2f} ms" if self._intervals else ""
        sampler = EnergySampler(self._sensors, _RATE_HZ)
        try:
            with sampler:
                while time.monotonic() < until or not samples:
                    run_start = time.perf_counter()
                    self._run()
                    samples.append((time.perf_counter() - run_start) * 1e3)
                    progress.advance(time.monotonic() - begin, note)
        finally:  # Ctrl-C keeps what was measured
            if samples:
                idle = None if self._power is None else self._power.idle_watts
                self._intervals.append(
                    SoakInterval(
                        start_s=round(start - begin, 3),
                        seconds=round(time.monotonic() - start, 3),
                        latency=Stats.of(samples),
                        resident_mb=resident_mb(),
                        use=EnergyUse.of(sampler.energy, len(samples) * self._batch, idle),
                    )
                )

    def _run(self) -> list[Result]:
        images = [self._frames[i % len(self._frames)] for i in range(self._batch)]
        return run_frames(self._model, images, self._level)


def resident_mb() -> float | None:
    """Memory of this process that is in use, in 1e6 bytes; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)
