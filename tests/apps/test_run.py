from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from sparsevit_runtime.sources.capture import opencv_has

STREET = "synthetic://street?size=96x64&frames=4&fps=10"


def video_frames(path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames, fps


def test_several_sinks_at_once(sparsevit, tiny_model, tmp_path):
    said = sparsevit(
        "run",
        STREET,
        tmp_path / "out.mp4",
        tmp_path / "out.jsonl",
        f"{tmp_path}/shots/",
        "-m",
        tiny_model(),
        "-s",
        "0.5",
    )
    assert said.code == 0, said.err
    frames, fps = video_frames(tmp_path / "out.mp4")
    assert (len(frames), frames[0].shape, fps) == (4, (64, 96, 3), 10.0)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["keep"] == [12, 3, 3]
    assert len(list((tmp_path / "shots").iterdir())) == 4
    assert "4 in" in said.out
    assert "frames/s end to end" in said.out
    assert "p50" in said.out and "p95" in said.out
    assert all(name in said.out.replace("\n", "") for name in ("out.mp4", "out.jsonl", "shots/"))
    assert not list(tmp_path.glob(".*"))


def test_frames_limits_an_unending_source(sparsevit, tiny_model, tmp_path):
    out = tmp_path / "out.jsonl"
    said = sparsevit("run", "synthetic://street?size=96x64&frames=100000", out, "-m", tiny_model(), "--frames", 2)
    assert said.code == 0
    assert len(out.read_text().splitlines()) == 2


def test_what_is_drawn(sparsevit, tiny_model, tmp_path):
    """Plain frames pass unchanged; annotation changes them, and the windows of one stage differ from those of all."""
    picture = np.random.RandomState(0).randint(0, 255, (64, 96, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), picture)
    model = tiny_model()
    shots = {}
    for name, options in {
        "plain": ["--no-draw"],
        "drawn": [],
        "windows": ["--activity", "-s", "0.5"],
        "stage": ["--stage", "1", "-s", "0.5"],
    }.items():
        folder = f"{tmp_path}/{name}/?format=png"
        said = sparsevit("run", tmp_path / "in.png", folder, "-m", model, *options)
        assert said.code == 0, said.err
        shots[name] = cv2.imread(str(tmp_path / name / "in.png"))
    assert np.array_equal(shots["plain"], picture)
    assert not np.array_equal(shots["drawn"], picture)
    assert not np.array_equal(shots["windows"], shots["drawn"])
    assert not np.array_equal(shots["windows"], shots["stage"])


@pytest.mark.parametrize(("threshold", "count"), [("0.25", 2), ("0.6", 1), ("0.95", 0)])
def test_threshold_of_detections(sparsevit, tiny_model, tmp_path, threshold, count):
    model = tiny_model(
        task="detection", boxes=[(2, 2, 20, 20), (5, 5, 30, 30)], scores=[0.9, 0.5], classes=[1, 2], hw=(32, 48)
    )
    sinks = (tmp_path / "out.jsonl", tmp_path / "out.mp4")
    said = sparsevit("run", STREET, *sinks, "-m", model, "--threshold", threshold, "--frames", 1)
    assert said.code == 0, said.err
    assert len(json.loads(sinks[0].read_text())["objects"]) == count


DETECTOR = {"task": "detection", "boxes": [(2, 2, 20, 20), (5, 25, 30, 30)], "scores": [0.9, 0.5], "classes": [1, 2]}


def test_objects_are_tracked_and_counted(sparsevit, tiny_model, tmp_path):
    out = tmp_path / "out.jsonl"
    places = ("--count-line", "0,0.5,1,0.5,name=gate", "--count-zone", "0,0.5,1,0.5,1,1,0,1")
    said = sparsevit("run", STREET, out, tmp_path / "out.mp4", "-m", tiny_model(**DETECTOR), *places)
    assert said.code == 0, said.err
    first, *_, last = (json.loads(line) for line in out.read_text().splitlines())
    assert [each["track_id"] for each in first["objects"]] == [None, None]
    assert [each["track_id"] for each in last["objects"]] == [1, 2]
    assert last["counts"][0] == {"name": "gate", "kind": "line", "in": {}, "out": {}}
    assert last["counts"][1] == {"name": "zone 1", "kind": "zone", "in": {}, "out": {}, "inside": {"road": 1, "car": 1}}
    assert "gate: in 0, out 0" in said.out
    assert "zone 1: in 0, out 0, inside 2 (1 car, 1 road)" in said.out


def test_tracking_alone(sparsevit, tiny_model, tmp_path):
    out = tmp_path / "out.jsonl"
    assert sparsevit("run", STREET, out, "-m", tiny_model(**DETECTOR), "--track").code == 0
    last = json.loads(out.read_text().splitlines()[-1])
    assert [each["track_id"] for each in last["objects"]] == [1, 2] and "counts" not in last


@pytest.mark.parametrize(
    ("model", "options", "code", "message"),
    [
        ({}, ("--track",), 1, "tiny is a model for segmentation, which finds no objects"),
        (DETECTOR, ("--count-line", "0,0,1"), 2, "3 numbers make no line"),
        (DETECTOR, ("--count-zone", "0,0,1,1,left"), 2, "is no zone to count at"),
        (DETECTOR, ("--count-line", "0,0,1,1,name=a", "--count-line", "0,1,1,0,name=a"), 2, "two places are named"),
    ],
)
def test_what_cannot_be_tracked_or_counted_is_told(sparsevit, tiny_model, tmp_path, model, options, code, message):
    said = sparsevit("run", STREET, tmp_path / "out.jsonl", "-m", tiny_model(**model), *options)
    assert said.code == code
    assert message in " ".join(said.err.replace("\u2502", " ").split())
    assert not (tmp_path / "out.jsonl").exists()


def test_plan_file_and_list(sparsevit, tiny_model, tmp_path):
    model = tiny_model()
    (tmp_path / "plan.json").write_text('{"schema": 1, "ratios": [[0.5, 0.5], [0, 0, 0.5, 0.5]]}')
    for sparsity, keep in ((f"{tmp_path}/plan.json", [12, 6, 3]), ("0.25,0.5", [18, 3, 3])):
        out = tmp_path / "out.jsonl"
        assert sparsevit("run", STREET, out, "-m", model, "-s", sparsity, "--frames", 1).code == 0
        assert json.loads(out.read_text())["keep"] == keep


def test_a_failing_run_leaves_no_output(sparsevit, tiny_model, tmp_path):
    said = sparsevit("run", STREET, tmp_path / "out.mp4", "-m", tiny_model(fails=True))
    assert said.code == 1
    assert "ONNX Runtime failed" in said.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx"]


def test_the_source_is_never_overwritten(sparsevit, tiny_model, tmp_path):
    clip = tmp_path / "clip.mp4"
    assert sparsevit("run", STREET, clip, "--no-draw", "-m", tiny_model()).code == 0
    before = clip.read_bytes()
    said = sparsevit("run", clip, f"{tmp_path}/../{tmp_path.name}/clip.mp4", "-m", tiny_model())
    assert said.code == 1
    assert "would replace the source" in said.err
    assert clip.read_bytes() == before


def test_a_sink_given_twice(sparsevit, tiny_model, tmp_path):
    said = sparsevit("run", STREET, tmp_path / "a.jsonl", f"{tmp_path}/./a.jsonl", "-m", tiny_model())
    assert (said.code, "given twice" in said.err) == (1, True)


@pytest.mark.timed
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_file_keeps_what_was_done(tiny_model, tmp_path, environment, stop, code):
    model = tiny_model()
    line = ["run", "synthetic://street?size=96x64&frames=1000000", f"{tmp_path}/out.mp4", f"{tmp_path}/out.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsevit_apps.cli", *line, "-m", str(model)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in the background, the shell has told them to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size for p in tmp_path.glob(".out*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    os.kill(process.pid, stop)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.strip() == "stopped"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "out.mp4", "tiny.onnx"]
    frames = [json.loads(text)["frame"] for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert frames == list(range(len(video_frames(tmp_path / "out.mp4")[0])))


def test_detections_without_supervision_leave_no_output(tiny_model, tmp_path, environment):
    model = tiny_model(task="detection", boxes=[(2, 2, 20, 20)], scores=[0.9], classes=[1])
    line = ["sparsevit", "run", STREET, str(tmp_path / "out.mp4"), "-m", str(model)]
    code = (
        f"import sys\nsys.modules['supervision'] = None\nsys.argv = {line}\nfrom sparsevit_apps.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'sparsevit-edge[draw]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.onnx"]


@pytest.fixture
def silent_camera():
    """URL of a network camera that gives eight pictures and then nothing, with the line left open."""
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
    over = threading.Event()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(8):
                self.wfile.write(part)
                time.sleep(0.02)
            over.wait(60)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/live"
    over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.timed
@pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read http streams")
def test_ctrl_c_does_not_wait_for_a_camera_that_fell_silent(tiny_model, tmp_path, environment, silent_camera):
    line = ["run", silent_camera, f"{tmp_path}/out.jsonl", f"{tmp_path}/shots/", "-m", str(tiny_model())]
    process = subprocess.Popen(
        [sys.executable, "-m", "sparsevit_apps.cli", *line],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("shots/frame_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # the last picture has come: the driver now waits 5 s for the next
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 3
    assert process.returncode == 130 and "stopped" in err
    frames = [json.loads(text)["frame"] for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(frames) == len(list(tmp_path.glob("shots/frame_*"))) > 0
    assert f"{len(frames)} in" in out and not list(tmp_path.glob(".*"))
