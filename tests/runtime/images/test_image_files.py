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


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("grey", [False, True])
def test_12_bits_in_16_are_as_bright_as_8(tmp_path, suffix, grey):
    """As machine-vision cameras write them: the upper byte alone would be 0 to 15."""
    shape = (24, 32) if grey else (24, 32, 3)
    values = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    path = tmp_path / f"a{'.pgm' if grey and suffix == '.ppm' else suffix}"
    assert cv2.imwrite(str(path), values)
    expected = (values >> 4).astype(np.uint8)
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected if not grey else np.dstack([expected] * 3))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_and_8_are_read_as_before(tmp_path, suffix):
    rng = np.random.default_rng(0)
    for i, values in enumerate(
        (rng.integers(0, 65536, (24, 32, 3), np.uint16), rng.integers(0, 256, (9, 7, 3), np.uint8))
    ):
        path = tmp_path / f"{i}{suffix}"
        cv2.imwrite(str(path), values)
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR))


def test_other_flags_get_the_values_as_written(tmp_path):
    values = np.full((4, 5), 3000, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", cv2.IMREAD_UNCHANGED), values)
