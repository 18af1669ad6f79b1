"""The portable bodies at a network's two ends in ONNX Runtime, against the parts of the network that they stand for."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from sparsevit_exporter import ends_nodes, ends_ops, folding, nodes
from sparsevit_exporter.backbone import PatchEmbed
from sparsevit_exporter.deploy.dense import DeployedPatchEmbed
from sparsevit_exporter.heads import labels
from sparsevit_exporter.heads.labels import LabelDecoder, strips

TYPES = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16}
MEAN, STD = (110.0, 120.0, 130.0), (40.0, 50.0, 60.0)


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def session(name, body, inputs, outputs, **attributes):
    node = helper.make_node(name, list(inputs), list(outputs), domain=nodes.DOMAIN, **attributes)
    infos = [[helper.make_tensor_value_info(name, *of) for name, of in part.items()] for part in (inputs, outputs)]
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    graph = helper.make_graph([node], "node", *infos)
    model = helper.make_model(graph, opset_imports=opsets, functions=[nodes.function(body)], ir_version=10)
    nodes.register_schemas()
    onnx.checker.check_model(model, full_check=True)
    return open_session(model)


@pytest.mark.parametrize("height,width,pad_multiple", [(16, 24, 4), (18, 23, 4), (32, 40, 32)])
@pytest.mark.parametrize("kind", TYPES, ids=["float", "half"])
def test_camera_bytes_become_tokens(height, width, pad_multiple, kind):
    embed = PatchEmbed(8)
    with torch.no_grad():
        embed.norm.weight.uniform_(0.5, 2.0)
        embed.norm.bias.uniform_(-1.0, 1.0)
    weight, bias = embed.projection.weight.detach(), embed.projection.bias.detach()
    weight, bias = folding.fold_pixels(weight, bias, MEAN, STD, centred=False)
    padded = bool(height % pad_multiple or width % pad_multiple)
    opened = session(
        "PatchEmbed",
        ends_nodes.patch_embed(padded),
        {
            "image": (TensorProto.UINT8, ["batch", height, width, 3]),
            "weight": (TensorProto.FLOAT, [48, 8]),
            "bias": (TensorProto.FLOAT, [8]),
            "mean": (TensorProto.FLOAT, [3]),
            "scale": (kind, [8]),
            "shift": (kind, [8]),
        },
        {"tokens": (kind, ["batch", "rows", "columns", 8])},
        height=height,
        width=width,
        pad_multiple=pad_multiple,
        epsilon=embed.norm.eps,
    )
    dtype = TYPES[kind]
    norm = (embed.norm.weight.detach().to(dtype), embed.norm.bias.detach().to(dtype))
    embed.norm.weight.data, embed.norm.bias.data = (part.float() for part in norm)
    deployed = DeployedPatchEmbed(embed, height, width, pad_multiple, MEAN, STD, camera=True, dtype=dtype)
    image = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    weights = weight.t().contiguous(), bias, torch.tensor(MEAN[::-1]), *norm
    feeds = {each.name: value.numpy() for each, value in zip(opened.get_inputs(), (image, *weights), strict=True)}
    found = torch.from_numpy(opened.run(None, feeds)[0])
    with torch.no_grad():
        expected = deployed(image)
    assert found.shape == expected.shape and found.dtype == dtype
    limit = 1e-4 if dtype == torch.float32 else 2e-3
    torch.testing.assert_close(found, expected, atol=limit, rtol=limit)


@pytest.mark.parametrize("scale,strip", [(1, labels.STRIP), (1, 100), (2, labels.STRIP), (4, 600)])
def test_scores_become_the_labels_that_the_decoder_gives(scale, strip, monkeypatch):
    monkeypatch.setattr(labels, "STRIP", strip)
    rows, columns, classes = 7, 6, 5
    height, width = rows * scale - (scale > 1), columns * scale - (scale > 1)
    logits = torch.randn(2, classes, rows, columns)
    logits[:, 1] = logits[:, 3]  # equal scores
    expected = LabelDecoder(scale, height, width)(logits)
    assert torch.equal(ends_ops.label_decode(logits, scale, height, width), expected)
    pieces = list(strips(height, width * classes, scale))
    assert len(pieces) == {100: 3, 600: 7}.get(strip, 1)
    for kind in TYPES:
        opened = session(
            "LabelDecode",
            ends_nodes.label_decode(pieces, (rows, columns), scale, width),
            {"logits": (kind, ["batch", classes, rows, columns])},
            {"labels": (TensorProto.UINT8, ["batch", height, width])},
            scale=scale,
            height=height,
            width=width,
        )
        (found,) = opened.run(None, {"logits": logits.to(TYPES[kind]).numpy()})
        if kind == TensorProto.FLOAT:
            np.testing.assert_array_equal(found, expected.numpy())
        else:  # rounded scores win in other places
            assert (found == expected.numpy()).mean() > 0.95
