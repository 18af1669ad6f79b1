"""Libraries that may be absent, and what to install where. The only place that turns a failed import into advice."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingDependencyError

_EXPORT = "{}; export runs on a workstation, not on the device. pip install 'sparsevit-edge[export]'"
_TENSORRT = (
    "TensorRT compiles models into engines. Jetson: sudo apt install tensorrt python3-libnvinfer (never from pip), and "
    "create the environment with --system-site-packages. x86 with an NVIDIA GPU: pip install "
    "'sparsevit-edge[tensorrt]'. Laptop with an RTX GPU, or building without any GPU: pip install tensorrt-rtx-cu13"
)
_CUDA = (
    "cuda-python runs engines on the GPU. Take the major version of the driver's CUDA, which nvidia-smi names: "
    "pip install 'cuda-python>=12.3,<13' (JetPack 6), or 'cuda-python>=13,<14' (JetPack 7)"
)
_ADVICE = {
    "cv2": (
        "OpenCV reads and draws frames. Laptop or x86: pip install opencv-python-headless. Jetson: use JetPack's own "
        "(sudo apt install libopencv-python) and create the environment with --system-site-packages"
    ),
    "onnxruntime": (
        "ONNX Runtime runs model files. Laptop or CPU: pip install onnxruntime. x86 with an NVIDIA GPU: "
        "pip install onnxruntime-gpu (instead of onnxruntime, never beside it). Jetson: pip install onnxruntime for "
        "the CPU, or NVIDIA's onnxruntime-gpu wheel for your JetPack"
    ),
    "cuda": _CUDA,
    "pynvml": "nvidia-ml-py reads the power of an NVIDIA GPU. pip install 'sparsevit-edge[power]'",
    "tensorrt": _TENSORRT,
    "tensorrt_rtx": _TENSORRT,
    "torch": _EXPORT.format("PyTorch reads checkpoints"),
    "onnx": _EXPORT.format("onnx writes model files"),
    "onnxscript": _EXPORT.format("onnxscript traces networks"),
    "safetensors": _EXPORT.format("safetensors reads checkpoints"),
    "yaml": "PyYAML reads training recipes. pip install 'sparsevit-edge[train]'",
    "pycocotools": "pycocotools measures average precision. pip install 'sparsevit-edge[train]'",
    "scipy": "SciPy fits the search's cost model. pip install 'sparsevit-edge[train]'",
    "tensorboard": "TensorBoard shows training logs. pip install 'sparsevit-edge[log]', or leave tensorboard: false",
    "matplotlib": "matplotlib draws the profile. pip install 'sparsevit-edge[plot]'",
    "supervision": "supervision draws boxes and holds its Detections. pip install 'sparsevit-edge[draw]'",
}


def missing(module: str) -> MissingDependencyError:
    """The error that says how to get `module`."""
    return MissingDependencyError(
        f"{module} is not installed. {_ADVICE.get(module, f'pip install {module}')}", name=module
    )


def require(module: str) -> ModuleType:
    """Imports an optional library.

    Raises:
        MissingDependencyError: it is not installed; the message names the package for each kind of machine.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # installed, but something it needs is not: that message is the useful one
            raise
        raise missing(module) from error
