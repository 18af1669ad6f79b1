from __future__ import annotations

import logging
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import open_source


def write_video(path, frames=12, fps=10.0, codec="MJPG"):
    """A clip whose frame i has the grey value 20 * i, modulo 256."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.full((48, 64, 3), 20 * i % 256, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_every_frame_in_order(tmp_path, name, codec):
    with open_source(write_video(tmp_path / name, codec=codec)) as source:
        assert (source.size_wh, source.frame_count, source.live) == ((64, 48), 12, False)
        assert source.fps == pytest.approx(10.0)
        frames = list(source)
        assert source.read() is None
    assert [f.index for f in frames] == list(range(12))
    assert [f.timestamp_ns for f in frames] == [i * 100_000_000 for i in range(12)]
    for i, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert abs(float(frame.image.mean()) - 20 * i) < 6


def write_gif(path, values):
    """A 64x48 grey GIF of one value (0..127) per frame, with codes of one byte: literals and a clear before 256."""
    palette = bytes(v for i in range(128) for v in (2 * i,) * 3)
    data = b"GIF89a" + (64).to_bytes(2, "little") + (48).to_bytes(2, "little") + b"\xf6\x00\x00" + palette
    for value in values:
        codes = b"".join(b"\x80" + bytes([value]) * 96 for _ in range(32)) + b"\x81"
        blocks = b"".join(bytes([len(c)]) + c for c in (codes[i : i + 255] for i in range(0, len(codes), 255)))
        control = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"
        data += control + b"\x2c" + b"\x00" * 4 + b"\x40\x00\x30\x00\x00\x07" + blocks + b"\x00"
    path.write_bytes(data + b"\x3b")
    return path


def test_gif(tmp_path):
    with open_source(write_gif(tmp_path / "a.gif", [10, 60, 120])) as source:
        images = [frame.image for frame in source]
    assert [image.shape for image in images] == [(48, 64, 3)] * 3
    assert [round(float(image.mean()) / 2) for image in images] == [10, 60, 120]


def test_a_truncated_video_ends_with_a_warning(tmp_path, caplog):
    path = write_video(tmp_path / "a.avi", frames=40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(path))
    assert 5 < len(frames) < 38
    assert f"stops at frame {len(frames)} of 40" in caplog.text


def test_a_whole_video_ends_without_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(list(open_source(write_video(tmp_path / "a.mp4", codec="mp4v")))) == 12
    assert caplog.text == ""


def test_a_video_without_its_index_is_an_error(tmp_path):
    path = write_video(tmp_path / "a.mp4", codec="mp4v")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(SourceError, match="damaged or incomplete"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.mp4", b"", "empty"), ("a.mp4", b"no video" * 99, "decode"), ("a", b"x", "decode")],
)
def test_files_that_are_no_video(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_source(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write_video(tmp_path / "a.avi")
    path.chmod(0)
    with pytest.raises(SourceError, match="permission"):
        open_source(path)


def test_a_closed_source_has_ended(tmp_path):
    source = open_source(write_video(tmp_path / "a.avi"))
    source.read()
    source.close()
    source.close()
    assert source.read() is None


def test_closing_from_another_thread_ends_the_stream(tmp_path):
    source = open_source(write_video(tmp_path / "a.avi", frames=200))
    closer = threading.Timer(0.0, source.close)
    closer.start()
    count = sum(1 for _ in source)
    closer.join()
    assert count <= 200
    assert source.read() is None


def test_a_video_behind_http(tmp_path):
    write_video(tmp_path / "a.avi")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path), **kwargs)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with open_source(f"http://127.0.0.1:{server.server_port}/a.avi") as source:
            assert not source.live
            assert len(list(source)) == 12
        with pytest.raises(SourceError, match=r"\*\*\*@127") as caught:
            open_source(f"http://me:secret@127.0.0.1:{server.server_port}/b.avi")
        assert "secret" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
