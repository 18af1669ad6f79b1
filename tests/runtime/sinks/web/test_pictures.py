import http.client
import json
import socket
import time
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from runtime.sinks.web.conftest import Camera, wait_for
from sparsevit_runtime import draw_result, open_sink
from sparsevit_runtime.sinks.web.app import MOST_VIEWERS

pytestmark = pytest.mark.timed


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_the_picture_moves(serve):
    stream = serve().look()
    assert stream.answer.status == 200
    pictures = [decoded(stream.next()) for _ in range(4)]
    assert {picture.shape for picture in pictures} == {(120, 160, 3)}
    assert all(np.abs(a.astype(int) - b).mean() > 3 for a, b in pairwise(pictures))


def test_every_camera_has_its_own_pictures(serve):
    served = serve({"left": Camera(), "/dev/video7": Camera(size_wh=(96, 64))})
    wait_for(lambda: {r.source for r in served.results} == {"left", "/dev/video7"})
    assert [camera["name"] for camera in served.state()["cameras"]] == ["left", "video7"]
    assert decoded(served.look("/stream/video7.mjpg").next()).shape == (64, 96, 3)
    assert decoded(served.look("/stream/left.mjpg").next()).shape == (120, 160, 3)
    assert decoded(served.ask("/snapshot.jpg?camera=video7")[2]).shape == (64, 96, 3)
    assert served.ask("/stream/none.mjpg")[0] == 404 and served.ask("/snapshot.jpg?camera=none")[0] == 404


def test_large_pictures_are_scaled_down(serve):
    served = serve({"front": Camera(size_wh=(320, 200))}, "width=160")
    assert decoded(served.ask("/snapshot.jpg")[2]).shape == (100, 160, 3)


def test_pictures_are_encoded_once_for_all_and_only_while_somebody_looks(serve):
    served = serve()
    served.ask("/api/state")
    wait_for(lambda: len(served.results) > 20)
    assert served.sink.encoded == 0
    streams = [served.look() for _ in range(3)]
    pictures = [[stream.next() for _ in range(8)] for stream in streams]
    shared = set(pictures[0]) & set(pictures[1]) & set(pictures[2])
    assert len(shared) >= 3  # the very same bytes
    assert served.sink.encoded < 24
    for stream in streams:
        stream.close()
    wait_for(lambda: served.state()["viewers"] == 0)
    time.sleep(0.1)
    before, results = served.sink.encoded, len(served.results)
    wait_for(lambda: len(served.results) > results + 20)
    assert served.sink.encoded == before


def test_pictures_come_no_more_often_than_asked_for(serve):
    served = serve(query="fps=5")
    stream = served.look()
    start = time.monotonic()
    for _ in range(6):
        stream.next()
    assert time.monotonic() - start > 0.9


def test_windows_are_drawn_for_those_who_want_them_and_computed_only_for_them(serve):
    served = serve(level=0.5)
    plain = served.look()
    assert plain.next() and served.session.activity is False
    windows = served.look("/stream.mjpg?windows=1")
    assert windows.next()
    assert served.session.activity is True
    wait_for(lambda: served.results[-1].activity is not None)
    # Pictures for recordings stay as they were: the session was not made to show windows.
    newest = served.results[-1]
    plainly = served.session.draw(newest.image, newest)
    assert np.array_equal(plainly, draw_result(newest.image, replace(newest, activity=None)))
    assert np.abs(plainly.astype(int) - draw_result(newest.image, newest)).mean() > 5
    windows.close()
    wait_for(lambda: served.session.activity is False)
    assert served.ask("/snapshot.jpg?windows=1")[0] == 200
    wait_for(lambda: served.session.activity is False)


def frozen(port: int) -> socket.socket:
    """A viewer that asks for pictures and reads none."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.settimeout(10)
    viewer.connect(("127.0.0.1", port))
    viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return viewer


def ended(viewer: socket.socket) -> bool:
    """Whether a connection is over, once what is left of it has been read."""
    try:
        while viewer.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_viewer_that_stops_reading_is_cut_off_and_nobody_else_notices(serve):
    served = serve({"front": Camera(size_wh=(640, 480))}, "fps=60&quality=95", patience_s=1.0)
    stream = served.look()
    stream.next()
    dead = [frozen(served.port) for _ in range(3)]
    wait_for(lambda: served.state()["viewers"] == 4)
    while served.state()["viewers"] > 1:  # this viewer reads all the while
        start = time.monotonic()
        assert stream.next()
        assert time.monotonic() - start < 1.0
    assert all(ended(each) for each in dead)
    metrics = served.session.metrics
    assert all(outlet.skipped == 0 for name, outlet in metrics.outlets.items() if name.startswith("http"))
    assert stream.next()


def test_too_many_viewers_are_told_so(serve):
    served = serve()
    for _ in range(MOST_VIEWERS):
        assert served.look().answer.status == 200
    status, headers, _ = served.ask("/stream.mjpg")
    assert status == 503 and headers["retry-after"]
    assert served.ask("/snapshot.jpg")[0] == 503
    served.streams[0].close()
    wait_for(lambda: served.ask("/snapshot.jpg")[0] == 200)


def test_a_frame_on_the_gpu_has_no_picture_and_stops_nothing(result_of, picture):
    with open_sink("http://localhost:0") as sink:
        for i in range(3):
            sink.write(result_of(i))
        connection = http.client.HTTPConnection("127.0.0.1", int(sink.name.rpartition(":")[2]), timeout=10)
        connection.request("GET", "/api/state")
        (camera,) = json.loads(connection.getresponse().read())["cameras"]
        assert camera["frame"] == 2 and camera["has_picture"] is False
        connection.close()


def test_a_sink_that_is_written_by_hand_shows_what_it_is_given(result_of, picture):
    with open_sink("http://localhost:0") as sink:
        connection = http.client.HTTPConnection("127.0.0.1", int(sink.name.rpartition(":")[2]), timeout=10)
        sink.write(result_of(), picture(90))
        connection.request("GET", "/snapshot.jpg")
        answer = connection.getresponse()
        assert answer.status == 200 and abs(decoded(answer.read()).mean() - 90) < 3
        connection.close()
