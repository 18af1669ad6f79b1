from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import MissingDependencyError, SourceError
from sparsevit_runtime.sources import open_source

image = pytest.importorskip("PIL.Image", reason="Pillow writes the animations")


@pytest.fixture(params=["a.webp", "a.png"])
def animation(tmp_path, request):
    frames = [image.new("RGB", (64, 48), (40 * i, 0, 200 - 40 * i)) for i in range(5)]
    path = tmp_path / request.param
    options = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 100, 500, 100, 100], **options)
    return path


def check(frames):
    assert [round(f.timestamp_ns / 1e6) for f in frames] == [0, 100, 200, 700, 800]
    for i, frame in enumerate(frames):
        assert frame.index == i and frame.image.shape == (48, 64, 3)
        assert np.abs(frame.image[0, 0].astype(int) - (200 - 40 * i, 0, 40 * i)).max() <= 2


def test_all_frames_at_their_times(animation):
    with open_source(animation) as source:
        assert source.size_wh == (64, 48)
        check(list(source))


@pytest.mark.skipif(not hasattr(cv2, "imreadanimation"), reason="this OpenCV reads no animations")
def test_without_pillow_opencv_reads_them(animation, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    check(list(open_source(animation)))


def test_without_either_it_says_what_to_install(animation, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delattr(cv2, "imreadanimation", raising=False)
    with pytest.raises(MissingDependencyError, match="pip install pillow"):
        open_source(animation)


def test_a_damaged_one_is_an_error(animation):
    data = animation.read_bytes()
    animation.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="damaged"):
        list(open_source(animation))


def test_in_a_folder_its_first_frame_stands_for_it_and_that_is_told(animation, caplog):
    cv2.imwrite(str(animation.parent / "b.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(open_source(animation.parent))) == 2
    assert "is animated: its first frame stands for it" in caplog.text


def test_a_still_webp_is_one_frame(tmp_path):
    image.new("RGB", (64, 48), (200, 10, 20)).save(tmp_path / "a.webp")
    assert len(list(open_source(tmp_path / "a.webp"))) == 1
