"""ONNX Runtime: the backend that runs everywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from ..card import CARD_KEY, ModelCard
from ..dependencies import require
from ..errors import BackendError, CardError, FrameError, ModelError, PlanError
from ..plan import dense_keep, kept_windows, validate_keep

_FATAL = 4  # log severity: what goes wrong is raised, not printed
#: How long an idle worker spins before it sleeps. ONNX Runtime's own choice (1 ms) takes whole cores from capture and
#: drawing, and halves the speed beside another busy process; no spinning slows the bare session by a seventh.
_SPIN_US = "50"
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
        feeds = {"image": self._checked_images(images)}
        if self.card.windows.fixed is None:
            stages = self.card.stages
            feeds["keep"] = dense_keep(stages) if keep is None else validate_keep(keep, stages)
        elif keep is not None:
            raise PlanError(f"{self._path.name} is a fixed export, its plan cannot change; leave `keep` out")
        unknown = [name for name in outputs if name not in self.output_names]
        if unknown:
            raise BackendError(f"{self._path.name} has no output {unknown[0]!r}; it has {', '.join(self.output_names)}")
        try:
            arrays = self._session.run(list(outputs), feeds)
        except self._errors as error:
            raise BackendError(
                f"ONNX Runtime failed on {self._path.name} with images {images.shape} and keep "
                f"{None if keep is None else np.asarray(keep).tolist()}: {error}. Run `sparsevit check` on the model"
            ) from error
        return dict(zip(outputs, arrays, strict=True))

    def close(self) -> None:
        """See `Backend.close`."""
        self._session = None

    def _checked_images(self, images: np.ndarray) -> np.ndarray:
        shape, dtype = _image_layout(self.card)
        if images.dtype != dtype or images.ndim != 4 or images.shape[0] < 1 or images.shape[1:] != shape:
            raise FrameError(
                f"images must be (B, {', '.join(map(str, shape))}) {np.dtype(dtype)}, got {images.shape} {images.dtype}"
            )
        return np.ascontiguousarray(images)


def _image_layout(card: ModelCard) -> tuple[tuple[int, ...], type]:
    size = card.input.height, card.input.width
    return ((*size, 3), np.uint8) if card.input.layout == "camera" else ((3, *size), np.float32)


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
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    try:
        return ort.InferenceSession(os.fspath(path), options, providers=providers)
    except _error_types(ort) as error:
        raise ModelError(
            f"ONNX Runtime cannot open {path} ({path.stat().st_size} bytes): {error}. The file is truncated or not an "
            "ONNX model; copy or export it again"
        ) from error


def _error_types(ort: ModuleType) -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions have no common base below Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    own = [t for t in vars(state).values() if isinstance(t, type) and issubclass(t, Exception)]
    return (*own, RuntimeError, ValueError)


def _check_graph(session, card: ModelCard, path: Path) -> None:
    """Raises ModelError unless inputs and outputs are those the card stands for."""
    shape, dtype = _image_layout(card)
    kind = "tensor(uint8)" if dtype is np.uint8 else "tensor(float)"
    inputs = {"image": (kind, shape)}
    if card.windows.fixed is None:
        inputs["keep"] = ("tensor(int64)", ())
    found = {i.name: (i.type, tuple(i.shape[1:])) for i in session.get_inputs()}
    if found != inputs:
        raise ModelError(f"the inputs of {path} are {found}, its card says {inputs}; export the model again")
    outputs = {o.name: o for o in session.get_outputs()}
    for name, (kind, rank) in _expected_outputs(card).items():
        have = outputs.get(name)
        if have is None or have.type != kind or len(have.shape) != rank:
            seen = "missing" if have is None else f"{have.type} {have.shape}"
            raise ModelError(
                f"output {name!r} of {path} is {seen}, its card says {kind} of rank {rank}; export the model again"
            )


def _expected_outputs(card: ModelCard) -> dict[str, tuple[str, int]]:
    """Type and rank of each output a file with this card must have."""
    real, whole = "tensor(float)", "tensor(int64)"
    if card.task == "segmentation":
        expected = {"labels": ("tensor(uint8)", 3)}
    elif card.task == "detection":
        expected = {"boxes": (real, 3), "scores": (real, 2), "classes": (whole, 2)}
    else:
        expected = {f"stage{i}": (real, 4) for i in range(len(card.stages))}
    for i, stage in enumerate(card.stages):
        for parity, prefix in enumerate(("windows", "shifted_windows")):
            blocks = range(parity, stage.depth, 2)
            if card.windows.fixed is not None:  # a list exists where some block computes a part of the windows
                counts = (kept_windows(stage.windows, card.windows.fixed[i][j]) for j in blocks)
                needed = any(0 < k < stage.windows for k in counts)
            else:
                needed = len(blocks) > 0
            if needed:
                expected[f"{prefix}{i}"] = (whole, 2)
    return expected
