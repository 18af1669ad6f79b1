"""ONNX Runtime's CUDA provider, simulated by its CPU provider over the simulated GPU's memory.

A session says that it runs on CUDA, custom ops are those for the CPU, and what is bound to the GPU is bound to the
host's memory that stands for it: only memory that the simulated GPU gave out.
"""

from __future__ import annotations

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
    """

    cuda: Cuda | None = None
    opened: list[tuple[list[Any], bool]] = []  # noqa: RUF012 - of all sessions
    bound = plain = 0

    def __init__(self, path: Any, options: Any = None, providers: list[Any] | None = None) -> None:
        type(self).opened.append((list(providers or ()), options.enable_mem_reuse))
        self._says = [p if isinstance(p, str) else p[0] for p in providers or ()]
        super().__init__(path, options, providers=[CPU])

    def get_providers(self) -> list[str]:
        return self._says

    def run(self, *arguments: Any, **options: Any) -> Any:
        type(self).plain += 1
        return super().run(*arguments, **options)

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
    session = type("Session", (SimulatedSession,), {"cuda": cuda, "opened": [], "bound": 0, "plain": 0})
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    return session
