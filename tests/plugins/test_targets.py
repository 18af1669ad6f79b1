"""The library for other machines than this one: older and newer TensorRT, and a Jetson's processor under qemu."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from .conftest import BUILD, ROOT, run

pytestmark = pytest.mark.slow

SCRIPTS = ROOT / "plugins"
GENERATIONS = [folder for folder in os.environ.get("SPARSEVIT_TENSORRT_HEADERS", "").split(os.pathsep) if folder]
#: JetPack 6 is Ubuntu 22.04.
NEWEST_GLIBC = (2, 35)


def test_header_generations(cuda_headers):
    if not GENERATIONS:
        pytest.skip("SPARSEVIT_TENSORRT_HEADERS names no header folders (see plugins/README.md)")
    output = run("sh", SCRIPTS / "check_headers.sh", BUILD.with_name("test-headers"), *GENERATIONS).stdout
    versions = re.findall(r"built for TensorRT ([\d.]+)", output)
    assert len(versions) == len(GENERATIONS)


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
    assert answers[0] == "creators 3, by the old name the same"
    names = [line.split()[1] for line in answers if line.startswith("creator ")]
    assert names == ["WindowScore", "WindowGather", "WindowScatter"]
    assert sum(line.endswith("read back taken") for line in answers) == 3
    assert "log 1 WindowScatter: node 'probe': shift is 2, it must be 0 or window_size / 2 = 3" in answers


def test_jetson_library_loads_on_jetpack_6(cross_built):
    library = cross_built[0] / "library" / "plugins" / "libsparsevit_plugins.so"
    assert "AArch64" in run("readelf", "-h", library).stdout
    symbols = run("aarch64-linux-gnu-objdump", "-T", library).stdout
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols)}
    assert versions and max(versions) <= NEWEST_GLIBC
