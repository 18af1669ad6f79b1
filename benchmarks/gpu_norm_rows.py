"""Norms with what stands beside them, for `gpu_kernel_rows`: the residual sum before one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from gpu_kernels import DeviceBuffer
from gpu_work import Work
from norm_kernels import NormCase, check_norm, expected_norm, launch_norm, random_norm
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import kept_windows
from window_kernels import Kernels

ELEMENTS = {"fp32": "float32", "fp16": "float16"}


def norm_works(settings: Any, kernels: Kernels | None) -> list[Work]:
    """Sums of the windows of every stage, dense and at the largest share of pruned windows."""
    works = []
    for height, width in settings.sizes:
        for number, stage in enumerate(stage_geometries(height, width, settings.depths, 7)):
            for precision in settings.precisions:
                for batch in settings.batches:
                    case = NormCase(batch, 1, 49, settings.embed_dim << number, ELEMENTS[precision])
                    where = {"size": f"{height}x{width}", "stage": number, "precision": precision, "batch": batch}
                    for ratio in (settings.ratios[0], settings.ratios[-1]):
                        listed = replace(case, height=max(1, kept_windows(stage.windows, ratio)))
                        works.append(_work("add_norm", listed, {**where, "pruned": ratio}, kernels))
    return works


def norm_bytes(kernel: str, case: NormCase) -> int:
    """Bytes that a kernel cannot avoid reading and writing."""
    element = 4 if case.element == "float32" else 2
    rows, row = case.batch * case.height * case.width, case.channels * element
    return 4 * rows * row + 3 * row


def _work(kernel: str, case: NormCase, where: dict, kernels: Kernels | None) -> Work:
    def one_set(inputs: dict[str, np.ndarray], outputs: dict[str, int]) -> Callable[[int], int]:
        assert kernels is not None
        buffers = {name: DeviceBuffer(array.reshape(-1).view(np.uint8)) for name, array in inputs.items()}
        buffers |= {name: DeviceBuffer(np.zeros(nbytes, np.uint8)) for name, nbytes in outputs.items()}
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        return lambda stream, _held=buffers: launch_norm(kernels.library, kernel, case.call(**addresses, stream=stream))

    def prepare(sets: int) -> list[Callable[[int], int]]:
        inputs = random_norm(kernel, case, 0)
        size = inputs["x"].itemsize
        outputs = {name: array.size * size for name, array in expected_norm(kernel, case, inputs).items()}
        return [one_set(inputs, outputs) for _ in range(sets)]

    def check() -> None:
        assert kernels is not None
        check_norm(kernels.library, DeviceBuffer, kernel, case, 0)

    return Work({"kernel": kernel, **where, "shape": asdict(case)}, norm_bytes(kernel, case), check, prepare)
