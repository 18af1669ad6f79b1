"""Kernels know no host: what plugins/kernels includes, and what a host may include of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from host_kernels import KERNELS, PLUGINS

#: The languages' own headers and CUDA's, and the folder's; nothing of TensorRT, ONNX Runtime or any other library.
OWN = re.compile(r'"kernels/[\w/]+\.(h|cuh)"|<(cuda_\w+\.h|stdint\.h|[a-z_]+)>')
#: What the kernels offer to a host, which compiles none of their CUDA code.
OFFERED = re.compile(r'"kernels/[\w/]+\.h"')
SOURCES = {".h", ".cuh", ".cpp", ".cu"}


def includes(folder: Path) -> list[tuple[str, str]]:
    """(file, what it includes with its quotes or brackets) of all sources in a folder."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SOURCES):
        for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*(["<][^">]*[">]|\w+)', path.read_text(), re.MULTILINE):
            found.append((path.relative_to(folder).as_posix(), name))
    return found


def foreign(kernels: Path) -> list[tuple[str, str]]:
    """What the kernels include and must not."""
    return [(file, name) for file, name in includes(kernels) if not OWN.fullmatch(name)]


def test_kernels_include_themselves_the_language_and_cuda():
    assert len(includes(KERNELS)) > 20
    assert foreign(KERNELS) == []


@pytest.mark.parametrize("file", ["window_score/kernel.cu", "window_gather/kernel.h", "c_abi.cpp", "launch.cuh"])
@pytest.mark.parametrize(
    "header", ["<NvInferRuntime.h>", '"NvInferRuntime.h"', '"tensorrt/log.h"', "<onnxruntime_c_api.h>", "HOST_HEADER"]
)
def test_a_kernel_that_includes_a_host_is_found(tmp_path, file, header):
    shutil.copytree(KERNELS, tmp_path / "kernels")
    changed = tmp_path / "kernels" / file
    changed.write_text(f"#  include {header}\n{changed.read_text()}")
    assert foreign(tmp_path / "kernels") == [(file, header)]


def test_hosts_include_nothing_of_the_kernels_but_their_headers_and_no_other_host():
    hosts = [folder for folder in PLUGINS.iterdir() if folder.is_dir() and folder != KERNELS]
    assert [host.name for host in hosts if host.name == "tensorrt"]
    for host in hosts:
        assert not [path for path in host.rglob("*") if path.suffix in {".cu", ".cuh"}], "nvcc sees the kernels only"
        for file, name in includes(host):
            quoted = name.startswith('"') and not name.startswith(f'"{host.name}/')
            assert not quoted or OFFERED.fullmatch(name), f"{host.name}/{file}: {name}"
