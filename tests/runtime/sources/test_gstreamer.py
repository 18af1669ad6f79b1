"""GStreamer under PyGObject, as the system's Python packages bring it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from brokers import free_port
from clips import write_coded_clip
from sparsevit_runtime.errors import PermanentSourceError, SourceError
from sparsevit_runtime.sources import gstreamer, open_source
from sparsevit_runtime.sources.base import Timeouts
from sparsevit_runtime.sources.capture import opencv_has
from sparsevit_runtime.sources.gstreamer import PipelineCapture, stream_pipeline
from sparsevit_runtime.sources.network import DECODER_VARIABLE, NetworkSource
from time_code import SIZE_WH, read_code

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SYSTEM_PYTHON, SYSTEM_PACKAGES = "/usr/bin/python3", "/usr/lib/python3/dist-packages"
TO_HOST = "video/x-raw,format=BGR ! appsink name=frames sync=false"


def forget() -> None:
    gstreamer._gst.cache_clear()
    gstreamer.has_element.cache_clear()


@pytest.fixture
def gst(monkeypatch):
    """GStreamer; the system's packages are behind all others, as in an environment made with --system-site-packages."""
    monkeypatch.setattr(sys, "path", [*sys.path, SYSTEM_PACKAGES])
    forget()
    found = gstreamer._gst()
    if found is None:
        pytest.skip("this Python has no PyGObject: apt install python3-gi gir1.2-gst-rtsp-server-1.0")
    yield found
    forget()


def test_pictures_come_with_their_times_then_the_end(gst):
    source = "videotestsrc num-buffers=5 pattern=red ! video/x-raw,width=50,height=38,framerate=25/1 ! videoconvert"
    capture = PipelineCapture(f"{source} ! {TO_HOST}", Timeouts())
    pictures = [capture.read() for _ in range(5)]
    assert [picture.media_ns for picture in pictures] == [40_000_000 * i for i in range(5)]
    for picture in pictures:  # rows of 150 bytes are padded to 152
        assert picture.image.shape == (38, 50, 3) and picture.image.flags.writeable
        assert np.abs(picture.image.astype(int) - (0, 0, 255)).max() < 4
    assert capture.fps == 25.0 and capture.is_open
    assert capture.read() is None and not capture.is_open and not capture.error
    capture.close()


def test_a_text_that_is_no_pipeline(gst):
    with pytest.raises(SourceError, match="cannot build the pipeline.*nosuchelement"):
        PipelineCapture(f"nosuchelement ! {TO_HOST}", Timeouts())


def test_a_missing_file_is_no_fault_of_the_decoder_and_one_that_is_no_video_is(gst, tmp_path):
    (tmp_path / "text").write_text("no video " * 1000)
    for name, cannot_decode in (("missing", False), ("text", True)):
        launch = f"filesrc location={tmp_path / name} ! decodebin ! videoconvert ! {TO_HOST}"
        capture = PipelineCapture(launch, Timeouts())
        assert capture.read() is None and not capture.is_open
        assert capture.error and "\n" not in capture.error and capture.cannot_decode is cannot_decode
        capture.close()


@pytest.mark.timed
def test_close_does_not_wait_for_a_frame_that_never_comes(gst):
    capture = PipelineCapture(
        f"videotestsrc is-live=true ! valve drop=true ! videoconvert ! {TO_HOST}", Timeouts(60, 60)
    )
    read = []
    reader = threading.Thread(target=lambda: read.append(capture.read()))
    reader.start()
    time.sleep(0.3)
    begun = time.monotonic()
    capture.close()
    assert time.monotonic() - begun < 1
    reader.join(1)
    assert read == [None] and not capture.is_open


@pytest.mark.timed
def test_a_read_ends_in_time(gst):
    capture = PipelineCapture(
        f"videotestsrc is-live=true ! valve drop=true ! videoconvert ! {TO_HOST}", Timeouts(0.5, 9)
    )
    begun = time.monotonic()
    assert capture.read() is None and capture.is_open
    assert 0.4 < time.monotonic() - begun < 2
    capture.close()


def test_a_url_stays_one_value_of_the_pipeline(gst):
    for url in ('rtsp://a/x"! filesink location=/tmp/x', "rtsp://a/x\\"):
        parsed = gst.parse_launch(stream_pipeline(url, Timeouts()))
        sources = [e for e in parsed.children if e.get_factory().get_name() == "rtspsrc"]
        assert [source.get_property("location") for source in sources] == [url]
        assert not [e for e in parsed.children if e.get_factory().get_name() == "filesink"]


def test_without_the_elements_of_a_jetson_nothing_is_decoded_in_hardware(gst):
    assert gstreamer.has_element("videotestsrc") and gstreamer.has_element("nvarguscamerasrc") is False
    assert not gstreamer.decodes_in_hardware()
    with pytest.raises(PermanentSourceError, match="nvidia-l4t-gstreamer"):
        open_source("csi://0")


def test_an_unknown_decoder_is_refused(monkeypatch):
    monkeypatch.setenv(DECODER_VARIABLE, "nvdec")
    with pytest.raises(PermanentSourceError, match="accepted: auto, ffmpeg, gstreamer"):
        NetworkSource("rtsp://127.0.0.1:1/live")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Half a minute of H.264 whose frames say their numbers."""
    pytest.importorskip("av", reason="PyAV writes the clip")
    return write_coded_clip(tmp_path_factory.mktemp("rtsp") / "code.mp4", frames=750)


@pytest.fixture
def server(gst, clip):
    """URL of an RTSP server with a password that has to be quoted."""
    port = free_port()
    command = [SYSTEM_PYTHON, BENCHMARKS / "rtsp_server.py", str(port), str(clip), "me:s3cr#t"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "ready\n":
        pytest.skip("there is no RTSP server here: apt install gir1.2-gst-rtsp-server-1.0")
    yield f"rtsp://me:s3cr%23t@127.0.0.1:{port}/live"
    process.kill()
    process.wait()


@pytest.mark.timed
def test_an_rtsp_stream_is_read_and_a_wrong_password_told(server, monkeypatch):
    monkeypatch.setenv(DECODER_VARIABLE, "gstreamer")
    with NetworkSource(server) as source:
        assert isinstance(source._pictures._capture, PipelineCapture)
        frames = [source.read() for _ in range(30)]
    assert source.size_wh == SIZE_WH
    codes = [read_code(frame.image) for frame in frames]
    assert all(b - a > 0 for a, b in pairwise(codes))  # a busy reader misses some
    for (frame, code), (later, later_code) in pairwise(list(zip(frames, codes))[5:]):
        assert abs(later.media_ns - frame.media_ns - 40e6 * (later_code - code)) < 10e6
    with pytest.raises(PermanentSourceError, match="missing or wrong") as told:
        NetworkSource(server.replace("s3cr%23t", "wr0ng"))
    assert "wr0ng" not in str(told.value)


@pytest.mark.timed
@pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read streams")
def test_what_gstreamer_cannot_decode_ffmpeg_does(server, gst, monkeypatch, caplog):
    monkeypatch.setenv(DECODER_VARIABLE, "gstreamer")
    feature = gst.Registry.get().lookup_feature("openh264dec")
    if feature is None:
        pytest.skip("GStreamer has no openh264dec to be taken away: apt install gstreamer1.0-plugins-bad")
    rank = feature.get_rank()
    feature.set_rank(0)
    try:
        with caplog.at_level(logging.WARNING), NetworkSource(server) as source:
            assert read_code(source.read().image) >= 0
    finally:
        feature.set_rank(rank)
    assert "GStreamer cannot decode it" in caplog.text and "s3cr" not in caplog.text
