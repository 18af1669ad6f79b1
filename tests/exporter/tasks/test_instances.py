"""Mask R-CNN: exported, held against the published network's recorded outputs, read back, and loaded from training."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import mask_rcnn_golden as golden
from exports import (
    CLASSES,
    NORMALISATION,
    Exported,
    card_of,
    check_comes_back,
    check_export,
    check_native,
    open_session,
    tiny_backbone,
    write_export,
)
from networks import randomize
from sparsevit_exporter import ExportOptions, InstanceModel, InstanceOptions
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime import load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.diagnostics import profile
from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.graph.parts import BACKBONE, HEAD_PARTS, HEADS, OTHER, PARTS, part_of_layer, sums_of
from sparsevit_runtime.windows.plan import Plan

NUMBERED = tuple(ClassCard(name=str(i)) for i in range(golden.CLASSES))
SMALL = ExportOptions(
    72, 100, precision="fp16", task=InstanceOptions(20, 10, score_threshold=0.1, resize="letterbox"), **NORMALISATION
)


def small_network() -> InstanceModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = randomize(InstanceModel(tiny_backbone((1, 2, 1, 1)), len(CLASSES), 8, 16), 3)
    with torch.no_grad():
        network.roi_head.bbox_head.fc_cls.weight.mul_(6)
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    return write_export(small_network(), tmp_path_factory.mktemp("instances") / "model.onnx", SMALL, CLASSES)


def run(path: Path, **feed: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(path)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


@pytest.mark.slow
def test_export_holds_and_describes_itself(exported):
    check_export(exported)
    card = card_of(exported.path)
    assert (card.input.resize, card.input.pad_multiple, card.input.padded_hw) == ("letterbox", 32, (96, 128))
    assert card.stages == task_of(exported.network).stages(exported.network, 72, 100)
    proto = onnx.load(exported.path)
    outputs = {o.name for o in proto.graph.output}
    made = {name for node in proto.graph.node for name in node.output}
    assert not made & {*task_of(exported.network).compared_only}, "what is no output any more has its node's name"
    assert {part_of_layer(name) for name in made - outputs} <= {*PARTS, *HEAD_PARTS}
    (of_levels, of_classes) = (
        {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
        for n in proto.graph.node
        if n.op_type == "NmsKeep"
    )
    assert (of_levels["limit"], of_classes["limit"]) == (20, 10)
    assert of_classes["score_threshold"] == np.float32(0.1)


@pytest.mark.slow
def test_answers_have_fixed_shapes_and_stay_in_float32(exported):
    frames = np.random.RandomState(0).randint(0, 256, (2, 72, 100, 3), np.uint8)
    stages = card_of(exported.path).stages
    found = run(exported.path, image=frames, keep=Plan.uniform(0.5, [s.depth for s in stages]).keep(stages))
    shapes = {name: (found[name].dtype, found[name].shape) for name in ("boxes", "scores", "classes", "masks")}
    assert shapes == {
        "boxes": (np.float32, (2, 10, 4)),
        "scores": (np.float32, (2, 10)),
        "classes": (np.int64, (2, 10)),
        "masks": (np.float32, (2, 10, 28, 28)),
    }
    real = found["scores"] > 0
    assert real.any() and (np.diff(found["scores"]) <= 0).all()
    assert (found["boxes"] <= [100, 72, 100, 72]).all() and (found["scores"][real] > 0.1).all()
    assert not found["boxes"][~real].any() and not found["masks"][~real].any() and not found["classes"][~real].any()


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 3])
def test_whatever_is_found_has_its_row(exported, tmp_path, count):
    """The same file with a threshold that so many scores are above."""
    card = card_of(exported.path)
    feed = {"image": np.random.RandomState(0).randint(0, 256, (1, 72, 100, 3), np.uint8)}
    feed["keep"] = Plan.dense(card.windows.depths).keep(card.stages)
    proto = onnx.load(exported.path)
    of_classes = [n for n in proto.graph.node if n.op_type == "NmsKeep"][1]

    def above(threshold: float) -> dict[str, np.ndarray]:
        next(a for a in of_classes.attribute if a.name == "score_threshold").f = threshold
        onnx.save(proto, tmp_path / "model.onnx")
        return run(tmp_path / "model.onnx", **feed)

    before = above(0.0)
    scores = np.append(1.0, before["scores"][0])
    assert scores[-1] > 0
    found = above((scores[count] + scores[count + 1]) / 2)
    for name in ("boxes", "scores", "classes", "masks"):
        np.testing.assert_array_equal(found[name][0, :count], before[name][0, :count])
        assert not found[name][0, count:].any()  # NaN is something, too


@pytest.mark.slow
def test_what_is_behind_the_backbone_is_counted_part_by_part(exported):
    """Maps of 24x32, 12x16, 6x8 and 3x4 cells, and one of 2x2; 8 channels, 16 in the box head, 3 classes."""
    cells = (24 * 32, 12 * 16, 6 * 8, 3 * 4)
    assert card_of(exported.path).architecture.head_macs == {
        "neck": sum(n * 8 * ((8 << i) + 9 * 8) for i, n in enumerate(cells)),
        "rpn_head": sum(n * 8 * (9 * 8 + 3 + 12) for n in (*cells, 4)),
        "bbox_head": 20 * (8 * 49 * 16 + 16 * 16 + 16 * (4 + 12)),
        "mask_head": 10 * (4 * 196 * 9 * 8 * 8 + 196 * 8 * 8 * 4 + 784 * 8),
    }


@pytest.mark.slow
def test_a_profile_tells_the_parts_of_the_head_apart(exported):
    with load(exported.path, threads=1) as model:
        report = profile(model, ["0", "0.5"], iterations=1, warm_up=0, layers=True)
    dense, pruned = report.entries
    ours = {"head", "neck", "rpn_head", "proposals", "bbox_head", "detections", "mask_head"}
    for entry in report.entries:
        assert {part.part for part in entry.parts if not part.part.startswith("embed")} >= ours
        assert OTHER not in {part.part for part in entry.parts}
        roi = {part.part: part.layers for part in entry.parts}
        assert roi["bbox_head"] > 20 and roi["mask_head"] > 20, "RoIAlign's nodes are of the heads that look"
    macs = [sums_of(entry.part_macs) for entry in report.entries]
    assert [each[BACKBONE] for each in macs] == [entry.macs for entry in report.entries]
    assert macs[0][HEADS] == macs[1][HEADS] == sum(model.card.architecture.head_macs.values())
    assert dense.part_macs["mlp"] > pruned.part_macs["mlp"]


@pytest.mark.slow
def test_the_network_comes_back_from_the_file(exported):
    assert check_comes_back(exported).network.head_config == exported.network.head_config


@pytest.fixture(scope="module")
def exported_golden(tmp_path_factory) -> Path:
    """The recorded network with its plan frozen, at the size that is padded."""
    case = golden.load_case("250x333")
    plan = Plan(tuple(map(tuple, golden.ratios())))
    path = tmp_path_factory.mktemp("golden") / "model.onnx"
    write_export(golden.golden_network(), path, ExportOptions(*case.input_hw, fixed=plan), NUMBERED)
    return path


@pytest.mark.slow
def test_the_file_answers_as_the_published_network(exported_golden):
    case = golden.load_case("250x333")
    assert card_of(exported_golden).input.resize == "stretch"
    check_golden_file(run(exported_golden, image=case.stretched()[None]), case)


def check_golden_file(found: dict[str, np.ndarray], case: golden.Case) -> None:
    """Detections in order; masks where the published network's box lies."""
    golden.check_detections(found["boxes"][0], found["scores"][0], found["classes"][0], case)
    probabilities = 1 / (1 + np.exp(-case.mask_logits))
    same = np.abs(found["boxes"][0, case.sampled] - case.boxes[case.sampled, :4] * case.scale).max(1) < 2e-3
    assert same.mean() > 0.9  # a box of equal score may stand in another's place
    np.testing.assert_allclose(found["masks"][0, case.sampled][same], probabilities[same], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.CASES)
@pytest.mark.skipif(golden.WHOLE not in os.environ, reason=f"{golden.WHOLE} does not name the whole recording (17 MB)")
def test_the_file_answers_as_the_whole_recording(name, tmp_path):
    """With `keep` as an input; `export` has compared other plans with PyTorch."""
    case = golden.load_case(name, golden.whole_file())
    write_export(golden.golden_network(), tmp_path / "model.onnx", ExportOptions(*case.input_hw), NUMBERED)
    stages = card_of(tmp_path / "model.onnx").stages
    keep = Plan(tuple(map(tuple, golden.ratios()))).keep(stages)
    check_golden_file(run(tmp_path / "model.onnx", image=case.stretched()[None], keep=keep), case)


def test_a_training_checkpoint_is_loaded(tmp_path):
    check_native(small_network(), tmp_path / "w.pth", CLASSES)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"proposals": 0}, "proposals is 0"),
        ({"detections": -1}, "detections is -1"),
        ({"score_threshold": 1.0}, "score_threshold is 1.0"),
        ({"resize": "crop"}, "resize is 'crop'; frames come to the input by letterbox or stretch"),
    ],
)
def test_options_that_make_no_answer(options, told):
    with pytest.raises(ExportError, match=told):
        InstanceOptions(**options)


def test_options_by_name():
    task = task_of("instances")
    assert task.parse_options({"proposals": 300, "detections": 30}) == InstanceOptions(300, 30)
    assert task.parse_options({}) == InstanceOptions(1000, 100, 0.05, "stretch")
