"""Segmenters: exported, read back, and loaded from training."""

from collections.abc import Callable
from functools import cache

import onnx
import pytest
import torch

from exports import (
    CLASSES,
    NORMALISATION,
    Exported,
    check_comes_back,
    check_export,
    check_native,
    small_backbone,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, SegmentationOptions
from sparsevit_exporter.heads import MlpHead
from sparsevit_exporter.tasks import task_of
from sparsevit_exporter.tasks.segmentation import MlpSegmentationModel
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.graph.parts import part_of_layer

SLOW = pytest.mark.slow  # each export costs seconds of tracing
OPTIONS = {
    "a label a pixel": ExportOptions(101, 67, task=SegmentationOptions(label_stride=1)),
    "fp16": ExportOptions(101, 67, precision="fp16", **NORMALISATION),
    "half weights": ExportOptions(101, 67, half_weights=True),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Callable[[str], Exported]:
    """Function (key of `OPTIONS`) -> an export of one network, padded; made once each."""
    network = randomize(SegmentationModel(small_backbone(), len(CLASSES), channels=16), seed=3)
    folder = tmp_path_factory.mktemp("segmentation")
    return cache(lambda name: write_export(network, folder / f"{name}.onnx", OPTIONS[name], CLASSES))


@SLOW
@pytest.mark.parametrize("name", OPTIONS)
def test_export_holds_and_describes_itself(written, name):
    check_export(written(name))


@SLOW
def test_half_weights_halve_the_file(written):
    half, whole = (written(name).path.stat().st_size for name in ("half weights", "a label a pixel"))
    assert half < 0.65 * whole


@SLOW
@pytest.mark.parametrize("name", OPTIONS)
def test_the_network_comes_back_from_the_file(written, name):
    check_comes_back(written(name))


def test_a_training_checkpoint_is_loaded(tmp_path):
    check_native(randomize(SegmentationModel(tiny_backbone(), len(CLASSES), 8), seed=5), tmp_path / "w.pth", CLASSES)


@pytest.mark.parametrize("stride", [0, 3, 8])
def test_labels_are_as_fine_as_logits_or_finer(stride):
    with pytest.raises(ExportError, match=f"label_stride is {stride}; the head's logits allow 1, 2 or 4"):
        SegmentationOptions(label_stride=stride)


def test_options_by_name():
    task = task_of("segmentation")
    assert task.parse_options({"label_stride": 4}) == SegmentationOptions(4)
    assert task.parse_options({}) == SegmentationOptions(2)
    known = "it takes label_stride, post_processing"
    with pytest.raises(ExportError, match=f"detections is no option of segmentation: {known}"):
        task.parse_options({"detections": 3})


@pytest.fixture(scope="module")
def all_mlp(tmp_path_factory) -> Exported:
    network = randomize(MlpSegmentationModel(tiny_backbone((2, 1)), len(CLASSES), 8), seed=4)
    path = tmp_path_factory.mktemp("mlp") / "m.onnx"
    return write_export(network, path, ExportOptions(60, 92, task=SegmentationOptions(label_stride=1)), CLASSES)


@SLOW
def test_the_all_mlp_head_is_exported_and_comes_back(all_mlp):
    check_export(all_mlp)
    check_comes_back(all_mlp)
    nodes = onnx.load(all_mlp.path).graph.node
    assert not {n.op_type for n in nodes} & {"Shape", "Size", "Concat", "Range", "ConstantOfShape", "Expand"}
    parts = {part_of_layer(n.name) for n in nodes if n.op_type in ("Conv", "BatchNormalization")}
    assert parts == {"head"} and {part_of_layer(n.name) for n in nodes if n.op_type == "LabelDecode"} == {"labels"}


def test_a_training_checkpoint_of_the_all_mlp_head_is_loaded(tmp_path):
    network = randomize(MlpSegmentationModel(tiny_backbone(), len(CLASSES), 8), seed=5)
    assert network.head_config == {"type": "mlp", "num_classes": len(CLASSES), "channels": 8}
    check_native(network, tmp_path / "w.pth", CLASSES)


def test_the_all_mlp_head_is_segformer_s():
    """Its two linear layers on each map are multiplied into one."""
    segformer = pytest.importorskip("transformers.models.segformer.modeling_segformer")
    widths, width = [8, 16, 32, 64], 12
    config = segformer.SegformerConfig(hidden_sizes=widths, decoder_hidden_size=width, num_labels=len(CLASSES))
    theirs = randomize(segformer.SegformerDecodeHead(config), seed=8)
    ours = MlpHead(widths, len(CLASSES), width).eval()
    with torch.no_grad():
        fuse = theirs.linear_fuse.weight[:, :, 0, 0].unflatten(1, (4, width)).flip(1)  # the coarsest map came first
        bias = torch.zeros(width)
        for i, (projection, merged) in enumerate(zip(theirs.linear_projections, ours.projections, strict=True)):
            merged.weight.copy_((fuse[:, i] @ projection.proj.weight)[:, :, None, None])
            bias += fuse[:, i] @ projection.proj.bias
        ours.norm.load_state_dict(theirs.batch_norm.state_dict())
        ours.norm.running_mean -= bias
        ours.classify.load_state_dict(theirs.classifier.state_dict())
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, c, -(-40 >> i), -(-56 >> i), generator=generator) for i, c in enumerate(widths)]
    with torch.inference_mode():
        expected, found = theirs(maps), ours(maps)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max() and expected.std() > 0.1
