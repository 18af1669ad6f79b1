"""The portable body of AddNorm in ONNX Runtime against the PyTorch operation, and this against what it is made of."""

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
