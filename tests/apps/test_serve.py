"""`sparsevit serve` as a process: with cameras, signals, reloads and what it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

import tiny
from brokers import Broker, Listener, needs_broker
from hooks_of_sinks import Hook, wait_until
from mjpeg_camera import CameraServer
from sparsevit_apps.service.config import load_config
from sparsevit_apps.service.parts import open_sources
from sparsevit_runtime.sources.capture import opencv_has

pytestmark = pytest.mark.timed
needs_http = pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read http streams")
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def camera() -> Iterator[CameraServer]:
    server = CameraServer()
    yield server
    server.leave()


class Serve:
    """A `sparsevit serve` with JSON logs.

    Attributes:
        folder: working directory of the process.
        process: process itself.
        logs: what it has logged, each line an object.
    """

    def __init__(self, folder: Path, environment: dict[str, str], text: str, **variables: str) -> None:
        self.folder = folder
        tiny.write_model(folder / "m.onnx")
        self.logs: list[dict] = []
        self.write(text)

        def as_of_a_shell() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "sparsevit_apps.cli", "serve", "config.toml", "--log-format", "json"],
            env=environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{':'.join(sys.path)}"} | variables,
            cwd=folder, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=as_of_a_shell,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def write(self, text: str) -> None:
        if "[model]" not in text:
            text = '[model]\npath = "m.onnx"\n' + text
        (self.folder / "config.toml").write_text(text)

    def reload(self, text: str, says: str) -> float:
        """Writes another configuration, has it read, and waits until the log says something; seconds until then."""
        before, start = len(self.logs), time.monotonic()
        self.write(text)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: any(says in each["message"] for each in self.logs[before:]))
        return time.monotonic() - start

    def wait_for(self, holds) -> None:
        def ended_or_holds() -> bool:
            assert self.process.poll() is None or holds(), self.logs
            return holds()

        wait_until(ended_or_holds, WITHIN_S)

    def end(self, number: int | None = None) -> int:
        """The exit code, after a signal."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(WITHIN_S)
        self._reader.join(5)
        return code

    def messages(self) -> list[str]:
        return [each["message"] for each in self.logs]

    def states(self, source: str) -> list[str]:
        return [each["state"] for each in self.logs if each.get("source") == source]

    def lines(self, pattern: str) -> list[dict]:
        """JSON lines of files, oldest first."""
        found = []
        for path in sorted(self.folder.glob(pattern)):
            found += [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return found

    def _read(self) -> None:
        for line in self.process.stderr:
            self.logs.append(json.loads(line))


@pytest.fixture
def serve(tmp_path, environment) -> Iterator:
    started: list[Serve] = []

    def start(text: str, **variables: str) -> Serve:
        started.append(Serve(tmp_path, environment, text, **variables))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def frames_of(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_files_run_to_their_end_each_into_its_own_video(serve, tmp_path):
    run = serve(
        '[sources.a]\nuri = "synthetic://street?size=96x64&frames=12"\n'
        '[sources.b]\nuri = "synthetic://street?size=96x64&frames=7&seed=2"\n'
        '[sinks.video]\nuri = "rec/{source}.mp4"\n'
        '[sinks.of_b]\nuri = "b.jsonl"\nsources = ["b"]\n'
        '[sinks.all]\nuri = "all.jsonl"\n'
    )
    assert run.end() == 0
    assert frames_of(tmp_path / "rec" / "a.mp4") == 12
    assert frames_of(tmp_path / "rec" / "b.mp4") == 7
    assert [(each["source"], each["frame"]) for each in run.lines("b.jsonl")] == [("b", i) for i in range(7)]
    assert sorted(each["source"] for each in run.lines("all.jsonl")) == ["a"] * 12 + ["b"] * 7
    assert run.states("a") == ["live", "ended"]
    assert run.messages()[-1] == "all sources have ended"


def test_objects_are_tracked_and_counted(serve):
    run = serve(
        '[model]\nname = "road-users"\n[sources.a]\nuri = "synthetic://street?size=640x480&frames=8"\n'
        '[sinks.all]\nuri = "all.jsonl"\n[tracking]\ncount_lines = ["0,0.6,1,0.6,name=gate"]\n'
    )
    assert run.end() == 0
    lines = run.lines("all.jsonl")
    assert [each["counts"][0]["name"] for each in lines] == ["gate"] * 8
    assert any(found["track_id"] for found in lines[-1]["objects"])


@needs_http
def test_a_changed_level_is_set_a_broken_file_changes_nothing_and_sigterm_completes(serve, camera, tmp_path):
    text = (
        f'[model]\npath = "m.onnx"\nsparsity = SPARSITY\n[sources.cam]\nuri = "{camera.url}"\n'
        '[sinks.lines]\nuri = "rec/all.jsonl?every=1h"\n[sinks.video]\nuri = "rec/{source}.mp4?every=1h"\n'
    )
    run = serve(text.replace("SPARSITY", "0"))
    run.wait_for(lambda: len(run.lines("rec/*.jsonl")) >= 5)
    run.reload(text.replace("SPARSITY", "0.5"), "reloaded: the level is")
    run.wait_for(lambda: run.lines("rec/*.jsonl")[-1]["window_share"] < 0.9)
    for broken, said in (
        ("[model", "is no TOML"),
        (text.replace("SPARSITY", "0").replace("[sinks.lines]", "[sink.lines]"), "did you mean 'sinks'"),
        (text.replace("SPARSITY", "7"), "everything goes on as it was"),
        (text.replace("SPARSITY", "0").replace("m.onnx", "n.onnx"), "everything goes on as it was"),
    ):
        run.reload(broken, said)
    seen = len(run.lines("rec/*.jsonl"))
    run.wait_for(lambda: len(run.lines("rec/*.jsonl")) >= seen + 5)
    assert run.end(signal.SIGTERM) == 143
    lines = run.lines("rec/*.jsonl")
    assert lines[0]["window_share"] == 1 and lines[-1]["window_share"] < 0.9
    assert [path.name for path in sorted((tmp_path / "rec").iterdir())] == ["all-0001.jsonl", "cam-0001.mp4"]
    assert frames_of(tmp_path / "rec" / "cam-0001.mp4") == len(lines)
    assert "stopping on SIGTERM" in run.messages()
    assert run.states("cam")[-1] == "ended"


@needs_http
def test_other_sources_and_sinks_begin_soon_and_recordings_are_kept(serve, camera, tmp_path):
    source = f'[sources.NAME]\nuri = "{camera.url}"\n'
    lines = '[sinks.lines]\nuri = "rec/{source}.jsonl?every=1h"\n'
    run = serve(source.replace("NAME", "a") + lines)
    run.wait_for(lambda: len(run.lines("rec/a-*.jsonl")) >= 3)
    both = source.replace("NAME", "a") + source.replace("NAME", "b") + lines
    spent_s = run.reload(both + '[sinks.video]\nuri = "rec/{source}.mp4?every=1h"\n', "reloaded")
    assert spent_s < 5.0
    run.wait_for(lambda: len(run.lines("rec/b-*.jsonl")) >= 3 and len(run.lines("rec/a-0002.jsonl")) >= 3)
    # What cannot be opened is undone.
    (tmp_path / "file").write_text("")
    run.reload(both + '[sinks.video]\nuri = "file/{source}.mp4?every=1h"\n', "going back to what was")
    run.wait_for(lambda: len(run.lines("rec/b-0002.jsonl")) >= 3)
    assert run.end(signal.SIGINT) == 130
    names = [path.name for path in sorted((tmp_path / "rec").iterdir())]
    assert names == [
        "a-0001.jsonl", "a-0001.mp4", "a-0002.jsonl", "a-0002.mp4", "a-0003.jsonl", "b-0001.jsonl", "b-0001.mp4",
        "b-0002.jsonl", "b-0002.mp4",
    ]  # fmt: skip
    assert frames_of(tmp_path / "rec" / "a-0001.mp4") >= 1
    assert {each["source"] for each in run.lines("rec/b-*.jsonl")} == {"b"}


@needs_http
def test_a_camera_that_boots_later_is_waited_for_and_no_password_is_logged(serve, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = serve(
        f'[sources.cam]\nuri = "http://joe:${{PASSWORD}}@127.0.0.1:{port}/live"\n'
        '[sinks.lines]\nuri = "all.jsonl?every=1h"\n',
        PASSWORD="secret",
    )
    run.wait_for(lambda: "lost" in run.states("cam"))
    server = CameraServer(port)
    run.wait_for(lambda: len(run.lines("all-*.jsonl")) >= 3)
    assert run.end(signal.SIGTERM) == 143
    server.leave()
    assert "live" in run.states("cam")
    assert "secret" not in json.dumps(run.logs)


@needs_http
def test_a_sink_that_failed_is_opened_again_by_a_reload(serve, camera, tmp_path):
    text = (
        f'[sources.cam]\nuri = "{camera.url}"\n[sinks.parts]\nuri = "rec/out.jsonl?every=1s"\n'
        '[sinks.lines]\nuri = "all.jsonl?every=1h"\n'
    )
    run = serve(text)
    run.wait_for(lambda: len(run.lines("rec/*.jsonl")) >= 3)
    shutil.rmtree(tmp_path / "rec")
    run.wait_for(lambda: any("the outlet parts failed" in message for message in run.messages()))
    seen = len(run.lines("all-*.jsonl"))
    run.wait_for(lambda: len(run.lines("all-*.jsonl")) >= seen + 5)  # the others go on
    assert run.reload(text, "reloaded") < WITHIN_S
    run.wait_for(lambda: len(run.lines("rec/*.jsonl")) >= 3)
    assert run.end(signal.SIGTERM) == 143


@needs_http
def test_a_governor_chooses_the_level_and_a_page_outlasts_a_reload(serve, camera, tmp_path):
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (
        f'[sources.cam]\nuri = "{camera.url}"\n[sinks.page]\nuri = "http://localhost:{port}"\n'
        '[sinks.lines]\nuri = "rec/{source}.jsonl?every=1h"\n'
        "[governor]\ntarget_ms = 200\nlevels = [0, 0.5]\n"
    )

    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    run = serve(text)
    run.wait_for(lambda: any("seen at" in message for message in run.messages()))
    run.wait_for(lambda: 'sparsevit_frames_total{outcome="processed",source="cam"}' in read("/metrics"))
    assert "sparsevit_governor_enabled 1.0" in read("/metrics")
    assert 'sparsevit_sink_results_total{outcome="written",sink="lines:cam"}' in read("/metrics")
    run.reload(text.replace("sources.cam", "sources.hall"), "reloaded")
    run.wait_for(lambda: 'source="hall"' in read("/metrics"))
    assert sum("seen at" in message for message in run.messages()) == 1
    assert read("/readyz")
    assert run.end(signal.SIGTERM) == 143


def test_addresses_that_do_not_answer_are_waited_for_side_by_side(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}/live"
        sources = "".join(f'[sources.{name}]\nuri = "{uri}"\ntimeout_ms = 600\n' for name in "abcd")
        (tmp_path / "config.toml").write_text(sources + '[sinks.n]\nuri = "null://"\n')
        start = time.monotonic()
        opened = open_sources(load_config(tmp_path / "config.toml"))
        assert time.monotonic() - start < 2.0
    for source in opened.values():
        assert source.live  # and may come later
        source.close()


def test_a_file_that_means_nothing_ends_it_with_an_error(serve):
    run = serve('[sources.a]\nuri = "0"\n[sink.lines]\nuri = "null://"\n')
    assert run.end() == 1
    assert any("sink is an unknown key; did you mean 'sinks'" in message for message in run.messages())


@needs_broker()
@needs_http
def test_results_reach_a_broker_and_a_web_server(serve, camera, tmp_path):
    broker, hook = Broker(tmp_path), Hook()
    listener = Listener(broker)
    run = serve(
        f'[sources.cam]\nuri = "{camera.url}"\n'
        f'[sinks.mqtt]\nuri = "mqtt://127.0.0.1:{broker.port}/edge/{{source}}"\n'
        f'[sinks.hook]\nuri = "webhook+http://127.0.0.1:{hook.server_port}/results?every=0.1s"\n'
    )
    run.wait_for(lambda: len(listener.frames("edge/cam")) >= 5 and len(hook.frames()) >= 5)
    assert run.end(signal.SIGTERM) == 143
    wait_until(lambda: listener.statuses("edge/cam") == ["online", "offline"])
    assert hook.frames() == sorted(set(hook.frames()))
    listener.leave()
    hook.leave()
    broker.stop()


def test_check_reads_the_file_and_opens_nothing(sparsevit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.toml"
    path.write_text('[sources.a]\nuri = "rtsp://nowhere/x"\n[sinks.v]\nuri = "rec/{source}.mp4?every=10m"\n')
    said = sparsevit("serve", path, "--check")
    assert (said.code, said.out) == (0, f"{path} is valid: a to v\n")
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]
    path.write_text('[sources.a]\nurl = "x"\n')
    said = sparsevit("serve", path, "--check")
    assert said.code == 1
    assert "did you mean 'uri'?" in said.err


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(serve, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WITHIN_S)
        run = serve(
            '[sources.a]\nuri = "synthetic://street?size=96x64&frames=5"\n[sinks.n]\nuri = "null://"\n',
            NOTIFY_SOCKET=str(tmp_path / "notify"),
        )
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]
        assert run.end() == 0
