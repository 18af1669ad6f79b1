"""What a transformer block does with windows, for `gpu_kernel_rows`.

Rank, gather with LayerNorm, attention, scatter with a sum: each beside a copy, attention with its multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from attention_kernel import AttentionCase, bind_attention, check_attention, random_attention
from fused_kernels import check_fused, fused_call, launch_fused, random_fused, rank_workspace
from gpu_kernels import DeviceBuffer
from gpu_work import Work
from sparsevit_runtime.windows.geometry import stage_geometries
from sparsevit_runtime.windows.plan import kept_windows
from window_kernels import Case, Kernels

ELEMENTS = {"fp32": "float32", "fp16": "float16"}
#: Position biases of windows at the map's borders, inside, and where a shifted window wraps around.
_KINDS = 9


def block_works(settings: Any, kernels: Kernels | None, stages: tuple[int, ...]) -> list[Work]:
    """All four kernels of some stages, dense and at the largest share of pruned windows."""
    works = []
    for height, width in settings.sizes:
        geometries = stage_geometries(height, width, settings.depths, 7)
        for number in stages:
            stage = geometries[number]
            for precision in settings.precisions:
                for batch in settings.batches:
                    channels = settings.embed_dim << number
                    dense = Case(batch, stage.height, stage.width, channels, 7, 3, 0, ELEMENTS[precision])
                    where = {"size": f"{height}x{width}", "stage": number, "precision": precision, "batch": batch}
                    works.append(_fused_work("rank", dense, {**where, "pruned": None}, kernels))
                    for ratio in (settings.ratios[0], settings.pruned):
                        case = replace(dense, keep=max(1, kept_windows(stage.windows, ratio)))
                        pruned = {**where, "pruned": ratio}
                        works.append(_fused_work("gather_norm", case, pruned, kernels))
                        works.append(_attention_work(case, settings.num_heads[number], pruned, kernels))
                        works.append(_fused_work("scatter_add_in_place", case, pruned, kernels))
    return works


def fused_bytes(kernel: str, case: Case) -> int:
    """Bytes that a kernel cannot avoid reading and writing; listed windows have an average share of the padding."""
    token = case.channels * (4 if case.element == "float32" else 2)
    area = case.height * case.width
    if kernel == "rank":
        return case.batch * (area * token + case.windows * 4)
    real = case.batch * case.keep * area // case.windows
    listed = case.batch * case.keep * np.dtype(case.index).itemsize
    if kernel == "gather_norm":
        return (real + 2 * case.batch * case.keep * case.tokens) * token + listed + 2 * token
    return 3 * real * token + listed + token


def attention_bytes(case: AttentionCase) -> int:
    """q, k and v read, answers written, and the tables once."""
    element = 4 if case.element == "float32" else 2
    rows = case.batch * case.keep * case.tokens
    tables = 3 * case.channels + case.kinds * case.heads * case.tokens**2
    listed = case.batch * case.keep * np.dtype(case.index).itemsize
    return (rows * 4 * case.channels + tables) * element + listed + case.windows * 4


def attention_macs(case: AttentionCase) -> int:
    """Multiply-accumulates of both products."""
    return 2 * case.batch * case.keep * case.tokens**2 * case.channels


def _buffers(inputs: dict[str, np.ndarray]) -> dict[str, DeviceBuffer]:
    return {name: DeviceBuffer(array.reshape(-1).view(np.uint8)) for name, array in inputs.items()}


def _fused_work(kernel: str, case: Case, where: dict, kernels: Kernels | None) -> Work:
    name, in_place = kernel.removesuffix("_in_place"), kernel.endswith("in_place")

    def one_set(inputs: dict[str, np.ndarray]) -> Callable[[int], int]:
        assert kernels is not None
        buffers = _buffers(inputs)
        windows = case.batch * case.keep * case.tokens * case.channels * inputs["x"].itemsize
        written = {"gather_norm": {"tokens": windows, "output": windows}, "scatter_add": {"output": 0}}
        written["rank"] = {"output": case.batch * case.windows * 4, "workspace": rank_workspace(kernels.library, case)}
        for output, nbytes in written[name].items():
            buffers[output] = buffers["x"] if in_place else DeviceBuffer(np.zeros(nbytes, np.uint8))
        addresses = {key: buffer.address for key, buffer in buffers.items()}
        return lambda stream, _held=buffers: launch_fused(
            kernels.library, name, fused_call(case, **addresses, stream=stream)
        )

    def prepare(sets: int) -> list[Callable[[int], int]]:
        inputs = random_fused(name, case, 0)
        return [one_set(inputs) for _ in range(sets)]

    def check() -> None:
        assert kernels is not None
        check_fused(kernels.library, DeviceBuffer, name, case, 0, in_place)

    row = {"kernel": kernel, **where, "shape": asdict(case) | {"index": np.dtype(case.index).name}}
    return Work(row, fused_bytes(name, case), check, prepare)


def _attention_work(windows: Case, heads: int, where: dict, kernels: Kernels | None) -> Work:
    case = AttentionCase(
        windows.batch,
        windows.keep,
        heads,
        windows.channels // heads,
        windows.window_size,
        windows.element,
        kinds=_KINDS,
        windows=windows.windows,
    )

    def one_set(inputs: dict[str, np.ndarray]) -> Callable[[int], int]:
        assert kernels is not None
        launch = bind_attention(kernels.library)
        buffers = _buffers(inputs)
        buffers["output"] = DeviceBuffer(np.zeros(inputs["qkv"].nbytes // 3, np.uint8))
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        return lambda stream, _held=buffers: launch(case.call(**addresses, stream=stream))

    def prepare(sets: int) -> list[Callable[[int], int]]:
        inputs = random_attention(case, 0)
        return [one_set(inputs) for _ in range(sets)]

    def check() -> None:
        assert kernels is not None
        check_attention(kernels.library, DeviceBuffer, case, 0)

    shape = asdict(case) | {"index": np.dtype(case.index).name}
    row = {"kernel": "attention", **where, "shape": shape, "macs": attention_macs(case)}
    return Work(row, attention_bytes(case), check, prepare)
