import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import ImageError
from sparsevit_runtime.images.image_files import is_truncated, read_image

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(suffix, image=IMAGE):
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_whole_files_decode_as_opencv_decodes_them(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(suffix))
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    data = encoded(suffix)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match="truncated"):
        read_image(path)


def test_the_end_of_a_thumbnail_is_not_the_end():
    """A whole JPEG inside the header of one, as cameras write them."""
    outer, inner = encoded(".jpg"), encoded(".jpg", IMAGE[:8, :8])
    segment = b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner
    data = outer[:2] + segment + outer[2:]
    assert not is_truncated(data) and is_truncated(data[:-200])
    assert not is_truncated(data + bytes(64))  # padding behind the end


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_what_is_no_image(tmp_path, content):
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError):
        read_image(path)
