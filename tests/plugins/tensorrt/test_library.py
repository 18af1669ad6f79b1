"""The built library seen from outside: symbols, dependencies, entry points, attributes, formats, shapes."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

import pytest

from host_kernels import ARCHITECTURES

from ..conftest import ROOT, run

pytestmark = pytest.mark.slow  # nvcc compiles the library first

MOVED = ("WindowScore", "WindowGather", "WindowScatter")
BOXES = ("NmsKeep", "MultiLevelRoiAlign")
NAMES = (*MOVED, *BOXES, "WindowRank", "WindowGatherNorm", "WindowAttention", "WindowScatterAdd")
#: Those that carry the token map and the window.
WINDOWS = (*MOVED, "WindowRank", "WindowGatherNorm", "WindowScatterAdd")
#: Where TensorRT's packages put their headers.
INSTALLED = (f"/usr/include/{platform.machine()}-linux-gnu", "/usr/include", "/usr/local/tensorrt/include")
#: Libraries of the C runtime, and nothing of TensorRT, CUDA or the C++ runtime.
ALLOWED = re.compile(r"lib(c|m|dl|rt|pthread)\.so\.\d+|ld-linux.*")


def test_only_the_entry_points_are_visible(plugin_library):
    symbols = [line.split()[-1] for line in run("nm", "-D", "--defined-only", plugin_library).stdout.splitlines()]
    entry_points = ["getCreators", "getPluginCreators", "setLoggerFinder", "sparsevit_letterbox", "sparsevit_stretch"]
    assert sorted(symbols) == entry_points


def test_depends_on_the_c_library_alone(plugin_library):
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", plugin_library).stdout)
    assert needed and all(ALLOWED.fullmatch(name) for name in needed), needed
    undefined = run("nm", "-D", "--undefined-only", plugin_library).stdout
    assert not re.search(r"nvinfer|getPluginRegistry|cuda", undefined)


def test_says_what_it_was_built_for(plugin_library):
    stamps = re.findall(
        rb"sparsevit-plugins tensorrt=\d+\.\d+ cudart=\d+ architectures=[\w,-]+", plugin_library.read_bytes()
    )
    assert len(stamps) == 1 and stamps[0].endswith(b"=" + ARCHITECTURES.encode())


def probe(library: Path, headers: Path, cuda: Path, folder: Path) -> dict[str, list[str]]:
    """What probe_plugins.cpp finds, as lines per plugin; the lines before the first under ''."""
    program = folder / "probe"
    includes = ["-isystem", headers, "-isystem", cuda]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    run("g++", *flags, *includes, Path(__file__).with_name("probe_plugins.cpp"), "-o", program, "-ldl")
    found: dict[str, list[str]] = {"": []}
    plugin = ""
    for line in run(program, library).stdout.splitlines():
        if line.startswith("creator "):
            plugin = line.split()[1]
            found[plugin] = []
        found[plugin].append(line)
    return found


@pytest.fixture(scope="module")
def found(plugin_library, tensorrt_headers, cuda_headers, tmp_path_factory):
    return probe(plugin_library, tensorrt_headers, cuda_headers, tmp_path_factory.mktemp("probe"))


def test_creators(found):
    assert found[""] == ["creators 9, by the old name the same"]
    assert tuple(found)[1:] == NAMES
    for name in NAMES:
        assert found[name][0] == f"creator {name} version 1 namespace 'sparsevit'"
        outputs = 2 if name == "WindowGatherNorm" else 1
        assert f"plugin {name} version 1 outputs {outputs}" in found[name]


@pytest.mark.parametrize("name", WINDOWS)
def test_attributes_of_windows(found, name):
    lines = found[name]
    extra = {"WindowScatter": ["in_place"], "WindowScatterAdd": ["in_place"], "WindowGatherNorm": ["epsilon"]}
    assert [line.split()[1] for line in lines if line.startswith("attribute ")] == [
        *("height", "width", "window_size", "shift"),
        *extra.get(name, []),
    ]
    assert [line for line in lines if line.startswith("type ")] == ["type 5 taken", "type 10 taken", "type 1 refused"]
    assert [line for line in lines if line.startswith("wrong ")] == ["wrong refused"] * 8
    assert "missing refused" in lines and "none refused" in lines
    rest = {"in_place": " in_place=0", "epsilon": " epsilon=1e-05"}
    values = "height=14 width=21 window_size=7 shift=3" + "".join(rest[field] for field in extra.get(name, []))
    assert f"serialised {values} read back taken" in lines


@pytest.mark.parametrize(
    "message",
    [
        "node 'probe': attribute 'height' is not one integer; export the model again",
        "node 'probe': height is 0, it must be at least 1",
        "node 'probe': width is -1, it must be at least 1",
        "node 'probe': shift is 2, it must be 0 or window_size / 2 = 3",
        "node 'probe': a map of 1048576x1048576 tokens in windows of 7 is beyond 32-bit addresses",
        "node 'probe': attribute 'height' is 1099511627776, beyond 32 bits; export the model again",
        "node 'probe': attribute 'window_size' is missing; export the model again",
        "node '': created without attributes",
        "x has the shape (2, 14, 22, 8), the node was exported for (batch, 14, 21, channels)",
        "has 6 inputs and ",
    ],
)
def test_refusals_reach_tensorrts_log(found, message):
    error = 1  # ILogger::Severity::kERROR
    for name in WINDOWS:
        assert any(line.startswith(f"log {error} {name}: {message}") for line in found[name]), found[name]


@pytest.mark.parametrize(
    "name,attributes,values",
    [
        ("NmsKeep", ["iou", "score_threshold", "limit"], "iou=0.5 score_threshold=-0.25 limit=100"),
        (
            "MultiLevelRoiAlign",
            ["output_size", "strides", "finest_scale"],
            "output_size=7 strides=4,8,16,32 finest_scale=56",  # which the node left out
        ),
    ],
)
def test_attributes_of_boxes(found, name, attributes, values):
    lines = found[name]
    assert [line.split()[1] for line in lines if line.startswith("attribute ")] == attributes
    assert [line for line in lines if line.startswith("wrong ")] == ["wrong refused"] * 5
    assert "missing refused" in lines
    assert f"serialised {values} read back taken" in lines


@pytest.mark.parametrize(
    "name,message",
    [
        ("NmsKeep", "node 'probe': iou is 1.500000, it must be from 0 to 1"),
        ("NmsKeep", "node 'probe': iou is -0.500000, it must be from 0 to 1"),
        ("NmsKeep", "node 'probe': score_threshold is not a number"),
        ("NmsKeep", "node 'probe': limit is -1, it must not be negative"),
        ("NmsKeep", "node 'probe': attribute 'iou' is not one float; export the model again"),
        ("NmsKeep", "node 'probe': attribute 'iou' is missing; export the model again"),
        (
            "NmsKeep",
            "boxes have the shape (80, 1000, 4) and scores (80, 999), expected (groups, boxes, 4) and (groups,",
        ),
        ("MultiLevelRoiAlign", "node 'probe': output_size is 0, it must be from 1 to 1024"),
        ("MultiLevelRoiAlign", "node 'probe': attribute 'strides' is not 4 integers; export the model again"),
        ("MultiLevelRoiAlign", "node 'probe': a stride is 0, it must be at least 1"),
        ("MultiLevelRoiAlign", "node 'probe': finest_scale is 0, it must be at least 1"),
        ("MultiLevelRoiAlign", "node 'probe': attribute 'strides' is missing; export the model again"),
        (
            "MultiLevelRoiAlign",
            "map 1 has the shape (3, 8, 10, 15) where the first has (2, 8, 20, 30), expected (batch,",
        ),
        ("MultiLevelRoiAlign", "boxes have the shape (1, 9, 4) for maps (2, 8, 20, 30), expected (batch, boxes, 4)"),
    ],
)
def test_refusals_of_boxes_reach_tensorrts_log(found, name, message):
    assert any(line.startswith(f"log 1 {name}: {message}") for line in found[name]), found[name]


def test_workspace_is_that_of_the_largest_batch(found):
    assert f"workspace {80 * 1000 * 20 + 80 * 4}" in found["NmsKeep"]
    assert f"workspace {3 * 78 * 138 * 8}" in found["WindowRank"]


def test_attributes_of_attention(found):
    lines = found["WindowAttention"]
    assert [line.split()[1] for line in lines if line.startswith("attribute ")] == ["heads", "window_size"]
    assert [line for line in lines if line.startswith("wrong ")] == ["wrong refused"] * 5
    assert "missing refused" in lines
    assert "serialised heads=3 window_size=7 read back taken" in lines


@pytest.mark.parametrize(
    "name,message",
    [
        ("WindowAttention", "node 'probe': heads is 0, it must be at least 1"),
        ("WindowAttention", "node 'probe': window_size is 5000, it must be from 1 to 4096"),
        ("WindowAttention", "node 'probe': attribute 'window_size' is missing; export the model again"),
        ("WindowAttention", "qkv has the shape (2, 196, 280), expected (batch, tokens, 3 * channels), channels a mul"),
        ("WindowAttention", "index has the shape (2, 5) for qkv (2, 196, 288), expected (batch, windows of 49 tokens)"),
        ("WindowAttention", "qkv_bias has the shape (96) for qkv (2, 196, 288), expected (3 * channels)"),
        ("WindowAttention", "kind has the shape (0), expected (all windows)"),
        ("WindowAttention", "position_bias has the shape (9, 3, 64, 64), expected (kinds, 3, 49, 49)"),
        ("WindowGatherNorm", "scale has the shape (9) for x (2, 14, 21, 8), expected (channels)"),
        (
            "WindowScatterAdd",
            "update has the shape (2, 195, 8) for x (2, 14, 21, 8) and index (2, 4), expected (batch,",
        ),
    ],
)
def test_refusals_of_blocks_reach_tensorrts_log(found, name, message):
    assert any(line.startswith(f"log 1 {name}: {message}") for line in found[name]), found[name]


@pytest.mark.parametrize(
    "name,formats",
    [
        ("WindowScore", "ff hf bf"),
        ("WindowGather", "fif flf hih hlh bib blb"),
        ("WindowScatter", "ffif fflf hhih hhlh bbib bblb"),
        ("NmsKeep", "ffi"),
        ("MultiLevelRoiAlign", "ffffff hhhhfh bbbbfb"),
        ("WindowRank", "fi hi bi"),
        ("WindowGatherNorm", "fiffff flffff hihhhh hlhhhh bibbbb blbbbb"),
        ("WindowAttention", "ffiiff ffliff hhiihh hhlihh bbiibb bblibb"),
        ("WindowScatterAdd", "ffffif fffflf hhhhih hhhhlh bbbbib bbbblb"),
    ],
)
def test_formats(found, name, formats):
    """Types of inputs and outputs in their order: float, half or bfloat16 maps and windows, int32 or long ids, int32
    kinds and ranks; boxes are float; linear only."""
    assert f"formats {formats}" in found[name]


@pytest.mark.parametrize(
    "name,verdicts",
    [
        ("WindowScore", ["taken"] * 2 + ["refused"] * 3),
        ("WindowGather", ["taken"] * 2 + ["refused"] * 2 + ["taken"] + ["refused"] * 3),
        ("WindowScatter", ["taken"] * 2 + ["refused"] * 2 + ["taken"] + ["refused"] * 5),
        ("NmsKeep", ["taken"] * 3 + ["refused"] * 4),
        ("MultiLevelRoiAlign", ["taken"] * 3 + ["refused"] * 5),
        ("WindowRank", ["taken"] * 2 + ["refused"] * 3),
        ("WindowGatherNorm", ["taken"] * 2 + ["refused"] * 2 + ["taken"] + ["refused"] * 5),
        ("WindowAttention", ["taken"] * 3 + ["refused"] * 12),
        ("WindowScatterAdd", ["taken"] * 2 + ["refused"] * 2 + ["taken"] + ["refused"] * 7),
    ],
)
def test_shapes(found, name, verdicts):
    """Whole and unknown sizes are taken, then: wrong map, wrong rank, no window, too many, wrong batch, and so on; of
    boxes also no group and no box."""
    assert [line.split()[1] for line in found[name] if line.startswith("shapes ")] == verdicts


class TestConfigure:
    """CMake without something it needs: one line, and the Python packages install all the same."""

    def configure(self, folder, *options, **variables):
        """What CMake says; `variables` are set in its environment, in which TensorRT is not named otherwise."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TENSORRT_")}
        environment |= {name: str(value) for name, value in variables.items()}
        return run(shutil.which("cmake"), "-S", ROOT, "-B", folder, *options, env=environment).stdout

    def test_without_a_compiler(self, tmp_path, monkeypatch):
        for name in ("CXX", "CUDACXX"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "make").symlink_to(shutil.which("make"))
        output = self.configure(tmp_path / "b", "-G", "Unix Makefiles", PATH=tmp_path / "bin")
        assert "SparseViT: libsparsevit_plugins is not built: no C++ and CUDA compiler found" in output

    def test_where_path_does_not_name_the_compiler(self, tmp_path, tensorrt_headers, cuda_headers):
        """As JetPack leaves it."""
        said = run("nvcc", "--dryrun", "-x", "cu", "-c", "/dev/null").stderr
        top = re.search(r"^#\$ TOP=(.*)$", said, re.MULTILINE)[1]
        folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not Path(folder, "nvcc").exists()]
        variables = {"PATH": os.pathsep.join(folders), "CUDA_HOME": top, "TENSORRT_INCLUDE_DIR": tensorrt_headers}
        output = self.configure(tmp_path / "b", **variables)
        assert "SparseViT: libsparsevit_plugins is built for TensorRT" in output

    def test_without_headers(self, tmp_path, cuda_headers):
        output = self.configure(tmp_path / "b", f"-DTENSORRT_INCLUDE_DIR={tmp_path}")
        assert f"SparseViT: libsparsevit_plugins is not built: {tmp_path} is TensorRT 0, plugins need 10.0" in output

    def test_with_the_headers_of_jetpack_5(self, tmp_path, cuda_headers):
        version = "#define NV_TENSORRT_MAJOR 8 //!< major\n#define NV_TENSORRT_MINOR 5 //!< minor\n"
        (tmp_path / "NvInferVersion.h").write_text(version)
        output = self.configure(tmp_path / "b", f"-DTENSORRT_INCLUDE_DIR={tmp_path}")
        assert "is TensorRT 8.5, plugins need 10.0" in output

    def test_with_headers_named_in_the_environment(self, tmp_path, cuda_headers):
        """They are not looked for elsewhere, so that a wrong name does not mean other headers."""
        output = self.configure(tmp_path / "b", TENSORRT_INCLUDE_DIR=tmp_path / "named")
        assert f"{tmp_path / 'named'} is TensorRT 0, plugins need 10.0" in output

    def test_without_tensorrt(self, tmp_path, cuda_headers):
        """Headers of a Python package are a test's own business: CMake looks where TensorRT is installed."""
        if any(Path(folder, "NvInferRuntime.h").exists() for folder in INSTALLED):
            pytest.skip("TensorRT is installed on this machine")
        output = self.configure(tmp_path / "b")
        assert "SparseViT: libsparsevit_plugins is not built: no TensorRT headers found" in output
        assert "-DTENSORRT_INCLUDE_DIR=" in output

    def test_required(self, tmp_path, cuda_headers):
        options = [f"-DTENSORRT_INCLUDE_DIR={tmp_path}", "-DSPARSEVIT_REQUIRE_PLUGINS=ON"]
        with pytest.raises(AssertionError, match="libsparsevit_plugins cannot be built"):
            self.configure(tmp_path / "b", *options)
