"""The nodes at the two ends of a network, and their portable bodies: camera bytes to tokens, scores to labels."""

from __future__ import annotations

from collections.abc import Sequence

from onnx.defs import OpSchema

_INT, _FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
#: As `block_nodes.SIGNATURES`.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str], int, dict[str, OpSchema.AttrType]]] = {
    "PatchEmbed": (
        {
            "image": "tensor(uint8)",
            **dict.fromkeys(("weight", "bias", "mean"), "tensor(float)"),
            **dict.fromkeys(("scale", "shift"), "T"),
        },
        {"tokens": "T"},
        1,
        {**dict.fromkeys(("height", "width", "pad_multiple"), _INT), "epsilon": _FLOAT},
    ),
    "LabelDecode": (
        {"logits": "T"},
        {"labels": "tensor(uint8)"},
        1,
        dict.fromkeys(("scale", "height", "width"), _INT),
    ),
}

# Pixels of the padding count as the mean, which is in the bias. Where there is padding the mean is taken from the
# pixels, which are padded with zeros, and given back to the bias.
_PIXELS = """
    pixels = Cast <to: int = 1> (image)
    whole_bias = Identity (bias)
"""
_PADDED_PIXELS = """
    bytes = Cast <to: int = 1> (image)
    centred = Sub (bytes, mean)
    before = Constant <value_ints: ints = [0, 0, 0, 0, 0]> ()
    pads = Concat <axis: int = 0> (before, more_rows, more_columns, zeros1)
    pixels = Pad (centred, pads)
    pixels_of_a_patch = Constant <value_ints: ints = [16]> ()
    means = Tile (mean, pixels_of_a_patch)
    given_back = MatMul (means, weight)
    whole_bias = Add (bias, given_back)
"""


def patch_embed(padded: bool) -> str:
    """Body of `PatchEmbed` for images that the attributes pad, or for such as they do not."""
    return f"""
PatchEmbed <height, width, pad_multiple, epsilon> (image, weight, bias, mean, scale, shift) => (tokens) {{
    zeros1 = Constant <value_ints: ints = [0]> ()
    patch = Constant <value_ints: ints = [4]> ()
    colours = Constant <value_ints: ints = [3]> ()
    values = Constant <value_ints: ints = [48]> ()
    height_of_image = Constant <value_int: int = @height> ()
    width_of_image = Constant <value_int: int = @width> ()
    multiple = Constant <value_int: int = @pad_multiple> ()
    height = Unsqueeze (height_of_image, zeros1)
    width = Unsqueeze (width_of_image, zeros1)
    minus_height = Neg (height)
    minus_width = Neg (width)
    more_rows = Mod (minus_height, multiple)
    more_columns = Mod (minus_width, multiple)
    whole_height = Add (height, more_rows)
    whole_width = Add (width, more_columns)
    rows = Div (whole_height, patch)
    columns = Div (whole_width, patch)
    {_PADDED_PIXELS if padded else _PIXELS}
    apart_shape = Concat <axis: int = 0> (zeros1, rows, patch, columns, patch, colours)
    apart = Reshape (pixels, apart_shape)
    turned = Transpose <perm: ints = [0, 1, 3, 2, 4, 5]> (apart)
    patches_shape = Concat <axis: int = 0> (zeros1, rows, columns, values)
    patches = Reshape (turned, patches_shape)
    product = MatMul (patches, weight)
    biased = Add (product, whole_bias)
    scale32 = Cast <to: int = 1> (scale)
    shift32 = Cast <to: int = 1> (shift)
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (biased, scale32, shift32)
    tokens = CastLike (normed, scale)
}}"""


def label_decode(pieces: Sequence[tuple[int, int]], size: tuple[int, int], scale: int, width: int) -> str:
    """Body of `LabelDecode` for logits of one size.

    Args:
        pieces: strips of the labels' rows that it works in (`heads.labels.strips`).
        size: rows and columns of the logits.
        scale, width: attributes of the node.
    """
    steps = [_strip(i, *piece, size, scale, width) for i, piece in enumerate(pieces)]
    # Bytes are made last, and of real numbers: TensorRT has them as an output alone, and converts no others to them.
    steps += [f"number{i} = Cast <to: int = 1> (best{i})" for i in range(len(pieces))]
    whole = "number0"
    if len(pieces) > 1:
        steps.append(f"all = Concat <axis: int = 1> ({', '.join(f'number{i}' for i in range(len(pieces)))})")
        whole = "all"
    steps.append(f"labels = Cast <to: int = 2> ({whole})")
    body = "\n    ".join(steps)
    return f"""
LabelDecode <scale, height, width> (logits) => (labels) {{
    row_axis = Constant <value_ints: ints = [2]> ()
    map_axes = Constant <value_ints: ints = [2, 3]> ()
    factors = Constant <value_floats: floats = [1.0, 1.0, {scale}.0, {scale}.0]> ()
    {body}
}}"""


def _strip(i: int, first: int, last: int, size: tuple[int, int], scale: int, width: int) -> str:
    """Statements that give `best{i}`: classes of the labels' rows from `first` to `last`."""
    rows, columns = size
    top, bottom = (0, rows) if scale == 1 else (max(first // scale - 1, 0), min(-(-last // scale) + 1, rows))
    steps, name = [], "logits"
    if (top, bottom) != (0, rows):
        steps += [
            f"rows_from{i} = Constant <value_ints: ints = [{top}]> ()",
            f"rows_to{i} = Constant <value_ints: ints = [{bottom}]> ()",
            f"strip{i} = Slice (logits, rows_from{i}, rows_to{i}, row_axis)",
        ]
        name = f"strip{i}"
    steps.append(f"strip32{i} = Cast <to: int = 1> ({name})")
    name = f"strip32{i}"
    if scale > 1:
        bilinear = 'mode: string = "linear", coordinate_transformation_mode: string = "half_pixel"'
        steps.append(f"scaled{i} = Resize <{bilinear}> ({name}, , factors)")
        name = f"scaled{i}"
    if (first, last, width) != (top * scale, bottom * scale, columns * scale):
        steps += [
            f"from{i} = Constant <value_ints: ints = [{first - top * scale}, 0]> ()",
            f"to{i} = Constant <value_ints: ints = [{last - top * scale}, {width}]> ()",
            f"cropped{i} = Slice ({name}, from{i}, to{i}, map_axes)",
        ]
        name = f"cropped{i}"
    steps.append(f"best{i} = ArgMax <axis: int = 1, keepdims: int = 0> ({name})")
    return "\n    ".join(steps)
