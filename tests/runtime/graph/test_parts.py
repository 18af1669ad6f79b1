"""Parts of exported graphs, and of what ONNX Runtime makes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from exports import half_segmenter
from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load, probe_image
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.graph.nodes import Node, read_nodes, renamed, rewrite_nodes
from sparsevit_runtime.graph.parts import BACKBONE, HEADS, OTHER, PARTS, WHOLE, part_of_layer, parts_of_nodes, sums_of
from sparsevit_runtime.windows.plan import Plan

#: A detector's head reads the last three of four stages.
DEPTHS = {"half": (2, 1), "fixed": (2, 1), "fp16-detection": (2, 1, 1, 1)}
FIXED = ((0.5, 0.5), (0.0,))


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ("", OTHER),
        ("stages.0/blocks.1/mlp/expand/MatMul", "mlp"),
        ("stages.12/merge/Pad", "merge"),
        ("embed/Cast", "embed"),
        ("stages.0/blocks.0/attention/Add + stages.0/blocks.0/attention/q/MatMul", "attention"),
        ("{ForeignNode[stages.0/blocks.0/attention/norm/Cast...stages.0/blocks.0/mlp/Add_1]}", "attention+mlp"),
        ("stages.1/blocks.0/scatter/Reshape + head/maps.1/Transpose", "scatter+head"),
        ("PWN(stages.2/score/Div)", "score"),
        ("node_of_y | stages.0/blocks.0/scatter/WindowScatter (WindowScatter)", "scatter"),
        ("head/merge.0/Conv", "head"),  # the head's own module of that name
        ("head/merge/Conv", "head"),
        ("node_of_keep | head/proposals/NmsKeep (NmsKeep)", "head"),
        ("proposals/TopK_1 + rpn_head/Sigmoid", "rpn_head+proposals"),
        ("__myl_FcAdd_myl12_3", OTHER),
        ("node_MatMul_95", OTHER),
        ("myhead/x overhead/y", OTHER),
        ("xstages.0/mlp/y", OTHER),
        ("headmlp", OTHER),
    ],
)
def test_the_part_a_layer_says(layer, part):
    assert part_of_layer(layer) == part


def test_sums_of_parts_count_what_is_fused_across_both_sides_once():
    values = {
        "mlp": 1.0,
        "gather+attention": 2.0,
        "scatter+head": 4.0,
        "neck": 8.0,
        "bbox_head+head": 16.0,
        OTHER: 32.0,
    }
    assert sums_of(values) == {BACKBONE: 3.0, HEADS: 24.0, WHOLE: 63.0}


def test_functions_of_heads_take_the_part_that_reads_them():
    nodes = [
        Node("NonMaxSuppression", ("boxes",), ("_inlfunc_NmsKeep_chosen",), "NonMaxSuppression_5"),
        Node("ScatterND", ("_inlfunc_NmsKeep_chosen",), ("proposals/NmsKeep",), "ScatterND"),
        Node("RoiAlign", ("map",), ("_inlfunc_MultiLevelRoiAlign_found0",), "RoiAlign_9"),
        Node("Gemm", ("_inlfunc_MultiLevelRoiAlign_found0",), ("x",), "bbox_head/shared_fcs.0/Gemm"),
    ]
    assert parts_of_nodes(nodes) == ["proposals", "proposals", "bbox_head", "bbox_head"]


def test_optimisers_nodes_take_the_part_of_what_they_were_made_from():
    nodes = [
        Node("Squeeze", ("keep",), ("count",), "Squeeze_3"),  # only read
        Node("Slice", ("windows", "count"), ("index",), "stages.0/blocks.0/gather/Slice"),
        Node("Gather", ("rows", "index"), ("_inlfunc_WindowGather_token_1_read",), "Gather_2"),
        Node("Mul", ("_inlfunc_WindowGather_token_1_read",), ("stages.0/blocks.0/gather/WindowGather",), "Mul_7"),
        Node("BiasGelu", ("stages.0/blocks.0/gather/WindowGather",), ("stages.0/blocks.0/mlp/Mul_1",), "BiasGelu"),
        Node("Skip", ("stages.0/blocks.0/mlp/Mul_1",), ("stages.0/blocks.0/mlp/Add", "stages.0/merge/Norm"), ""),
        Node("ReorderOutput", ("stages.0/merge/Norm",), ("stage0",), ""),  # only made
        Node("Constant", (), ("nothing reads it",), ""),
        Node("NonMaxSuppression", ("boxes",), ("_inlfunc_NmsKeep_chosen",), "NonMaxSuppression_5"),
        Node("RoiAlign", ("map",), ("_inlfunc_MultiLevelRoiAlign_found0",), "RoiAlign_9"),
        Node("Softmax", ("s",), ("_inlfunc_WindowAttention_token_2_probabilities32",), "Softmax_1"),
        Node("TopK", ("s", "n"), ("_inlfunc_WindowRank_token_0_sorted", "_inlfunc_WindowRank_token_0_place"), "TopK_1"),
        Node("Mul", ("t",), ("_if_then_branch__inlfunc_WindowGatherNorm_token_1_masked_tokens",), "Mul_8"),
        Node("Add", ("t",), ("_inlfunc_WindowScatterAdd_token_3_summed",), "Add_8"),
        Node("Add", ("t",), ("_inlfunc_WindowScatterer_token_3_summed",), "Add_9"),
        Node("MatMul", ("p", "w"), ("_inlfunc_PatchEmbed_token_4_product",), "MatMul_10"),
        Node("ArgMax", ("l",), ("_inlfunc_LabelDecode_token_5_best0",), "ArgMax_11"),
        Node("Add", ("u",), ("_inlfunc_AddNorm_token_6_biased",), "Add_12"),
        Node("Transpose", ("m",), ("_inlfunc_PatchMergeNorm_token_7_turned",), "Transpose_13"),
        Node("LayerNormalization", ("m",), ("_inlfunc_FeatureMapNorm_token_8_normed",), "LayerNormalization_14"),
        Node("Transpose", ("m",), ("_inlfunc_FeatureMapNorm32_token_9_turned",), "Transpose_15"),
    ]
    assert parts_of_nodes(nodes) == [
        *["gather"] * 4,
        *("mlp", "mlp+merge", "mlp+merge", OTHER, "head", "head"),
        *("attention", "score", "gather", "scatter", OTHER, "embed", "labels"),
        *("attention", "merge", "head", "head"),
    ]


@pytest.fixture(scope="module", params=DEPTHS)
def exported(request, tmp_path_factory) -> Path:
    """Every stage padded, for each kind of file."""
    if request.param == "half":
        return half_segmenter(tmp_path_factory).path
    depths = DEPTHS[request.param]
    kind = DetectionModel if "detection" in request.param else SegmentationModel
    network = randomize(kind(SparseViT(8, depths, (1, 1, 2, 2)[: len(depths)]), 2, 8), seed=1)
    path = tmp_path_factory.mktemp("parts") / f"{request.param}.onnx"
    options = ExportOptions(
        60,
        88,
        precision="fp16" if "fp16" in request.param else "fp32",
        fixed=Plan(FIXED) if request.param == "fixed" else None,
    )
    assert export(network, path, options, [ClassCard(name="a"), ClassCard(name="b")]).holds
    return path


def _parts_of(exported: Path) -> set[str]:
    """Segmenters keep their labels apart; none of these networks has a convolutional front."""
    return {*PARTS} - {"front"} | {*(() if "detection" in exported.stem else ("labels",))}


@pytest.mark.slow
def test_every_node_of_an_exported_graph_says_the_part_its_module_is(exported):
    nodes = read_nodes(exported.read_bytes())
    parts = [part_of_layer(node.name) for node in nodes]
    count = Counter(zip((node.kind for node in nodes), parts))
    depths = DEPTHS[exported.stem]
    blocks = sum(depths)
    assert set(parts) == _parts_of(exported)
    sparse = 2 if exported.stem == "fixed" else blocks
    plain = blocks - sparse
    windows = {(kind, part): n for (kind, part), n in count.items() if kind.startswith("Window")}
    assert windows.pop(("WindowRank", "score")) >= 1
    assert windows == dict.fromkeys(
        [("WindowGatherNorm", "gather"), ("WindowAttention", "attention"), ("WindowScatterAdd", "scatter")], sparse
    )
    assert count["Softmax", "attention"] == count["LayerNormalization", "attention"] == plain
    # Query, key and value in one, and the projection; each of them, scores and answers, where all windows are computed.
    assert count["MatMul", "attention"] == 2 * sparse + 6 * plain
    assert count["AddNorm", "attention"] == sparse and count["LayerNormalization", "mlp"] == plain
    assert count["LinearGelu", "mlp"] == count["MatMul", "mlp"] == blocks
    assert count["MatMul", "merge"] == count["PatchMergeNorm", "merge"] == len(depths) - 1
    # A detector leaves the finest map out.
    assert count["FeatureMapNorm", "head"] == len(depths) - ("detection" in exported.stem)
    assert count["PatchEmbed", "embed"] == 1
    assert count["LabelDecode", "labels"] == ("labels" in parts)
    assert not {part for kind, part in count if kind == "Conv"} - {"head"}
    # What a dense block does to the whole map, and nothing else of it, is its gather or its scatter.
    dense = [node for node in nodes if node.name.startswith("stages.1/blocks.0/")] if exported.stem == "fixed" else []
    assert {n.kind for n in dense if part_of_layer(n.name) == "gather"} <= {"Pad", "Reshape", "Transpose", "Concat"}
    assert {n.kind for n in dense if part_of_layer(n.name) == "scatter"} <= {"Reshape", "Transpose", "Slice", "Concat"}


@pytest.mark.slow
def test_casts_of_weights_are_named_like_what_reads_them(exported):
    nodes = read_nodes(exported.read_bytes())
    reader = {name: node for node in reversed(nodes) for name in node.inputs}
    casts = [node for node in nodes if node.kind == "Cast" and node.inputs[0].endswith("/half")]
    assert len(casts) == (20 if exported.stem == "half" else 0)
    for cast in casts:
        assert cast.name.startswith(f"{reader[cast.outputs[0]].name}/")


@pytest.mark.slow
def test_layers_of_a_run_have_parts(exported):
    with load(exported, threads=1) as model:
        image = probe_image(60, 88, seed=0)[None]
        layers = model.backend.layers(feeds_of(image))
        times = Counter()
        for name, ms in layers:
            times[part_of_layer(name)] += ms
        assert set(times) == _parts_of(exported)
        if model.card.windows.fixed is None:  # other windows, other times, the same session
            none = model.backend.layers(feeds_of(image, np.zeros(sum(s.pairs for s in model.card.stages), np.int64)))
            assert [name for name, _ in none] == [name for name, _ in layers]


@pytest.mark.slow
def test_a_file_without_names_runs_and_asks_for_another_export(exported, tmp_path, caplog):
    """As files were before names said parts."""
    path = tmp_path / "earlier.onnx"
    proto = onnx.load_from_string(rewrite_nodes(exported.read_bytes(), lambda i, node: renamed(node, f"node_{i}")))
    outputs = {output.name for output in proto.graph.output}
    made = [name for node in proto.graph.node for name in node.output]
    short = {name: f"tensor_{i}" for i, name in enumerate(made) if name and name not in outputs}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [short.get(name, name) for name in names]
    onnx.save(proto, path)
    with load(path, threads=1) as model:
        layers = model.backend.layers(feeds_of(probe_image(60, 88, seed=0)[None]))
    assert {part_of_layer(name) for name, _ in layers} == {OTHER}
    assert caplog.text.count("earlier.onnx") == caplog.text.count("export it again") == 1
