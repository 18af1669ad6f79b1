import cv2
import numpy as np
import pytest

from sparsevit_runtime.errors import ArgumentError
from sparsevit_runtime.tasks.masks import encode_mask

coco = pytest.importorskip("pycocotools.mask")


def masks():
    random = np.random.RandomState(0)
    for blur in (0.5, 2, 4) * 12:
        height, width = random.randint(1, 60, 2)
        yield cv2.GaussianBlur(random.rand(height, width), (0, 0), blur) > 0.5
    yield np.zeros((5, 7), bool)
    yield np.ones((5, 7), bool)
    yield np.ones((1, 1), bool)
    yield np.zeros((1, 300), bool)


def test_run_lengths_are_packed_as_pycocotools_does():
    for mask in masks():
        ours, theirs = encode_mask(mask, "rle"), coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert ours["counts"] == theirs["counts"].decode() and ours["size"] == theirs["size"]


def test_pycocotools_reads_every_form():
    for mask in masks():
        height, width = mask.shape
        counts = coco.frPyObjects(encode_mask(mask, "counts"), height, width)
        np.testing.assert_array_equal(coco.decode(counts), mask)
        polygons = encode_mask(mask, "polygons")
        if not mask.any():
            assert polygons == []
            continue
        outer, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        without_holes = cv2.drawContours(np.zeros((height, width), np.uint8), outer, -1, 1, cv2.FILLED)
        drawn = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))
        np.testing.assert_array_equal(drawn, without_holes)


@pytest.mark.parametrize("form", ["rle", "counts", "polygons"])
def test_a_part_is_written_as_the_whole(form):
    """Also where it touches the frame's edges, and where a run goes on from the foot of a column at the next's head."""
    random = np.random.RandomState(1)
    for part in [*masks(), np.ones((9, 4), bool)]:
        above, left, below, right = random.randint(0, 3, 4)
        whole = np.pad(part, ((above, below), (left, right)))
        told = encode_mask(part, form, xy=(left, above), image_hw=whole.shape)
        assert told == encode_mask(whole, form)
        if form == "rle":
            packed = coco.encode(np.asfortranarray(whole.astype(np.uint8)))
            assert told == {"size": packed["size"], "counts": packed["counts"].decode()}
        assert encode_mask(part[:, :0], form, xy=(0, 0), image_hw=(3, 4)) == encode_mask(np.zeros((3, 4), bool), form)


def test_a_rectangle_runs_along_its_pixels_edges():
    mask = np.zeros((10, 10), bool)
    mask[2:5, 3:7] = True
    assert encode_mask(mask, "polygons") == [[3, 2, 3, 5, 7, 5, 7, 2]]
    assert encode_mask(mask, "counts") == {"size": [10, 10], "counts": [32, 3, 7, 3, 7, 3, 7, 3, 35]}


@pytest.mark.parametrize("form", ["png", "", None, 5, ["rle"]])
def test_other_forms_are_refused(form):
    with pytest.raises(ArgumentError, match="a mask is written as counts, rle, polygons"):
        encode_mask(np.ones((2, 2), bool), form)
