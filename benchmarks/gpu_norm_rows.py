"""Norms with what stands beside them, for `gpu_kernel_rows`.

Residual sums and merged patches before them, channels first behind them.
"""

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
    """Sums of the windows of every stage, dense and at the largest share of pruned windows; its map, handed out in
    float32 and in its own type, and merged."""
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
                    whole = replace(case, height=stage.height, width=stage.width)
                    for output in sorted({ELEMENTS[precision], "float32"}):
                        handed_out = replace(whole, output=output)
                        works.append(
                            _work("feature_map_norm", handed_out, {**where, "pruned": None, "where": output}, kernels)
                        )
                    if number + 1 < len(settings.depths):
                        works.append(_work("patch_merge_norm", whole, {**where, "pruned": None}, kernels))
    return works


def norm_bytes(kernel: str, case: NormCase) -> int:
    """Bytes that a kernel cannot avoid reading and writing."""
    element = 4 if case.element == "float32" else 2
    rows, row = case.batch * case.height * case.width, case.channels * element
    if kernel == "feature_map_norm":
        return rows * (row + case.channels * (4 if case.output == "float32" else element)) + 2 * row
    if kernel == "patch_merge_norm":
        merged = case.batch * ((case.height + 1) // 2) * ((case.width + 1) // 2)
        return (rows + 4 * merged) * row + 8 * row
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
        # As many bytes as the widest type takes.
        outputs = {name: array.size * 4 for name, array in expected_norm(kernel, case, inputs).items()}
        return [one_set(inputs, outputs) for _ in range(sets)]

    def check() -> None:
        assert kernels is not None
        check_norm(kernels.library, DeviceBuffer, kernel, case, 0)

    return Work({"kernel": kernel, **where, "shape": asdict(case)}, norm_bytes(kernel, case), check, prepare)
