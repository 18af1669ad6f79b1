"""Cameras of other processes, killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from clips import write_coded_clip
from sparsevit_runtime.errors import PermanentSourceError
from sparsevit_runtime.live.feeds import open_feed
from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.live.reconnect import Reconnect
from sparsevit_runtime.live.session import Session
from sparsevit_runtime.live.states import SourceState
from sparsevit_runtime.sources.capture import opencv_has
from time_code import SIZE_WH, age_ms, read_code

pytestmark = [
    pytest.mark.timed,
    pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read streams"),
]

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SYSTEM_PYTHON = "/usr/bin/python3"
PERIOD_MS = 40
QUICK = Reconnect(open_timeout_s=4.0, read_timeout_s=1.5, first_wait_s=0.1, longest_wait_s=0.2, attempts=60)
#: For what tells itself that it is gone: no silence of a busy machine is taken for a loss.
PATIENT = replace(QUICK, open_timeout_s=30.0, read_timeout_s=30.0, attempts=600)


@pytest.fixture
def port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.fixture
def start():
    """Starts a server of the benchmarks; kills it at the end."""
    started = []

    def run(*command):
        python = SYSTEM_PYTHON if command[0] == "rtsp_server.py" else sys.executable
        started.append(subprocess.Popen([python, BENCHMARKS / command[0], *map(str, command[1:])]))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


class Metronome:
    """Knows when this machine was too busy to wake a thread in time; a frame's age says nothing then."""

    def __init__(self):
        self._late_ns = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metronome", daemon=True)
        self._thread.start()

    def was_prompt(self, at_ns):
        """Whether it was on time in the two periods before a moment of the wall clock."""
        return not any(start <= at_ns and at_ns - 2 * PERIOD_MS * 1e6 <= end for start, end in self._late_ns)

    def stop(self):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.is_set():
            due_ns = time.time_ns() + 5_000_000
            self._over.wait(0.005)
            now_ns = time.time_ns()
            if now_ns - due_ns > 5_000_000:
                self._late_ns.append((due_ns, now_ns))


class Watched:
    """A session of one source: each frame's index, code, and when it came."""

    def __init__(self, runner, uri, rule):
        self.frames = []
        self.states = []
        self.session = Session(runner, {"camera": uri}, [Outlet(self._take)], reconnect=rule)
        self.session.listen(lambda name, status: self.states.append(status.state) if name else None)
        self.session.start()

    def _take(self, result, picture):
        self.frames.append((result.frame_index, read_code(result.image), result.timestamp_ns))

    @property
    def counts(self):
        return self.session.metrics.sources["camera"]

    def wait_for(self, frames, timeout_s=15.0):
        wanted = len(self.frames) + frames
        self.wait_until(lambda: len(self.frames) >= wanted, timeout_s)

    def wait_until(self, holds, timeout_s):
        until = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < until, f"{self.states}, {self.session.sources}, {self.session.error}"
            time.sleep(0.01)

    def wait_past_the_burst(self):
        """Waits for frames at the camera's pace: what the opening held back comes at once, 40 frames at times."""
        self.wait_for(1)
        time.sleep(1.5)
        self.wait_for(10)

    def wait_for_loss(self, cause, timeout_s=10.0):
        """Does something to the camera, and waits until the source is lost, from now on."""
        until, seen = time.monotonic() + timeout_s, len(self.states)
        cause()
        while SourceState.LOST not in self.states[seen:]:
            assert time.monotonic() < until, self.states
            time.sleep(0.01)

    def finish(self):
        """Ends the session and checks what holds for every one."""
        self.session.stop()
        assert self.session.wait(10)
        counts = self.counts
        assert counts.in_flight == 0
        assert counts.captured == counts.processed + counts.dropped + counts.failed and counts.failed == 0
        indices = [index for index, _, _ in self.frames]
        assert indices == sorted(set(indices))
        stamps = [ns for _, _, ns in self.frames]
        assert stamps == sorted(stamps)
        return counts


@pytest.fixture
def watch(make_model):
    """Watches a camera; ends its session at the end."""
    made = []

    def run(uri, rule=QUICK):
        made.append(Watched(make_model().runner, uri, rule))
        return made[-1]

    yield run
    for watched in made:
        watched.session.close()


def limit_ms(ages_before, periods):
    """An age that frames may have after an outage: so many periods, or any below a second on a machine that is too busy
    for that before it."""
    wanted = periods * PERIOD_MS
    return wanted if median(ages_before, default=0.0) < wanted else 1000


def median(values, default=None):
    return sorted(values)[len(values) // 2] if values else default


@pytest.mark.parametrize("kind", ["ts", "mjpeg"])
def test_a_camera_that_is_killed_and_started_again(watch, start, port, kind):
    if kind == "ts":
        pytest.importorskip("av", reason="PyAV is the camera")
    server = start("camera_server.py", kind, port)
    watched = watch(f"{'tcp' if kind == 'ts' else 'http'}://127.0.0.1:{port}")
    watched.wait_for(10)  # the camera took its time to boot
    watched.wait_for_loss(server.kill)
    time.sleep(0.5)
    before = len(watched.frames)
    assert watched.counts.reconnects == 0
    start("camera_server.py", kind, port)
    watched.wait_past_the_burst()
    counts = watched.finish()
    assert counts.reconnects == 1 and counts.reconnect_reasons == {"silent": 0, "broke": 1}
    codes = [code for _, code, _ in watched.frames]
    assert codes == sorted(set(codes))  # every one was made by the camera, none twice
    back_ns = watched.frames[before][2]
    earlier = [age_ms(code, ns) for _, code, ns in watched.frames[5:before]]  # the opening's burst is over
    late = [age_ms(code, ns) for _, code, ns in watched.frames[before:] if ns > back_ns + 1e9]
    # In a transport stream a frame ends where the next begins, and two decoding threads hold one more.
    assert len(late) >= 10 and median(late) < limit_ms(earlier, 4 if kind == "ts" else 2)


def test_a_camera_that_sends_over_udp_goes_and_comes_back(watch, start, port):
    """Nobody answers over udp, and a decoder looks on for seconds before it believes what comes."""
    pytest.importorskip("av", reason="PyAV is the camera")
    server = start("camera_server.py", "udp", port)
    patient = replace(QUICK, open_timeout_s=20.0)
    watched = watch(f"udp://127.0.0.1:{port}", patient)
    watched.wait_for(60, 30.0)
    watched.wait_for_loss(server.kill)
    before = len(watched.frames)
    start("camera_server.py", "udp", port)
    watched.wait_for(60, 30.0)
    assert watched.finish().reconnects == 1
    for part in (watched.frames[:before], watched.frames[before:]):
        codes = [code for _, code, _ in part]
        assert codes == sorted(set(codes))
    ages = [age_ms(code, ns) for _, code, ns in watched.frames]
    assert median(ages[before + 40 :]) < limit_ms(ages[40:before], 4)


def test_a_camera_that_falls_silent_is_stalled_then_lost_then_back(watch, start, port):
    server = start("camera_server.py", "mjpeg", port)
    watched = watch(f"http://127.0.0.1:{port}")
    watched.wait_for(5)
    watched.wait_for_loss(lambda: os.kill(server.pid, signal.SIGSTOP))
    os.kill(server.pid, signal.SIGCONT)
    watched.wait_for(10)
    assert watched.finish().reconnect_reasons == {"silent": 1, "broke": 0}


def test_one_jpeg_in_fifteen_cut_short_over_one_connection(watch, start, port):
    start("camera_server.py", "mjpeg", port, "--cut-one-in", 15)
    watched = watch(f"http://127.0.0.1:{port}")
    watched.wait_for(44)
    counts = watched.finish()
    assert counts.reconnects == 0 and counts.damaged >= 2
    missing = set(range(45)) - {index for index, _, _ in watched.frames}
    assert {14, 29} <= missing


needs_rtsp = pytest.mark.skipif(
    not any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib")),
    reason="there is no RTSP server here: apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad python3-gi",
)


@pytest.fixture(scope="module")
def coded_clip(tmp_path_factory):
    """A minute of H.264 whose frames say their numbers."""
    pytest.importorskip("av", reason="PyAV writes the clip")
    return write_coded_clip(tmp_path_factory.mktemp("rtsp") / "code.mp4", frames=1500, fps=1000 / PERIOD_MS)


@pytest.fixture
def metronome():
    made = Metronome()
    yield made
    made.stop()


def prompt_ages(frames, metronome):
    """Ages of a server's frames in ms, those that came while this machine was on time. It plays at its pace: what comes
    later than the promptest of its frames is old by as much. The first half second is the opening's burst."""
    lags = [(ns / 1e6 - PERIOD_MS * code, ns) for _, code, ns in frames]
    least = min((lag for lag, _ in lags), default=0.0)
    return [lag - least for lag, ns in lags if ns > lags[0][1] + 5e8 and metronome.was_prompt(ns)]


@needs_rtsp
def test_an_rtsp_server_that_is_killed_and_started_again(watch, start, port, coded_clip, metronome):
    server = start("rtsp_server.py", port, coded_clip, "me:s3cr#t")
    uri = f"rtsp://me:s3cr%23t@127.0.0.1:{port}/live"
    watched = watch(uri, PATIENT)
    watched.wait_for(30, 60)
    watched.wait_for_loss(server.kill)
    before = len(watched.frames)
    start("rtsp_server.py", port, coded_clip, "me:s3cr#t")
    watched.wait_until(lambda: len(prompt_ages(watched.frames[before:], metronome)) >= 20, 50)
    counts = watched.finish()
    assert counts.reconnects == 1 and counts.reconnect_reasons == {"silent": 0, "broke": 1}
    for part in (watched.frames[:before], watched.frames[before:]):
        codes = [code for _, code, _ in part]
        assert all(b > a for a, b in pairwise(codes)) and codes[-1] < 1500
    late = prompt_ages(watched.frames[before:], metronome)
    assert len(late) >= 20 and median(late) < 2 * PERIOD_MS


@needs_rtsp
def test_an_rtsp_server_says_what_is_wrong_with_an_address(start, port, coded_clip):
    start("rtsp_server.py", port, coded_clip, "me:s3cr#t")
    right = f"rtsp://me:s3cr%23t@127.0.0.1:{port}/live"
    with open_feed(right, QUICK) as feed:  # it may not be up yet
        assert feed.read().image.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    for wrong, advice in (
        (right.replace("s3cr%23t", "wr0ng"), "missing or wrong"),
        (right.replace("/live", "/other"), "no such stream"),
    ):
        with open_feed(wrong, QUICK) as feed, pytest.raises(PermanentSourceError, match=advice) as caught:
            feed.read()
        assert "wr0ng" not in str(caught.value) and "s3cr" not in str(caught.value)


def test_a_camera_that_boots_later_than_the_robot(watch, start, port):
    watched = watch(f"http://127.0.0.1:{port}/live")
    time.sleep(0.5)
    assert watched.counts.captured == 0 and not watched.session.error
    threading.Timer(0.1, start, ["camera_server.py", "mjpeg", port]).start()
    watched.wait_for(5)
    assert watched.finish().reconnects == 0
