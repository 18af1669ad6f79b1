"""What the first hour on a Jetson needs, in the order of docs/jetson.md: `sparsevit doctor --jetson`."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sparsevit_runtime.diagnostics.accelerators import jetson_release
from sparsevit_runtime.diagnostics.machine import MachineInfo, installed_versions
from sparsevit_runtime.diagnostics.proc import system_text
from sparsevit_runtime.errors import BuildError
from sparsevit_runtime.tensorrt.plugin_library import find_plugins

from .findings import DoctorReport, Finding, Status
from .probes import examine

#: Of JetPack 6.1, the first with TensorRT 10.3.
_OLDEST_L4T = (36, 4)
#: Jetson Linux of JetPack 7.
_L4T_OF_CUDA_13 = 38
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: (\d+)")
#: What the plain doctor finds that a board needs as well, in the order of the page; the names are the same.
_ALSO = ("memory", "numpy", "opencv", "onnxruntime", "JetPack's OpenCV", "hardware decoder", "csi sensors", "cameras")


def examine_jetson() -> DoctorReport:
    """Asks what an engine with our kernels needs, and what reads cameras on a Jetson. Changes nothing."""
    everything = examine()
    machine = everything.machine
    by_name = {finding.name: finding for finding in everything.findings}
    findings = [
        board(machine),
        release(jetson_release()),
        *power(machine),
        environment(system_text(f"{sys.prefix}/pyvenv.cfg") if sys.prefix != sys.base_prefix else ""),
        *_tensorrt(by_name["tensorrt"], jetson_release()),
        *_compiler(),
        _plugins(),
        *(by_name[name] for name in _ALSO if name in by_name),
    ]
    return DoctorReport(machine=machine, findings=tuple(findings))


def board(machine: MachineInfo) -> Finding:
    """Whether this is a Jetson at all."""
    return _finding(
        "board",
        "ok" if machine.jetson else "missing",
        machine.jetson or f"no Jetson: {machine.cpu}, {machine.system}",
        "this list is for a Jetson; for this machine: sparsevit doctor",
        required=True,
    )


def release(line: str) -> Finding:
    """Jetson Linux, from the first line of its release file; empty where there is none."""
    found = _RELEASE.match(line)
    new_enough = found is not None and (int(found[1]), int(found[2])) >= _OLDEST_L4T
    return _finding(
        "jetson linux",
        "ok" if new_enough else "warn" if found else "missing",
        line or "no /etc/nv_tegra_release",
        "engines need TensorRT 10.3, which JetPack 6.1 (Jetson Linux 36.4) brings: flash it with SDK Manager"
        if found
        else "in a container start from an L4T image, and pass --runtime nvidia",
    )


def power(machine: MachineInfo) -> Iterator[Finding]:
    """Power mode and clocks."""
    mode = machine.power_mode
    fast = mode is not None and mode.upper().startswith("MAXN")
    yield _finding(
        "power mode",
        "ok" if fast else "warn" if mode else "missing",
        mode or "nvpmodel does not say",
        "sudo nvpmodel -m 0 for all of the board's clocks; figures of a lower mode are slower",
    )
    if machine.governor is not None:
        still = machine.governor == "performance"
        yield _finding("clocks", "ok" if still else "warn", machine.governor, "before you measure: sudo jetson_clocks")


def environment(settings: str) -> Finding:
    """The Python environment, from its ``pyvenv.cfg``; empty outside an environment."""
    inside = bool(settings)
    sees = not inside or re.search(r"^include-system-site-packages\s*=\s*true", settings, re.MULTILINE) is not None
    return _finding(
        "environment",
        "ok" if sees else "missing",
        f"{sys.prefix}, " + ("sees JetPack's packages" if sees else "hides JetPack's packages"),
        "TensorRT and OpenCV come with JetPack: python3 -m venv --system-site-packages env",
        required=True,
    )


def _tensorrt(known: Finding, release_line: str) -> Iterator[Finding]:
    yield known.model_copy(update={"area": "engines", "required": True})
    versions = installed_versions(("cuda-python", "cuda-bindings"))
    yield cuda_python(next(iter(versions.values()), None), release_line)


def cuda_python(version: str | None, release_line: str) -> Finding:
    """cuda-python: the driver of JetPack 6 knows no CUDA later than 12, that of JetPack 7 knows 13.

    Args:
        version: what is installed; None where nothing is.
        release_line: first line of Jetson Linux's release file; empty where there is none.
    """
    found = _RELEASE.match(release_line)
    most = 13 if found is not None and int(found[1]) >= _L4T_OF_CUDA_13 else 12
    newer = version is not None and int(version.partition(".")[0]) > most
    return _finding(
        "cuda-python",
        "missing" if version is None else "warn" if newer else "ok",
        version or "not installed",
        f"pip install 'cuda-python>=12.3,<{most + 1}': JetPack {6 if most == 12 else 7} has CUDA {most}",
        area="engines",
        required=True,
    )


def _compiler() -> Iterator[Finding]:
    place = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    yield _finding(
        "nvcc", "ok" if place else "missing", place or "not found", "sudo apt install nvidia-jetpack", area="engines"
    )
    headers = Path("/usr/include/aarch64-linux-gnu/NvInferRuntime.h")
    there = headers.is_file()
    yield _finding(
        "TensorRT headers",
        "ok" if there else "missing",
        str(headers.parent) if there else f"no {headers}",
        "sudo apt install libnvinfer-dev libnvinfer-headers-dev",
        area="engines",
    )


def _plugins() -> Finding:
    try:
        library = find_plugins()
    except BuildError as error:
        return _finding(
            "plugins",
            "missing",
            str(error).partition(". ")[0],
            "with nvcc and the headers above: pip install --force-reinstall --no-deps '.[jetson]'",
            area="engines",
            required=True,
        )
    return _finding("plugins", "ok", f"{library.path} ({library.built_for or 'not said for what'})", area="engines")


def _finding(
    name: str, status: Status, value: str, advice: str = "", *, area: str = "jetson", required: bool = False
) -> Finding:
    """A row; its advice is given where there is something to do."""
    return Finding(
        area=area, name=name, status=status, value=value, advice="" if status == "ok" else advice, required=required
    )
