import numpy as np
import onnx
import pytest
import torch

from exports import CLASSES, card_of, open_session, small_backbone, tiny_backbone
from golden import TOLERANCE, cases, seeded_images
from networks import randomize
from sparsevit_exporter import ExportOptions, SegmentationModel, export
from sparsevit_exporter.deploy import dense
from sparsevit_exporter.trace import quiet
from sparsevit_runtime.errors import ExportError, PlanError, SinkError
from sparsevit_runtime.windows.plan import Plan, kept_windows

pytestmark = pytest.mark.slow  # each export costs seconds of tracing

CASES = cases()
#: Cases a `keep` input cannot express: ratios that differ within a pair, or a first pruned block that is not the first.
FIXED_ONLY = {"224_b1__mix0", "320x256_b1__late"}


@pytest.fixture(scope="session")
def golden_file(golden_network, tmp_path_factory):
    """Path of the golden network exported at a size, with `keep` or with a fixed plan; one export each."""
    made = {}

    def get(height, width, fixed=None):
        key = (height, width, fixed)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("golden") / "model.onnx"
            options = ExportOptions(height, width, layout="normalized", fixed=fixed)
            assert export(golden_network, made[key], options).holds
        return made[key]

    return get


def assert_matches_golden(case, outputs, kept):
    for i, (positions, values) in enumerate(zip(case.positions, case.values, strict=True)):
        assert np.abs(outputs[f"stage{i}"].flatten()[positions] - values).max() < TOLERANCE
    for (stage, block), expected in case.kept.items():
        name = f"{'shifted_' if block % 2 else ''}windows{stage}"
        nothing = np.empty((case.batch, 0), np.int64)  # a fixed stage that keeps no window has no list
        actual = np.sort(outputs.get(name, nothing)[:, : kept(stage, block)], axis=1)
        np.testing.assert_array_equal(actual, expected, err_msg=f"stage {stage} block {block}")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_onnx_matches_reference(case, golden_file):
    plan = Plan(tuple(map(tuple, case.ratios)))
    path = golden_file(case.height, case.width, plan if case.name in FIXED_ONLY else None)
    session, card = open_session(path), card_of(path)
    feed = {"image": seeded_images(case.height, case.width, case.batch, case.input_seed)}
    if case.name not in FIXED_ONLY:
        feed["keep"] = plan.keep(card.stages)
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    assert_matches_golden(
        case, outputs, lambda stage, block: kept_windows(card.stages[stage].windows, case.ratios[stage][block])
    )


def test_dense_fixed_export_is_plain(tmp_path):
    path = tmp_path / "plain.onnx"
    assert export(randomize(tiny_backbone((2, 1)), 2), path, ExportOptions(60, 92, fixed=Plan.dense((2, 1)))).holds
    proto = onnx.load(path)
    used = [node.op_type for node in proto.graph.node if node.domain]
    assert {f.name for f in proto.functions} == {*used}
    assert {*used} == {"PatchEmbed", "LinearGelu", "PatchMergeNorm", "FeatureMapNorm"}


def test_windows_share_few_constants(golden_file):
    proto = onnx.load(golden_file(320, 256))
    largest = max(np.prod(w.dims) for w in proto.graph.initializer if len(w.dims) == 4 and w.dims[-2:] == [49, 49])
    assert largest <= 4 * 8 * 49 * 49  # kinds x heads, never windows x heads


def test_no_shape_is_worked_out_while_it_runs(golden_file):
    """A GPU would wait for each: sizes are constants, those of the batch and of `keep` follow from their neighbours."""
    proto = onnx.load(golden_file(320, 256))
    assert not {n.op_type for n in proto.graph.node} & {"Shape", "Size", "Concat", "Range", "ConstantOfShape", "Expand"}
    shapes = {f.name: [n.input[0] for n in f.node if n.op_type == "Shape"] for f in proto.functions}
    assert shapes == {
        "KeepCount": [],
        "LinearGelu": [],
        "WindowRank": [],
        "WindowGatherNorm": [],
        "WindowAttention": ["qkv_bias"],  # a weight, whose shape is known before it runs
        **{name: [] for name in ("AddNorm", "PatchMergeNorm", "FeatureMapNorm")},
        "WindowScatterAdd": ["x"],  # which adds the sample's own address
    }
    attentions = [n for n in proto.graph.node if n.op_type == "WindowAttention"]
    assert {n.input[1] for n in attentions} <= {w.name for w in proto.graph.initializer}


def test_nothing_is_written_when_parity_fails(tmp_path, monkeypatch):
    """A mistake of one percent in the folded network must be caught."""
    monkeypatch.setattr(dense.ops, "linear_gelu", lambda x, w, b: torch.nn.functional.gelu(x @ w + b) * 1.01)
    report = export(randomize(tiny_backbone((2, 1)), 4), tmp_path / "model.onnx", ExportOptions(64, 96))
    assert not report.holds and not report.worst.holds
    assert not list(tmp_path.iterdir())


def test_what_another_trace_left_behind_does_not_matter(tmp_path):
    """The tracer runs the network with tensors of its own, which the tables of that size must not remember."""
    network = randomize(tiny_backbone((2, 1)), 5)
    with quiet():
        torch.onnx.export(network, (torch.zeros(1, 3, 76, 52),), dynamo=True, verbose=False)
    assert export(network, tmp_path / "model.onnx", ExportOptions(76, 52)).holds


def test_windows_of_equal_score_may_change_places_in_a_fixed_plan(tmp_path):
    """PyTorch computes the windows that the graph chose; at this size two tie in the probe image."""
    torch.manual_seed(0)
    network = randomize(tiny_backbone((2, 2, 2, 2)), seed=2)
    report = export(network, tmp_path / "model.onnx", ExportOptions(64, 128, fixed=Plan.uniform(0.5, (2, 2, 2, 2))))
    assert report.holds, report.worst
    assert {f"window order, stage {i}" for i in range(3)} <= {row.tensor for row in report.rows}


@pytest.mark.parametrize(
    "make,error,message",
    [
        (lambda: ExportOptions(0, 64), ExportError, "0x64"),
        (lambda: ExportOptions(64, 64, precision="int8"), ExportError, "int8"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bad_exports(tmp_path):
    network = randomize(SegmentationModel(small_backbone(), len(CLASSES), channels=16), 0)
    with pytest.raises(ExportError, match="3 classes, 0 are named"):
        export(network, tmp_path / "m.onnx", ExportOptions(64, 64))
    with pytest.raises(PlanError, match="blocks per stage"):
        export(network, tmp_path / "m.onnx", ExportOptions(64, 64, fixed=Plan(((0.5,),))), CLASSES)
    for options, field in (
        (ExportOptions(64, 64, std=(0, 1, 1)), "std.0"),
        (ExportOptions(64, 64, name="x" * 300), "name"),
    ):
        with pytest.raises(ExportError, match=f"the model card does not take this: {field}"):
            export(network, tmp_path / "m.onnx", options, CLASSES)
    with pytest.raises(SinkError, match="missing"):
        export(randomize(tiny_backbone((1,)), 0), tmp_path / "missing" / "m.onnx", ExportOptions(64, 64))
    assert not list(tmp_path.iterdir())
