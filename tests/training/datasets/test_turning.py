"""Pictures with an EXIF orientation: run, eval and training see them as viewers do, and the truth where it belongs."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sparsevit_runtime.sources import open_source
from sparsevit_training.datasets import CocoBoxes, CocoInstances, CocoMasks, SemanticFolder, UnlabelledImages
from turned_pictures import SHOWN, turned_jpeg

#: Of the pixels as stored: width 64, height 48, one bright block.
X, Y, W, H = 10, 5, 20, 8


@pytest.fixture
def stored():
    image = np.random.default_rng(0).integers(60, 110, (48, 64, 3), dtype=np.uint8)
    image[Y : Y + H, X : X + W] = 250
    return image


def block(mask):
    """x, y, width, height of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]


def truth(orientation, turned):
    """Where the block lies, in the picture as stored or as shown, and that picture's width and height."""
    mask = np.zeros((48, 64), bool)
    mask[Y : Y + H, X : X + W] = True
    if turned:
        mask = SHOWN[orientation](mask)
    return block(mask), mask.shape[::-1]


def write_coco(tmp_path, stored, orientation, turned):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(turned_jpeg(stored, orientation))
    (x, y, w, h), (width, height) = truth(orientation, turned)
    x, y, w, h = (int(v) for v in (x, y, w, h))
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "block"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x, y, w, h], "segmentation": [polygon]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return tmp_path / "a.json", tmp_path / "images"


@pytest.mark.parametrize("orientation", sorted(SHOWN))
def test_all_read_a_picture_as_it_is_shown(tmp_path, stored, orientation):
    path = tmp_path / "a.jpg"
    path.write_bytes(turned_jpeg(stored, orientation))
    plain = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    shown = SHOWN[orientation](plain)
    with open_source(str(path)) as source:
        np.testing.assert_array_equal(source.read().image, shown)
    np.testing.assert_array_equal(UnlabelledImages([path])[0].image, shown)
    coco = write_coco(tmp_path, stored, orientation, turned=True)
    np.testing.assert_array_equal(CocoBoxes(*coco)[0].image, shown)


@pytest.mark.parametrize(
    ("orientation", "turned"), [*((o, True) for o in SHOWN), (1, False), (5, False), (6, False), (7, False), (8, False)]
)
def test_truth_of_either_size_lies_on_the_object(tmp_path, stored, orientation, turned):
    """A file of the turned size means the turned picture; one of the size as stored is turned along."""
    coco = write_coco(tmp_path, stored, orientation, turned)
    boxes, masks = CocoBoxes(*coco), CocoMasks(*coco)
    assert boxes.skipped == masks.skipped == ()
    (x0, y0, x1, y1) = boxes[0].boxes.xyxy[0]
    bright = boxes[0].image.min(-1) > 180
    assert (x0, y0, x1 - x0, y1 - y0) == block(bright)
    assert boxes.document["annotations"][0]["bbox"] == list(block(bright))
    np.testing.assert_array_equal(masks[0].label == 1, bright)
    (instance,) = CocoInstances(*coco).document["annotations"]
    np.testing.assert_array_equal(coco_mask.decode(instance["segmentation"]), bright)
    assert masks[0].image.shape[:2] == masks[0].label.shape


@pytest.mark.parametrize("turned", [True, False])
def test_label_maps_of_either_size_lie_on_the_picture(folder, stored, turned):
    for orientation in SHOWN if turned else (1, 5, 6, 7, 8):
        (folder / "val" / "images" / "000.png").unlink(missing_ok=True)
        (folder / "val" / "images" / "000.jpg").write_bytes(turned_jpeg(stored, orientation))
        label = np.zeros((48, 64), np.uint8)
        label[Y : Y + H, X : X + W] = 1
        label = SHOWN[orientation](label) if turned else label
        cv2.imwrite(str(folder / "val" / "labels" / "000.png"), np.ascontiguousarray(label))
        data = SemanticFolder(folder, ["val"], [3])
        assert data.skipped == ()
        np.testing.assert_array_equal(data[0].label == 1, data[0].image.min(-1) > 180)


def test_another_size_is_named(tmp_path, stored):
    annotations, images = write_coco(tmp_path, stored, 6, turned=True)
    document = json.loads(annotations.read_text())
    document["images"].append({"id": 2, "file_name": "b.jpg", "width": 50, "height": 48})
    annotations.write_text(json.dumps(document))
    (images / "b.jpg").write_bytes(turned_jpeg(stored, 6))
    (skipped,) = CocoBoxes(annotations, images).skipped
    assert "48x64" in skipped.reason and "50x48" in skipped.reason
