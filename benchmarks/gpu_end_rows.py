"""Where a network begins and ends, for `gpu_kernel_rows`: bytes to tokens, scores to labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ends_kernels import (
    DecodeCase,
    EmbedCase,
    check_decode,
    check_embed,
    launch_decode,
    launch_embed,
    random_embed,
)
from gpu_kernels import DeviceBuffer
from gpu_work import Work
from window_kernels import Kernels

ELEMENTS = {"fp32": "float32", "fp16": "float16"}
#: Of Cityscapes, at a quarter of the image's size.
_CLASSES, _STRIDE = 19, 4


def end_works(settings: Any, kernels: Kernels | None) -> list[Work]:
    """Both kernels at every size of image, type and batch."""
    works = []
    for height, width in settings.sizes:
        for precision in settings.precisions:
            for batch in settings.batches:
                where = {"size": f"{height}x{width}", "precision": precision, "batch": batch}
                embed = EmbedCase(batch, height, width, settings.embed_dim, element=ELEMENTS[precision])
                works.append(_embed_work(embed, {**where, "where": f"{settings.embed_dim} channels"}, kernels))
                rows, columns = height // _STRIDE, width // _STRIDE
                decode = DecodeCase(batch, _CLASSES, rows, columns, _STRIDE, ELEMENTS[precision])
                works.append(_decode_work(decode, {**where, "where": f"{_CLASSES} classes"}, kernels))
    return works


def embed_bytes(case: EmbedCase) -> int:
    """Bytes that an embedding cannot avoid: pixels and weights read, tokens written."""
    element = 4 if case.element == "float32" else 2
    pixels = case.batch * case.height * case.width * 3
    weights = (48 + 1) * case.channels * 4 + 12 + 2 * case.channels * element
    return pixels + weights + int(np.prod(case.output_shape)) * element


def embed_macs(case: EmbedCase) -> int:
    """Multiply-accumulates of the products."""
    return 48 * int(np.prod(case.output_shape))


def decode_bytes(case: DecodeCase) -> int:
    """Bytes that a decoding cannot avoid: scores read, labels written."""
    element = 4 if case.element == "float32" else 2
    return case.batch * case.classes * case.rows * case.columns * element + int(np.prod(case.output_shape))


def _embed_work(case: EmbedCase, where: dict, kernels: Kernels | None) -> Work:
    def one_set(inputs: dict[str, np.ndarray]) -> Callable[[int], int]:
        assert kernels is not None
        buffers = {name: DeviceBuffer(array.reshape(-1).view(np.uint8)) for name, array in inputs.items()}
        buffers["output"] = DeviceBuffer(np.zeros(int(np.prod(case.output_shape)) * inputs["scale"].itemsize, np.uint8))
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        return lambda stream, _held=buffers: launch_embed(kernels.library, case.call(**addresses, stream=stream))

    def prepare(sets: int) -> list[Callable[[int], int]]:
        inputs = random_embed(case, 0)
        return [one_set(inputs) for _ in range(sets)]

    def check() -> None:
        assert kernels is not None
        check_embed(kernels.library, DeviceBuffer, case, 0)

    row = {"kernel": "patch_embed", **where, "shape": asdict(case), "macs": embed_macs(case)}
    return Work(row, embed_bytes(case), check, prepare)


def _decode_work(case: DecodeCase, where: dict, kernels: Kernels | None) -> Work:
    element = np.dtype({"float32": np.float32}.get(case.element, np.float16))
    shape = (case.batch, case.classes, case.rows, case.columns)

    def one_set() -> Callable[[int], int]:
        assert kernels is not None
        logits = DeviceBuffer(np.zeros(int(np.prod(shape)) * element.itemsize, np.uint8))
        labels = DeviceBuffer(np.zeros(int(np.prod(case.output_shape)), np.uint8))
        held = (logits, labels)
        return lambda stream, _held=held: launch_decode(
            kernels.library, case.call(logits=logits.address, output=labels.address, stream=stream)
        )

    def check() -> None:
        assert kernels is not None
        check_decode(kernels.library, DeviceBuffer, case, 0)

    row = {"kernel": "label_decode", **where, "shape": asdict(case)}
    return Work(row, decode_bytes(case), check, lambda sets: [one_set() for _ in range(sets)])
