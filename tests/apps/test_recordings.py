"""What `sparsevit run` records from a camera is there, whatever ends the run, and the exit code says what did."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

import tiny
from mjpeg_camera import FRAME_S, CameraServer
from played import boxes, play
from sparsevit_apps.console import file_size
from sparsevit_apps.outputs import Outputs
from sparsevit_apps.running import run_model
from sparsevit_runtime import Frame, Source, load
from sparsevit_runtime.errors import BackendError, SinkError, SourceError, SourceLostError
from sparsevit_runtime.sinks import NullSink
from sparsevit_runtime.sources.capture import opencv_has

pytestmark = pytest.mark.timed
needs_http = pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read http streams")

PLACES = ("out.mp4", "out.jsonl", "shots/")
#: Frames that one recording may be behind another: two wait for it, one is being written, one is on its way to it.
BEHIND = 4


@pytest.fixture(scope="module")
def camera() -> Iterator[CameraServer]:
    server = CameraServer()
    yield server
    server.leave()


class Run:
    """A `sparsevit run` into all kinds of files.

    Attributes:
        folder: where they are.
        process: the command.
    """

    def __init__(self, folder: Path, source: str, environment: dict[str, str], *, places=PLACES, before=None, **how):
        self.folder = folder
        line = [
            "run",
            source,
            *(f"{folder}/{place}" for place in places),
            "-m",
            str(tiny.write_model(folder / "m.onnx")),
        ]

        def prepare() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            if before is not None:
                before()

        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sparsevit_apps.cli", *line],
            env=environment, text=True, preexec_fn=prepare, **pipes,
        )  # fmt: skip

    def wait_for(self, lines: int) -> None:
        """Until so many lines are in the .jsonl file."""
        self.wait_until(
            lambda: any(
                path.read_bytes().count(b"\n") >= lines
                for path in (*self.folder.glob("out.jsonl"), *self.folder.glob(".out*.jsonl"))
            )
        )

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{self.process.poll()}: {self.process.communicate(timeout=5)}")
            time.sleep(0.02)

    def stop(self, number: int) -> tuple[int, str, str]:
        """Exit code, stdout and stderr after a signal."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out or "", err or ""

    def lines(self) -> list[dict]:
        text = (self.folder / "out.jsonl").read_text()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def pictures(self) -> list[int]:
        """Numbers of the pictures in the folder, each of which is whole."""
        paths = sorted((self.folder / "shots").glob("*.jpg"))
        assert all(path.read_bytes().endswith(b"\xff\xd9") and cv2.imread(str(path)) is not None for path in paths)
        return [int(path.stem.removeprefix("frame_")) for path in paths]

    def times_s(self) -> list[float]:
        """When the frames were taken, from the first; while it runs, of the lines that are whole."""
        text = (self.folder / "out.jsonl").read_text()
        stamps = [json.loads(line)["timestamp_ns"] for line in text[: text.rfind("\n") + 1].splitlines()]
        return [(stamp - stamps[0]) / 1e9 for stamp in stamps]

    def fragments(self) -> list[int]:
        """Indices of the frames with which fragments of the video begin: one in a second."""
        times, starts = self.times_s(), [0]
        for i, at in enumerate(times):
            if at - times[starts[-1]] >= 1.0:
                starts.append(i)
        return starts

    def hidden(self) -> list[str]:
        return [path.name for path in self.folder.rglob(".*")]


@pytest.fixture
def start(tmp_path, environment) -> Iterator[Callable[..., Run]]:
    runs = []

    def begin(source: str, **how) -> Run:
        runs.append(Run(tmp_path, source, environment, **how))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.wait()


@pytest.fixture(scope="module")
def lost(tmp_path_factory, environment) -> Iterator[Run]:
    """A run whose camera goes away for good. It takes a while to give up: the other tests run meanwhile."""
    server = CameraServer()
    run = Run(tmp_path_factory.mktemp("lost"), server.url, environment)
    run.wait_for(30)
    server.leave()
    yield run
    run.process.kill()
    run.process.wait()


@needs_http
def test_kill_9_leaves_lines_video_and_pictures(lost, start, camera):
    run = start(camera.url)
    run.wait_for(35)
    run.wait_until(lambda: run.fragments()[-1] > 0 and len(run.times_s()) > run.fragments()[-1] + BEHIND)
    code, *_ = run.stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    frames = [line["frame"] for line in run.lines()]
    assert len(frames) >= 35
    played = play(run.folder / "out.mp4")
    # All but the fragment under way, and what waited for the video's thread while the lines' was further.
    assert len(played.times_s) >= [start for start in run.fragments() if start < len(frames) - BEHIND][-1] > 0
    shared = min(len(frames), len(played.times_s))
    assert played.times_s[:shared] == pytest.approx(run.times_s()[:shared], abs=1e-4)
    shown = run.pictures()
    assert abs(len(shown) - len(frames)) <= BEHIND and shown[: len(frames)] == frames[: len(shown)]


@needs_http
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_completes_a_recording(start, camera, number, exit_code):
    run = start(camera.url)
    run.wait_for(22)
    code, out, err = run.stop(number)
    assert (code, err.strip()) == (exit_code, "stopped")
    assert all(f"{run.folder}/{place}" in out.replace("\n", "") for place in PLACES)
    frames = [line["frame"] for line in run.lines()]
    played = play(run.folder / "out.mp4")
    assert played.times_s == pytest.approx(run.times_s(), abs=1e-4)
    mean_s = played.times_s[-1] / (len(frames) - 1)
    assert played.length_s == pytest.approx(run.times_s()[-1] + mean_s, abs=2e-3)
    assert boxes(run.folder / "out.mp4") == ["ftyp", "free", "mdat", "moov"]
    assert run.pictures() == frames and run.hidden() == []


@needs_http
def test_under_nohup_a_hangup_is_nothing(start, camera):
    run = start(camera.url, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    run.wait_for(3)
    run.process.send_signal(signal.SIGHUP)
    run.wait_for(len(run.lines()) + 10)
    assert run.stop(signal.SIGTERM)[0] == 143


@pytest.mark.parametrize("number", [signal.SIGHUP, None], ids=["signal", "terminal"])
def test_a_hangup_keeps_what_was_made_of_a_file(start, number):
    """With a signal alone, and with the terminal gone on which the progress is shown."""
    main, side = pty.openpty()
    terminal = {"stdin": side, "stdout": side, "stderr": side, "start_new_session": True}

    def take_terminal() -> None:
        os.close(os.open(os.ttyname(side), os.O_RDWR))  # the first that a session opens is its own

    how = {} if number else terminal | {"before": take_terminal}
    run = start("synthetic://street?size=96x64&frames=1000000", places=PLACES[:2], **how)
    os.close(side)
    run.wait_for(40)
    if number is None:
        threading.Timer(0.1, os.close, [main]).start()
        code, *_ = run.end()
    else:
        code, *_ = run.stop(number)
        os.close(main)
    assert code == 129
    assert len(play(run.folder / "out.mp4").times_s) == len(run.lines()) and run.hidden() == []


@needs_http
def test_without_room_a_recording_ends_and_stays(start, camera):
    run = start(camera.url, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000)))
    code, _, err = run.end()
    assert code == 4
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"no room to write {run.folder}/out.mp4 (File too large)" in error and "MB are free on that disk" in error
    kept = next(line for line in err.splitlines() if line.startswith("kept "))
    assert all(f"{run.folder}/{place} (" in kept for place in PLACES)
    frames = [line["frame"] for line in run.lines()]
    assert len(frames) - 1.2 / FRAME_S - 3 <= len(play(run.folder / "out.mp4").times_s) <= len(frames) + 3
    assert len(run.pictures()) > 0 and run.hidden() == []


def test_without_room_what_can_be_made_again_is_removed(start):
    run = start(
        "synthetic://street?size=96x64&frames=1000000",
        places=["out.jsonl"],
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000)),
    )
    code, _, err = run.end()
    assert code == 4 and "no room to write" in err and "kept" not in err
    assert os.listdir(run.folder) == ["m.onnx"]


class Endless(Source):
    """A camera that breaks after some frames."""

    name, live, size_wh = "camera", True, (96, 64)

    def __init__(self, frames: int) -> None:
        self._frames, self._index = frames, 0

    def read(self) -> Frame:
        time.sleep(0.01)
        if self._index == self._frames:
            raise SourceError("the cable was pulled")
        self._index += 1
        return Frame(np.full((64, 96, 3), self._index, np.uint8), self._index - 1, time.time_ns())

    def close(self) -> None:
        pass


class Failing(NullSink):
    def write(self, result, image=None):
        super().write(result)
        if self.count == 8:
            raise SinkError("no more")


@pytest.mark.parametrize(
    ("ending", "error"),
    [("source", SourceLostError), ("sink", SinkError), ("backend", BackendError), ("typo", ZeroDivisionError)],
)
def test_an_error_anywhere_keeps_the_recording_and_names_it(tmp_path, tiny_model, capsys, ending, error):
    source = Endless(10 if ending == "source" else 100)
    places = [f"{tmp_path}/out.mp4", f"{tmp_path}/out.jsonl", f"{tmp_path}/shots/"]
    with load(tiny_model(), threads=1) as model, pytest.raises(error), ExitStack() as opened:
        outputs = opened.enter_context(Outputs(places))
        sinks = outputs.open(source, opened.enter_context(ExitStack()), 25.0)
        run_model(model, source, [*sinks, *([Failing()] if ending == "sink" else [])], limit=12)
        raise BackendError("out of memory") if ending == "backend" else ZeroDivisionError
    lines = [json.loads(line) for line in Path(places[1]).read_text().splitlines()]
    assert len(lines) == len(play(places[0]).times_s) == len(os.listdir(places[2])) >= 5
    err = capsys.readouterr().err
    assert err.startswith("kept ") and all(place in err for place in places)


def test_a_camera_that_never_was_there_is_an_error_and_not_a_loss(tmp_path, tiny_model):
    with load(tiny_model(), threads=1) as model, pytest.raises(SourceError) as told:
        run_model(model, Endless(0), [NullSink()])
    assert not isinstance(told.value, SourceLostError)


def test_the_summary_names_all_parts(sparsevit, tiny_model, tmp_path):
    said = sparsevit(
        "run", "synthetic://street?size=96x64&frames=25&fps=10",
        f"{tmp_path}/out.mp4?every=1s", f"{tmp_path}/out.jsonl?every=2s&keep=9", "-m", tiny_model(),
    )  # fmt: skip
    assert said.code == 0, said.err
    parts = sorted(path.name for path in tmp_path.glob("out-*"))
    assert parts == ["out-0001.jsonl", "out-0001.mp4", "out-0002.jsonl", "out-0002.mp4", "out-0003.mp4"]
    assert all(f"{tmp_path}/{part}" in said.out.replace("\n", "") for part in parts)
    assert [len(play(tmp_path / part).times_s) for part in parts if part.endswith("mp4")] == [10, 10, 5]


def test_many_parts_are_told_in_a_line(sparsevit, tiny_model, tmp_path):
    place = f"{tmp_path}/out.jsonl?every=1s"
    said = sparsevit("run", "synthetic://street?size=96x64&frames=24&fps=2", place, "-m", tiny_model())
    sizes = [path.stat().st_size for path in tmp_path.glob("out-*")]
    assert f"{tmp_path}/out-0001.jsonl to out-0012.jsonl (12 files, {file_size(sum(sizes))})" in " ".join(
        said.out.split()
    )


@needs_http
def test_a_camera_that_goes_away_for_good_leaves_its_recording(lost):
    code, _, err = lost.end()
    assert code == 3
    kept = next(line for line in err.splitlines() if line.startswith("kept "))
    assert all(f"{lost.folder}/{place} (" in kept for place in PLACES)
    assert [line for line in err.splitlines() if line.startswith("error: ")]
    frames = [line["frame"] for line in lost.lines()]
    assert len(frames) >= 30 and lost.pictures() == frames
    assert play(lost.folder / "out.mp4").times_s == pytest.approx(lost.times_s(), abs=1e-4)
    assert boxes(lost.folder / "out.mp4") == ["ftyp", "free", "mdat", "moov"] and lost.hidden() == []
