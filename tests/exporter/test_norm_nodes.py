"""The portable bodies of norms in ONNX Runtime against the PyTorch operations, these against what they are made of."""

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from single_nodes import open_model
from sparsevit_exporter import nodes, norm_ops

TYPES = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16}
in_types = pytest.mark.parametrize("kind", TYPES, ids=["float", "half"])
#: Of norms in the type: float32 statistics, rounded once.
LIMITS = {torch.float32: 1e-5, torch.float16: 4e-3}


def session(kind, inputs, outputs, **attributes):
    """One node with its body; inputs and outputs are names to type and shape."""
    node = helper.make_node(kind, list(inputs), list(outputs), domain=nodes.DOMAIN, **attributes)
    infos = [[helper.make_tensor_value_info(name, *of) for name, of in part.items()] for part in (inputs, outputs)]
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    graph = helper.make_graph([node], "node", *infos)
    functions = nodes.functions_of(graph)
    assert [f.name for f in functions] == [kind]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    nodes.register_schemas()
    onnx.checker.check_model(model, full_check=True)
    return open_model(model.SerializeToString())


def run(opened, *arrays):
    feeds = {each.name: array.numpy() for each, array in zip(opened.get_inputs(), arrays, strict=True)}
    return [torch.from_numpy(output) for output in opened.run(None, feeds)]


@in_types
def test_a_sum_is_rounded_once_and_normed_in_float32(kind):
    dtype, rows, row = TYPES[kind], (kind, ["batch", "n", 6]), (kind, [6])
    opened = session(
        "AddNorm",
        {"x": rows, "update": rows, "bias": row, "scale": row, "shift": row},
        {"sum": rows, "normed": rows},
        epsilon=1e-3,
    )
    bias, scale, shift = torch.randn(3, 6).to(dtype)
    for batch, n in ((1, 5), (3, 4), (2, 0)):
        x, update = (torch.randn(2, batch, n, 6) * 3).to(dtype)
        total = (x.float() + (update.float() + bias.float())).to(dtype)
        wanted = torch.nn.functional.layer_norm(total.double(), (6,), scale.double(), shift.double(), 1e-3)
        for summed, normed in (
            run(opened, x, update, bias, scale, shift),
            norm_ops.add_norm(x, update, bias, scale, shift, 1e-3),
        ):
            assert torch.equal(summed, total) and normed.dtype == dtype
            torch.testing.assert_close(normed.double(), wanted, atol=LIMITS[dtype], rtol=1e-3)


@in_types
@pytest.mark.parametrize("in_float", [False, True], ids=["own", "float"])
def test_a_map_is_normed_and_its_channels_come_first(kind, in_float):
    dtype, row = TYPES[kind], (kind, [6])
    opened = session(
        "FeatureMapNorm32" if in_float else "FeatureMapNorm",
        {"x": (kind, ["batch", 4, "width", 6]), "scale": row, "shift": row},
        {"y": (TensorProto.FLOAT if in_float else kind, ["batch", 6, 4, "width"])},
        epsilon=1e-3,
    )
    scale, shift = torch.randn(2, 6).to(dtype)
    for batch, width in ((1, 5), (3, 1)):
        x = (torch.randn(batch, 4, width, 6) * 3).to(dtype)
        wanted = torch.nn.functional.layer_norm(x.double(), (6,), scale.double(), shift.double(), 1e-3)
        own = norm_ops.feature_map_norm(x, scale, shift, 1e-3, in_float)
        assert own.is_contiguous()
        for y in (*run(opened, x, scale, shift), own):
            assert y.dtype == (torch.float32 if in_float else dtype)
            torch.testing.assert_close(y.double(), wanted.permute(0, 3, 1, 2), atol=LIMITS[dtype], rtol=1e-3)


@in_types
@pytest.mark.parametrize("height,width", [(4, 6), (3, 4), (5, 1)])
def test_patches_are_merged_row_by_row_and_normed(kind, height, width):
    dtype, row = TYPES[kind], (kind, [12])
    opened = session(
        "PatchMergeNorm",
        {"x": (kind, ["batch", height, width, 3]), "scale": row, "shift": row},
        {"normed": (kind, ["batch", "rows", "columns", 12])},
        height=height,
        width=width,
        epsilon=1e-3,
    )
    scale, shift = torch.randn(2, 12).to(dtype)
    x = (torch.randn(2, height, width, 3) * 3).to(dtype)
    padded = torch.nn.functional.pad(x, (0, 0, 0, width % 2, 0, height % 2)).double()
    patches = torch.cat([padded[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=3)
    wanted = torch.nn.functional.layer_norm(patches, (12,), scale.double(), shift.double(), 1e-3)
    for normed in (*run(opened, x, scale, shift), norm_ops.patch_merge_norm(x, scale, shift, 1e-3)):
        assert normed.dtype == dtype
        torch.testing.assert_close(normed.double(), wanted, atol=LIMITS[dtype], rtol=1e-3)


def test_maps_of_even_sides_are_merged_without_a_condition():
    for height, odd in ((4, False), (5, True)):
        node = helper.make_node("PatchMergeNorm", ["x"], ["y"], domain=nodes.DOMAIN, height=height, width=6)
        (body,) = nodes.functions_of(helper.make_graph([node], "node", [], []))
        assert ("If" in {n.op_type for n in body.node}) == odd
