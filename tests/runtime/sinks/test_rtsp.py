"""Pictures are pushed to a real RTSP server, which may go away, hang and come back."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from brokers import free_port
from certificates import Authority, needs_openssl
from hooks_of_sinks import wait_until
from sparsevit_runtime.errors import MissingDependencyError, SinkError
from sparsevit_runtime.sinks import check_sink, open_sink, rtsp

pytestmark = pytest.mark.timed
av = pytest.importorskip("av", reason="PyAV pushes streams")

RECEIVER, RECORDER = (Path(__file__).parents[2] / name for name in ("rtsp_receiver.py", "rtsp_recorder.py"))
SYSTEM_PYTHON = "/usr/bin/python3"
needs_recorder = pytest.mark.skipif(
    not any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib")),
    reason="there is no RTSP server here: apt install gir1.2-gst-rtsp-server-1.0 python3-gi",
)


class Server:
    """Takes one publisher at a time."""

    def __init__(self, log):
        self._log = log
        self.url = f"rtsp://127.0.0.1:{free_port()}/live"
        self.start()

    def start(self):
        with self._log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, RECEIVER, self.url], stdout=log)

    @property
    def pictures(self):
        """Time in milliseconds, width, height and mean of those that came since the last start."""
        lines = self._log.read_text().splitlines(keepends=True)
        return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch):
    monkeypatch.setattr(rtsp, "FIRST_WAIT_S", 0.1)
    monkeypatch.setattr(rtsp, "LONGEST_WAIT_S", 0.2)


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path / "pictures.txt")
    yield running
    running.kill()


@pytest.fixture
def push(result_of, picture):
    """Writes pictures of one shade at a steady pace, until something holds."""

    def run(sink, until, shade=80, size_wh=(64, 48), timeout_s=20.0):
        start = time.monotonic()
        while not until():
            assert time.monotonic() - start < timeout_s
            now_s = time.monotonic()
            sink.write(result_of(at_s=now_s), picture(shade, size_wh))
            time.sleep(0.04)

    return run


def test_pictures_arrive_with_the_times_of_their_frames(server, push):
    with open_sink(server.url) as sink:
        assert (sink.needs_image, sink.may_block, sink.written) == (True, False, ())
        push(sink, lambda: len(server.pictures) >= 5)
        dropped = sink.dropped
        push(sink, lambda: len(server.pictures) >= 15)
    times, widths, heights, shades = zip(*server.pictures, strict=True)
    assert set(widths) == {64} and set(heights) == {48}
    assert all(abs(shade - 80) <= 3 for shade in shades)
    steps = np.diff(times[1:])
    assert steps.min() > 0 and 35 <= np.median(steps) <= 80
    assert sink.dropped <= dropped + 5 and sink.waiting == 0


def test_odd_sizes_and_sizes_that_change(server, push):
    with open_sink(server.url) as sink:
        push(sink, lambda: server.pictures, size_wh=(65, 49))
        assert server.pictures[0][1:3] == (64, 48)
        push(sink, lambda: server.process.poll() is not None, size_wh=(96, 64))  # it takes one stream
        server.kill()
        server.start()
        push(sink, lambda: server.pictures, size_wh=(96, 64))
        assert server.pictures[0][1:3] == (96, 64)


def test_a_server_that_comes_late_dies_and_comes_back(server, push, caplog):
    caplog.set_level("INFO")
    server.kill()
    with open_sink(server.url) as sink:
        push(sink, lambda: sink.dropped > 20)
        assert "Connection refused); pictures are left out" in caplog.text
        server.start()
        push(sink, lambda: len(server.pictures) > 3)
        assert "takes pictures again" in caplog.text
        server.kill()
        dropped = sink.dropped
        push(sink, lambda: sink.dropped > dropped + 5)
        server.start()
        push(sink, lambda: len(server.pictures) > 3, shade=160)
        assert abs(server.pictures[-1][3] - 160) <= 3
    said = [record.message for record in caplog.records if "left out" in record.message]
    assert len(said) == 2  # once each time


def test_a_server_that_hangs_keeps_nobody_waiting(server, result_of, push, monkeypatch):
    monkeypatch.setattr(rtsp, "_STALLED_S", 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    sink = open_sink(server.url)
    push(sink, lambda: server.pictures, size_wh=(640, 480))
    os.kill(server.process.pid, signal.SIGSTOP)
    slowest, until, dropped = 0.0, time.monotonic() + 8.0, sink.dropped
    while sink.dropped < dropped + 20:
        start = time.monotonic()
        assert start < until
        sink.write(result_of(at_s=start), noise)
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.02)
    assert slowest < 0.5
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 2.0
    os.kill(server.process.pid, signal.SIGCONT)
    with pytest.raises(SinkError, match="closed"):
        sink.write(result_of(0), noise)


def test_passwords_are_not_shown(push, caplog):
    url = f"rtsp://me:sesame@127.0.0.1:{free_port()}/live"
    with open_sink(url) as sink:
        push(sink, lambda: sink.dropped > 2 and "left out" in caplog.text)
    assert "sesame" not in sink.name + caplog.text and sink.name.endswith("/live")


@pytest.mark.parametrize(
    "uri", ["rtsp://host", "rtsp:///live", "rtsp://host:x/live", "rtsp://u:p#w@host/live", "rtsp://host/live#x"]
)
def test_addresses_that_name_no_place(uri):
    with pytest.raises(SinkError) as caught:
        check_sink(uri)
    assert "p#w" not in str(caught.value)


def test_without_pyav_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"sparsevit-edge\[video\]"):
        check_sink("rtsp://host/live")


def test_a_server_that_takes_the_connection_and_says_nothing_stops_no_other_thread(push):
    """FFmpeg waits for its answer with Python's lock in its hands."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        with open_sink(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live") as sink:
            slowest, last, asked = 0.0, time.monotonic(), None

            def has_asked():
                nonlocal slowest, last, asked
                now = time.monotonic()
                slowest, last = max(slowest, now - last), now
                if asked is None and select.select([silent], [], [], 0)[0]:
                    asked = now
                return asked is not None and now - asked > 1.0

            push(sink, has_asked)
    assert slowest < 1.0


@needs_openssl
@needs_recorder
def test_a_server_with_tls_is_believed_by_its_certificate_alone(tmp_path, push, caplog):
    authority, port, log = Authority(tmp_path), free_port(), tmp_path / "pictures.txt"
    with log.open("w") as out:
        command = [SYSTEM_PYTHON, RECORDER, str(port), str(authority.certificate), str(authority.key)]
        recorder = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: log.read_text().startswith("ready"), 20.0)
        with open_sink(f"rtsps://localhost:{port}/live") as stranger:
            push(stranger, lambda: "?ca=FILE" in caplog.text)
        assert "is of nobody that is trusted here" in caplog.text
        with open_sink(f"rtsps://localhost:{port}/live?ca={authority.ca}") as sink:
            push(sink, lambda: log.read_text().count("\n") > 10)
    finally:
        recorder.kill()
        recorder.wait()
    times = [int(line) for line in log.read_text().split()[1:10]]
    assert times == sorted(set(times))
