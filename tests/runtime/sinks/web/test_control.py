import json
import socket
import time
from contextlib import ExitStack

import cv2
import numpy as np
import pytest
from prometheus_client import generate_latest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from runtime.sinks.web.conftest import wait_for
from sparsevit_runtime.live.governor import Governor, Target
from sparsevit_runtime.live.outlet import Outlet
from sparsevit_runtime.sinks import open_sink
from sparsevit_runtime.sinks.web.collector import registry_of
from sparsevit_runtime.sinks.web.control import Control, kept_by_stage
from sparsevit_runtime.sinks.web.device import DeviceCollector
from sparsevit_runtime.sinks.web.figures import Figures
from sparsevit_runtime.tasks.counts import Counts
from sparsevit_runtime.tasks.detection import Detections

pytestmark = pytest.mark.timed


def newest(page) -> dict:
    """The next state that a page is told."""
    while "cameras" not in (message := json.loads(page.recv(timeout=5))):
        pass
    return message


def test_the_level_that_is_posted_is_what_results_report(serve):
    served = serve()
    assert served.results[-1].keep == (24, 6, 6)
    status, _, body = served.ask("/api/level", {"sparsity": 0.5})
    assert status == 200 and json.loads(body)["level"]["sparsity"] == 0.5
    wait_for(lambda: served.results[-1].keep == (12, 3, 3))
    status, _, body = served.ask("/api/level", {"sparsity": [0.25, 0.5]})
    level = json.loads(body)["level"]
    assert status == 200 and level["sparsity"] is None and level["text"].endswith("% pruned")
    wait_for(lambda: served.results[-1].keep == (18, 3, 3))
    assert served.session.level.plan.ratios == ((0.25, 0.25), (0.5,) * 4)


def test_windows_of_a_level_are_told_by_stage(serve):
    served = serve(level=0.5, start=False)
    assert kept_by_stage(served.session.level) == [24, 12]  # 12 in each of 2 blocks, 3 in each of 4


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("level", {"sparsity": 1.5}, "ratio"),
        ("level", {"sparsity": "0.5"}, "a number from 0 to 1"),
        ("level", {"sparsity": "/etc/hostname"}, "a number from 0 to 1"),
        ("level", {"sparsity": True}, "a number from 0 to 1"),
        ("level", {"sparsity": None}, "a number from 0 to 1"),
        ("level", {"sparsity": [0.5]}, "stage"),
        ("level", {"sparsity": [["/etc/hostname"], [0.1]]}, ""),
        ("level", {"sparsity": float("nan")}, "ratio"),
        ("level", {"other": 1}, "send"),
        ("level", [0.5], "send"),
        ("governor", {"enabled": True}, "no governor"),
        ("recording", {"active": True}, "nothing that could be recorded"),
        ("recording", {"active": 1}, "true or false"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_reason(serve, path, body, message):
    served = serve(start=False)
    status, _, answer = served.ask(f"/api/{path}", body)
    assert status == 400 and message in json.loads(answer)["error"]
    assert served.session.level.is_dense


def test_bodies_are_bounded_and_json(serve):
    served = serve(start=False)
    assert served.ask("/api/level", raw=b'{"sparsity": ' + b" " * 5000 + b"0.5}")[0] == 413
    assert served.ask("/api/level", raw=b"[" * 4000)[0] == 400
    assert served.ask("/api/level", raw=b"sparsity=0.5", headers={"Content-Type": "text/plain"})[0] == 415
    assert served.ask("/api/level")[0] == 405
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", served.port)) as visitor:
        visitor.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: ")
        for _ in range(1000):  # a head without end
            visitor.sendall(b"x" * 1024)
            time.sleep(0.001)
    assert served.session.level.is_dense


def test_a_page_is_told_the_state_and_moves_the_level(serve):
    served = serve()
    with connect(f"ws://127.0.0.1:{served.port}/ws") as page:
        assert "front" in json.loads(page.recv(timeout=5))["history"]
        first, second = newest(page), newest(page)
        assert second["cameras"][0]["frame"] > first["cameras"][0]["frame"]
        assert first["viewers"] == 1 and first["model"] == "tiny" and first["backend"] == "onnxruntime"
        page.send(json.dumps({"sparsity": 0.75}))
        wait_for(lambda: served.results[-1].window_share < 0.3)
        while newest(page)["level"]["sparsity"] != 0.75:
            pass
        for wrong in ("[", "[1]", json.dumps({"sparsity": 7})):
            page.send(wrong)
            while "error" not in (message := json.loads(page.recv(timeout=5))):
                pass
            assert message["error"]
        assert newest(page)["level"]["sparsity"] == 0.75
    wait_for(lambda: served.state()["viewers"] == 0)


def test_messages_of_a_page_are_bounded(serve):
    served = serve()
    with connect(f"ws://127.0.0.1:{served.port}/ws") as page, pytest.raises(ConnectionClosed):
        page.send("x" * 100_000)
        while True:
            page.recv(timeout=5)
    assert served.ask("/healthz")[0] == 200


def test_a_governor_is_shown_and_a_level_set_by_hand_switches_it_off(serve, make_model):
    runner = make_model().runner
    levels = [runner.level(ratio) for ratio in (0.0, 0.25, 0.5)]
    served = serve(governor=Governor(levels, [3.0, 2.0, 1.0], Target(latency_ms=60_000)))
    governor = served.session.governor
    told = served.state()["governor"]
    assert told == {"enabled": True, "reason": governor.reason, "met": True, "target": "60000 ms"}
    metrics = served.ask("/metrics")[2].decode()
    assert "sparsevit_target_seconds 60.0" in metrics and "sparsevit_governor_enabled 1.0" in metrics
    assert 'sparsevit_governor_changes_total{direction="down"} 0.0' in metrics
    status, _, body = served.ask("/api/level", {"sparsity": 0.75})
    assert status == 200 and json.loads(body)["governor"]["enabled"] is False and governor.enabled is False
    wait_for(lambda: served.results[-1].window_share < 0.3)
    assert served.ask("/api/governor", {"enabled": True})[0] == 200 and governor.enabled
    wait_for(lambda: served.results[-1].window_share >= 0.5)


def test_videos_are_stopped_and_go_on_from_the_page(serve, tmp_path):
    assert serve().state()["recording"] is None
    with open_sink(tmp_path / "a.mp4", live=True) as video:
        served = serve(outlets=[Outlet(video)])
        assert served.state()["recording"] == {"active": True} and served.state()["governor"] is None
        wait_for(lambda: served.session.metrics.outlets[video.name].written)
        status, _, body = served.ask("/api/recording", {"active": False})
        assert status == 200 and json.loads(body)["recording"] == {"active": False}
        wait_for(lambda: cv2.VideoCapture(video.name).read()[0])  # it plays
        assert served.ask("/api/recording", {"active": True})[0] == 200
        wait_for(lambda: len(video.written) == 2)
        served.session.close()
    assert cv2.VideoCapture(str(tmp_path / "a-0002.mp4")).read()[0]


def test_too_many_pages_are_refused(serve):
    served = serve()
    url = f"ws://127.0.0.1:{served.port}/ws"
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connect(url, close_timeout=0.5)).recv(timeout=5)
        with pytest.raises((InvalidStatus, ConnectionClosed)), connect(url) as page:
            page.recv(timeout=5)


def test_what_was_counted_is_in_the_state_and_the_metrics():
    figures = Figures()
    counts = Counts("gate", "line", ((0, 5), (9, 5)), {"car": 3, "tree": 1}, {"car": 2})
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    found = dict(zip(("xyxy", "confidence", "class_id"), nothing))
    figures.take("front", Detections(image_wh=(10, 10), names=("car", "tree"), counts=(counts,), **found))
    assert figures.say("front")["counts"] == [counts.to_dict()]
    metrics = generate_latest(registry_of(Control(figures), figures, lambda: 0, DeviceCollector())).decode()
    for direction, name, count in (("in", "car", 3), ("in", "tree", 1), ("out", "car", 2)):
        labels = f'class="{name}",direction="{direction}",line="gate",source="front"'
        assert any(
            line.endswith(f" {count}.0") and all(label in line for label in labels.split(","))
            for line in metrics.splitlines()
            if line.startswith("sparsevit_crossings_total{")
        )
