"""ONNX Runtime: the backend that runs everywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..card import CARD_KEY, ModelCard
from ..dependencies import require
from ..errors import BackendError, CardError, ModelError
from .contract import check_images, check_keep, check_outputs, expected_outputs, image_layout
from .onnxruntime_layers import named_graph, time_layers

_FATAL = 4  # log severity: what goes wrong is raised, not printed
#: How long an idle worker spins before it sleeps. ONNX Runtime's own choice (1 ms) takes whole cores from capture and
#: drawing, and halves the speed beside another busy process; no spinning slows the bare session by a seventh.
_SPIN_US = "50"
_KINDS = {np.uint8: "tensor(uint8)", np.float32: "tensor(float)", np.int64: "tensor(int64)"}
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class OnnxRuntimeBackend:
    """A model file in an ONNX Runtime session.

    Threads: `run` may be called from several threads at once; `close` must not overlap a `run`.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, threads: int | None = None, device: str | None = None) -> None:
        """Opens the file and checks its graph against its card.

        Args:
            path: of the .onnx file.
            threads: intra-op threads; None for one per physical core.
            device: ``cpu``, ``cuda``, or None for CUDA when this ONNX Runtime offers it, else the CPU.

        Raises:
            ModelError, CardError, BackendError, MissingDependencyError: see `open_backend`.
        """
        ort = require("onnxruntime")
        self._path = Path(path)
        self._ort, self._threads = ort, threads
        self._named_graph: bytes | None = None
        self._session = _open_session(ort, self._path, threads, _providers(ort, device))
        self._errors = _error_types(ort)
        provider = self._session.get_providers()[0]
        if device == "cuda" and provider != _CUDA:
            self.close()
            raise BackendError(
                "ONNX Runtime could not start on CUDA and fell back to the CPU; check that the driver, CUDA and cuDNN "
                f"match onnxruntime {ort.__version__}, or use device='cpu'"
            )
        text = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        if text is None:
            self.close()
            raise CardError(
                f"{self._path} carries no model card: it was not made by `sparsevit export`; export the checkpoint so"
            )
        self.card = ModelCard.from_json(text, origin=str(self._path))
        self.output_names = tuple(o.name for o in self._session.get_outputs())
        _check_graph(self._session, self.card, self._path)
        self.details = {
            "library": f"onnxruntime {ort.__version__}",
            "processor": "cuda" if provider == _CUDA else "cpu",
            "threads": str(threads) if threads else "auto",
        }

    def run(self, images: np.ndarray, keep: np.ndarray | None, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Backend.run`."""
        if self._session is None:
            raise BackendError(f"{self._path.name} is closed; load the model again")
        feeds = {"image": check_images(images, self.card)}
        counts = check_keep(keep, self.card, self._path.name)
        if counts is not None:
            feeds["keep"] = counts
        check_outputs(outputs, self.output_names, self._path.name)
        try:
            arrays = self._session.run(list(outputs), feeds)
        except self._errors as error:
            raise BackendError(
                f"ONNX Runtime failed on {self._path.name} with images {images.shape} and keep "
                f"{None if keep is None else np.asarray(keep).tolist()}: {error}. Run `sparsevit check` on the model"
            ) from error
        return dict(zip(outputs, arrays, strict=True))

    def layers(self, images: np.ndarray, keep: np.ndarray | None) -> list[tuple[str, float]]:
        """See `LayeredBackend.layers`; the run is the second of a session of its own.

        Raises:
            BackendError: on CUDA, where ONNX Runtime's profiler times the launches of kernels, not the kernels.
        """
        if self._session is None:
            raise BackendError(f"{self._path.name} is closed; load the model again")
        if self.details["processor"] != "cpu":
            raise BackendError(
                "ONNX Runtime times the layers of the processor only; take device cpu, or a TensorRT engine"
            )
        feeds = {"image": check_images(images, self.card)}
        counts = check_keep(keep, self.card, self._path.name)
        if counts is not None:
            feeds["keep"] = counts

        def options() -> Any:
            return _session_options(self._ort, self._threads)

        try:
            if self._named_graph is None:
                self._named_graph = named_graph(self._ort, self._path, options, [_CPU])
            return time_layers(self._ort, self._named_graph, options, [_CPU], feeds)
        except (*self._errors, OSError) as error:
            raise BackendError(f"ONNX Runtime cannot time the layers of {self._path.name}: {error}") from error

    def close(self) -> None:
        """See `Backend.close`."""
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


def _open_session(ort: ModuleType, path: Path, threads: int | None, providers: list[str]):
    if threads is not None and threads < 1:
        raise BackendError(f"threads is {threads}; give at least 1, or leave it out for one per physical core")
    if not path.is_file():
        raise ModelError(f"no model file {path}; check the path, or make one with `sparsevit export`")
    try:
        return ort.InferenceSession(os.fspath(path), _session_options(ort, threads), providers=providers)
    except _error_types(ort) as error:
        raise ModelError(
            f"ONNX Runtime cannot open {path} ({path.stat().st_size} bytes): {error}. The file is truncated or not an "
            "ONNX model; copy or export it again"
        ) from error


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
    return (*own, RuntimeError, ValueError)


def _check_graph(session, card: ModelCard, path: Path) -> None:
    """Raises ModelError unless inputs and outputs are those the card stands for."""
    shape, dtype = image_layout(card)
    inputs = {"image": (_KINDS[dtype], shape)}
    if card.windows.fixed is None:
        inputs["keep"] = ("tensor(int64)", ())
    found = {i.name: (i.type, tuple(i.shape[1:])) for i in session.get_inputs()}
    if found != inputs:
        raise ModelError(f"the inputs of {path} are {found}, its card says {inputs}; export the model again")
    outputs = {o.name: o for o in session.get_outputs()}
    for name, (dtype, rank) in expected_outputs(card).items():
        have = outputs.get(name)
        kind = _KINDS[dtype]
        if have is None or have.type != kind or len(have.shape) != rank:
            seen = "missing" if have is None else f"{have.type} {have.shape}"
            raise ModelError(
                f"output {name!r} of {path} is {seen}, its card says {kind} of rank {rank}; export the model again"
            )
