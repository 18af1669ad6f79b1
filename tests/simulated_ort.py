"""ONNX Runtime's CUDA provider, simulated by its CPU provider over the simulated GPU's memory.

A session says that it runs on CUDA, custom ops are those for the CPU, and what is bound to the GPU is bound to the
host's memory that stands for it: only memory that the simulated GPU gave out. A run that is recorded as a CUDA graph is
one with the bindings of the first time, `keep` among them, from then on, in each thread.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import onnxruntime

from simulated_gpu import Cuda

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_Session = onnxruntime.InferenceSession


class SimulatedSession(_Session):
    """A session that takes itself for one on CUDA when it was asked for that.

    Attributes:
        cuda: GPU whose memory may be bound; None for a machine without cuda-python.
        opened: the providers of each session that was opened, and whether it reuses memory.
        bound: tensors bound to the GPU.
        plain: runs with arrays of the host.
        refuses_graphs: what a session that is to record graphs is refused with; None for one that is not.
        breaks_recording: what the first run that is recorded fails with; None for one that goes well.
        recorded, replayed: runs recorded as graphs, and runs of those.
    """

    cuda: Cuda | None = None
    opened: list[tuple[list[Any], bool]] = []  # noqa: RUF012 - of all sessions
    bound = plain = recorded = replayed = 0
    refuses_graphs: str | None = None
    breaks_recording: str | None = None

    def __init__(self, path: Any, options: Any = None, providers: list[Any] | None = None) -> None:
        type(self).opened.append((list(providers or ()), options.enable_mem_reuse))
        self._says = [p if isinstance(p, str) else p[0] for p in providers or ()]
        asked = [p[1] for p in providers or () if not isinstance(p, str)]
        self._graphs: dict[tuple[int, str], Any] | None = None
        if any(options.get("enable_cuda_graph") == "1" for options in asked):
            if self.refuses_graphs is not None:
                raise RuntimeError(self.refuses_graphs)
            self._graphs = {}
        super().__init__(path, options, providers=[CPU])

    def get_providers(self) -> list[str]:
        return self._says

    def run(self, names: Any, feeds: Any, options: Any = None) -> Any:
        type(self).plain += 1
        assert self._graphs is None or self._number(options) == "-1"
        return super().run(names, feeds)

    def run_with_iobinding(self, binding: Any, options: Any = None) -> None:
        assert binding._simulated is self
        number = "-1" if self._graphs is None else self._number(options)
        if number == "-1":
            super().run_with_iobinding(binding)
            return
        if self.breaks_recording is not None:
            raise RuntimeError(self.breaks_recording)
        at = threading.get_ident(), number
        if at in self._graphs:
            type(self).replayed += 1
        else:
            type(self).recorded += 1
        super().run_with_iobinding(self._graphs.setdefault(at, binding))

    @staticmethod
    def _number(options: Any) -> str:
        """ONNX Runtime records every run without an option as number 0."""
        return "0" if options is None else options.get_run_config_entry("gpu_graph_id")

    def io_binding(self) -> _Binding:
        return _Binding(self)


class _Binding(onnxruntime.IOBinding):
    def __init__(self, session: SimulatedSession) -> None:
        super().__init__(session)
        self._simulated = session

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr) -> None:
        self._check(device_type, element_type, shape, buffer_ptr)
        super().bind_input(name, "cpu", device_id, element_type, shape, buffer_ptr)

    def bind_output(self, name, device_type="cpu", device_id=0, element_type=None, shape=None, buffer_ptr=None) -> None:
        if buffer_ptr is not None:
            self._check(device_type, element_type, shape, buffer_ptr)
        super().bind_output(name, "cpu", device_id, element_type, shape, buffer_ptr)

    def _check(self, device_type, element_type, shape, address) -> None:
        assert device_type == "cuda" and self._simulated.cuda is not None
        nbytes = int(np.prod(shape)) * np.dtype(element_type).itemsize
        self._simulated.cuda.memory.view(address, nbytes)  # lies in memory of the GPU
        type(self._simulated).bound += 1


def simulate(monkeypatch: Any, cuda: Cuda | None) -> type[SimulatedSession]:
    """Makes ONNX Runtime one with CUDA.

    Args:
        monkeypatch: pytest's.
        cuda: see `SimulatedSession`.
    """
    session = type("Session", (SimulatedSession,), {"cuda": cuda, "opened": []})
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    return session
