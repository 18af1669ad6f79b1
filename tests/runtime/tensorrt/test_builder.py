"""Real builds with TensorRT for RTX, which needs no GPU for them."""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from sparsevit_runtime.card import CARD_KEY
from sparsevit_runtime.diagnostics import write_half
from sparsevit_runtime.errors import BuildError, MissingDependencyError, ModelError, SinkError
from sparsevit_runtime.graph.parts import PARTS, part_of_layer
from sparsevit_runtime.tensorrt import BuildOptions, build_engine, read_sidecar
from sparsevit_runtime.tensorrt.capabilities import launch_environment
from sparsevit_runtime.tensorrt.device import find_gpu
from sparsevit_runtime.tensorrt.engine_card import changes
from sparsevit_runtime.tensorrt.plugin_library import PLUGIN_NAMES
from told import Told

RTX = BuildOptions(flavour="tensorrt_rtx")
PORTABLE = replace(RTX, portable=True)
STARTS = "__version__ = '0'\nclass ILogger: ...\ndef Builder(log): "


def altered(source: Path, target: Path, change) -> Path:
    """The model with `change` applied to it, and to its card as a dictionary."""
    model = onnx.load(source)
    entry = next(e for e in model.metadata_props if e.key == CARD_KEY)
    card = json.loads(entry.value)
    change(model, card)
    entry.value = json.dumps(card)
    onnx.save(model, target)
    return target


def test_build_reuse_and_rebuild(rtx, exported, plugin_library, tmp_path):
    engine, options, told = tmp_path / "m.engine", replace(RTX, plugins=plugin_library), Told()
    report = build_engine(exported(), engine, options, told)
    card = report.card
    assert report.reasons == ("there is no m.engine yet",)
    assert sorted(os.listdir(tmp_path)) == ["m.engine", "m.engine.json"]
    assert read_sidecar(engine) == card and card.engine_bytes == engine.stat().st_size > 10_000
    assert card.inputs.tensorrt.startswith("tensorrt_rtx 1.") and card.inputs.precision == "fp32"
    gpu = find_gpu()
    assert (card.inputs.gpu == "none") == (gpu is None)
    assert card.precision_checked == ("network" if gpu is None else "engine")
    nodes = [node for node in onnx.load(exported()).graph.node if node.op_type in PLUGIN_NAMES]
    assert card.plugin_layers == len(nodes) >= 10
    assert set(card.arithmetic) == {"FLOAT"} and "tensorrt=" in card.plugins_built_for
    assert card.inputs.in_place and card.in_place_scatters == 4
    assert card.model.input.height == 60 and card.inputs.profile["keep"].min == (0, 0, 0, 0)
    assert card.inputs.profile["keep"].max == (12, 4, 1, 1)
    assert all(0 <= done <= total for _, done, total in told.steps) and len({step[0] for step in told.steps}) > 2
    # What the inspector says about layers, for profiles: the nodes they were made of, whose names say their parts.
    marks = re.findall(r"\[ONNX Layer: ([^\]]+)\]", engine.read_bytes().decode("latin-1"))
    assert {part_of_layer(mark) for mark in marks} >= {*PARTS, "labels"} - {"front"}

    written = engine.stat().st_mtime_ns
    again = build_engine(exported(), engine, options)
    assert again.reasons == () and again.card == card and engine.stat().st_mtime_ns == written
    moved = shutil.copy(plugin_library, tmp_path / "same.so")
    again = build_engine(exported(), engine, replace(options, plugins=moved))
    assert again.reasons == () and engine.stat().st_mtime_ns == written
    assert (card.plugins_path, again.card.plugins_path) == (str(plugin_library), str(moved))
    assert read_sidecar(engine) == again.card  # where an engine finds its library now

    other = build_engine(exported(), engine, replace(options, batch=(1, 2, 3), in_place=False))
    assert other.reasons == ("scattering in place changed (True -> False)", "the profile changed")
    assert other.card.in_place_scatters == 0 and other.card.plugin_layers == len(nodes)
    options = replace(options, in_place=False)
    assert other.card.inputs.profile["image"].max == (3, 60, 88, 3)
    forced = build_engine(exported(), engine, replace(options, batch=(1, 2, 3), force=True, workspace_mib=64))
    assert forced.reasons == ("asked for",) and forced.card.workspace_mib == 64


@pytest.mark.slow
def test_fp16(rtx, exported, plugin_library, tmp_path):
    card = build_engine(exported("fp16"), tmp_path / "m.engine", replace(RTX, plugins=plugin_library)).card
    assert card.inputs.precision == "fp16" and card.arithmetic["HALF"] > 20 and card.plugin_layers >= 10


@pytest.mark.slow
def test_half_precision_made_of_an_fp32_file(rtx, exported, plugin_library, tmp_path):
    assert write_half(exported(), tmp_path / "half.onnx").agrees
    card = build_engine(tmp_path / "half.onnx", tmp_path / "m.engine", replace(RTX, plugins=plugin_library)).card
    assert card.inputs.precision == "fp16" and card.arithmetic["FLOAT"] == 1 and card.arithmetic["HALF"] > 20
    assert card.plugin_layers >= 10


def test_portable_needs_no_plugin(rtx, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEVIT_PLUGINS", "/nowhere.so")
    engine = tmp_path / "m.engine"
    card = build_engine(exported(), engine, PORTABLE).card
    assert (card.plugin_layers, card.inputs.plugins_sha256, card.plugins_built_for) == (0, None, "")
    with pytest.raises(BuildError, match=r"looked for /nowhere.so \(\$SPARSEVIT_PLUGINS\)"):
        build_engine(exported(), engine, RTX)
    assert read_sidecar(engine) == card and build_engine(exported(), engine, PORTABLE).reasons == ()


def test_an_engine_tuned_for_several_levels(rtx, exported, tmp_path):
    engine, options = tmp_path / "m.engine", replace(PORTABLE, levels=(0, 0.5))
    card = build_engine(exported(), engine, options).card
    assert card.inputs.levels == ((12, 4, 1, 1), (6, 2, 0, 0)) and card.inputs.profile["keep"].max == (12, 4, 1, 1)
    assert build_engine(exported(), engine, options).reasons == ()
    assert changes(engine, card.inputs.model_copy(update={"levels": ()})) == ["the levels it is tuned for changed"]


def test_parser_errors_name_the_nodes(rtx, exported, tmp_path):
    bare = altered(exported(), tmp_path / "bare.onnx", lambda model, card: model.ClearField("functions"))
    with pytest.raises(BuildError, match=r"cannot parse .*bare.onnx: KeepCount '.+': .*Plugin not found.*\d+ more"):
        build_engine(bare, tmp_path / "m.engine", PORTABLE)
    assert os.listdir(tmp_path) == ["bare.onnx"]


def test_a_wrong_attribute_is_told_by_the_plugin(rtx, exported, plugin_library, tmp_path):
    def change(model, card):
        node = next(n for n in model.graph.node if n.op_type == "WindowGatherNorm")
        next(a for a in node.attribute if a.name == "shift").i = 2

    wrong = altered(exported(), tmp_path / "wrong.onnx", change)
    with pytest.raises(BuildError, match=r"WindowGatherNorm '.+'.*shift is 2, it must be 0 or window_size / 2 = 3"):
        build_engine(wrong, tmp_path / "m.engine", replace(RTX, plugins=plugin_library))


def test_a_card_that_does_not_fit_the_graph_is_refused(rtx, exported, tmp_path):
    def half(model, card):
        card["precision"] = "fp16"

    def one_half(model, card):
        """Half precision for the product that an fp16 export leaves in float, and nothing else."""
        half(model, card)
        graph = next(f for f in model.functions if f.name == "PatchEmbed")
        i = next(i for i, n in enumerate(graph.node) if n.op_type == "MatMul")
        product = graph.node[i]
        for name in product.input:
            graph.node.insert(i, onnx.helper.make_node("Cast", [name], [f"{name}_half"], to=onnx.TensorProto.FLOAT16))
        output, product.input[:] = product.output[0], [f"{name}_half" for name in product.input]
        product.output[0] = f"{output}_half"
        cast = onnx.helper.make_node("Cast", [f"{output}_half"], [output], to=onnx.TensorProto.FLOAT)
        graph.node.insert(i + 3, cast)

    def fixed(model, card):
        card["windows"]["fixed"] = [[0.5] * depth for depth in card["windows"]["depths"]]

    for change, message in (
        (half, r"says fp16, but the network's products and convolutions are \{'FLOAT': \d+\}"),
        (one_half, r"says fp16, but the network's products and convolutions are \{'FLOAT': \d\d, 'HALF': 1\}"),
        (fixed, r"has the inputs \['image', 'keep'\], its card stands for \['image'\]"),
    ):
        with pytest.raises(BuildError, match=message):
            build_engine(altered(exported(), tmp_path / "m.onnx", change), tmp_path / "m.engine", PORTABLE)


def test_an_engine_whose_keep_would_do_nothing_is_refused(rtx, exported, tmp_path):
    def freeze(model, card):
        graph = model.graph
        for node in graph.node:
            node.input[:] = ["frozen" if name == "keep" else name for name in node.input]
        graph.initializer.append(onnx.helper.make_tensor("frozen", onnx.TensorProto.INT64, [4], [5, 2, 1, 1]))
        graph.node.append(onnx.helper.make_node("Add", ["keep", "frozen"], ["sum"]))
        graph.output.append(onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.INT64, [4]))

    frozen = altered(exported(), tmp_path / "frozen.onnx", freeze)
    with pytest.raises(BuildError, match=r"keep decides no shape in .*frozen.onnx"):
        build_engine(frozen, tmp_path / "m.engine", PORTABLE)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("int nothing;", "SymbolAddress for getCreators could not be loaded"),
        ("void* getCreators(int* n) { *n = 0; return n; } void setLoggerFinder(void* f) {}", "No creator returned"),
    ],
    ids=["no entry points", "no plugins"],
)
def test_a_library_of_something_else(rtx, exported, tmp_path, code, message):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a library of something else")
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text(code)
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    with pytest.raises(BuildError, match=rf"cannot load the plugin library .*other.so: .*{message}"):
        build_engine(exported(), tmp_path / "m.engine", replace(RTX, plugins=library))


def test_a_library_older_than_the_model(rtx, exported, plugin_library, tmp_path):
    def change(model, card):
        model.graph.node.append(onnx.helper.make_node("WindowFuture", [], ["new"], domain="sparsevit"))

    newer = altered(exported(), tmp_path / "newer.onnx", change)
    with pytest.raises(BuildError, match=r"has no plugin WindowFuture version 1, which .*newer.onnx needs"):
        build_engine(newer, tmp_path / "m.engine", replace(RTX, plugins=plugin_library))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch": (0, 1, 1)}, BuildError, "smallest must be at least 1"),
        ({"workspace_mib": 0}, BuildError, "workspace of 0 MiB"),
        ({"flavour": "tensorflow"}, BuildError, "choose tensorrt or tensorrt_rtx"),
        ({"timing_cache": Path("t.cache")}, BuildError, "tensorrt_rtx keeps no timing cache"),
    ],
)
def test_wrong_options(rtx, exported, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        build_engine(exported(), tmp_path / "m.engine", replace(PORTABLE, **options))


def test_files_that_cannot_be_read_or_written(rtx, exported, tmp_path):
    with pytest.raises(SinkError, match="no folder"):
        build_engine(exported(), tmp_path / "nowhere" / "m.engine", PORTABLE)
    part = tmp_path / "part.onnx"
    part.write_bytes(exported().read_bytes()[:5000])
    with pytest.raises(ModelError, match="only a part"):
        build_engine(part, tmp_path / "m.engine", PORTABLE)


def test_ctrl_c_ends_the_build_and_leaves_nothing(rtx, exported, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(exported(), tmp_path / "m.engine", PORTABLE, Told(interrupt))
    assert os.listdir(tmp_path) == []


def test_an_engine_without_its_card_says_how_to_get_one(tmp_path):
    from sparsevit_runtime import CardError, load

    (tmp_path / "m.engine").write_bytes(b"")
    with pytest.raises(CardError, match="m.engine.json.*keep both files together"):
        load(tmp_path / "m.engine")


def test_no_tensorrt_at_all(exported, tmp_path, monkeypatch):
    class Hiding:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name in ("tensorrt", "tensorrt_rtx"):
                return None
            return importlib.machinery.PathFinder.find_spec(name, path, target)

    monkeypatch.setattr(sys, "meta_path", [Hiding])
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingDependencyError, match="Jetson: sudo apt install tensorrt .*edge.tensorrt.*rtx-cu13"):
        build_engine(exported(), tmp_path / "m.engine", BuildOptions(portable=True))


@pytest.fixture
def as_tensorrt(rtx, tmp_path, monkeypatch):
    """Function (more code) that puts TensorRT for RTX under the name of TensorRT 10.3, with what the code changes."""
    folder = tmp_path / "site"
    (folder / "links").mkdir(parents=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", launch_environment("tensorrt_rtx", folder / "links")["LD_LIBRARY_PATH"])
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)

    def install(code: str = "") -> None:
        (folder / "tensorrt.py").write_text(f"from tensorrt_rtx import *\n__version__ = '10.3.0'\n{code}\n")

    yield install
    sys.modules.pop("tensorrt", None)


def test_scatters_copy_where_tensorrt_refuses_to_alias(as_tensorrt, exported, plugin_library, tmp_path, caplog):
    """A TensorRT that has the feature and refuses what it is for, as one without the feature does."""
    as_tensorrt(
        "import tensorrt_rtx\nfrom types import SimpleNamespace\n"
        "PreviewFeature = SimpleNamespace(ALIASED_PLUGIN_IO_10_03="
        "tensorrt_rtx.PreviewFeature.RUNTIME_ACTIVATION_RESIZE_10_10)"
    )
    engine, options = tmp_path / "m.engine", BuildOptions(plugins=plugin_library)
    card = build_engine(exported(), engine, options).card
    assert card.inputs.in_place and card.in_place_scatters == 0 and card.plugin_layers >= 10
    assert "kALIASED_PLUGIN_IO_10_03" in card.in_place_refused
    assert "scatters copy their maps: TensorRT cannot build" in caplog.text
    assert build_engine(exported(), engine, options).reasons == ()  # it is not tried again


def test_scatters_copy_where_tensorrt_cannot_alias(as_tensorrt, exported, plugin_library, tmp_path):
    as_tensorrt("class PreviewFeature: ...")
    card = build_engine(exported(), tmp_path / "m.engine", BuildOptions(plugins=plugin_library)).card
    assert not card.inputs.in_place and (card.in_place_scatters, card.in_place_refused) == (0, "")


def test_a_timing_cache_is_written_and_only_taken_when_it_reads(as_tensorrt, exported, tmp_path):
    """TensorRT for RTX writes timing caches that it cannot read again."""
    as_tensorrt()
    engine, cache = tmp_path / "m.engine", tmp_path / "m.cache"
    options = BuildOptions(portable=True, timing_cache=cache)
    card = build_engine(exported(), engine, options).card
    assert card.inputs.tensorrt == "tensorrt 10.3.0" and cache.stat().st_size > 0
    for content in (cache.read_bytes(), b"something else"):
        cache.write_bytes(content)
        with pytest.raises(BuildError, match=r"does not take the timing cache .*m.cache"):
            build_engine(exported(), engine, replace(options, force=True))
        assert cache.read_bytes() == content and read_sidecar(engine) == card
    with pytest.raises(BuildError, match=rf"cannot read the timing cache {tmp_path} \(Is a directory\); name a file"):
        build_engine(exported(), engine, replace(options, force=True, timing_cache=tmp_path))


def test_by_default_times_are_kept_and_begun_anew_where_they_do_not_read(
    as_tensorrt, exported, tmp_path, cache, caplog
):
    as_tensorrt()
    options = BuildOptions(portable=True, force=True)
    build_engine(exported(), tmp_path / "m.engine", options)
    gpu = find_gpu()
    name = "none" if gpu is None else f"{gpu.name} compute capability {gpu.compute_capability}".replace(" ", "-")
    (kept,) = (cache / "timing").iterdir()
    assert kept.name == f"tensorrt-10.3.0-{name}.cache" and kept.stat().st_size > 0
    for content in (kept.read_bytes(), b"something else"):
        kept.write_bytes(content)
        build_engine(exported(), tmp_path / "m.engine", options)
        assert kept.read_bytes() not in (b"", b"something else")
    assert not caplog.text
    shutil.rmtree(cache)
    cache.write_text("no folder")
    build_engine(exported(), tmp_path / "m.engine", options)
    assert "measured times are not kept" in caplog.text


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("raise OSError('libnvinfer.so.10: no such file')", "installed but does not load .libnvinfer.so.10"),
        (
            "__version__ = '0'\nclass ILogger: ...\ndef Builder(log):\n import os; os.abort()",
            "ended with signal SIGABRT",
        ),
        ("__version__ = '0'\nclass ILogger: ...\ndef Builder(log):\n raise TypeError('null')", "needs a GPU"),
    ],
    ids=["does not load", "crashes", "finds no GPU"],
)
def test_an_installation_that_does_not_work(exported, tmp_path, monkeypatch, module, message):
    """Stand-ins for broken TensorRT installations."""
    (tmp_path / "tensorrt.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BuildError, match=message):
        build_engine(exported(), tmp_path / "m.engine", BuildOptions(portable=True))
    sys.modules.pop("tensorrt", None)
