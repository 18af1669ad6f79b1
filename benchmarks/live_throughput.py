"""What do a page that somebody looks at and recordings cost a session? And a second camera?

    python benchmarks/live_throughput.py --out benchmarks/results/live_throughput.json

In turn, several times, in one process: the backend alone over frames in memory, a session of the same source without
anything that takes results, and one with a page, somebody who looks at it, and recordings (a video, JSON lines). The
source is a video file, then a camera of 30 frames/s that sends JPEGs over http; then both cameras beside one of them.
Cameras and viewers are a process of their own, which takes its share of the same cores in all of them alike.

A share is the median over the rounds of what one got of the frames that the other did. Where the model takes all cores,
what draws and encodes takes from it: `least_loss` is what the CPU time of both says that it must be. With `--threads`
the model takes fewer. Four minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from live_soak import Peers
from sparsevit_runtime import LoadOptions, Model, Outlet, Session, Sink, load, open_sink, open_source
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.diagnostics import read_machine
from sparsevit_runtime.images.placing import place_frame
from sparsevit_runtime.sinks.web.options import read_options
from sparsevit_runtime.sinks.web.sink import WebSink
from sparsevit_runtime.windows.plan import Plan
from sparsevit_street import StreetScene

SIZE_WH = (1280, 720)
FPS = 30.0
#: Share of the bare session's frames that one with a page and recordings should get, and two cameras of one's.
WANTED = 0.95
_CLIP_FRAMES = 60
#: Seconds of a session that do not count: connections, first use, viewers that come.
_SETTLING_S = 1.0


@dataclass
class Run:
    """One measurement.

    Attributes:
        fps: frames answered a second, all sources together.
        cpu_ms: CPU milliseconds of the process a frame.
        pictures: pictures encoded for the page.
        threads: CPU milliseconds a frame, by name of the thread; ``model`` are the backend's own.
    """

    fps: float
    cpu_ms: float
    pictures: int = 0
    threads: dict[str, float] = field(default_factory=dict)


class Meter:
    """Counts frames, CPU time and that of each thread between two moments."""

    def __init__(self) -> None:
        self._start_s, self._cpu_s, self._threads = time.perf_counter(), time.process_time(), thread_times()

    def read(self, frames: int, pictures: int = 0) -> Run:
        wall_s, cpu_s = time.perf_counter() - self._start_s, time.process_time() - self._cpu_s
        spent: defaultdict[str, float] = defaultdict(float)
        names = {str(t.native_id): t.name.removeprefix("sparsevit-") for t in threading.enumerate()}
        for thread, seconds in thread_times().items():
            more = (seconds - self._threads.get(thread, 0.0)) / max(1, frames) * 1e3
            spent[names.get(thread, "model")] += more
        told = {name: round(ms, 2) for name, ms in sorted(spent.items(), key=lambda each: -each[1]) if ms >= 0.05}
        return Run(frames / wall_s, cpu_s / max(1, frames) * 1e3, pictures, told)


def thread_times() -> dict[str, float]:
    """CPU seconds of each thread of this process; empty where /proc does not say."""
    tick, times = os.sysconf("SC_CLK_TCK"), {}
    for path in Path("/proc/self/task").glob("*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        times[path.parent.name] = (int(fields[11]) + int(fields[12])) / tick
    return times


class Bench:
    """What is measured. One thread."""

    def __init__(self, model: Model, peers: Peers, page: WebSink, folder: Path, level: float, seconds: float) -> None:
        self.clip = folder / "clip.mp4"
        self._model, self._peers, self._page, self._folder = model, peers, page, folder
        self._level, self._seconds = level, seconds
        self._number = 0
        write_clip(self.clip)
        with open_source(self.clip) as source:
            self._frames = [frame.image for frame in source]

    def backend(self) -> Run:
        """The backend alone, over letterboxed frames in memory."""
        model = self._model
        placement = place_frame(SIZE_WH, model.card.input)
        images = [placement.apply(frame, pad_value=model.card.input.pad_value)[None] for frame in self._frames]
        outputs = [name for name in model.backend.output_names if "windows" not in name]
        keep = Plan.parse(self._level, model.card.windows.depths).keep(model.card.stages)
        done, meter, until = 0, Meter(), time.perf_counter() + self._seconds
        while time.perf_counter() < until:
            model.backend.run(feeds_of(images[done % len(images)], keep), outputs)
            done += 1
        return meter.read(done)

    def session(self, sources: Mapping[str, Any], shown: bool) -> Run:
        """A session for some seconds; `shown` with a page, somebody who looks at each camera, and recordings."""
        self._number += 1
        with ExitStack() as stack:
            outlets = self._outlets(stack, sources) if shown else []
            session = Session(self._model.runner, sources, outlets, level=self._level)
            if shown:
                self._page.attach(session)
                for name in sources:
                    self._peers.tell("view", f"{self._page.name}/stream/{name}.mjpg")
                stack.callback(self._peers.tell, "leave")
            with session:
                time.sleep(_SETTLING_S)
                before, pictures, meter = processed(session), self._page.encoded, Meter()
                time.sleep(self._seconds)
                run = meter.read(processed(session) - before, self._page.encoded - pictures)
                if session.error is not None:
                    raise session.error
        for path in self._folder.glob("run*"):
            path.unlink()
        return run

    def files(self, shown: bool) -> Run:
        return self.session({"clip": again_and_again(self.clip)}, shown)

    def cameras(self, names: str, shown: bool) -> Run:
        return self.session({name: f"http://127.0.0.1:{self._peers.ports[name]}/" for name in names}, shown)

    def _outlets(self, stack: ExitStack, sources: Mapping[str, Any]) -> list[Outlet]:
        stem, outlets = self._folder / f"run{self._number}", [Outlet(self._page)]
        for name in sources:
            video: Sink = stack.enter_context(open_sink(f"{stem}-{name}.mp4", FPS, live=True))
            outlets.append(Outlet(video, sources=(name,)))
        outlets.append(Outlet(stack.enter_context(open_sink(f"{stem}.jsonl", live=True))))
        return outlets


def again_and_again(path: Path) -> Iterator[np.ndarray]:
    """Frames of a file, in a loop: each waits for the model, as those of files do."""
    while True:
        with open_source(path) as source:
            for frame in source:
                yield frame.image


def processed(session: Session) -> int:
    return sum(each.processed for each in session.metrics.sources.values())


def write_clip(path: Path) -> None:
    """A street as H.264 with two key frames a second, such as cameras send."""
    import av

    scene = StreetScene(SIZE_WH, 0, FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS))
        stream.width, stream.height, stream.pix_fmt = *SIZE_WH, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "g": str(int(FPS) // 2)}
        for i in range(_CLIP_FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.render(i)[0], "bgr24")))
        container.mux(stream.encode())


def in_turn(rounds: int, kinds: Mapping[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Measures each kind once a round, in an order that changes sides."""
    runs: dict[str, list[Run]] = {name: [] for name in kinds}
    for i in range(rounds):
        for name in list(kinds) if i % 2 == 0 else reversed(kinds):
            runs[name].append(kinds[name]())
            print(f"  {name:12} {runs[name][-1].fps:7.2f} frames/s", file=sys.stderr, flush=True)
    return runs


def row(name: str, runs: Mapping[str, list[Run]], pairs: Mapping[str, tuple[str, str]], cores: float) -> dict[str, Any]:
    """What came of one source.

    Args:
        name: name of the row.
        runs: measurements of each kind.
        pairs: names of two kinds of which the first is told as a share of the second.
        cores: CPU cores that may be used.
    """
    told: dict[str, Any] = {"row": name}
    for kind, all_runs in runs.items():
        last = all_runs[len(all_runs) // 2]
        told[kind] = {
            "fps": round(median(run.fps for run in all_runs), 2),
            "cpu_ms": round(median(run.cpu_ms for run in all_runs), 1),
            "threads_cpu_ms": last.threads,
            **({"pictures": last.pictures} if last.pictures else {}),
        }
    for what, (first, second) in pairs.items():
        shares = [a.fps / b.fps for a, b in zip(runs[first], runs[second])]
        least_s = max(1 / told[second]["fps"], told[first]["cpu_ms"] / 1e3 / cores)
        told[what] = {
            "share": round(median(shares), 3),
            "worst": round(min(shares), 3),
            "least_loss": round(1 - 1 / told[second]["fps"] / least_s, 3),
        }
    return told


def measure(given: argparse.Namespace, threads: int, cores: float) -> list[dict[str, Any]]:
    """The rows of a model that takes so many threads; 0 for one a core."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = Peers(FPS, SIZE_WH)
        stack.callback(peers.kill)
        model = stack.enter_context(load(given.model, options=LoadOptions(threads=threads or None)))
        page = stack.enter_context(WebSink(read_options("http://127.0.0.1:0")))
        bench = Bench(model, peers, page, folder, given.sparsity, given.seconds)
        model.warm_up()
        name = f"{threads or 'all'} threads"
        print(name, file=sys.stderr)
        files = {
            "backend": bench.backend,
            "session": partial(bench.files, shown=False),
            "shown": partial(bench.files, shown=True),
        }
        cameras = {
            "session": partial(bench.cameras, "a", shown=False),
            "shown": partial(bench.cameras, "a", shown=True),
            "two": partial(bench.cameras, "ab", shown=False),
            "two shown": partial(bench.cameras, "ab", shown=True),
        }
        of_bare = {"shown of session": ("shown", "session")}
        of_backend = {"session of backend": ("session", "backend")}
        of_one = {"two of one": ("two", "session"), "two shown of one shown": ("two shown", "shown")}
        rows = [
            row(f"file, {name}", in_turn(given.rounds, files), of_backend | of_bare, cores),
            row(f"camera, {name}", in_turn(given.rounds, cameras), of_bare | of_one, cores),
        ]
        if not peers.quit()["seen"]:
            raise RuntimeError("the viewers saw nothing")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="street-scenes")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument(
        "--threads", type=int, nargs="+", help="of the model, 0 for one a core; that, and one less, unless given"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the JSON document")
    given = parser.parse_args()
    machine, rows = read_machine(), []
    cores = machine.usable_cores or os.cpu_count() or 1
    for threads in given.threads or (0, max(1, int(cores) - 1)):
        rows += measure(given, threads, cores)
    for each in rows:
        shares = {key: value["share"] for key, value in each.items() if isinstance(value, dict) and "share" in value}
        verdict = "  ".join(f"{key} {share:.3f}{'' if share >= WANTED else ' !'}" for key, share in shares.items())
        print(f"{each['row']:24} {verdict}")
    document = {
        "schema": 1,
        "what": "frames/s of a session with a page open and recordings, of one without, and of the backend alone",
        "model": given.model,
        "sparsity": given.sparsity,
        "camera": {"fps": FPS, "frame_wh": SIZE_WH},
        "seconds": given.seconds,
        "rounds": given.rounds,
        "rows": rows,
        "machine": machine.model_dump(mode="json"),
    }
    if given.out is not None:
        given.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
