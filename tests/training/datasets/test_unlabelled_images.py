import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import DatasetError
from sparsevit_training.datasets import UnlabelledImages


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    for name, width in (("b.jpg", 40), ("a.png", 2000)):
        cv2.imwrite(str(folder / name), np.full((20, width, 3), width % 251, np.uint8))
    writer = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for i in range(30):
        writer.write(np.full((48, 64, 3), i * 8, np.uint8))
    writer.release()
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_images_then_spread_frames(media):
    data = UnlabelledImages([media], frames_per_clip=5)
    assert len(data) == 7 and data.classes == ()
    assert all(data[i].label is None for i in range(7))
    assert [data[i].name for i in range(3)] == ["a.png", "b.jpg", "clip.avi#0"]
    greys = [float(data[i].image.mean()) for i in range(2, 7)]
    assert greys == sorted(greys) and greys[-1] - greys[0] > 150  # from all over the clip


def test_large_images_are_reduced(media):
    assert UnlabelledImages([media / "a.png"], longest_side=500)[0].image.shape == (5, 500, 3)


def test_broken_images_are_skipped(media):
    (media / "broken.jpg").write_bytes(b"junk")
    data = UnlabelledImages([media], frames_per_clip=1)
    assert len(data) == 3 and "broken.jpg" in data.skipped[0].name


@pytest.mark.parametrize("name", ["empty", "absent.jpg", "notes.txt", "fake.mp4"])
def test_nothing_readable(media, name):
    if name == "empty":
        (media / name).mkdir()
    if name == "fake.mp4":
        (media / name).write_bytes(b"junk")
    with pytest.raises(DatasetError, match="no readable image or clip"):
        UnlabelledImages([media / name])
