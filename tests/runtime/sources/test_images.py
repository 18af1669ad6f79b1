from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import open_source


def write_image(path, value, shape=(48, 64, 3), dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, value, dtype))
    return path


def values(source):
    return [int(frame.image[0, 0, 0]) for frame in source]


@pytest.mark.parametrize(
    ("shape", "dtype", "value"),
    [
        ((48, 64), np.uint8, 70),
        ((48, 64, 3), np.uint8, 70),
        ((48, 64, 4), np.uint8, 70),
        ((48, 64), np.uint16, 70 * 257),
    ],
)
def test_one_image_becomes_bgr(tmp_path, shape, dtype, value):
    with open_source(write_image(tmp_path / "a.png", value, shape, dtype)) as source:
        assert (source.size_wh, source.frame_count, source.live) == ((64, 48), 1, False)
        frame = source.read()
        assert source.read() is None
    assert (frame.image.shape, frame.image.dtype) == ((48, 64, 3), np.uint8)
    assert abs(int(frame.image.max()) - 70) <= 1
    assert (frame.index, frame.timestamp_ns, frame.truth) == (0, 0, None)


def test_exif_orientation_turns_the_image(tmp_path):
    done, jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
    assert done
    # An APP1 segment with one TIFF entry: orientation (0x0112) = 6, a quarter turn.
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    data = jpeg.tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:])
    assert open_source(path).read().image.shape == (64, 48, 3)


def test_a_folder_in_natural_order_without_its_other_files(tmp_path):
    for name, value in (("10.png", 100), ("2.png", 20), ("1.PNG", 10)):
        write_image(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("x")
    write_image(tmp_path / "sub" / "3.png", 30)
    with open_source(str(tmp_path)) as source:
        assert source.frame_count == 3
        assert values(source) == [10, 20, 100]


def test_images_of_different_sizes(tmp_path):
    write_image(tmp_path / "a.png", 1, (10, 20, 3))
    write_image(tmp_path / "b.png", 2, (30, 40, 3))
    source = open_source(tmp_path)
    assert source.size_wh is None
    assert [f.image.shape for f in source] == [(10, 20, 3), (30, 40, 3)]


def test_timestamps_count_at_25_per_second(tmp_path):
    for i in range(3):
        write_image(tmp_path / f"{i}.png", i)
    assert [f.timestamp_ns for f in open_source(tmp_path)] == [0, 40_000_000, 80_000_000]


def test_globs(tmp_path):
    write_image(tmp_path / "a" / "x2.png", 2)
    write_image(tmp_path / "a" / "x10.png", 10)
    write_image(tmp_path / "a" / "y1.png", 99)
    write_image(tmp_path / "b" / "x1.png", 1)
    assert values(open_source(f"{tmp_path}/a/x*.png")) == [2, 10]
    assert values(open_source(f"{tmp_path}/**/x[12].png")) == [2, 1]


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    assert values(open_source(write_image(tmp_path / "a[1].png", 7))) == [7]


def test_unreadable_images_are_named_and_skipped(tmp_path, caplog):
    write_image(tmp_path / "1.png", 10)
    (tmp_path / "2.png").write_bytes(b"not a png")
    write_image(tmp_path / "3.png", 30)
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(tmp_path))
    assert [f.index for f in frames] == [0, 2]  # the place of the one between them stays
    assert [Path(f.file).name for f in frames] == ["1.png", "3.png"]
    assert "2.png" in caplog.text
    assert "1.png" not in caplog.text


def test_none_readable(tmp_path):
    for name in ("1.png", "2.jpg"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(SourceError, match="any of the 2 images"):
        open_source(tmp_path)
    with pytest.raises(SourceError, match="the image"):
        open_source(tmp_path / "1.png")


@pytest.mark.parametrize(
    ("uri", "message"),
    [("{}", "holds no images"), ("{}/empty.png", "empty"), ("{}/*.bmp", "no file matches"), ("{}/none.png", "no file")],
)
def test_nothing_there(tmp_path, uri, message):
    (tmp_path / "empty.png").touch()
    folder = tmp_path / "only_text"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    with pytest.raises(SourceError, match=message):
        open_source(uri.format(folder if uri == "{}" else tmp_path))


def test_a_closed_source_has_ended(tmp_path):
    source = open_source(write_image(tmp_path / "a.png", 1))
    source.close()
    source.close()
    assert source.read() is None


def jpeg(value=90, size_wh=(64, 48), **settings) -> bytes:
    flags = [number for pair in settings.items() for number in (getattr(cv2, f"IMWRITE_JPEG_{pair[0]}"), pair[1])]
    noise = np.random.default_rng(value).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    return cv2.imencode(".jpg", noise, flags)[1].tobytes()


@pytest.mark.parametrize("settings", [{}, {"PROGRESSIVE": 1}, {"RST_INTERVAL": 2}])
def test_what_stands_behind_a_jpeg_is_no_matter(tmp_path, settings):
    """A motion photo is a JPEG with a video behind it, in which any bytes may occur."""
    whole = jpeg(**settings)
    tail = b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda\x00\x0c\x01" * 50 + bytes(range(256)) * 20
    (tmp_path / "motion.jpg").write_bytes(whole + tail)
    (frame,) = open_source(tmp_path / "motion.jpg")
    assert np.array_equal(frame.image, cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("settings", [{}, {"PROGRESSIVE": 1}, {"RST_INTERVAL": 2}])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_jpeg_that_stops_short_is_told_even_with_a_thumbnail(tmp_path, settings, share):
    whole, thumbnail = jpeg(**settings), jpeg(7, (16, 16))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    cut = whole[: int(len(whole) * share)]
    (tmp_path / "cut.jpg").write_bytes(cut[:2] + segment + cut[2:])
    with pytest.raises(SourceError, match="damaged"):
        open_source(tmp_path / "cut.jpg")


def test_a_header_that_claims_too_much_costs_its_own_file(tmp_path, caplog):
    write_image(tmp_path / "1.bmp", 10)
    header = bytearray((tmp_path / "1.bmp").read_bytes())
    header[18:22] = (2**21).to_bytes(4, "little")
    (tmp_path / "2.bmp").write_bytes(header)
    write_image(tmp_path / "3.bmp", 30)
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(tmp_path))
    assert [f.index for f in frames] == [0, 2] and "2.bmp" in caplog.text


@pytest.mark.skipif(not hasattr(cv2, "imcount"), reason="this OpenCV counts no pages")
def test_of_several_pages_the_first_stands_and_that_is_told(tmp_path, caplog):
    pages = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)]
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), pages)
    assert [frame.image.max() for frame in open_source(tmp_path / "a.tif")] == [10]
    assert "a.tif has 3 pages: the first stands for it" in caplog.text
