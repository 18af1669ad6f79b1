"""A graph traced with numbers for its batch and its counts holds for all of them, or is traced again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exports import open_session, tiny_backbone, write_export
from networks import randomize
from sparsevit_exporter import ExportOptions, trace
from sparsevit_exporter.deploy import DeployedModel
from sparsevit_exporter.deploy.backbone import FeatureMap
from sparsevit_exporter.unknown_sizes import BATCH, COUNT, NAME, free


def graph_of(nodes, weights=(), input_shape=(BATCH, 4, 6), output_shape=(BATCH, 24)):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)]
    stored = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in weights]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, stored))


def reshape(shape):
    return graph_of([helper.make_node("Reshape", ["x", "shape"], ["y"])], [("shape", shape)])


@pytest.mark.parametrize("shape", [[BATCH, 24], [BATCH * 24], [BATCH * COUNT, 4], [3, 2 * BATCH, 4]])
def test_a_reshape_infers_the_one_size_that_is_not_known(shape):
    proto = reshape(shape)
    assert free(proto)
    known = numpy_helper.to_array(proto.graph.initializer[0]).tolist()
    assert known == [size if size < BATCH else -1 for size in shape]
    for value in (proto.graph.input[0], proto.graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == NAME


@pytest.mark.parametrize(
    "proto",
    [
        reshape([BATCH, COUNT]),
        reshape([BATCH, -1]),
        graph_of([helper.make_node("Expand", ["x", "shape"], ["y"])], [("shape", [BATCH, 24])]),
        graph_of(
            [helper.make_node("Reshape", ["x", "s"], ["z"]), helper.make_node("Expand", ["z", "s"], ["y"])],
            [("s", [BATCH, 24])],
        ),
        graph_of([helper.make_node("Gather", ["x", "places"], ["y"])], [("places", [[0, COUNT]])]),
        graph_of([helper.make_node("Constant", [], ["y"], value_ints=[BATCH, 24])]),
        graph_of(
            [helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.zeros((BATCH, 1), np.float32)))]
        ),
        graph_of([helper.make_node("Identity", ["x"], ["y"])], input_shape=(4, BATCH), output_shape=(4, BATCH)),
        graph_of([helper.make_node("Identity", ["x"], ["y"])], input_shape=(BATCH, COUNT), output_shape=(BATCH, COUNT)),
    ],
    ids=["two", "inferred already", "expand", "shared", "indices", "integers", "a tensor", "another axis", "a count"],
)
def test_what_holds_for_those_numbers_alone_is_told(proto):
    assert not free(proto)


def test_sizes_that_are_no_multiples_stay():
    proto = reshape([0, 24])
    before = proto.graph.initializer[0].SerializeToString()
    assert free(proto) and proto.graph.initializer[0].SerializeToString() == before


def test_a_network_that_works_its_batch_out_is_traced_with_a_dynamic_one(tmp_path, monkeypatch):
    def forward(self, x):
        zeros = x.new_zeros((x.shape[0], 1, *x.shape[2:]))  # as a head that has queries of its own
        return torch.cat([self.norm(x), zeros], dim=1)[:, :-1].permute(0, 3, 1, 2)

    monkeypatch.setattr(FeatureMap, "forward", forward)
    ways = []
    traced = trace._traced

    def watched(model: DeployedModel, stages, in_numbers: bool) -> onnx.ModelProto:
        ways.append(in_numbers)
        return traced(model, stages, in_numbers)

    monkeypatch.setattr(trace, "_traced", watched)
    path = tmp_path / "a.onnx"
    write_export(randomize(tiny_backbone((2,)), seed=0), path, ExportOptions(24, 24))
    assert ways == [True, False]
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    session = open_session(path)
    together = session.run(["stage0"], {"image": frames, "keep": np.array([2])})[0]
    alone = [session.run(["stage0"], {"image": frame[None], "keep": np.array([2])})[0][0] for frame in frames]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
