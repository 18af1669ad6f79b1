"""Mask2Former: exported, and what its graph is made of."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from exports import (
    CLASSES,
    Exported,
    card_of,
    check_comes_back,
    check_export,
    check_native,
    mask2former_network,
    open_session,
    small_mask2former,
    small_mask2former_in_half,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, SegmentationOptions, export
from sparsevit_exporter.parity import normalize, probe_images
from sparsevit_exporter.trace import store_weights_in_half
from sparsevit_runtime.errors import CheckpointError, ExportError
from sparsevit_runtime.graph.parts import PARTS, part_of_layer

SLOW = pytest.mark.slow  # each export costs seconds of tracing


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Exported:
    return small_mask2former(tmp_path_factory)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> Exported:
    return small_mask2former_in_half(tmp_path_factory)


@SLOW
@pytest.mark.parametrize("name", ["whole", "fixed"])
def test_export_holds_and_describes_itself(name, request):
    exported = request.getfixturevalue(name)
    check_export(exported)
    way = exported.options.task.post_processing or "detectron2"
    assert card_of(exported.path).producer.endswith(f", masks to labels as {way}")


@SLOW
def test_labels_are_those_of_the_masks_at_the_image_s_size(whole):
    options = whole.options
    card = card_of(whole.path)
    frames = probe_images(card.input, [0, 5])
    feed = {"image": frames, "keep": np.array(card.checks[0].keep, np.int64)}
    (labels,) = open_session(whole.path).run(["labels"], feed)
    with torch.inference_mode():
        found = whole.network(normalize(frames, card.input))
        masks = torch.nn.functional.interpolate(found.mask_logits, scale_factor=4.0, mode="bilinear")
        masks = masks[:, :, : options.height, : options.width].sigmoid()
        expected = torch.einsum("bqc,bqhw->bchw", found.class_logits.softmax(-1)[..., :-1], masks).argmax(1)
    assert labels.shape == (2, options.height, options.width)
    assert (labels == expected.numpy()).mean() > 0.999 and len(np.unique(labels)) > 1


@SLOW
@pytest.mark.parametrize("name", ["whole", "fixed"])
def test_nothing_works_a_shape_out_and_every_part_has_its_name(name, request):
    graph = onnx.load(request.getfixturevalue(name).path).graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Shape", "Size", "Range", "ConstantOfShape", "Expand", "Einsum"}
    parts = {part_of_layer(node.name) for node in graph.node}
    assert parts == {*PARTS, "pixel_decoder", "transformer_decoder", "labels"} - {"front"}
    where = {kind: {part_of_layer(n.name) for n in graph.node if n.op_type == kind} for kind in kinds}
    assert where["GridSample"] == {"pixel_decoder"} and where["Where"] == {"transformer_decoder"}
    assert where["ArgMax"] == where["Sigmoid"] == {"labels"}


@SLOW
def test_places_are_float32_where_all_else_is_half(fixed):
    graph = onnx.load(fixed.path).graph
    made = {name: node for node in graph.node for name in node.output}
    weights = {w.name: w for w in graph.initializer}
    assert weights["head.class_predictor.bias"].data_type == TensorProto.FLOAT16
    (centres,) = (w for name, w in weights.items() if name.endswith(".centres"))
    assert centres.data_type == TensorProto.FLOAT
    samples = [node for node in graph.node if node.op_type == "GridSample"]
    assert len(samples) == 3

    def is_float32(name: str) -> bool:
        while name in made and made[name].op_type in ("Reshape", "Transpose", "Slice", "Gather", "Add", "Mul"):
            name = made[name].input[0]
        return made[name].op_type == "Cast" and made[name].attribute[0].i == TensorProto.FLOAT

    assert all(is_float32(name) for node in samples for name in node.input)
    assert all(is_float32(node.input[0]) for node in graph.node if node.op_type == "InstanceNormalization")


@SLOW
def test_places_stay_whole_where_weights_are_stored_in_half(whole):
    proto = onnx.load(whole.path)
    store_weights_in_half(proto)
    stored = {w.name: w.data_type for w in proto.graph.initializer}
    assert TensorProto.FLOAT in {kind for name, kind in stored.items() if name.endswith(".centres")}
    assert stored["head.pixel_decoder.layer_1.0.weight/half"] == TensorProto.FLOAT16


@SLOW
def test_a_file_is_read_back_and_exported_again(whole, tmp_path):
    """With the weights that it was made of, all under their own names; the second file answers as the first."""
    loaded = check_comes_back(whole)
    expected, found = whole.network.state_dict(), loaded.network.state_dict()
    exactly = [name for name in expected if name.startswith("head.")]
    assert len(exactly) > 80 and all(torch.equal(found[name], expected[name]) for name in exactly)
    again = write_export(loaded.network, tmp_path / "again.onnx", whole.options, loaded.classes)
    card = card_of(whole.path)
    feed = {"image": probe_images(card.input, [0, 5]), "keep": np.array(card.checks[-1].keep, np.int64)}
    first, second = (open_session(path).run(["labels"], feed)[0] for path in (whole.path, again.path))
    assert (first == second).mean() > 0.999 and len(np.unique(first)) > 1


def test_a_checkpoint_of_ours_is_loaded(tmp_path):
    check_native(mask2former_network(), tmp_path / "w.pth", CLASSES)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"type": "upernet"}, "type 'upernet' is none of pyramid, mlp, mask2former; upgrade"),
        ({"channels": 30}, "channels 30 do not divide into 2 heads"),
        ({"feature_channels": 16}, "feature_channels 16 do not divide into 32 groups"),
        ({"queries": 0}, "queries"),
    ],
)
def test_a_checkpoint_of_another_head(tmp_path, head, message):
    network = mask2former_network()
    network.head_config.update(head)
    with pytest.raises(CheckpointError, match=message):
        check_native(network, tmp_path / "w.pth", CLASSES)


def test_post_processing_is_for_masks(tmp_path):
    network = randomize(SegmentationModel(tiny_backbone(), len(CLASSES), 8), seed=5)
    options = ExportOptions(60, 88, task=SegmentationOptions(post_processing="detectron2"))
    with pytest.raises(ExportError, match="'detectron2' is for heads that predict masks; this pyramid head scores"):
        export(network, tmp_path / "m.onnx", options, CLASSES)
    with pytest.raises(ExportError, match="'mmdet' is not one of detectron2, huggingface"):
        SegmentationOptions(post_processing="mmdet")


def test_more_classes_than_a_label_holds(tmp_path):
    network = SegmentationModel(tiny_backbone(), 256, 8)
    with pytest.raises(ExportError, match="256 classes; a label map holds 255"):
        export(network, tmp_path / "m.onnx", ExportOptions(60, 88), [CLASSES[0]] * 256)
