"""`sparsevit run` on sources that are damaged, away, or not what their names say."""

from __future__ import annotations

import json

import pytest

from clips import damage, write_clip
from served import camera, file, jpeg, serve, status

pytestmark = pytest.mark.timed


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_damaged_frames_are_told_and_leave_gaps(sparsevit, tiny_model, tmp_path):
    pytest.importorskip("av", reason="PyAV writes the clip")
    clip = damage(write_clip(tmp_path / "clip.avi", codec="mjpeg"))
    told = sparsevit("run", clip, tmp_path / "out.jsonl", "-m", tiny_model())
    assert told.code == 0
    assert "1 frame did not decode" in told.out and "58 in" in told.out
    indices = [line["frame"] for line in lines(tmp_path / "out.jsonl")]
    assert len(indices) == 58 and indices[-1] == 58


def test_a_picture_behind_http_is_one_frame(sparsevit, tiny_model, tmp_path, server):
    server.routes["/photo.jpg"] = file(jpeg(90), "image/jpeg")
    told = sparsevit("run", server.url("/photo.jpg"), tmp_path / "out.jsonl", "-m", tiny_model())
    assert told.code == 0 and len(lines(tmp_path / "out.jsonl")) == 1


def test_a_wrong_address_is_told_at_once_and_once(sparsevit, tiny_model, tmp_path, server):
    server.routes["/live"] = status(503)
    for url in (server.url("/live"), server.url("/nothing")):
        asked = len(server.asked)
        told = sparsevit("run", url, tmp_path / "out.jsonl", "-m", tiny_model())
        assert told.code == 1 and len(server.asked) == asked + 1


def test_with_max_reconnect_a_camera_need_not_be_there_yet(sparsevit, tiny_model, tmp_path, server):
    there = camera([jpeg(10 * i) for i in range(20)])
    server.routes["/live"] = lambda request: (there if len(server.asked) > 1 else status(503))(request)
    told = sparsevit(
        "run", server.url("/live"), tmp_path / "out.jsonl", "-m", tiny_model(), "--max-reconnect", "2", "--frames", "1"
    )
    assert told.code == 0 and len(server.asked) >= 2
    assert lines(tmp_path / "out.jsonl")


def test_max_reconnect_takes_numbers_and_forever(sparsevit, tmp_path):
    told = sparsevit("run", "0", tmp_path / "out.jsonl", "--max-reconnect", "often")
    assert told.code == 2 and "--max-reconnect" in told.err and "or forever" in told.err
