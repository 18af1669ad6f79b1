"""The library for other machines than this one: older and newer TensorRT, and a Jetson's CPU under qemu."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from host_kernels import ARCHITECTURES, COMPILED_ONCE

from ..conftest import BUILD, ROOT, kernels_compiled_once, run

pytestmark = pytest.mark.slow

SCRIPTS = ROOT / "plugins"
GENERATIONS = [folder for folder in os.environ.get("SPARSEVIT_TENSORRT_HEADERS", "").split(os.pathsep) if folder]
#: For kernels as other tests have compiled them.
COMPILED_BEFORE = {**COMPILED_ONCE, "SPARSEVIT_CUDA_ARCHITECTURES": ARCHITECTURES}
#: JetPack 6 is Ubuntu 22.04.
NEWEST_GLIBC = (2, 35)


def version_of(headers: Path) -> str:
    """Such as ``10.14``, as TensorRT's header has it."""
    text = (headers / "NvInferVersion.h").read_text()
    numbers = [re.search(rf"define (?:NV_TENSORRT_{n}|TRT_{n}_ENTERPRISE) (\d+)", text)[1] for n in ("MAJOR", "MINOR")]
    return ".".join(numbers)


def test_header_generations(tensorrt_headers, cuda_headers):
    """`make headers` compiles against those that are installed, and against all that the variable names."""
    folders = list(dict.fromkeys([tensorrt_headers, *map(Path, GENERATIONS)]))
    build = BUILD.with_name("test-headers")
    named = [f"HEADERS={' '.join(map(str, folders))}", f"HEADERS_BUILD={build}"]
    with kernels_compiled_once():
        output = run("make", "-C", ROOT, "headers", *named, env=COMPILED_BEFORE).stdout
    assert re.findall(r"built for TensorRT ([\d.]+)", output) == [version_of(folder) for folder in folders]
    for number in range(1, len(folders) + 1):
        made = build / str(number) / "plugins"
        assert (made / "libsparsevit_plugins.so").is_file()
        host, kernels = (
            (made / part / "CMakeFiles" / f"sparsevit_{target}.dir" / "flags.make").read_text()
            for part, target in (("tensorrt", "plugins"), ("kernels", "kernels"))
        )
        assert re.search(r"^CXX_FLAGS = .*-Wall -Wextra .*-Werror\b", host, re.MULTILINE), host
        assert re.search(r"^CUDA_FLAGS = .*-Werror=all-warnings ", kernels, re.MULTILINE), kernels


def test_headers_that_do_not_compile_are_told(tensorrt_headers, cuda_headers, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tensorrt_headers, broken)
    with (broken / "NvInferRuntime.h").open("a") as header:
        header.write('\n#error "a header of tomorrow"\n')
    with pytest.raises(AssertionError, match=r"a header of tomorrow[\s\S]*does not compile against .*broken"):
        run("sh", SCRIPTS / "check_headers.sh", tmp_path / "build", broken, env=COMPILED_BEFORE)


@pytest.fixture(scope="module")
def cross_built(tensorrt_headers, cuda_headers):
    """(folder, what the library answered under qemu)."""
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on PATH (Debian: g++-aarch64-linux-gnu, qemu-user)")
    folder = BUILD.with_name("test-aarch64")
    output = run("sh", SCRIPTS / "cross_aarch64.sh", folder, tensorrt_headers, "87").stdout
    return folder, output.partition("answers:\n")[2].splitlines()


def test_jetson_library_has_its_creators(cross_built):
    answers = cross_built[1]
    assert answers[0] == "creators 9, by the old name the same"
    names = [line.split()[1] for line in answers if line.startswith("creator ")]
    assert names == [
        *("WindowScore", "WindowGather", "WindowScatter", "NmsKeep", "MultiLevelRoiAlign"),
        *("WindowRank", "WindowGatherNorm", "WindowAttention", "WindowScatterAdd"),
    ]
    assert sum(line.endswith("read back taken") for line in answers) == 9
    assert "log 1 WindowScatter: node 'probe': shift is 2, it must be 0 or window_size / 2 = 3" in answers


@pytest.mark.parametrize("name", ["libsparsevit_plugins.so", "libsparsevit_ort.so"])
def test_jetson_library_loads_on_jetpack_6(cross_built, name):
    library = cross_built[0] / "library" / "plugins" / name
    assert "AArch64" in run("readelf", "-h", library).stdout
    symbols = run("aarch64-linux-gnu-objdump", "-T", library).stdout
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols)}
    assert versions and max(versions) <= NEWEST_GLIBC
