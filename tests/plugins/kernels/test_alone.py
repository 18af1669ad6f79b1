"""The kernels as a project of their own: nvcc, and neither TensorRT nor any other host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from host_kernels import ARCHITECTURES, COMPILED_ONCE, KERNELS, PLUGINS

from ..conftest import BUILD, kernels_compiled_once, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(cuda_headers) -> Path:
    """The folder that holds libsparsevit_kernels.a, configured and compiled where nothing names TensorRT's headers."""
    folder = BUILD.with_name("test-kernels")
    hidden = ("TENSORRT_INCLUDE_DIR", "TENSORRT_ROOT", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CXXFLAGS")
    environment = {name: value for name, value in COMPILED_ONCE.items() if name not in hidden}
    with kernels_compiled_once():
        run("cmake", "-S", KERNELS, "-B", folder, f"-DSPARSEVIT_CUDA_ARCHITECTURES={ARCHITECTURES}", env=environment)
        run("cmake", "--build", folder, "--parallel", "2", env=environment)
    return folder


def test_nothing_of_tensorrt_is_compiled_in(built):
    """The compilers' own lists of what they read: also where the system's folders hold TensorRT's headers."""
    lists = list(built.rglob("*.o.d"))
    assert len(lists) == len([*KERNELS.rglob("*.cu"), *KERNELS.rglob("*.cpp")])
    for path in lists:
        text = path.read_text()
        assert "window_index.h" in text or "c_abi.h" in text
        assert not re.search(r"Nv(Infer|OnnxParser)|onnxruntime", text), path
        assert not re.search(rf"{re.escape(str(PLUGINS))}/(?!kernels/)", text), path


def test_every_launcher_and_the_c_abi_are_in_it(built):
    names = run("nm", "-C", "--defined-only", built / "libsparsevit_kernels.a").stdout
    for kernel in ("Score", "Gather", "Scatter", "Attention", "Gather_Norm", "Scatter_Add", "Rank"):
        assert re.search(rf" T sparsevit::launchWindow{kernel.replace('_', '')}\(", names)
        assert re.search(rf" T sparsevit_window_{kernel.lower()}$", names, re.MULTILINE)
    norms = ("AddNorm", "PatchMergeNorm", "FeatureMapNorm")
    others = ("NmsKeep", "MultiLevelRoiAlign", "PatchEmbed", "LabelDecode", "BiasGelu", *norms)
    for kernel, function in ((name, re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()) for name in others):
        assert re.search(rf" T sparsevit::launch{kernel}\(", names)
        assert re.search(rf" T sparsevit_{function}$", names, re.MULTILINE)
    for name in ("letterbox", "stretch"):
        assert re.search(rf" T sparsevit_{name}$", names, re.MULTILINE)
