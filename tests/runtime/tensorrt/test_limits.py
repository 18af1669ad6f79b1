"""TensorRT sorts no more than 3840 of a list: 4096 windows of 8x8 pixels each are too many for it."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

import tiny
from plugins.conftest import build_engine as build_graph  # noqa: F401 - a fixture
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import BuildError
from sparsevit_runtime.graph.onnx_file import OnnxFile, read_onnx
from sparsevit_runtime.tensorrt import BuildOptions, build_engine
from sparsevit_runtime.tensorrt.limits import LARGEST_TOPK, check_topk, largest_input

RTX = BuildOptions(flavour="tensorrt_rtx")


@pytest.mark.parametrize(("count", "built"), [(LARGEST_TOPK, True), (LARGEST_TOPK + 1, False)])
def test_the_limit_is_tensorrts(build_graph, tmp_path, count, built):  # noqa: F811
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "count"], ["values", "order"])],
        "sort",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 5000])],
        [helper.make_tensor_value_info("order", TensorProto.INT64, [1, count])],
        [helper.make_tensor("count", TensorProto.INT64, [1], [count])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    report = build_graph(tmp_path / "m.onnx", {"x": [[1, 5000]] * 3})
    assert bool(report["engine_bytes"]) is built, report["log"]


def test_too_many_windows_are_refused_before_building(tmp_path):
    model = tiny.write_model(tmp_path / "m.onnx", hw=(512, 512))
    message = (
        r"m.onnx takes 512x512 pixels and sorts 4096 windows in stage 0; TensorRT's TopK stops at 3840. Export it for "
        r"488x488 pixels at most"
    )
    with pytest.raises(BuildError, match=message):
        build_engine(model, tmp_path / "m.engine", RTX)


def test_a_fixed_export_that_keeps_few_is_built(rtx, tmp_path):
    few = tiny.write_model(tmp_path / "few.onnx", hw=(512, 512), layout="normalized", fixed=((0.5, 0.5), (0.0,) * 4))
    assert build_engine(few, tmp_path / "m.engine", RTX).card.engine_bytes > 0
    many = tiny.write_model(tmp_path / "many.onnx", hw=(512, 512), fixed=((0.05, 0.05), (0.0,) * 4))
    with pytest.raises(BuildError, match=r"sorts 3891 of 4096 windows in stage 0; .*3840"):
        build_engine(many, tmp_path / "m.engine", RTX)


@pytest.mark.parametrize("hw", [(512, 512), (4000, 600), (600, 4000), (1001, 999), (30_000, 8)])
def test_the_largest_input_is_the_largest(tmp_path, hw):
    card = ModelCard.model_validate(tiny.card_document(hw=hw))

    def windows(height, width):
        return -(-height // 8) * -(-width // 8)  # of 2x2 tokens of 4x4 pixels

    height, width = largest_input(card, LARGEST_TOPK)
    assert windows(height, width) <= LARGEST_TOPK
    if windows(*hw) <= LARGEST_TOPK:
        assert (height, width) == hw
    else:
        assert windows(hw[0] * (width + 1) // hw[1], width + 1) > LARGEST_TOPK


def test_windows_that_a_node_ranks_are_limited_where_it_has_no_plugin(tmp_path):
    card = ModelCard.model_validate(tiny.card_document(hw=(512, 512)))
    ranked = OnnxFile(tmp_path / "m.onnx", b"", card, ("WindowRank",))
    check_topk(ranked)
    with pytest.raises(
        BuildError, match="sorts 4096 windows in stage 0; .* 488x488 pixels at most, or build it with plu"
    ):
        check_topk(ranked, portable=True)
    small = ModelCard.model_validate(tiny.card_document(hw=(488, 488)))
    check_topk(OnnxFile(tmp_path / "m.onnx", b"", small, ("WindowRank",)), portable=True)
    # Of a stage whose plan prunes nothing no window is ranked; where it prunes some, all are.
    for ratios, ranks in (((0.0, 0.0), False), ((0.0, 0.9), True)):
        fixed = tiny.card_document(hw=(512, 512), fixed=(ratios, (0.0, 0.5, 0.5, 0.5)))
        file = OnnxFile(tmp_path / "m.onnx", b"", ModelCard.model_validate(fixed), ("WindowRank",))
        if ranks:
            with pytest.raises(BuildError, match="sorts 4096 of 4096 windows in stage 0"):
                check_topk(file, portable=True)
        else:
            check_topk(file, portable=True)


def test_boxes_beyond_the_limit(tmp_path):
    card = read_onnx(tiny.write_model(tmp_path / "m.onnx", task="detection")).card
    check_topk(OnnxFile(tmp_path / "m.onnx", b"", card, (), (100, 3840)))
    with pytest.raises(
        BuildError, match="returns the best 5000 boxes; TensorRT's TopK stops at 3840. Export it with fewer"
    ):
        check_topk(OnnxFile(tmp_path / "m.onnx", b"", card, (), (100, 5000)))
