"""ONNX Runtime: the backend that runs everywhere."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..card import CARD_KEY, ModelCard
from ..contract import BATCH, IMAGE, KEEP, TensorSpec
from ..dependencies import require
from ..errors import BackendError, CardError, ModelError
from ..graph.onnx_file import read_onnx
from ..texts import RENAME, is_unicode, shown
from .base import Backend, Capabilities, DeviceInfo, Outputs
from .onnxruntime_layers import named_graph, time_layers

_log = logging.getLogger(__name__)

_FATAL = 4  # log severity: what goes wrong is raised, not printed
#: How long an idle worker spins before it sleeps. ONNX Runtime's own choice (1 ms) takes whole cores from capture and
#: drawing, and halves the speed beside another busy process; no spinning slows the bare session by a seventh.
_SPIN_US = "50"
_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class OnnxRuntimeBackend(Backend):
    """A model file in an ONNX Runtime session.

    Threads: `run` may be called from several threads at once; `close` must not overlap a `run`.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, threads: int | None = None, device: str | None = None) -> None:
        """Opens the file and checks its graph against its card.

        Args:
            path: path of the .onnx file.
            threads: intra-op threads; None for one per physical core.
            device: ``cpu``, ``cuda``, or None for CUDA when this ONNX Runtime offers it, else the CPU.

        Raises:
            ModelError, CardError, BackendError, MissingDependencyError: see `open_backend`.
        """
        ort = require("onnxruntime")
        path = Path(path)
        self._ort, self._threads = ort, threads
        self._named_graph: bytes | None = None
        session = _open_session(ort, path, threads, _providers(ort, device))
        self._errors = _error_types(ort)
        provider = session.get_providers()[0]
        if device == "cuda" and provider != _CUDA:
            raise BackendError(
                "ONNX Runtime could not start on CUDA and fell back to the CPU; check that the driver, CUDA and cuDNN "
                f"match onnxruntime {ort.__version__}, or use device='cpu'"
            )
        try:
            text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        except UnicodeDecodeError as error:
            raise CardError(f"the metadata of {path} is not UTF-8 ({error}); export the model again") from error
        if text is None:
            raise CardError(
                f"{path} carries no model card: it was not made by `sparsevit export`; export the checkpoint so"
            )
        inputs, outputs = _specs(session.get_inputs()), _specs(session.get_outputs())
        on_cpu = provider != _CUDA
        super().__init__(
            path,
            ModelCard.from_json(text, origin=str(path)),
            [spec.name for spec in outputs],
            DeviceInfo("cpu" if on_cpu else "cuda"),
            Capabilities(layers=on_cpu),
            _batches(inputs),
        )
        self.contract.check_graph(inputs, outputs, str(path))
        self._session: Any = session

    @property
    def details(self) -> dict[str, str]:
        """See `Backend.details`."""
        return {
            "library": f"onnxruntime {self._ort.__version__}",
            "device": str(self.device),
            "threads": str(self._threads) if self._threads else "auto",
        }

    def _run(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Outputs:
        try:
            arrays = self._session.run(list(outputs), feeds)
        except self._errors as error:
            keep = feeds[KEEP].tolist() if KEEP in feeds else None
            raise BackendError(
                f"ONNX Runtime failed on {self.path.name} with images {feeds[IMAGE].shape} and keep {keep}: {error}. "
                "Run `sparsevit check` on the model"
            ) from error
        return dict(zip(outputs, arrays, strict=True))

    def _layers(self, feeds: dict[str, np.ndarray]) -> list[tuple[str, float]]:
        """The run is the second of a session of its own."""
        if not self.capabilities.layers:  # its profiler times the launches of kernels, not the kernels
            raise BackendError("ONNX Runtime times layers on the CPU only; take device cpu, or a TensorRT engine")

        def options() -> Any:
            return _session_options(self._ort, self._threads)

        try:
            if self._named_graph is None:
                self._named_graph = named_graph(self._ort, self.path, options, [_CPU])
            return time_layers(self._ort, self._named_graph, options, [_CPU], feeds)
        except self._errors as error:
            raise BackendError(f"ONNX Runtime cannot time the layers of {self.path.name}: {error}") from error

    def _close(self) -> None:
        self._session = self._named_graph = None


def _providers(ort: ModuleType, device: str | None) -> list[str]:
    available = ort.get_available_providers()
    if device not in (None, "cpu", "cuda"):
        raise BackendError(f"no device {device!r}; choose cpu or cuda, or leave it out")
    if device == "cuda" and _CUDA not in available:
        raise BackendError(
            f"this onnxruntime {ort.__version__} has no CUDA (it offers {', '.join(available)}). x86: pip uninstall "
            "onnxruntime, then pip install onnxruntime-gpu. Jetson: install NVIDIA's onnxruntime-gpu wheel"
        )
    return [_CUDA, _CPU] if device != "cpu" and _CUDA in available else [_CPU]


def _open_session(ort: ModuleType, path: Path, threads: int | None, providers: list[str]) -> Any:
    if threads is not None and threads < 1:
        raise BackendError(f"threads is {threads}; give at least 1, or leave it out for one per physical core")
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path, or make one with `sparsevit export`")
    if not is_unicode(str(path)):
        raise ModelError(f"cannot open {shown(str(path))}: {RENAME}")
    options = _session_options(ort, threads)
    if _CUDA in providers and _mixes_up_shapes(path):
        options.enable_mem_reuse = False
        _log.warning(
            "%s was exported by an earlier version, whose shapes ONNX Runtime mixes up on CUDA: it runs right, without "
            "reuse of memory, but slower. Export it again: sparsevit export %s -o NEW.onnx",
            path.name, path.name,
        )  # fmt: skip
    try:
        return ort.InferenceSession(os.fspath(path), options, providers=providers)
    except _error_types(ort) as error:
        _check_weights(path)
        raise ModelError(
            f"ONNX Runtime cannot open {path} ({path.stat().st_size} bytes): {error}. The file is truncated or not an "
            "ONNX model; copy or export it again"
        ) from error


def _mixes_up_shapes(path: Path) -> bool:
    """See `OnnxFile.repeats_shapes`. A file that does not read is left to the session, which says what is wrong."""
    try:
        return read_onnx(path).repeats_shapes
    except (ModelError, CardError):
        return False


def _check_weights(path: Path) -> None:
    """Raises ModelError where what is wrong with a file are its weights in other files."""
    try:
        file = read_onnx(path)
    except ModelError:
        return
    file.weight_files()


def _session_options(ort: ModuleType, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    return options


def _error_types(ort: ModuleType) -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions have no common base below Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [t for t in vars(state).values() if isinstance(t, type) and issubclass(t, Exception)]
    return (*own, RuntimeError, ValueError, OSError)


def _specs(nodes: Any) -> list[TensorSpec]:
    """Inputs or outputs of a session; sizes that it leaves open are texts."""
    return [
        TensorSpec(
            node.name,
            np.dtype(_TYPES.get(node.type, np.object_)),
            tuple(size if isinstance(size, int) else str(size) for size in node.shape),
        )
        for node in nodes
    ]


def _batches(inputs: list[TensorSpec]) -> tuple[int, int | None]:
    """Least and most frames of a run, as the image's first size says."""
    size = next((spec.shape[0] for spec in inputs if spec.name == IMAGE and spec.shape), BATCH)
    return (size, size) if isinstance(size, int) else (1, None)
