"""The C ABI of PatchEmbed and LabelDecode (plugins/kernels/c_abi.h), their NumPy references, checks on any memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from window_kernels import ELEMENTS, GUARD, Buffer, as_float, framed, poisoned, random_tensor, unframed

#: Of tokens of a few units: products and statistics in float, tokens rounded to the element type.
TOLERANCES = {"float32": 3e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
EPSILON = 1e-5
_EMBED_INPUTS = ("image", "weight", "bias", "mean", "scale", "shift")


class EmbedCall(ctypes.Structure):
    """SparsevitPatchEmbedCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "height", "width", "pad_multiple", "channels")),
        ("element", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in (*_EMBED_INPUTS, "output", "stream")),
    )


class DecodeCall(ctypes.Structure):
    """SparsevitLabelDecodeCall."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "classes", "rows", "columns", "height", "width")),
        *((name, ctypes.c_int32) for name in ("scale", "element")),
        *((name, ctypes.c_void_p) for name in ("logits", "output", "stream")),
    )


@dataclass(frozen=True)
class EmbedCase:
    """One embedding of images (batch, height, width, 3).

    `image_offset`: bytes, `token_offset`: elements by which these start behind a 256-byte boundary.
    """

    batch: int
    height: int
    width: int
    channels: int
    pad_multiple: int = 4
    element: str = "float32"
    image_offset: int = 0
    token_offset: int = 0

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        rows, columns = (-(-size // self.pad_multiple) * self.pad_multiple // 4 for size in (self.height, self.width))
        return self.batch, rows, columns, self.channels

    def call(self, **pointers: int) -> EmbedCall:
        return EmbedCall(
            batch=self.batch,
            height=self.height,
            width=self.width,
            pad_multiple=self.pad_multiple,
            channels=self.channels,
            element=ELEMENTS[self.element][0],
            epsilon=EPSILON,
            **pointers,
        )


@dataclass(frozen=True)
class DecodeCase:
    """One decoding of logits (batch, classes, rows, columns); `crop`: labels left out at the bottom and right."""

    batch: int
    classes: int
    rows: int
    columns: int
    scale: int
    element: str = "float32"
    crop: tuple[int, int] = (0, 0)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return self.batch, self.rows * self.scale - self.crop[0], self.columns * self.scale - self.crop[1]

    def call(self, **pointers: int) -> DecodeCall:
        _, height, width = self.output_shape
        return DecodeCall(
            batch=self.batch,
            classes=self.classes,
            rows=self.rows,
            columns=self.columns,
            height=height,
            width=width,
            scale=self.scale,
            element=ELEMENTS[self.element][0],
            **pointers,
        )


#: Channels of each kernel and between, images that are padded in part of a patch and in whole ones, of whole words and
#: not.
EMBED_CASES = [
    EmbedCase(batch, height, width, channels, pad_multiple, element, *offsets)
    for element in ELEMENTS
    for batch, height, width, channels, pad_multiple, *offsets in [
        (2, 24, 40, 96, 4, 1),
        (2, 24, 40, 96, 4, 4),
        (1, 22, 20, 96, 32),  # whole patches of padding, rows of whole words
        (1, 13, 18, 128, 8, 1),
        (1, 12, 8, 120, 4),
        (1, 9, 31, 192, 4, 1),
        (1, 7, 12, 136, 8, 8),
        (1, 8, 20, 96, 4, 0, 1),  # no vectors of tokens
        (3, 8, 8, 33, 32, 1),
        (1, 4, 12, 16, 4, 1),
        (1, 11, 7, 200, 4, 1),
        (0, 8, 8, 96, 4),
    ]
]
#: Scales with a kernel of their own and others, even and odd; cropped and not; one class and all there may be.
DECODE_CASES = [
    DecodeCase(batch, classes, rows, columns, scale, element, crop)
    for element in ELEMENTS
    for batch, classes, rows, columns, scale, crop in [
        (2, 19, 7, 9, 4, (0, 0)),
        (1, 19, 7, 9, 4, (5, 3)),
        (1, 5, 6, 5, 2, (0, 1)),
        (2, 7, 5, 6, 1, (1, 0)),
        (1, 4, 3, 5, 3, (2, 2)),
        (1, 6, 3, 4, 8, (0, 7)),
        (1, 256, 2, 3, 4, (0, 0)),
        (1, 1, 4, 4, 4, (0, 0)),
        (1, 3, 1, 1, 4, (1, 2)),
        (0, 19, 4, 4, 4, (0, 0)),
    ]
]


def launch_embed(library: ctypes.CDLL, call: EmbedCall) -> int:
    """Returns the CUDA error."""
    return int(library.sparsevit_patch_embed(ctypes.byref(call)))


def launch_decode(library: ctypes.CDLL, call: DecodeCall) -> int:
    """Returns the CUDA error."""
    return int(library.sparsevit_label_decode(ctypes.byref(call)))


def random_embed(case: EmbedCase, seed: int) -> dict[str, np.ndarray]:
    """What the embedding reads, by its names; products of a few units."""
    random = np.random.default_rng(seed)
    mean = np.array([103.53, 116.28, 123.675], np.float32)
    weight = random.standard_normal((48, case.channels), np.float32) / np.float32(48**0.5 * 57)
    folded = -(np.tile(mean, 16) @ weight) + random.standard_normal(case.channels, np.float32)
    return {
        "image": random.integers(0, 256, (case.batch, case.height, case.width, 3), np.uint8),
        "weight": weight,
        "bias": folded.astype(np.float32),
        "mean": mean,
        "scale": random_tensor(random, (case.channels,), case.element),
        "shift": random_tensor(random, (case.channels,), case.element),
    }


def expected_embed(case: EmbedCase, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """tokens (B, R, Q, C) in float64."""
    batch, rows, columns, _ = case.output_shape
    pixels = np.tile(inputs["mean"].astype(np.float64), (batch, 4 * rows, 4 * columns, 1))
    pixels[:, : case.height, : case.width] = inputs["image"]
    patches = pixels.reshape(batch, rows, 4, columns, 12).swapaxes(2, 3).reshape(batch, rows, columns, 48)
    product = patches @ inputs["weight"].astype(np.float64) + inputs["bias"]
    deviation = product - product.mean(-1, keepdims=True)
    normed = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + EPSILON)
    return normed * as_float(inputs["scale"], case.element) + as_float(inputs["shift"], case.element)


def scaled_scores(case: DecodeCase, logits: np.ndarray) -> np.ndarray:
    """(B, K, H, W) in float64, bilinear between the centres of cells, edges repeated."""
    values = as_float(logits, case.element).astype(np.float64)
    for axis, size in ((2, case.rows), (3, case.columns)):
        at = np.clip((np.arange(size * case.scale) + 0.5) / case.scale - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        weight = np.expand_dims(at - low, [i for i in range(4) if i != axis])
        high = np.minimum(low + 1, size - 1)
        values = np.take(values, low, axis) * (1 - weight) + np.take(values, high, axis) * weight
    _, height, width = case.output_shape
    return values[:, :, :height, :width]


def check_embed(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: EmbedCase,
    seed: int,
    stream: int = 0,
    given: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Embeds random images, or those that are `given`, into a poisoned output and compares all of it.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.

    Returns:
        tokens (B, R, Q, C) as floats.
    """
    inputs = random_embed(case, seed) if given is None else given
    dtype = np.dtype(ELEMENTS[case.element][1])
    offsets = dict.fromkeys(_EMBED_INPUTS, 0) | {"image": case.image_offset}
    offsets["output"] = case.token_offset * dtype.itemsize
    actual = _run(make_buffer, inputs, case.output_shape, dtype, offsets, f"{case} seed {seed}", stream)(
        lambda **pointers: launch_embed(library, case.call(**pointers))
    )
    tokens, tolerance = as_float(actual, case.element), TOLERANCES[case.element]
    target = expected_embed(case, inputs)
    np.testing.assert_allclose(tokens, target, rtol=tolerance, atol=tolerance, err_msg=f"{case} seed {seed}")
    return tokens


def check_decode(
    library: ctypes.CDLL,
    make_buffer: Callable[[np.ndarray], Buffer],
    case: DecodeCase,
    seed: int,
    stream: int = 0,
    given: np.ndarray | None = None,
) -> np.ndarray:
    """Decodes random logits, or those that are `given`, into a poisoned output and compares all of it.

    Where two scaled scores are all but equal in float64, either class is right; at scale 1 nothing is rounded.

    Args:
        make_buffer: uint8 array -> Buffer with these bytes, its address on a 256-byte boundary.

    Returns:
        labels (B, H, W) uint8.
    """
    shape = (case.batch, case.classes, case.rows, case.columns)
    logits = random_tensor(np.random.default_rng(seed), shape, case.element) if given is None else given
    offsets = {"logits": logits.itemsize, "output": 1 if case.crop[1] else 0}
    what = f"{case} seed {seed}"
    labels = _run(make_buffer, {"logits": logits}, case.output_shape, np.dtype(np.uint8), offsets, what, stream)(
        lambda **pointers: launch_decode(library, case.call(**pointers))
    )
    scores = scaled_scores(case, logits)
    if case.scale == 1:
        np.testing.assert_array_equal(labels, scores.argmax(1), err_msg=what)
    assert (labels < case.classes).all(), what
    chosen = np.take_along_axis(scores, labels[:, None].astype(np.int64), 1)[:, 0]
    np.testing.assert_allclose(chosen, scores.max(1, initial=-np.inf), rtol=0, atol=1e-6, err_msg=what)
    return labels


def _run(
    make_buffer: Callable[[np.ndarray], Buffer],
    inputs: dict[str, np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    offsets: dict[str, int],
    what: str,
    stream: int,
) -> Callable[[Callable[..., int]], np.ndarray]:
    """Function (launch) -> what it leaves in its output; launch: addresses and stream by name -> CUDA error."""

    def run(launch: Callable[..., int]) -> np.ndarray:
        buffers = {name: make_buffer(framed(array, offsets[name])) for name, array in inputs.items()}
        buffers["output"] = make_buffer(framed(poisoned(shape, dtype), offsets["output"]))
        addresses = {name: buffer.address + GUARD + offsets[name] for name, buffer in buffers.items()}
        error = launch(**addresses, stream=stream)
        assert error == 0, f"{what}: error {error}"
        for name, array in inputs.items():
            unchanged = unframed(buffers[name].read(), offsets[name], array.shape, array.dtype)
            assert unchanged.tobytes() == array.tobytes(), f"{what}: {name} was written to"
        return unframed(buffers["output"].read(), offsets["output"], shape, dtype)

    return run
