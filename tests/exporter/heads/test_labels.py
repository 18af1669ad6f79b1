"""Labels in strips are those of the whole, and no strip holds more than it may."""

import math

import onnx
import onnx.inliner
import pytest
import torch
import torch.nn.functional as F

from sparsevit_exporter import ends_bodies, nodes, ops
from sparsevit_exporter.heads import labels
from sparsevit_exporter.heads.labels import STRIP, LabelDecoder, strips
from sparsevit_exporter.heads.mask2former import MaskPredictions
from sparsevit_exporter.heads.mask2former.labels import POST_PROCESSINGS, MaskLabels
from sparsevit_exporter.trace import quiet

QUERIES, CLASSES = 10, 5


@pytest.fixture(params=["whole", "in strips"])
def divided(request, monkeypatch):
    if request.param == "in strips":
        monkeypatch.setattr(labels, "STRIP", 6000)
    return request.param


def scores(channels, height, width, seed=0):
    """Smooth ones, so that neighbours matter."""
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(
        torch.randn(2, channels, -(-height // 3), -(-width // 3), generator=generator),
        (height, width),
        mode="bicubic",
    )


def predictions(height, width):
    generator = torch.Generator().manual_seed(1)
    classes = 3 * torch.randn(2, QUERIES, CLASSES + 1, generator=generator)
    return MaskPredictions(classes, 5 * scores(QUERIES, height, width))


def bilinear(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("cropped", [(0, 0), (1, 0)])
def test_scores_of_classes(divided, scale, cropped):
    logits = scores(CLASSES, 25, 17)
    height, width = 25 * scale - cropped[0], 17 * scale - cropped[1]
    expected = bilinear(logits, (25 * scale, 17 * scale))[:, :, :height, :width].argmax(1)
    found = LabelDecoder(scale, height, width)(logits)
    assert found.dtype == torch.uint8 and torch.equal(found.long(), expected)
    assert len(list(strips(height, width * CLASSES, scale))) > (divided == "in strips" and scale > 1)


def semantic(masks, classes):
    """detectron2's MaskFormer.semantic_inference."""
    return torch.einsum("bqc,bqhw->bchw", classes.softmax(-1)[..., :-1], masks.sigmoid())


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("cropped", [(0, 0), (1, 0)])
def test_masks_as_detectron2(divided, scale, cropped):
    found = predictions(26, 40)
    height, width = 26 * scale - cropped[0], 40 * scale - cropped[1]
    masks = bilinear(found.mask_logits, (26 * scale, 40 * scale))[:, :, :height, :width]
    expected = semantic(masks, found.class_logits).argmax(1)
    assert torch.equal(MaskLabels("detectron2", scale, height, width)(found).long(), expected)


@pytest.mark.parametrize("size", [(104, 160), (101, 67), (400, 300)])
def test_masks_as_huggingface(divided, size):
    transformers = pytest.importorskip("transformers", reason="compares with the transformers package itself")
    found = predictions(-(-size[0] // 4), -(-size[1] // 4))

    class Outputs:
        class_queries_logits, masks_queries_logits = found.class_logits, found.mask_logits

    expected = transformers.Mask2FormerImageProcessor().post_process_semantic_segmentation(Outputs, [size] * 2)
    wrong = MaskLabels("huggingface", 4, *size)(found).long() != torch.stack(expected)
    assert wrong.float().mean() < 1e-5  # two classes of one score, up to rounding


def largest_float(proto: onnx.ModelProto) -> int:
    """Numbers in the largest float tensor of one image that a graph makes."""
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    inputs = {i.name for i in proto.graph.input}
    sizes = [
        math.prod(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
        for value in [*inferred.graph.value_info, *inferred.graph.output]
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in inputs
    ]
    assert len(sizes) >= sum(node.op_type == "Resize" for node in proto.graph.node)
    return max(sizes)


class Decoder(torch.nn.Module):
    """Takes tensors, as a trace hands them in."""

    def __init__(self, labels, *kind):
        super().__init__()
        self.labels, self.kind = labels, kind

    def forward(self, *tensors):
        return self.labels(self.kind[0](*tensors) if self.kind else tensors[0])


@pytest.mark.parametrize("way", ["scores", *POST_PROCESSINGS])
def test_a_graph_holds_no_float_map_at_full_resolution(way):
    """Labels of 19 classes and 100 queries: 40 MB of scores at this size, or 210 MB of masks."""
    height, width = 512, 1024
    inputs = (torch.zeros(1, 19, height // 4, width // 4),)
    if way == "scores":
        decoder = Decoder(LabelDecoder(4, height, width))
    else:
        inputs = torch.zeros(1, 100, 20), torch.zeros(1, 100, height // 4, width // 4)
        found = MaskLabels(way, 4, height, width)
        found.fix(19)
        decoder = Decoder(found, MaskPredictions)
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            decoder,
            inputs,
            dynamo=True,
            opset_version=nodes.OPSET,
            custom_translation_table=ops.onnx_translations(),
            verbose=False,
        )
    proto = program.model_proto
    if way == "scores":
        assert [node.op_type for node in proto.graph.node] == ["LabelDecode"]
        proto.functions.extend(ends_bodies.functions_of(proto.graph))
        proto = onnx.inliner.inline_local_functions(proto)
    graph = proto.graph
    # TensorRT has bytes as an output alone.
    to_bytes = [n for n in graph.node if n.op_type == "Cast" and n.attribute[0].i == onnx.TensorProto.UINT8]
    assert [name for node in to_bytes for name in node.output] == [o.name for o in graph.output]
    assert sum(node.op_type == "ArgMax" for node in graph.node) > 1
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Shape", "Size", "Range", "ConstantOfShape", "Expand"}
    if way == "huggingface":  # which holds the masks at 384x384, whatever the size
        assert largest_float(proto) == 100 * 384 * 384
    else:
        assert largest_float(proto) <= 1.5 * STRIP < 19 * height * width
