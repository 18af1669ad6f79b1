from __future__ import annotations

import hashlib

import numpy as np
import pytest

from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.sources import open_source
from sparsevit_street import STREET_CLASSES, StreetScene

CAR = 8


@pytest.fixture(scope="module")
def scene():
    return StreetScene((240, 136), seed=9)


def test_classes_are_camvids():
    assert [name for name, _ in STREET_CLASSES] == [
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"
    ]  # fmt: skip
    assert dict(STREET_CLASSES)["Road"] == (128, 64, 128)


def test_a_frame_depends_on_seed_and_index_only(scene):
    ahead = scene.render(7)
    again = [StreetScene((240, 136), seed=9).render(i) for i in (0, 7)][1]
    np.testing.assert_array_equal(ahead[0], again[0])
    np.testing.assert_array_equal(ahead[1].label_map, again[1].label_map)
    np.testing.assert_array_equal(ahead[1].xyxy, again[1].xyxy)


def test_the_same_uri_gives_the_same_frames():
    def digest():
        with open_source("synthetic://street?size=96x64&seed=3&frames=3") as source:
            return [hashlib.sha256(frame.image.tobytes()).hexdigest() for frame in source]

    first = digest()
    assert len(set(first)) == 3
    assert first == digest()


def test_seeds_give_different_streets():
    a, b = (StreetScene((96, 64), seed).render(0)[1].label_map for seed in (0, 1))
    assert np.mean(a != b) > 0.05


@pytest.mark.parametrize("size", [(64, 64), (97, 65), (90, 160), (240, 136)])
def test_shapes_and_ranges(size):
    width, height = size
    image, truth = StreetScene(size, seed=4).render(12)
    assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
    assert (truth.label_map.shape, truth.label_map.dtype) == ((height, width), np.uint8)
    assert truth.label_map.max() < len(STREET_CLASSES)
    assert (truth.xyxy.dtype, truth.class_id.dtype) == (np.float32, np.int64)
    assert truth.xyxy.shape == (len(truth.class_id), 4)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_enclose_pixels_of_their_class_and_miss_none(seed):
    scene = StreetScene((320, 180), seed)
    for index in (0, 60):
        _, truth = scene.render(index)
        covered = np.zeros_like(truth.label_map, bool)
        for (x0, y0, x1, y1), class_id in zip(truth.xyxy.astype(int), truth.class_id):
            assert 0 <= x0 < x1 <= 320
            assert 0 <= y0 < y1 <= 180
            inside = truth.label_map[y0:y1, x0:x1] == class_id
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            covered[y0:y1, x0:x1] |= inside
        # Only slivers below the smallest box may lie outside all boxes.
        stray = (truth.label_map >= CAR) & ~covered
        assert stray.sum() <= 0.02 * max(1, (truth.label_map >= CAR).sum()) + 60


@pytest.mark.slow
def test_the_streets_show_every_class():
    seen = set()
    for seed in range(6):
        seen |= set(np.unique(StreetScene((320, 180), seed).render(0)[1].label_map))
    assert seen == set(range(11))


def test_the_picture_goes_with_the_labels(scene):
    """The sky is brighter than the road, in every light."""
    for seed in range(4):
        image, truth = StreetScene((160, 90), seed).render(0)
        grey = image.mean(axis=2)
        assert grey[truth.label_map == 0].mean() > grey[truth.label_map == 3].mean()


def test_things_move_coherently(scene):
    """Between successive frames a car's box shifts a little; over two seconds the picture changes."""
    maps = [scene.render(i)[1].label_map for i in (0, 1, 50)]
    near, far = np.mean(maps[0] != maps[1]), np.mean(maps[0] != maps[2])
    assert 0 < near < 0.05
    assert far > near


def test_fps_scales_time_and_not_speed():
    fast, slow = StreetScene((96, 64), 9, fps=50.0), StreetScene((96, 64), 9, fps=25.0)
    np.testing.assert_array_equal(fast.render(20)[1].label_map, slow.render(10)[1].label_map)


def test_rendering_leaves_the_scene_as_it_was(scene):
    first = scene.render(3)[0]
    first[:] = 0
    scene.render(90)
    assert scene.render(3)[0].any()


def test_the_source_counts_and_ends():
    source = open_source("synthetic://street?size=96x64&frames=3&fps=10")
    frames = list(source)
    assert [f.index for f in frames] == [0, 1, 2]
    assert [f.timestamp_ns for f in frames] == [0, 100_000_000, 200_000_000]
    assert (source.size_wh, source.fps, source.frame_count, source.live) == ((96, 64), 10.0, 3, False)
    assert source.read() is None


def test_a_closed_source_has_ended():
    source = open_source("synthetic://street?size=96x64")
    source.close()
    source.close()
    assert source.read() is None


@pytest.mark.parametrize(
    "uri",
    [
        "synthetic://town",
        "synthetic://",
        "synthetic://street?sise=96x64",
        "synthetic://street?size=96",
        "synthetic://street?size=96x",
        "synthetic://street?size=96x-64",
        "synthetic://street?size=10x10",
        "synthetic://street?size=9999x64",
        "synthetic://street?seed=-1",
        "synthetic://street?seed=two",
        "synthetic://street?frames=0",
        "synthetic://street?fps=0",
        "synthetic://street?fps=nan",
        "synthetic://street?seed=1&seed=2",
        "synthetic://street?seed=",
        "synthetic://street?seed",
        "synthetic://street?&",
    ],
)
def test_bad_uris_list_what_is_accepted(uri):
    with pytest.raises(SourceError, match=r"synthetic://street\?size=WxH"):
        open_source(uri)
