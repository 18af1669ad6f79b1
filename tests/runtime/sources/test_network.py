from __future__ import annotations

import logging
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import PermanentSourceError, SourceError, SourceNotFoundError
from sparsevit_runtime.live.feeds import open_feed
from sparsevit_runtime.live.reconnect import Reconnect
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.addresses import hide_password, hide_passwords
from sparsevit_runtime.sources.capture import opencv_has
from sparsevit_runtime.sources.network import NetworkSource

pytestmark = pytest.mark.timed

needs_ffmpeg = pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read http streams")

_FRAMES_PER_CONNECTION = 8


@pytest.fixture
def camera():
    """A network camera: a multipart JPEG stream that breaks after some frames; `refuse` lets it hang up at once."""
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.connections += 1
            if self.server.refuse:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
            try:
                for _ in range(_FRAMES_PER_CONNECTION):
                    self.wfile.write(part)
            except OSError:
                self.close_connection = True

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.refuse, server.connections = False, 0
    server.url = f"http://127.0.0.1:{server.server_port}/live"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@needs_ffmpeg
def test_one_opening_is_one_connection_and_what_breaks_is_an_error(camera):
    source = NetworkSource(camera.url)
    assert (source.live, source.size_wh, camera.connections) == (True, (64, 48), 1)
    frames = []
    with pytest.raises(SourceError, match="broke after 8 frames"):
        while (frame := source.read()) is not None:
            frames.append(frame)
    assert [f.index for f in frames] == list(range(_FRAMES_PER_CONNECTION)) and camera.connections == 1
    assert all(f.image.shape == (48, 64, 3) for f in frames)
    assert source.read() is None


def test_a_source_by_its_address_is_opened_anew_when_it_breaks(camera, caplog):
    policy = Reconnect(first_wait_s=0.01, longest_wait_s=0.02, attempts=2, before_first=False)
    with open_feed(camera.url, policy) as feed, caplog.at_level(logging.WARNING):
        frames = [feed.read() for _ in range(2 * _FRAMES_PER_CONNECTION)]
        assert (feed.reconnects, camera.connections) == (1, 2)
        assert [f.index for f in frames] == list(range(len(frames)))
        assert "live (reconnect 1)" in caplog.text
        camera.refuse = True
        with pytest.raises(SourceError, match="did not come back in 2 attempts.*status 503"):
            feed.read()


@needs_ffmpeg
def test_open_source_takes_http_streams(camera):
    with open_source(camera.url) as source:
        assert source.live
        assert source.read().timestamp_ns > 1_600_000_000 * 10**9


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_nobody_there(scheme):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(SourceError, match="cannot open the stream") as caught:
        open_source(f"{scheme}://me:secret@127.0.0.1:{port}/live")
    assert "secret" not in str(caught.value)


@needs_ffmpeg
def test_a_silent_server_times_out():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(SourceError, match="within 400 ms"):
            NetworkSource(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", open_timeout_ms=400)
        assert time.monotonic() - start < 5


def say(*answers):
    """An RTSP server that gives these answers, each to one request."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard = []

    def run():
        while True:
            try:
                link = listener.accept()[0]
            except OSError:
                return
            with link:
                for answer in answers:
                    try:
                        heard.append(link.recv(4096).decode())
                        link.sendall(answer.replace("CSEQ", re.search(r"CSeq: *(\d+)", heard[-1])[1]).encode())
                    except (OSError, TypeError):
                        break

    threading.Thread(target=run, daemon=True).start()
    return listener, heard


CHALLENGE = 'RTSP/1.0 401 Unauthorized\r\nCSeq: CSEQ\r\nWWW-Authenticate: Digest realm="cam", nonce="abc"\r\n\r\n'
NOT_FOUND = "RTSP/1.0 404 Not Found\r\nCSeq: CSEQ\r\n\r\n"


@pytest.mark.parametrize(
    ("answers", "user", "kind", "advice"),
    [
        ([NOT_FOUND] * 4, "", SourceNotFoundError, "the server has no such stream"),
        ([CHALLENGE] * 4, "", PermanentSourceError, "user and password are missing or wrong"),
        ([CHALLENGE] * 4, "me:secret@", PermanentSourceError, "user and password are missing or wrong"),
        ([CHALLENGE, NOT_FOUND] * 2, "me:secret@", SourceNotFoundError, "no such stream"),
    ],
)
def test_an_rtsp_server_that_refuses_is_told_from_one_that_is_not_there(answers, user, kind, advice):
    listener, heard = say(*answers)
    with listener, pytest.raises(SourceError, match=advice) as caught:
        NetworkSource(f"rtsp://{user}127.0.0.1:{listener.getsockname()[1]}/live", open_timeout_ms=2000)
    assert type(caught.value) is kind and "secret" not in str(caught.value)
    assert not any("secret" in each for each in heard)
    assert not user or any('username="me"' in each for each in heard)


def test_a_malformed_address_is_an_error():
    with pytest.raises(SourceError, match="address is not valid"):
        open_source("rtsp://[::1/live")


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://user:zq#qz@host/x",
        "rtsp://user:12#qz@host/x",
        "rtsp://user:zq/qz@host/x",
        "http://user:zq?qz@host/x.mp4",
        "http://user:zq[qz@host/x",
        "bogus://user:zqz@host/x",
        "rtsp:/user:zqz@host/x",
    ],
)
def test_a_password_is_in_no_error(url):
    """With characters that end their part of a URL, too: then it says how to write them."""
    with pytest.raises(SourceError) as error:
        open_source(url)
    message = str(error.value)
    assert "qz@" not in message and "zq" not in message, message
    assert ("%23 for #" in message) == ("user:zqz@" not in url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://10.0.0.2/live", "rtsp://10.0.0.2/live"),
        ("rtsp://me:pw@10.0.0.2:554/live?x=1", "rtsp://***@10.0.0.2:554/live?x=1"),
        ("rtsp://me:p@w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://me:p#w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://me:p/w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://me:1/w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://me:p?w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://m#e:pw@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://m/e:pw@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://m?e:pw@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp://p#w@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("rtsp:/me:pw@10.0.0.2/live", "rtsp:/***@10.0.0.2/live"),
        ("bogus://me:pw@10.0.0.2", "bogus://***@10.0.0.2"),
        ("http://cam/photo@2x.jpg", "http://cam/photo@2x.jpg"),
        ("http://cam/@me/live:1", "http://cam/@me/live:1"),
        ("http://cam/video?user=me&password=p&w=3", "http://cam/video?user=me&password=***&w=3"),
        ("rtsp://[::1]:8554/live", "rtsp://[::1]:8554/live"),
        ("frames/a:b@c.mp4", "frames/a:b@c.mp4"),
    ],
)
def test_passwords_are_hidden(url, shown):
    assert hide_password(url) == shown


@pytest.mark.parametrize("user", ["me:pw@", "me:p@w@", "m#e:pw@", "me@"])
def test_passwords_in_others_texts_are_hidden(user):
    told = hide_passwords(f"tried rtsp://{user}10.0.0.2/live, then http://a.b/c@2x.jpg")
    assert told == "tried rtsp://***@10.0.0.2/live, then http://a.b/c@2x.jpg"
