import json

import cv2
import numpy as np
import pytest

import detection_data
from sparsevit_runtime.errors import DatasetError, SinkError
from sparsevit_training.datasets import CocoBoxes
from sparsevit_training.peers import open_peer
from sparsevit_training.pseudo_label import ROAD_USERS, pseudo_label

OBJECTS = [((8.0, 8.0, 40.0, 40.0), 2, 0.8), ((30.0, 40.0, 60.0, 60.0), 0, 0.5), ((4.0, 4.0, 20.0, 50.0), 15, 0.9)]


@pytest.fixture
def peer_file(tmp_path):
    return detection_data.write_peer(tmp_path / "peer.onnx", "yolox", OBJECTS)  # a car, a person, a cat


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((64, 64, 3), 40 * i, np.uint8))
    return folder


@pytest.mark.parametrize(("threshold", "counts"), [(0.4, (3, 3)), (0.6, (0, 3)), (0.95, (0, 0))])
def test_what_is_sure_enough_becomes_a_dataset(peer_file, frames, tmp_path, threshold, counts):
    made = pseudo_label([frames], open_peer(peer_file), tmp_path / "out", threshold)
    assert (made.frames, made.empty) == (3, 0 if any(counts) else 3)
    assert (made.objects["person"], made.objects["car"]) == counts and set(made.objects) == set(ROAD_USERS)
    data = CocoBoxes(made.annotations, tmp_path / "out" / "images", ROAD_USERS)
    assert len(data) == 3 and data.skipped == ()
    assert sorted(data[0].boxes.classes.tolist()) == [0] * bool(counts[0]) + [2] * bool(counts[1])
    if counts[1]:
        np.testing.assert_allclose(data[0].boxes.xyxy[data[0].boxes.classes == 2][0], OBJECTS[0][0], atol=0.01)


def test_clips_are_read(peer_file, tmp_path):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for i in range(10):
        writer.write(np.full((64, 64, 3), 20 * i, np.uint8))
    writer.release()
    made = pseudo_label([clip], open_peer(peer_file), tmp_path / "out", frames_per_clip=5)
    assert made.frames == 5
    origins = [i["origin"] for i in json.loads(made.annotations.read_text())["images"]]
    assert origins[:2] == ["clip.avi#0", "clip.avi#2"]


def test_errors(peer_file, frames, tmp_path):
    peer = open_peer(peer_file)
    with pytest.raises(DatasetError, match="unicorn"):
        pseudo_label([frames], peer, tmp_path / "out", classes=("unicorn",))
    with pytest.raises(DatasetError, match="no readable image"):
        pseudo_label([tmp_path / "nowhere"], peer, tmp_path / "out")
    with pytest.raises(SinkError, match="cannot make"):
        pseudo_label([frames], peer, peer_file / "out")
