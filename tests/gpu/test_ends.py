"""PatchEmbed, LabelDecode and BiasGelu on the GPU against NumPy, into poisoned outputs between guards.

Inputs are random and fresh in every run; the report's header has the seed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bias_gelu_kernel import GELU_CASES, check_gelu
from ends_kernels import DECODE_CASES, EMBED_CASES, DecodeCase, EmbedCase, check_decode, check_embed
from gpu_kernels import DeviceBuffer
from window_kernels import ELEMENTS

torch = pytest.importorskip("torch")

#: The network at 672x672, 1024x2048 and padded, and labels of a 1024x2048 image at half and full size.
LARGE_EMBED = [
    EmbedCase(1, 672, 672, 96),
    EmbedCase(4, 672, 672, 96),
    EmbedCase(1, 1024, 2048, 96),
    EmbedCase(2, 1000, 2047, 128, 32, image_offset=1),
    EmbedCase(1, 1000, 2044, 96, 32),
    EmbedCase(1, 480, 640, 192, 224),
]
LARGE_DECODE = [
    DecodeCase(1, 19, 256, 512, 4),
    DecodeCase(2, 19, 256, 512, 2, crop=(1, 3)),
    DecodeCase(1, 150, 168, 168, 1),
    DecodeCase(1, 19, 32, 64, 8),
]


@pytest.mark.parametrize("number", range(len(EMBED_CASES)))
def test_every_embedding(kernels, seed, number):
    check_embed(kernels.library, DeviceBuffer, EMBED_CASES[number], seed + number)


@pytest.mark.parametrize("number", range(len(DECODE_CASES)))
def test_every_decoding(kernels, seed, number):
    check_decode(kernels.library, DeviceBuffer, DECODE_CASES[number], seed + number)


@pytest.mark.parametrize(("rows", "channels", "element"), [*GELU_CASES, (49 * 230, 384, "float16")])
def test_every_gelu(kernels, seed, rows, channels, element):
    check_gelu(kernels.library, DeviceBuffer, rows, channels, element, seed)


@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE_EMBED, ids=lambda c: f"{c.batch}x{c.height}x{c.width}x{c.channels}")
def test_large_embeddings(kernels, seed, case, element):
    check_embed(kernels.library, DeviceBuffer, replace(case, element=element), seed)


@pytest.mark.parametrize("element", list(ELEMENTS))
@pytest.mark.parametrize("case", LARGE_DECODE, ids=lambda c: f"{c.classes}x{c.rows}x{c.columns}x{c.scale}")
def test_large_decodings(kernels, seed, case, element):
    check_decode(kernels.library, DeviceBuffer, replace(case, element=element), seed)


def test_on_a_stream(kernels, seed):
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    check_embed(kernels.library, DeviceBuffer, EMBED_CASES[0], seed, stream=stream.cuda_stream)
    check_decode(kernels.library, DeviceBuffer, DECODE_CASES[0], seed, stream=stream.cuda_stream)
