"""Libraries that may be absent or broken, and what to install where. Only here does a failed import become advice."""

from __future__ import annotations

import importlib
from importlib import metadata
from types import ModuleType

from .errors import MissingDependencyError

#: Import name -> distributions that write its files. Each overwrites the others, and removing one removes theirs.
PACKAGES = {
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
#: What each cannot be without; after an uninstall `import cv2` may find a folder without code, and succeed.
_CORE = {"cv2": "imread", "onnxruntime": "InferenceSession"}
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
_WEB = "{} for a run seen in a browser (http://...). pip install 'sparsevit-edge[web]'"
_ADVICE = {
    "cv2": (
        "OpenCV reads and draws frames. Laptop or CPU: pip install 'sparsevit-edge[cpu]' (opencv-python-headless). x86 "
        "with an NVIDIA GPU: pip install 'sparsevit-edge[gpu]'. Jetson: JetPack's own (sudo apt install "
        "libopencv-python), in an environment made with --system-site-packages"
    ),
    "onnxruntime": (
        "ONNX Runtime runs model files. Laptop or CPU: pip install 'sparsevit-edge[cpu]', or pip install onnxruntime "
        "alone beside an OpenCV that is there. x86 with an NVIDIA GPU: pip install 'sparsevit-edge[gpu]' "
        "(onnxruntime-gpu, never beside onnxruntime). Jetson: pip install 'sparsevit-edge[jetson]' for the CPU, or "
        "NVIDIA's onnxruntime-gpu wheel for your JetPack"
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
    "PIL": "Pillow reads label maps with a palette. pip install 'sparsevit-edge[train]'",
    "pycocotools": "pycocotools measures average precision. pip install 'sparsevit-edge[train]'",
    "scipy": (
        "SciPy matches tracked objects, pip install 'sparsevit-edge[track]', and fits the search's cost model, pip "
        "install 'sparsevit-edge[train]'"
    ),
    "tensorboard": "TensorBoard shows training logs. pip install 'sparsevit-edge[log]', or leave tensorboard: false",
    "matplotlib": "matplotlib draws the profile. pip install 'sparsevit-edge[plot]'",
    "starlette": _WEB.format("Starlette answers requests"),
    "uvicorn": _WEB.format("uvicorn serves pages"),
    "websockets": _WEB.format("websockets carries the state"),
    "pyarrow": "Arrow writes Parquet, and reads from object stores. pip install 'sparsevit-edge[batch]'",
    "fsspec": "fsspec reads files from many kinds of storage. pip install fsspec, and what it needs for that kind",
    "ray": "Ray runs a batch on many machines. pip install 'sparsevit-edge[ray]'",
    "tritonclient": "tritonclient speaks to a Triton server. pip install 'sparsevit-edge[triton]'",
    "grpc": "grpcio carries what a Triton server is asked. pip install 'sparsevit-edge[triton]'",
    "av": "PyAV encodes what is pushed to an RTSP server. pip install 'sparsevit-edge[video]'",
    "paho": "paho-mqtt publishes results to a broker (mqtt://...). pip install 'sparsevit-edge[mqtt]'",
    "prometheus_client": _WEB.format("prometheus-client writes metrics"),
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
        MissingDependencyError: it is not installed, or is an OpenCV or ONNX Runtime that does not load; the message
            names the package for each kind of machine.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # installed, but something it needs is not: that message is the useful one
            raise
        if recorded := _recorded(module):
            raise _broken(module, f"its files are gone, though pip lists {' and '.join(recorded)}") from error
        raise missing(module) from error
    except ImportError as error:
        if module not in PACKAGES:
            raise
        raise _broken(module, str(error)) from error
    if module in _CORE and not hasattr(found, _CORE[module]):
        place = ", ".join(getattr(found, "__path__", [])) or found
        raise _broken(module, f"{place} has no {_CORE[module]}: an uninstall left it behind")
    return found


def explain(error: ImportError | AttributeError) -> MissingDependencyError | None:
    """Advice for what failed somewhere, when a missing or broken OpenCV or ONNX Runtime is why; else None."""
    if isinstance(error, MissingDependencyError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name not in PACKAGES:
        return None
    for module in PACKAGES:
        try:
            require(module)
        except MissingDependencyError as told:
            # An OpenCV that did not load complains, the second time, of being loaded twice.
            first = isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError)
            return _broken(module, str(error)) if first else told
    return None


def _recorded(module: str) -> list[str]:
    """Installed distributions that write the files of `module`."""
    found = []
    for name in PACKAGES.get(module, ()):
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def _broken(module: str, cause: str) -> MissingDependencyError:
    recorded = _recorded(module)
    steps = f"pip uninstall {' '.join(recorded)}, then install one again" if recorded else "install it again"
    if "numpy" in cause:
        steps += ", or where it was built for numpy 1, as JetPack's OpenCV was, pip install 'numpy<2'"
    return MissingDependencyError(
        f"{module} does not load ({cause or 'and does not say why'}). Reinstall it: {steps}. {_ADVICE[module]}",
        name=module,
    )
