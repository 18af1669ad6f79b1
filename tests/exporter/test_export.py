import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from golden import TOLERANCE, cases, seeded_images
from networks import randomize
from sparsevit_exporter import DetectionModel, ExportOptions, SegmentationModel, SparseViT, deploy, export
from sparsevit_runtime.card import CARD_KEY, ClassCard, ModelCard
from sparsevit_runtime.errors import ExportError, PlanError, SinkError
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.plan import Plan, kept_windows

pytestmark = pytest.mark.slow  # each export costs seconds of tracing

CASES = cases()
#: Cases a `keep` input cannot express: ratios that differ within a pair, or a first pruned block that is not the first.
FIXED_ONLY = {"224_b1__mix0", "320x256_b1__late"}


def open_session(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def card_of(path) -> ModelCard:
    return ModelCard.from_json(open_session(path).get_modelmeta().custom_metadata_map[CARD_KEY])


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


def small_backbone() -> SparseViT:
    return SparseViT(embed_dim=16, depths=(2, 1, 3, 1), num_heads=(1, 2, 4, 8))


def small_network(task: str, seed: int):
    if task == "backbone":
        return randomize(small_backbone(), seed)
    model = {"segmentation": SegmentationModel, "detection": DetectionModel}[task]
    return randomize(model(small_backbone(), 3, channels=16), seed)


CLASSES = [ClassCard(name=n, color=(10 * i, 0, 255)) for i, n in enumerate(("road", "car", "sky"))]


@pytest.mark.parametrize(
    "task,options",
    [
        ("segmentation", ExportOptions(101, 67, label_stride=1)),
        ("segmentation", ExportOptions(64, 96, precision="fp16")),
        ("segmentation", ExportOptions(64, 96, half_weights=True)),
        ("detection", ExportOptions(97, 131, detections=20)),
        ("detection", ExportOptions(64, 64, precision="fp16", detections=10_000)),
        ("backbone", ExportOptions(60, 124, fixed=Plan(((0.0, 0.5), (0.3,), (0.0, 0.9, 0.2), (1.0,))))),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{v.height}x{v.width}-{v.precision}",
)
def test_export_holds_and_describes_itself(task, options, tmp_path):
    network = small_network(task, seed=3)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    path = tmp_path / "model.onnx"
    report = export(network, path, options, CLASSES if task != "backbone" else ())
    assert report.holds, report.worst
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    card = card_of(path)
    assert (card.task, card.precision) == (task, options.precision)
    assert (card.input.height, card.input.width) == (options.height, options.width)
    session = open_session(path)
    assert [i.name for i in session.get_inputs()] == (["image"] if options.fixed else ["image", "keep"])
    for name in (o.name for o in session.get_outputs()):
        assert not name.startswith(("raw_", "logits"))
    proto = onnx.load(path)
    assert {f.name for f in proto.functions} == {n.op_type for n in proto.graph.node if n.domain == "sparsevit"}
    assert not any(n.metadata_props or n.doc_string for n in proto.graph.node)
    # one file, any batch, with the outputs the card recorded
    for check in card.checks:
        frame = probe_image(options.height, options.width, check.seed)
        feed = {"image": np.stack([frame, frame[::-1], frame])}
        if check.keep is not None:
            feed["keep"] = np.array(check.keep, np.int64)
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
        for recorded in check.outputs:
            assert outputs[recorded.name].shape[1:] == recorded.shape[1:]
            for sample in (0, 2):
                values = outputs[recorded.name][sample].flatten()[list(recorded.positions)]
                np.testing.assert_allclose(values, recorded.values, atol=max(recorded.atol, 1e-6), rtol=recorded.rtol)


def test_half_weights_halve_the_file(tmp_path):
    network = small_network("segmentation", seed=1)
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.onnx"
        assert export(network, path, ExportOptions(64, 64, half_weights=half), CLASSES).holds
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.65 * sizes[0]


def test_dense_fixed_export_is_plain(tmp_path):
    path = tmp_path / "plain.onnx"
    assert export(small_network("backbone", 2), path, ExportOptions(64, 96, fixed=Plan.dense((2, 1, 3, 1)))).holds
    proto = onnx.load(path)
    assert not proto.functions and not any(n.domain for n in proto.graph.node)


def test_windows_share_few_constants(golden_file):
    proto = onnx.load(golden_file(320, 256))
    largest = max(np.prod(w.dims) for w in proto.graph.initializer if len(w.dims) == 4 and w.dims[-2:] == [49, 49])
    assert largest <= 4 * 8 * 49 * 49  # kinds x heads, never windows x heads


def test_nothing_is_written_when_parity_fails(tmp_path, monkeypatch):
    """A mistake of one percent in the folded network must be caught."""
    monkeypatch.setattr(deploy, "_gelu", lambda x: torch.nn.functional.gelu(x) * 1.01)
    report = export(small_network("backbone", 4), tmp_path / "model.onnx", ExportOptions(64, 96))
    assert not report.holds and not report.worst.holds
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make,error,message",
    [
        (lambda: ExportOptions(0, 64), ExportError, "0x64"),
        (lambda: ExportOptions(64, 64, precision="int8"), ExportError, "int8"),
        (lambda: ExportOptions(64, 64, label_stride=3), ExportError, "label_stride"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_bad_exports(tmp_path):
    network = small_network("segmentation", 0)
    with pytest.raises(ExportError, match="3 classes, 0 are named"):
        export(network, tmp_path / "m.onnx", ExportOptions(64, 64))
    with pytest.raises(PlanError, match="blocks per stage"):
        export(network, tmp_path / "m.onnx", ExportOptions(64, 64, fixed=Plan(((0.5,),))), CLASSES)
    with pytest.raises(SinkError, match="missing"):
        export(network.backbone, tmp_path / "missing" / "m.onnx", ExportOptions(64, 64))
    assert not list(tmp_path.iterdir())
