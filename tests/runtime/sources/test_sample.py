from __future__ import annotations

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.sample import open_sample


def write_clip(path):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()


def test_the_first_clip_that_decodes_is_taken_and_named(tmp_path):
    (tmp_path / "vpi3").mkdir()
    (tmp_path / "vpi3" / "dashcam.mp4").write_bytes(b"broken")
    write_clip(tmp_path / "vtest.avi")
    places = (str(tmp_path / "none.avi"), str(tmp_path / "vpi*" / "dashcam.mp4"), str(tmp_path / "*.avi"))
    with open_sample("sample://", places) as source:
        assert source.name == f"sample clip {tmp_path / 'vtest.avi'}"
        assert len(list(source)) == 1


@pytest.mark.slow
def test_without_a_clip_the_synthetic_street(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENCV_SAMPLES_DATA_PATH", str(tmp_path))
    with open_sample("sample://", (str(tmp_path / "*.avi"),)) as source:
        assert "synthetic street" in source.name
        assert source.read().truth is not None


@pytest.mark.slow
def test_it_always_opens():
    with open_source("sample://") as source:
        assert source.read().image.ndim == 3


def test_it_takes_no_options():
    with pytest.raises(SourceError, match="give its path"):
        open_source("sample://vtest.avi")
