"""Cameras that send JPEGs over one http answer, in every way they do."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from served import camera, jpeg, serve
from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.images.image_files import decode_image
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.base import Timeouts

pytestmark = pytest.mark.timed


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


def read_until_it_breaks(source):
    frames = []
    with pytest.raises(SourceError, match="hung up after"):
        while (frame := source.read()) is not None:
            frames.append(frame)
    return frames


def noisy(shade, seed=0):
    """A picture whose JPEG has thousands of bytes, and its brightness."""
    noise = np.random.default_rng(seed).integers(0, 60, (48, 64, 3))
    return cv2.imencode(".jpg", np.clip(noise + shade, 0, 255).astype(np.uint8))[1].tobytes()


def shades(frames):
    return [round((float(f.image.mean()) - 30) / 10) for f in frames]


CUT = 7
WHOLE = [noisy(10 * i, i) for i in range(15)]
SENT = [data if i != CUT else data[: len(data) // 2] for i, data in enumerate(WHOLE)]
LENGTHS = {id(sent): len(whole) for sent, whole in zip(SENT, WHOLE)}

WAYS = {
    "length": lambda d: b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(d), d),
    "length of the whole": lambda d: b"--frame\r\nContent-Length: %d\r\n\r\n%s\r\n" % (LENGTHS[id(d)], d),
    "no length": lambda d: b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n" % d,
    "no headers": lambda d: b"--frame\r\n\r\n%s\r\n" % d,
    "bare line feeds": lambda d: b"--frame\nContent-length: %d\n\n%s\n" % (len(d), d),
    "no line before the boundary": lambda d: b"--frame\r\nContent-Type: image/jpeg\r\n\r\n%s" % d,
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/x-mixed-replace; boundary=frame",
        'multipart/x-mixed-replace;boundary="--frame"',
        "multipart/x-mixed-replace",
    ],
)
def test_a_jpeg_cut_short_costs_itself_alone(server, way, content_type):
    server.routes["/live"] = camera(SENT, content_type=content_type, part=WAYS[way])
    source = open_source(server.url("/live"))
    frames = read_until_it_breaks(source)
    rest = [i for i in range(15) if i != CUT]
    assert [f.index for f in frames] == rest and shades(frames) == rest
    assert source.damaged == 1 and server.asked == ["/live"]
    assert [f.timestamp_ns for f in frames] == sorted(f.timestamp_ns for f in frames)


def test_frames_that_nobody_wants_are_left_out_and_those_cut_short_are_counted_still(server):
    server.routes["/live"] = camera(SENT, part=WAYS["length"])
    source = open_source(server.url("/live"))
    asked = iter(range(1, 14))  # the first frame is read while it is opened
    source.wants = lambda: next(asked) % 3 == 0
    frames = read_until_it_breaks(source)
    whole = [i for i in range(15) if i != CUT]
    wanted = [whole[0], *(whole[i] for i in range(3, 14, 3))]
    assert [f.index for f in frames] == wanted and shades(frames) == wanted
    assert source.damaged == 1 and next(asked, None) is None


@pytest.mark.parametrize("way", ["length", "no length"])
def test_a_frame_is_given_out_as_soon_as_it_is_whole(server, way):
    server.routes["/live"] = camera(WHOLE[:3], part=WAYS[way], pause_s=0.4)
    source = open_source(server.url("/live"))
    start = time.monotonic()
    source.read()
    source.read()
    assert time.monotonic() - start < 0.7
    source.close()


def test_a_size_change_is_passed_on(server):
    server.routes["/live"] = camera([jpeg(9), jpeg(9, (96, 64))])
    frames = read_until_it_breaks(open_source(server.url("/live")))
    assert [f.image.shape for f in frames] == [(48, 64, 3), (64, 96, 3)]


def test_closing_ends_a_read_at_once(server):
    server.routes["/live"] = camera([jpeg(9), jpeg(9)], pause_s=3)
    source = open_source(server.url("/live"))
    source.read()
    threading.Timer(0.1, source.close).start()
    start = time.monotonic()
    assert source.read() is None and time.monotonic() - start < 2
    assert source.read() is None


def test_a_camera_that_says_nothing_any_more_is_lost_in_time(server):
    server.routes["/live"] = camera([jpeg(9), jpeg(9)], pause_s=3)
    source = open_source(server.url("/live"), Timeouts(1.0, 0.2))
    source.read()
    start = time.monotonic()
    with pytest.raises(SourceError, match="nothing came in time"):
        source.read()
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("parts", [[b"no picture"] * 60, [b"x" * 70000] * 2])
def test_what_sends_no_pictures_is_an_error(server, parts):
    server.routes["/live"] = camera(parts)
    with pytest.raises(SourceError, match="no pictures|hung up after 0 frames"):
        open_source(server.url("/live"))


def test_a_part_without_end_is_not_collected_for_ever(server, monkeypatch):
    monkeypatch.setattr("sparsevit_runtime.sources.mjpeg._LONGEST_PART", 10**6)
    server.routes["/live"] = camera([b"x" * 3 * 10**6], part=WAYS["no length"])
    with pytest.raises(SourceError, match="part of more than"):
        open_source(server.url("/live"))


def test_finding_large_pictures_takes_no_longer_than_decoding_them(server):
    """A camera sends thirty a second, and what looks for their ends goes over every byte."""
    picture = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8))[1].tobytes()
    server.routes["/live"] = camera([picture] * 13)
    source = open_source(server.url("/live"))
    spent = -time.thread_time()
    for _ in range(12):
        source.read()
    spent += time.thread_time()
    decoding = -time.thread_time()
    for _ in range(12):
        decode_image(picture)
    decoding += time.thread_time()
    source.close()
    assert spent < 2 * decoding
