"""The models that the product is for, built whole by TensorRT for RTX, which needs no GPU.

The stages of the bundled models are padded; those of Swin-T at 672x672 pixels are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from exports import EXPORTED_BEFORE, small_mask2former, small_mask2former_in_half
from networks import randomize
from sparsevit_exporter import ExportOptions, SparseViT, export
from sparsevit_runtime.model import bundled_models, find_model
from sparsevit_runtime.tensorrt import BuildOptions, BuildReport, build_engine
from sparsevit_runtime.tensorrt.plugin_library import PLUGIN_NAMES
from sparsevit_runtime.windows.plan import dense_keep

pytestmark = pytest.mark.slow

PLUGINS = pytest.mark.parametrize("portable", [False, True], ids=["plugins", "portable"])


@pytest.fixture(scope="module")
def swin_t(tmp_path_factory) -> Callable[[str], Path]:
    """Function (precision) -> an export of Swin-T with random weights, 672x672 pixels; made once each."""
    folder = tmp_path_factory.mktemp("swin-t")
    network = randomize(SparseViT(96, (2, 2, 6, 2), (3, 6, 12, 24), window_size=7), seed=0)

    def make(precision: str) -> Path:
        path = folder / f"{precision}.onnx"
        if not path.exists():
            assert export(network, path, ExportOptions(672, 672, precision=precision)).holds
        return path

    return make


@pytest.fixture
def build(rtx, plugin_library, tmp_path) -> Callable[..., BuildReport]:
    """Function (model, portable) -> report of the build."""
    options = BuildOptions(flavour="tensorrt_rtx", batch=(1, 1, 2))

    def make(model: Path, portable: bool) -> BuildReport:
        place = {"portable": True} if portable else {"plugins": plugin_library}
        return build_engine(model, tmp_path / "m.engine", replace(options, **place))

    return make


def check(report: BuildReport, model: Path, portable: bool, smallest: int) -> None:
    """Every window node is a plugin, or none is; any sparsity and both batch sizes run in the one engine."""
    card, keep = report.card, report.card.inputs.profile["keep"]
    nodes = [node for node in onnx.load(model).graph.node if node.op_type in PLUGIN_NAMES]
    # A gather with its norm, attention and a scatter with a sum per block, and a rank per stage and shift.
    assert len(nodes) == 3 * 12 + 2 * 4
    assert card.plugin_layers == (0 if portable else len(nodes))
    # All but the first of each stage, whose map is scored for the shifted windows as well.
    assert (card.in_place_scatters, card.in_place_refused) == (0 if portable else 12 - 4, "")
    assert (keep.min, keep.max) == ((0,) * 6, tuple(dense_keep(card.model.stages)))
    assert card.inputs.profile["image"].max[0] == 2
    assert report.engine.stat().st_size == card.engine_bytes > smallest


@PLUGINS
@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models(build, name, portable):
    model = find_model(name)
    report = build(model, portable)
    check(report, model, portable, smallest=10_000_000)  # more than three million weights in fp32
    assert report.card.inputs.precision == "fp32" and set(report.card.arithmetic) == {"FLOAT"}


@PLUGINS
def test_a_file_exported_before(build, portable):
    """With gathers, scatters and scores alone, attention between them, and scores of int64."""
    card = build(EXPORTED_BEFORE, portable).card
    nodes = [node.op_type for node in onnx.load(EXPORTED_BEFORE).graph.node if node.domain == "sparsevit"]
    assert set(nodes) == {"WindowScore", "WindowGather", "WindowScatter"}
    assert card.plugin_layers == (0 if portable else len(nodes))


@pytest.mark.parametrize(("precision", "make"), [("fp32", small_mask2former), ("fp16", small_mask2former_in_half)])
def test_mask2former(build, tmp_path_factory, precision, make):
    model = make(tmp_path_factory).path
    card = build(model, portable=False).card
    assert card.inputs.precision == precision
    windows = [node for node in onnx.load(model).graph.node if node.op_type in PLUGIN_NAMES]
    assert card.plugin_layers == len(windows) > 0


def test_swin_t_fp32(build, swin_t):
    report = build(swin_t("fp32"), portable=False)
    check(report, swin_t("fp32"), portable=False, smallest=100_000_000)
    assert report.card.inputs.precision == "fp32" and set(report.card.arithmetic) == {"FLOAT"}


@PLUGINS
def test_swin_t_fp16(build, swin_t, portable):
    report = build(swin_t("fp16"), portable)
    check(report, swin_t("fp16"), portable, smallest=50_000_000)
    assert report.card.inputs.precision == "fp16"
    # The patch embedding alone is fp32. A block has a product for q, k and v, two for attention unless a plugin has
    # them, one of its projection and two of its multilayer perceptron; three merge patches.
    assert report.card.arithmetic == {"FLOAT": 1, "HALF": (6 if portable else 4) * 12 + 3}
