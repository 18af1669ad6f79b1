"""Label maps are numbers, however a PNG file writes them."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from sparsevit_training.datasets import IGNORE, SemanticFolder
from sparsevit_training.datasets.base import BadSample
from sparsevit_training.datasets.label_files import read_labels

GREY, COLOUR, PALETTE, GREY_ALPHA = 0, 2, 3, 4


def png(values, depth, kind, palette=b""):
    """A PNG of these values, (H, W) or (H, W, channels), bit by bit as the standard says."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    rows = []
    for row in flat:
        bits = "".join(f"{int(v):0{depth}b}" for v in row)
        bits += "0" * (-len(bits) % 8)
        rows.append(b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big"))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"PLTE", palette) if palette else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "kind"),
    [(1, GREY), (2, GREY), (4, GREY), (8, GREY), (16, GREY), (1, PALETTE), (4, PALETTE), (8, PALETTE)],
)
def test_values_are_what_is_written(tmp_path, depth, kind):
    top = min(2**depth, 40 if kind == PALETTE else 2**16)
    values = np.random.default_rng(0).integers(0, top, (13, 11))
    # two indices of one colour: colours cannot tell
    palette = b"\x05\x06\x07" * 2 + bytes(range(3 * (top - 2))) if kind == PALETTE else b""
    path = tmp_path / "label.png"
    path.write_bytes(png(values, depth, kind, palette))
    np.testing.assert_array_equal(read_labels(path), values)


def test_labels_of_all_kinds_train_alike(folder):
    expected = SemanticFolder(folder, ["val"], [3])
    labels = [expected[i].label for i in range(3)]
    written = [cv2.imread(str(folder / "val" / "labels" / f"{i:03}.png"), cv2.IMREAD_UNCHANGED) for i in range(3)]
    for i, (depth, kind) in enumerate([(16, GREY), (2, GREY), (8, PALETTE)]):
        palette = bytes(range(12)) if kind == PALETTE else b""
        (folder / "val" / "labels" / f"{i:03}.png").write_bytes(png(written[i], depth, kind, palette))
    data = SemanticFolder(folder, ["val"], [3])
    assert data.skipped == ()
    for i, label in enumerate(labels):
        np.testing.assert_array_equal(data[i].label, label)


@pytest.mark.parametrize(
    ("channels", "kind", "depth"), [(3, COLOUR, 8), (4, 6, 8), (2, GREY_ALPHA, 8), (3, COLOUR, 16)]
)
def test_colours_are_refused_with_what_to_do(tmp_path, channels, kind, depth):
    path = tmp_path / "label.png"
    path.write_bytes(png(np.ones((6, 5, channels), int), depth, kind))
    with pytest.raises(BadSample, match=r"picture of \d channels.*write the class id of every pixel as 8-bit grey"):
        read_labels(path)


def test_a_jpeg_is_no_label(tmp_path):
    path = tmp_path / "label.png"
    path.write_bytes(cv2.imencode(".jpg", np.zeros((6, 5), np.uint8))[1].tobytes())
    with pytest.raises(BadSample, match="is no PNG"):
        read_labels(path)


def test_ids_above_255_are_classes_like_others(folder):
    (folder / "classes.txt").write_text("7000 Ground 1 2 3\n300 Thing 4 5 6\n2 Rare sign 0 0 250\n3 Void 0 0 0\n")
    before = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((folder / "val" / "labels").iterdir())]
    table = np.array([7000, 300, 2, 3], np.uint16)
    for i, label in enumerate(before):
        cv2.imwrite(str(folder / "val" / "labels" / f"{i:03}.png"), table[label])
    data = SemanticFolder(folder, ["val"], names=("Ground", "Thing", "Rare sign"))
    for i, label in enumerate(before):
        np.testing.assert_array_equal(data[i].label, np.where(label == 3, IGNORE, label))


def test_values_of_no_class_are_named(folder):
    cv2.imwrite(str(folder / "val" / "labels" / "001.png"), np.full((48, 64), 4000, np.uint16))
    (skipped,) = SemanticFolder(folder, ["val"], [3]).skipped
    assert "void: 4000" in skipped.reason


def test_masks_of_0_and_255_are_told(folder, caplog):
    """All of the object is void: nothing would learn it."""
    for path in (folder / "val" / "labels").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(label == 1, 255, 0).astype(np.uint8))
    (folder / "classes.txt").write_text("0 background 0 0 0\n1 thing 200 0 0\n")
    data = SemanticFolder(folder, ["val"])
    assert data.absent == ("thing",)
    assert "classes that no label has: thing; the labels have 0, 255, and 255 is void" in caplog.text
