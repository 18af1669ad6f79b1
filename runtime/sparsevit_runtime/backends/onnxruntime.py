"""ONNX Runtime: the backend that runs everywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ..card import CARD_KEY, ModelCard
from ..contract import BATCH, IMAGE, KEEP, TensorSpec
from ..cuda import CudaRuntime, open_cuda
from ..dependencies import require
from ..errors import BackendError, CardError, MissingDependencyError
from ..images.device_frames import DeviceFrame
from ..images.placement import Placement
from ..tensorrt.letterbox_kernel import LetterboxKernel
from .base import Backend, Capabilities, DeviceInfo, Outputs
from .gpu_frames import Letterboxing, check_gpu_frames, letterbox_writer
from .onnxruntime_device import DeviceRuns
from .onnxruntime_graphs import Recorder
from .onnxruntime_layers import named_graph, time_layers
from .onnxruntime_session import CPU, CUDA, SessionSettings, error_types, open_session, session_options

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

_TYPES = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class OnnxRuntimeBackend(Backend):
    """A model file in an ONNX Runtime session.

    On CUDA its nodes are run by this project's custom ops where their library is found (`custom_ops`), and inputs
    and outputs go through pinned memory where cuda-python is installed.

    Threads: `run` and `run_frames` may be called from several threads at once; `close` must not overlap a call.

    Attributes:
        ops: what the custom ops do for this file.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        device: str | None = None,
        *,
        portable: bool = False,
        plugins: Path | None = None,
        precision: Literal["exported", "tf32"] = "exported",
        graphs: int = 0,
    ) -> None:
        """Opens the file and checks its graph against its card.

        Args:
            path: path of the .onnx file.
            threads: intra-op threads; None for one per physical core.
            device: ``cpu``, ``cuda``, or None for CUDA when this ONNX Runtime offers it, else the CPU.
            portable: no custom ops on CUDA.
            plugins: library of custom ops; None for the one that is found.
            precision: precision of the products of an fp32 graph on CUDA.
            graphs: batch sizes and plans to hold CUDA graphs for; 0 for none.

        Raises:
            ModelError, CardError, BackendError, MissingDependencyError: see `open_backend`.
        """
        ort = require("onnxruntime")
        path = Path(path)
        self._ort, self._threads, self._precision = ort, threads, precision
        self._runs: DeviceRuns | None = None
        self._named_graph: bytes | None = None
        settings = SessionSettings(threads, device, portable, plugins, precision, graphs > 0)
        opened = open_session(ort, path, settings)
        session, self.ops = opened.session, opened.ops
        self._errors = error_types(ort)
        if device == "cuda" and not opened.on_cuda:
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
        card = ModelCard.from_json(text, origin=str(path))
        inputs, outputs = _specs(session.get_inputs()), _specs(session.get_outputs())
        cuda, kernel = self._gpu(card) if opened.on_cuda else (None, None)
        self._cuda: CudaRuntime | None = cuda
        self._letterbox: Letterboxing | None = kernel
        super().__init__(
            path,
            card,
            [spec.name for spec in outputs],
            _device(cuda) if opened.on_cuda else DeviceInfo("cpu"),
            Capabilities(layers=not opened.on_cuda, device_frames=cuda is not None and kernel is not None),
            _batches(inputs),
        )
        self.contract.check_graph(inputs, outputs, str(path))
        self._session: Any = session
        recorder = Recorder(ort, graphs) if opened.graphs else None
        self._plain = None if recorder is None else recorder.unrecorded

        def without_graphs() -> Any:
            return open_session(ort, path, replace(settings, graphs=False)).session

        if cuda is not None:
            self._runs = DeviceRuns(session, cuda, self.contract, outputs, self._errors, recorder, without_graphs)

    @property
    def details(self) -> dict[str, str]:
        """See `Backend.details`."""
        details = {
            "library": f"onnxruntime {self._ort.__version__}",
            "device": str(self.device),
            "threads": str(self._threads) if self._threads else "auto",
        }
        if self.device.kind == "cuda":
            details["custom ops"] = str(self.ops)
            details["fp32 products"] = "rounded to TF32" if self._precision == "tf32" else "in full, not TF32"
            details["memory"] = (
                "pageable: install cuda-python for pinned memory and frames on the GPU"
                if self._runs is None
                else "pinned, bound to the session"
            )
            details["cuda graphs"] = "none" if self._runs is None else self._runs.graph_state
        return details

    def _run(self, feeds: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Outputs:
        runs = self._runs
        if runs is not None and outputs:
            return self._told(feeds, feeds[IMAGE].shape, lambda: runs.run(feeds, outputs))
        session = self._session if runs is None else runs.session
        arrays = self._told(feeds, feeds[IMAGE].shape, lambda: session.run(list(outputs), feeds, self._plain))
        return dict(zip(outputs, arrays, strict=True))

    def _run_frames(
        self,
        frames: Sequence[DeviceFrame | np.ndarray],
        letterboxes: Sequence[Placement],
        feeds: dict[str, np.ndarray],
        outputs: tuple[str, ...],
    ) -> Outputs:
        runs, cuda, kernel = self._runs, self._cuda, self._letterbox
        if runs is None or cuda is None or kernel is None:
            return super()._run_frames(frames, letterboxes, feeds, outputs)
        check_gpu_frames(frames, cuda, self.card.input, self.path.name)
        write = letterbox_writer(kernel, letterboxes, self.card.input.pad_value)
        return self._told(feeds, (len(frames),), lambda: runs.run_frames(frames, write, feeds, outputs))

    def _told(self, feeds: dict[str, np.ndarray], images: tuple[int, ...], run: Callable[[], _Answer]) -> _Answer:
        """Runs, with ONNX Runtime's errors as ours."""
        try:
            return run()
        except BackendError:
            raise
        except self._errors as error:
            keep = feeds[KEEP].tolist() if KEEP in feeds else None
            raise BackendError(
                f"ONNX Runtime failed on {self.path.name} with images {images} and keep {keep}: {error}. "
                "Run `sparsevit check` on the model"
            ) from error

    def _layers(self, feeds: dict[str, np.ndarray]) -> list[tuple[str, float]]:
        """The run is the second of a session of its own."""
        if not self.capabilities.layers:  # its profiler times the launches of kernels, not the kernels
            raise BackendError("ONNX Runtime times layers on the CPU only; take device cpu, or a TensorRT engine")

        def options() -> Any:
            return session_options(self._ort, self._threads)

        try:
            if self._named_graph is None:
                self._named_graph = named_graph(self._ort, self.path, options, [CPU])
            return time_layers(self._ort, self._named_graph, options, [CPU], feeds)
        except self._errors as error:
            raise BackendError(f"ONNX Runtime cannot time the layers of {self.path.name}: {error}") from error

    def _close(self) -> None:
        if self._runs is not None:
            self._runs.close()
        self._session = self._named_graph = self._runs = None

    def _gpu(self, card: ModelCard) -> tuple[CudaRuntime | None, LetterboxKernel | None]:
        """The CUDA runtime for the buffers, and the kernel for frames on the GPU; None for what is not there."""
        try:
            cuda = open_cuda()
        except (BackendError, MissingDependencyError) as error:
            _log.info("inputs and outputs go through pageable memory: %s", error)
            return None, None
        library = self.ops.library
        try:
            return cuda, LetterboxKernel(None if library is None else library.path, card.input.resize)
        except BackendError as error:
            _log.info("frames on the GPU are not taken: %s", error)
            return cuda, None


def may_run_on_cuda(device: str | None) -> bool:
    """Whether this ONNX Runtime offers CUDA, and the device that is asked for leaves it the choice."""
    return device in (None, "cuda") and CUDA in require("onnxruntime").get_available_providers()


def _device(cuda: CudaRuntime | None) -> DeviceInfo:
    if cuda is None:
        return DeviceInfo("cuda")
    gpu = cuda.device
    return DeviceInfo("cuda", gpu.name, gpu.compute_capability, gpu.integrated)


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
