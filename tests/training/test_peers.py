import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import detection_data
from sparsevit_runtime.errors import ModelError
from sparsevit_training.peers import COCO_CLASSES, FastestDet, NanoDet, YoloX, decode_yolox_level, open_peer, suppress

KINDS = {"yolox": YoloX, "nanodet": NanoDet, "fastestdet": FastestDet}
# Input pixels of a 64x64 input; the frame of 64x128 is letterboxed into its upper half, or its middle, or stretched.
OBJECT = (10.0, 22.0, 36.0, 44.0)
FRAME = np.zeros((64, 128, 3), np.uint8)
IN_FRAME = {"yolox": (20, 44, 72, 64), "nanodet": (20, 12, 72, 56), "fastestdet": (20, 22, 72, 44)}


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_come_back_to_the_frame(tmp_path, kind):
    path = detection_data.write_peer(tmp_path / "d.onnx", kind, [(OBJECT, 2, 0.8)])
    peer = open_peer(path, threads=1)
    assert isinstance(peer, KINDS[kind]) and peer.input_hw == (64, 64) and peer.name == "d"
    found = peer(FRAME)
    assert [COCO_CLASSES[c] for c in found.class_id] == ["car"]
    assert found.confidence[0] == pytest.approx(0.8, abs=1e-4)
    np.testing.assert_allclose(found.xyxy[0], IN_FRAME[kind], atol=0.1)
    assert found.timings.inference_ms > 0
    assert len(peer(FRAME, threshold=0.9)) == 0


def test_no_objects(tmp_path):
    assert len(open_peer(detection_data.write_peer(tmp_path / "d.onnx", "yolox", []))(FRAME)) == 0


def test_eighty_names():
    assert len(set(COCO_CLASSES)) == 80
    assert [COCO_CLASSES[i] for i in (0, 1, 2, 3, 5, 7, 79)] == [
        *("person", "bicycle", "car", "motorcycle", "bus", "truck", "toothbrush")
    ]


def other(tmp_path, shape, inputs=(1, 3, 64, 64)):
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", inputs), ("y", shape))]
    node = helper.make_node("Expand", ["x", "s"], ["y"])
    size = helper.make_tensor("s", TensorProto.INT64, [len(shape)], shape)
    graph = helper.make_graph([node], "other", info[:1], info[1:], [size])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "o.onnx")
    return tmp_path / "o.onnx"


def test_unknown_formats(tmp_path):
    with pytest.raises(ModelError, match=r"outputs \[\(1, 3, 64, 64\)\]; known are"):
        open_peer(other(tmp_path, [1, 3, 64, 64]))
    with pytest.raises(ModelError, match="cannot be opened"):
        open_peer(tmp_path / "missing.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not onnx")
    with pytest.raises(ModelError, match="cannot be opened"):
        open_peer(tmp_path / "broken.onnx")


def test_a_level_of_yolox():
    level = np.zeros((1, 7, 2, 3), np.float32)
    level[0, :, 1, 2] = (0.5, 0.25, np.log(2), np.log(4), 0.5, 0.8, 0.2)
    scores, boxes = decode_yolox_level(level, 8)
    assert scores.shape == (1, 6, 2) and boxes.shape == (1, 6, 4)
    np.testing.assert_allclose(scores[0, 5], (0.4, 0.1), rtol=1e-6)
    np.testing.assert_allclose(boxes[0, 5], (20 - 8, 10 - 16, 20 + 8, 10 + 16), rtol=1e-6)


def test_suppression_is_per_class_and_best_first():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32)
    kept = suppress(boxes, np.array([0.6, 0.7, 0.5, 0.9]), np.array([1, 1, 2, 1]), 0.1)
    assert kept.tolist() == [3, 1, 2]
    assert suppress(boxes[:0], np.zeros(0), np.zeros(0, int), 0.1).tolist() == []
