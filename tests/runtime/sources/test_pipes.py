"""Pipes and devices in place of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from clips import write_clip
from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.capture import opencv_has

pytestmark = pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read pipes")


@pytest.fixture
def pipe(tmp_path):
    """Makes a named pipe into which something is written."""
    writers = []

    def make(name: str, data: bytes) -> Path:
        path = tmp_path / name
        os.mkfifo(path)
        writers.append(threading.Thread(target=write, args=(path, data), daemon=True))
        writers[-1].start()
        return path

    def write(path: Path, data: bytes) -> None:
        with suppress(BrokenPipeError):
            path.write_bytes(data)

    yield make
    for writer in writers:
        writer.join(5)


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_a_video_comes_through_a_pipe_as_from_a_file(tmp_path, pipe, name):
    """The index of this .mp4 stands at its beginning."""
    pytest.importorskip("av", reason="PyAV writes the clips")
    path = write_clip(tmp_path / name)
    expected = [(f.index, f.timestamp_ns, f.image.mean()) for f in open_source(path)]
    assert len(expected) == 60
    with open_source(pipe(f"pipe-{name}", path.read_bytes())) as source:
        assert not source.live
        assert [(f.index, f.timestamp_ns, f.image.mean()) for f in source] == expected


def test_a_dash_is_stdin(tmp_path):
    image = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    code = "from sparsevit_runtime.sources import open_source; print([f.image.mean() for f in open_source('-')])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, input=image, capture_output=True, check=True)
    assert done.stdout == b"[np.float64(90.0)]\n"


def test_an_image_comes_through_a_pipe(pipe):
    image = np.full((48, 64, 3), 90, np.uint8)
    path = pipe("a.png", cv2.imencode(".png", image)[1].tobytes())
    assert [np.array_equal(f.image, image) for f in open_source(path)] == [True]


def test_what_cannot_be_read_from_its_beginning_on_is_told(pipe):
    with pytest.raises(SourceError, match="of the pipe .*readable from its beginning on"):
        open_source(pipe("a.mp4", b"no video" * 1000))


def test_waiting_for_a_pipe_may_be_interrupted(tmp_path):
    os.mkfifo(tmp_path / "a.ts")
    # A shell's background ignores Ctrl-C, and so does what is started there.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from sparsevit_runtime.sources import open_source; print('waiting', flush=True); open_source('a.ts')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    assert waiting.stdout.readline() == b"waiting\n"
    time.sleep(0.2)
    waiting.send_signal(signal.SIGINT)
    try:
        assert waiting.wait(10) != 0
    finally:
        waiting.kill()
        waiting.stdout.close()


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a"])
def test_a_device_is_no_source(tmp_path, name):
    """It has no end."""
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(SourceError, match="is a device"):
        open_source(tmp_path / name)
