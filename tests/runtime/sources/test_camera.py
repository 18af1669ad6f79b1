from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import camera, open_source
from sparsevit_runtime.sources.camera import CameraSource
from sparsevit_runtime.sources.capture import Capture, opencv_has
from sparsevit_runtime.sources.gstreamer import csi_pipeline, gstreamer_host


@pytest.fixture
def clip(tmp_path):
    """A clip stands in for a device: to CameraSource both are a capture that delivers frames until it does not."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    for i in range(4):
        writer.write(np.full((48, 64, 3), 50 * i, np.uint8))
    writer.release()
    return str(path)


def test_frames_carry_the_time_of_arrival(clip):
    source = CameraSource(Capture(clip), "a camera", "advice")
    assert (source.live, source.size_wh, source.frame_count) == (True, (64, 48), None)
    frames = [source.read() for _ in range(4)]
    assert [f.index for f in frames] == [0, 1, 2, 3]
    stamps = [f.timestamp_ns for f in frames]
    assert stamps == sorted(stamps)
    assert stamps[0] > 1_600_000_000 * 10**9
    source.close()


def test_a_camera_that_stops_is_an_error_and_then_the_end(clip):
    source = CameraSource(Capture(clip), "a camera", "check the cable")
    for _ in range(4):
        source.read()
    with pytest.raises(SourceError, match="stopped after 4 frames; check the cable"):
        source.read()
    assert source.read() is None


def test_a_camera_without_a_first_frame_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="delivers no frame; check the cable"):
        CameraSource(Capture(str(tmp_path / "none.avi")), "a camera", "check the cable")


def test_a_closed_camera_has_ended(clip):
    source = CameraSource(Capture(clip), "a camera", "advice")
    source.close()
    source.close()
    assert source.read() is None


@pytest.mark.parametrize("uri", [987, "987", "/dev/video987", "/dev/video987?size=640x480&fps=30&format=MJPG"])
def test_a_missing_camera_lists_those_present(uri):
    assert not os.path.exists("/dev/video987")
    with pytest.raises(SourceError, match="no camera /dev/video987; cameras present: "):
        open_source(uri)


def test_what_is_no_device_is_no_camera(monkeypatch, tmp_path):
    """Such as a folder that somebody made there by mistake."""
    (tmp_path / "video7").mkdir()
    (tmp_path / "video8").symlink_to("/dev/null")
    monkeypatch.setattr(camera.glob, "glob", lambda pattern: [str(tmp_path / "video7"), str(tmp_path / "video8")])
    with pytest.raises(SourceError, match=rf"cameras present: {tmp_path}/video8\. Plug"):
        open_source("/dev/video987")


@pytest.mark.parametrize(
    "uri",
    [
        -1,
        "-1",
        "/dev/videoX",
        "/dev/video",
        "0?size=640",
        "0?fps=0",
        "0?fps=fast",
        "0?format=JPG",
        "0?width=640",
    ],
)
def test_bad_camera_uris_list_what_is_accepted(uri):
    with pytest.raises(SourceError, match=r"accepted: N or /dev/videoN"):
        open_source(uri)


def test_the_csi_pipeline():
    pipeline = csi_pipeline(1, (1920, 1080), 60, 2)
    for part in (
        "sensor-id=1 ",
        "width=1920, height=1080, framerate=60/1",
        "flip-method=2",
        "appsink name=frames drop=true",
    ):
        assert part in pipeline
    assert "memory:NVMM" in pipeline


@pytest.mark.parametrize("uri", ["csi://x", "csi://99", "csi://0?flip=9", "csi://0?fps=1.5", "csi://0?gain=1"])
def test_bad_csi_uris_list_what_is_accepted(uri):
    with pytest.raises(SourceError, match=r"accepted: csi://N"):
        open_source(uri)


@pytest.mark.skipif(os.path.exists("/dev/nvhost-vi"), reason="this machine may have a CSI camera")
def test_csi_without_sensor_or_gstreamer_says_what_to_do():
    with pytest.raises(SourceError, match="nvidia-l4t-gstreamer" if gstreamer_host() else "python3-gi"):
        open_source("csi://0")


def test_features_are_read_from_the_build_information():
    lines = {line.split(":")[0].strip(): line for line in cv2.getBuildInformation().splitlines()}
    assert opencv_has("GStreamer") == ("YES" in lines["GStreamer"])
    assert opencv_has("FFMPEG") == ("YES" in lines["FFMPEG"])
    assert not opencv_has("no such feature")
