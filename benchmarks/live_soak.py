"""Runs a session for a long time and breaks something every few seconds.

    python benchmarks/live_soak.py --minutes 60 --every 20 --out soak.json

Two cameras over http, the bundled detector with tracking and counting, recordings (a video in parts, JSON lines), a
page with viewers. In turn: a camera falls silent, is lost, changes its size; a viewer reads nothing; a disk is full;
everything is stopped and started anew, as a service does on SIGHUP. Needs the extras draw and web, and PyAV. Where a
small file system cannot be mounted (root), /dev/full stands for the full disk.

As a service should be, it is run with MALLOC_ARENA_MAX=2: otherwise glibc keeps some memory for every thread there ever
was, and what is flat in the program grows by half a megabyte with every new start of a session. As `sparsevit serve`
does, it settles before each start, and gives memory back once a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from live_soak_checks import SPREAD, Record, judge, table
from sparsevit_apps.memory import Upkeep, settle
from sparsevit_runtime import CountLine, Model, Outlet, Reconnect, Result, Session, Sink, Tracking, load, open_sink
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.live.states import SourceState
from sparsevit_runtime.sinks.web.options import read_options
from sparsevit_runtime.sinks.web.sink import PATIENCE_S, WebSink

FAULTS = ("stall", "loss", "size", "deaf viewer", "full disk", "reload")
#: Frames per second of each camera: the model takes less than half of the time.
FPS = 4.0
LEVEL = 0.7
#: Share of the time between faults that one lasts, and seconds at most.
_SHARE, _LONGEST_S = 0.2, 4.0
#: Cameras are back when a frame has come so lately, seconds.
_FRESH_S = 2.0
_FULL_DISK_BYTES = 256 * 1024
#: Seconds for which the backend is timed alone at most.
_ALONE_S = 30.0


def lasts_s(every_s: float) -> float:
    """Seconds that a fault lasts."""
    return min(_LONGEST_S, _SHARE * every_s)


class Peers:
    """The cameras and viewers, in a process of their own."""

    def __init__(self, fps: float = FPS, size_wh: tuple[int, int] | None = None) -> None:
        """
        Args:
            fps: pictures per second of each camera.
            size_wh: their width and height in pixels; None for two small sizes, which `resize` changes between.
        """
        size = [] if size_wh is None else ["{}x{}".format(*size_wh)]
        command = [sys.executable, str(Path(__file__).with_name("live_soak_peers.py")), str(fps), *size]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports: dict[str, int] = json.loads(self._line())

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    def quit(self) -> dict[str, Any]:
        self.tell("quit")
        told: dict[str, Any] = json.loads(self._line())
        self._process.wait(10)
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Soak:
    """A session that is broken again and again. One thread uses it; outlets write the record."""

    def __init__(self, model: Model, peers: Peers, page: Sink, folder: Path, full: Path, every_s: float) -> None:
        self.record = Record()
        self._model, self._peers, self._page = model, peers, page
        self._folder, self._full, self._every_s = folder, full, every_s
        self._lasts_s = lasts_s(every_s)
        self._number = 0
        self._last_s: dict[str, float] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._states: set[SourceState] = set()
        self._fills = threading.Event()
        self._filled = 0
        self._session: Session | None = None
        self._sinks = ExitStack()

    def start(self) -> None:
        """Opens sinks and a session, as at the start of a service."""
        self._number += 1
        self.record.results.append({"a": 0, "b": 0})
        stem = self._folder / f"run{self._number}"
        self._sinks = ExitStack()
        video = self._sinks.enter_context(open_sink(f"{stem}.mp4?every=60s", FPS, live=True))
        lines = self._sinks.enter_context(open_sink(f"{stem}.jsonl", live=True))
        doomed = open_sink(self._full / f"doomed{self._number}.jsonl" if self._full.is_dir() else self._full, live=True)
        self._sinks.callback(self._empty, doomed)

        rule = Reconnect(
            open_timeout_s=3.0, read_timeout_s=max(0.5, self._lasts_s / 2), first_wait_s=0.1, longest_wait_s=0.5
        )
        self._session = Session(
            self._model.runner,
            {name: f"http://127.0.0.1:{port}/" for name, port in self._peers.ports.items()},
            [
                Outlet(self._take, name="record", may_block=True),
                Outlet(video, sources=("a",)),
                Outlet(lines),
                Outlet(self._page),
                Outlet(self._fill(doomed), name="doomed", may_block=True),
            ],
            level=LEVEL,
            reconnect=rule,
            track=Tracking(count=[CountLine((0.5, 0, 0.5, 1))]),
        )
        self._session.listen(lambda name, status: self._states.add(status.state) if name else None)
        self._page.attach(self._session)
        settle()
        self._session.start()

    def stop(self) -> None:
        """Ends the session, and looks at what it left."""
        assert self._session is not None
        self._session.stop()
        self._session.wait(30)
        self._session.close()
        self._sinks.close()
        counts = self._session.metrics.sources
        self.record.sessions.append(
            {
                name: {key: getattr(each, key) for key in
                       ("captured", "processed", "dropped", "failed", "damaged", "reconnects")}
                for name, each in counts.items()
            }
        )  # fmt: skip
        # Elsewhere: what decodes videos takes memory that is not the session's.
        command = [sys.executable, str(Path(__file__).with_name("live_soak_checks.py")), str(self._folder)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        self.record.lines.append(told["lines"])
        self.record.recorded.append(told["frames"])
        self.record.undecodable += told["undecodable"]
        for path in self._folder.glob("run*.*"):
            path.unlink()

    def run(self, seconds: float) -> None:
        """Breaks something every so often, for so long."""
        end, next_fault = time.monotonic() + seconds, time.monotonic() + self._every_s
        faults: Iterator[str] = cycle(FAULTS)
        upkeep = Upkeep()
        while time.monotonic() < end:
            self._sample()
            upkeep.look()
            if time.monotonic() >= next_fault:
                name, start = next(faults), time.monotonic()
                self._check_all_is_well(name)
                self.record.faults.append((name, start, start + max(self._lasts_s, 1.0) + self._every_s / 4))
                self.record.effects[name] = self.record.effects.get(name, 0) + self._break(name)
                next_fault += self._every_s
            time.sleep(max(0.0, min(1.0, self._every_s / 4, next_fault - time.monotonic())))
        self._check_all_is_well(next(faults))

    def _break(self, name: str) -> bool:
        """Breaks something, and tells whether it was felt."""
        self._states.clear()
        if name == "stall":
            self._peers.tell("stall", "a", self._lasts_s)
            return self._soon(lambda: SourceState.LOST in self._states)
        if name == "loss":
            self._peers.tell("lose", "b", self._lasts_s)
            return self._soon(lambda: SourceState.LOST in self._states)
        if name == "size":
            before = self._sizes["a"]
            self._peers.tell("resize", "a")
            return self._soon(lambda: self._sizes["a"] != before)
        if name == "deaf viewer":
            self._peers.tell("deaf", f"{self._page.name}/stream/a.mjpg", 3 * self._lasts_s)
            return True  # whether it was cut off is told at the end
        if name == "full disk":
            before_filled = self._filled
            self._fills.set()
            return self._soon(lambda: self._filled > before_filled)
        self.stop()
        self.start()
        return True

    def _soon(self, holds: Any) -> bool:
        until = time.monotonic() + self._lasts_s + 2
        while not holds() and time.monotonic() < until:
            time.sleep(0.02)
        return bool(holds())

    def _check_all_is_well(self, fault: str) -> None:
        """Before a fault."""
        now = time.monotonic()
        for name in ("a", "b"):
            if now - self._last_s.get(name, 0.0) > _FRESH_S:
                self.record.late.append(f"{name} at {self.record.faults[-1][0] if self.record.faults else 'the start'}")
        self.record.threads.append((now, fault, int(_status("Threads"))))

    def _sample(self) -> None:
        self.record.rss.append((time.monotonic(), int(_status("VmRSS")) / 1024))

    def _take(self, result: Result, picture: np.ndarray | None) -> None:
        now = time.monotonic()
        self.record.ages.extend((now, (time.time_ns() - result.timestamp_ns) / 1e6))
        self.record.results[-1][result.source] += 1
        self._last_s[result.source], self._sizes[result.source] = now, result.image_wh

    def _empty(self, doomed: Sink) -> None:
        doomed.abort()
        if self._full.is_dir():
            for path in self._full.iterdir():
                path.unlink()

    def _fill(self, doomed: Sink) -> Any:
        """An outlet that writes nothing until it is told to, and then until the disk is full. It fails alone, and takes
        no more until the next session."""

        def fill(result: Result, picture: np.ndarray | None) -> None:
            if not self._fills.is_set():
                return
            self._fills.clear()
            try:
                while True:
                    doomed.write(result)
            except SinkError:
                self._filled += 1
                raise

        return fill


def backend_alone(model: Model, seconds: float) -> list[float]:
    """Times in ms of runs without anything else, as many a second as both cameras send."""
    level, took = model.level(LEVEL), []
    frame = np.zeros((180, 320, 3), np.uint8)
    model(frame, sparsity=level)
    start = time.monotonic()
    for i in range(1, 1 + round(2 * FPS * seconds)):
        time.sleep(max(0.0, start + i / (2 * FPS) - time.monotonic()))
        took.append(model(frame, sparsity=level).timings.inference_ms)
    return took


def _status(key: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return line.split()[1]
    raise KeyError(key)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder that holds little, or where none can be mounted a device that is always full."""
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_FULL_DISK_BYTES}", "tmpfs", str(place)]
    with suppress(FileNotFoundError):
        if subprocess.run(command, capture_output=True).returncode == 0:
            try:
                yield place
            finally:
                subprocess.run(["umount", "-l", str(place)], check=True)
            return
    yield Path("/dev/full")


def soak(minutes: float, every_s: float, growth: float, spread: float) -> dict[str, Any]:
    """Runs it, and says what came of it."""
    seconds = 60 * minutes
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        full = stack.enter_context(small_disk(folder))
        peers = Peers()
        stack.callback(peers.kill)
        model = stack.enter_context(load("road-users"))
        options = read_options(f"http://127.0.0.1:0?fps={FPS}&quality=100")
        page = stack.enter_context(WebSink(options, patience_s=min(PATIENCE_S, lasts_s(every_s))))
        run = Soak(model, peers, page, folder, full, every_s)
        run.record.alone = backend_alone(model, min(_ALONE_S, seconds / 10))
        run.start()
        for name in ("a", "b"):
            peers.tell("view", f"{page.name}/stream/{name}.mjpg")
        # Every fault once, and then until memory has settled.
        start = time.monotonic()
        run.run(seconds)
        run.stop()
        told = peers.quit()
    warm_s = start + max(seconds / 4, min(seconds / 2, every_s * (len(FAULTS) + 0.5)))
    checks = judge(run.record, told, warm_s, growth, spread)
    return {
        "minutes": minutes,
        "every_s": every_s,
        "holds": all(check.holds for check in checks),
        "checks": [check._asdict() for check in checks],
        "rss_mib": [(round(at - start, 1), round(mib, 1)) for at, mib in run.record.rss],
        "threads": [(round(at - start, 1), fault, count) for at, fault, count in run.record.threads],
        "faults": [(name, round(at - start, 1)) for name, at, _ in run.record.faults],
        "table": table(checks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between faults")
    parser.add_argument("--growth", type=float, default=0.02, help="share by which memory may grow after the warm-up")
    parser.add_argument(
        "--spread", type=float, default=SPREAD, help="limit on p99 over p50 of the frame age; inf on a busy machine"
    )
    parser.add_argument("--out", type=Path, help="file for the JSON document")
    given = parser.parse_args()
    if "MALLOC_ARENA_MAX" not in os.environ:  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"MALLOC_ARENA_MAX": "2"})
    told = soak(given.minutes, given.every, given.growth, given.spread)
    print(told.pop("table"))
    if given.out is not None:
        given.out.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(0 if told["holds"] else 1)


if __name__ == "__main__":
    main()
