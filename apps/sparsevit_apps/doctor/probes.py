"""The doctor's questions. Each works, whatever is missing, and looks without changing anything."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sparsevit_runtime.custom_ops import find_ops
from sparsevit_runtime.dependencies import PACKAGES, missing, require
from sparsevit_runtime.diagnostics.accelerators import find_cuda, find_nvidia_gpu, find_tensorrt, jetson_release
from sparsevit_runtime.diagnostics.machine import MachineInfo, installed_versions, read_machine
from sparsevit_runtime.diagnostics.proc import system_text
from sparsevit_runtime.errors import BackendError, MissingDependencyError

from .findings import DoctorReport, Finding

#: Extra of the distribution -> modules it brings and what they are for.
_EXTRAS = {
    "export": (("torch", "onnx", "onnxscript", "safetensors"), "sparsevit export"),
    "draw": (("supervision",), "drawing detections"),
    "video": (("av",), "H.264 video, which browsers play"),
    "web": (("starlette", "uvicorn", "websockets", "prometheus_client"), "a run seen in a browser"),
    "mqtt": (("paho",), "results published to a broker"),
    "track": (("scipy",), "tracking and counting detected objects"),
    "plot": (("matplotlib",), "sparsevit profile --plot"),
    "power": (("pynvml",), "the energy that sparsevit profile measures on an NVIDIA GPU"),
    "train": (("torch", "yaml", "scipy", "pycocotools"), "sparsevit adapt, eval and search"),
}


def examine() -> DoctorReport:
    """Asks everything."""
    machine = read_machine()
    findings = [
        *_system(machine),
        *_libraries(),
        *_opencv(),
        *_onnxruntime(machine),
        *_accelerators(machine),
        *_capture(machine),
        *_devices(),
        *_models(),
        *_extras(),
    ]
    return DoctorReport(machine=machine, findings=tuple(findings))


def _system(machine: MachineInfo) -> Iterator[Finding]:
    area = "machine"
    good = sys.version_info >= (3, 10)
    yield Finding(
        area=area,
        name="python",
        status="ok" if good else "missing",
        value=f"{machine.python} ({sys.prefix})",
        advice="" if good else "install Python 3.10 or newer and make the environment again",
        required=True,
    )
    yield Finding(area=area, name="system", status="ok", value=f"{machine.distribution}, {machine.system}")
    cores = f"{machine.cpu}, {machine.physical_cores} cores"
    fewer = machine.usable_cores < machine.logical_cores
    yield Finding(
        area=area,
        name="cpu",
        status="ok",
        value=cores + (f", {machine.usable_cores:g} of {machine.logical_cores} CPUs usable" if fewer else ""),
        advice="a container limit or affinity withholds the rest; pass --threads accordingly" if fewer else "",
    )
    yield _memory(machine)
    if machine.governor is not None:
        slow = machine.governor in ("powersave", "conservative")
        advice = (
            "sudo nvpmodel -m 0 && sudo jetson_clocks"
            if machine.jetson
            else "sudo cpupower frequency-set -g performance"
        )
        yield Finding(
            area=area,
            name="governor",
            status="warn" if slow else "ok",
            value=machine.governor,
            advice=f"for full speed: {advice}" if slow else "",
        )
    if machine.jetson:
        value = ", ".join(p for p in (machine.jetson, machine.power_mode, jetson_release()) if p)
        yield Finding(area=area, name="jetson", status="ok", value=value)


def _memory(machine: MachineInfo) -> Finding:
    total, available = machine.memory_gb, machine.memory_available_gb
    if total is None:
        return Finding(area="machine", name="memory", status="ok", value="not shown by this system")
    low = available is not None and available < 1.0
    return Finding(
        area="machine",
        name="memory",
        status="warn" if low else "ok",
        value=f"{total:.1f} GB, {available or 0:.1f} GB available",
        advice="less than 1 GB is free: close other programs or add swap" if low else "",
    )


def _libraries() -> Iterator[Finding]:
    for module, distribution in (("numpy", "numpy"), ("pydantic", "pydantic")):
        yield _library("libraries", module, distribution, required=True)


def _library(area: str, module: str, distribution: str, *, required: bool = False) -> Finding:
    version = installed_versions((distribution,)).get(distribution)
    if version is None and importlib.util.find_spec(module) is None:
        advice = str(missing(module))
        return Finding(
            area=area, name=module, status="missing", value="not installed", advice=advice, required=required
        )
    return Finding(area=area, name=module, status="ok", value=version or "installed outside pip", required=required)


def _unusable(area: str, name: str, error: MissingDependencyError) -> Finding:
    """A required library that is not there or does not load."""
    return Finding(area=area, name=name, status="missing", value="cannot be imported", advice=str(error), required=True)


def _opencv() -> Iterator[Finding]:
    area = "opencv"
    try:
        cv2 = require("cv2")
    except MissingDependencyError as error:
        yield _unusable(area, "opencv", error)
        return
    packages = installed_versions(PACKAGES["cv2"])
    several = len(packages) > 1
    yield Finding(
        area=area,
        name="opencv",
        status="warn" if several else "ok",
        value=f"{cv2.__version__} ({', '.join(packages) or 'not from pip'})",
        advice=f"several OpenCV packages overwrite each other; keep one: pip uninstall {' '.join(packages)}"
        if several
        else "",
        required=True,
    )
    yield from opencv_features(cv2.getBuildInformation())


def opencv_features(build: str) -> Iterator[Finding]:
    """Findings from the text of `cv2.getBuildInformation`."""
    system = (
        "use the system's OpenCV (sudo apt install libopencv-python or python3-opencv) in an environment made with "
    )
    system += "--system-site-packages"
    has = {name: bool(re.search(rf"^\s*{name}:\s*YES", build, re.M)) for name in ("FFMPEG", "GStreamer")}
    yield Finding(
        area="opencv",
        name="ffmpeg",
        status="ok" if has["FFMPEG"] or has["GStreamer"] else "missing",
        value="yes" if has["FFMPEG"] else "no" + (", GStreamer reads videos" if has["GStreamer"] else ""),
        advice=""
        if has["FFMPEG"] or has["GStreamer"]
        else "videos and rtsp need it: pip install opencv-python-headless",
    )
    yield Finding(
        area="opencv",
        name="gstreamer",
        status="ok" if has["GStreamer"] else "missing",
        value="yes" if has["GStreamer"] else "no",
        advice=""
        if has["GStreamer"]
        else f"a Jetson's csi:// and decoder are used through PyGObject then, or {system}",
    )
    gui = re.search(r"^\s*GUI:\s*(\S+)", build, re.M)
    toolkit = gui[1] if gui else "NONE"
    headless = toolkit == "NONE"
    yield Finding(
        area="opencv",
        name="windows",
        status="missing" if headless else "ok",
        value="headless build" if headless else f"yes ({toolkit})" if toolkit != "YES" else "yes",
        advice=f"only display:// needs them: pip install opencv-python in place of opencv-python-headless, or {system}"
        if headless
        else "",
    )


def _onnxruntime(machine: MachineInfo) -> Iterator[Finding]:
    area = "inference"
    packages = installed_versions(PACKAGES["onnxruntime"])
    try:
        onnxruntime = require("onnxruntime")
    except MissingDependencyError as error:
        yield _unusable(area, "onnxruntime", error)
        return
    providers = [p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers()]
    both = len(packages) > 1
    yield Finding(
        area=area,
        name="onnxruntime",
        status="warn" if both else "ok",
        value=f"{onnxruntime.__version__}, providers {', '.join(providers)}",
        advice="onnxruntime and onnxruntime-gpu exclude each other: pip uninstall both, then install the one you want"
        if both
        else "",
        required=True,
    )
    if "CUDA" not in providers and find_nvidia_gpu() is not None:
        advice = (
            "NVIDIA's onnxruntime-gpu wheel for your JetPack runs models on the GPU"
            if machine.jetson
            else "pip uninstall onnxruntime, then pip install 'sparsevit-edge[gpu]'"
        )
        yield Finding(
            area=area,
            name="CUDA provider",
            status="missing",
            value="there is a GPU, but this onnxruntime runs on the CPU only",
            advice=advice,
        )
    yield _custom_ops("CUDA" in providers)


def _custom_ops(on_cuda: bool) -> Finding:
    """The kernels for ONNX Runtime's CUDA provider."""
    try:
        library = find_ops()
    except BackendError as error:
        value = "none: models run on CUDA as portable bodies, slower" if on_cuda else "none"
        advice = str(error) if on_cuda else "only ONNX Runtime on CUDA has a use for them"
        return Finding(area="inference", name="custom ops", status="missing", value=value, advice=advice)
    return Finding(
        area="inference",
        name="custom ops",
        status="ok",
        value=f"{library.path}, {len(library.nodes)} kinds of nodes, {library.built_for}",
        advice="" if on_cuda else "this onnxruntime has no CUDA, where they run",
    )


def _accelerators(machine: MachineInfo) -> Iterator[Finding]:
    area = "inference"
    gpu = machine.jetson or find_nvidia_gpu()
    yield Finding(
        area=area,
        name="gpu",
        status="ok" if gpu else "missing",
        value=gpu or "no NVIDIA GPU or driver found",
        advice="" if gpu else "not needed: models run on the CPU",
    )
    cuda = find_cuda()
    yield Finding(
        area=area,
        name="cuda",
        status="ok" if cuda else "missing",
        value=cuda or "no toolkit or runtime library found",
        advice=""
        if cuda or not gpu
        else "install CUDA from JetPack (sudo apt install nvidia-jetpack) or NVIDIA's repository",
    )
    tensorrt = find_tensorrt()
    yield Finding(
        area=area,
        name="tensorrt",
        status="ok" if tensorrt else "missing",
        value=tensorrt or "neither its Python module nor libnvinfer found",
        advice="" if tensorrt or not gpu else "Jetson: sudo apt install tensorrt python3-libnvinfer (never from pip)",
    )


def _capture(machine: MachineInfo) -> Iterator[Finding]:
    """What reads cameras and streams on a Jetson: its own OpenCV, or PyGObject beside any other."""
    area = "capture"
    try:
        from sparsevit_runtime.sources import gstreamer
    except MissingDependencyError:  # OpenCV, which has been told
        return
    host = gstreamer.gstreamer_host()
    yield Finding(
        area=area,
        name="pipelines",
        status="ok" if host else "missing",
        value={"opencv": "GStreamer in OpenCV", "gi": "GStreamer through PyGObject", "": "no GStreamer"}[host],
        advice="" if host else f"only a Jetson's csi:// and hardware decoder need them: {gstreamer.GET_PYGOBJECT}",
    )
    for name, elements, without in (
        ("hardware decoder", (gstreamer.HARDWARE_DECODER, gstreamer.HARDWARE_CONVERTER), "rtsp is decoded by FFmpeg"),
        ("csi sensors", (gstreamer.CSI_SOURCE, gstreamer.HARDWARE_CONVERTER), "no csi:// cameras"),
    ):
        absent = [element for element in elements if not gstreamer.has_element(element)]
        there = bool(host) and not absent
        yield Finding(
            area=area,
            name=name,
            status="ok" if there else "missing",
            value=elements[0] if there else f"lacks {', '.join(absent or ['a host for pipelines'])}: {without}",
            advice=""
            if there
            else "sudo apt install nvidia-l4t-gstreamer gstreamer1.0-tools"
            if machine.jetson
            else "only a Jetson has it",
        )
    hidden = sorted(glob.glob("/usr/lib/python3*/dist-packages/cv2*"))
    if machine.jetson and hidden and host != "opencv":
        yield Finding(
            area=area,
            name="JetPack's OpenCV",
            status="warn",
            value=f"hidden by another one: {hidden[0]} is not used",
            advice="it has GStreamer: pip uninstall opencv-python opencv-python-headless",
        )


def _devices() -> Iterator[Finding]:
    area = "devices"
    found = (name for name in glob.glob("/dev/video*") if Path(name).is_char_device())
    cameras = sorted(found, key=lambda name: (len(name), name))
    denied = [c for c in cameras if not os.access(c, os.R_OK | os.W_OK)]
    names = [f"{c} ({system_text(f'/sys/class/video4linux/{Path(c).name}/name') or 'unnamed'})" for c in cameras]
    yield Finding(
        area=area,
        name="cameras",
        status="missing" if not cameras else "warn" if denied else "ok",
        value=", ".join(names) or "no /dev/video*",
        advice="plug one in, in a container pass --device /dev/video0; videos and synthetic://street need none"
        if not cameras
        else f"no permission for {', '.join(denied)}: sudo usermod -aG video $USER, then log in again"
        if denied
        else "",
    )
    screen = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    needs_variable = sys.platform.startswith("linux")
    yield Finding(
        area=area,
        name="display",
        status="ok" if screen or not needs_variable else "missing",
        value=screen or ("none" if needs_variable else "of the system"),
        advice=""
        if screen or not needs_variable
        else "only display:// needs one: ssh -X, or export DISPLAY=:0 at the device",
    )


def _models() -> Iterator[Finding]:
    import sparsevit_runtime

    folder = Path(sparsevit_runtime.__file__).with_name("models")
    names = sorted(path.stem for path in folder.glob("*.onnx"))
    yield Finding(
        area="models",
        name="bundled",
        status="ok" if names else "missing",
        value=", ".join(names) or "none",
        advice="" if names else "this installation carries no model: name a file, or install the released package",
    )


def _extras() -> Iterator[Finding]:
    for extra, (modules, purpose) in _EXTRAS.items():
        versions = installed_versions(modules)
        absent = [m for m in modules if m not in versions and importlib.util.find_spec(m) is None]
        yield Finding(
            area="extras",
            name=extra,
            status="missing" if absent else "ok",
            value=f"lacks {', '.join(absent)}"
            if absent
            else " ".join(f"{m} {versions.get(m, '')}".strip() for m in modules),
            advice=f"for {purpose}: pip install 'sparsevit-edge[{extra}]'" if absent else "",
        )
