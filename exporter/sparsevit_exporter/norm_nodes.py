"""The nodes of a LayerNorm and what stands beside it, and their portable bodies: the residual sum or the
merging of patches before it, and the order of channels behind it."""

from __future__ import annotations

from onnx.defs import OpSchema

_INT, _FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
#: As `block_nodes.SIGNATURES`.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str], int, dict[str, OpSchema.AttrType]]] = {
    "AddNorm": (
        dict.fromkeys(("x", "update", "bias", "scale", "shift"), "T"),
        {"sum": "T", "normed": "T"},
        1,
        {"epsilon": _FLOAT},
    ),
    "FeatureMapNorm": (dict.fromkeys(("x", "scale", "shift"), "T"), {"y": "T"}, 1, {"epsilon": _FLOAT}),
    "FeatureMapNorm32": (
        dict.fromkeys(("x", "scale", "shift"), "T"),
        {"y": "tensor(float)"},
        1,
        {"epsilon": _FLOAT},
    ),
    "PatchMergeNorm": (
        dict.fromkeys(("x", "scale", "shift"), "T"),
        {"normed": "T"},
        1,
        {"height": _INT, "width": _INT, "epsilon": _FLOAT},
    ),
}

# A LayerNormalization has its statistics in float32 whatever its type is.
_ADD_NORM = """
AddNorm <epsilon> (x, update, bias, scale, shift) => (sum, normed) {
    biased = Add (update, bias)
    sum = Add (x, biased)
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (sum, scale, shift)
}"""

_FEATURE_MAP_NORM = """
FeatureMapNorm <epsilon> (x, scale, shift) => (y) {
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (x, scale, shift)
    y = Transpose <perm: ints = [0, 3, 1, 2]> (normed)
}"""

_FEATURE_MAP_NORM_32 = """
FeatureMapNorm32 <epsilon> (x, scale, shift) => (y) {
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (x, scale, shift)
    turned = Transpose <perm: ints = [0, 3, 1, 2]> (normed)
    y = Cast <to: int = 1> (turned)
}"""

_PATCH_MERGE_NORM = """
PatchMergeNorm <height, width, epsilon> (x, scale, shift) => (normed) {{
    zeros1 = Constant <value_ints: ints = [0]> ()
    twos1 = Constant <value_ints: ints = [2]> ()
    minus1 = Constant <value_ints: ints = [-1]> ()
    one = Constant <value_int: int = 1> ()
    two = Constant <value_int: int = 2> ()
    height = Constant <value_int: int = @height> ()
    width = Constant <value_int: int = @width> ()
    height_rounded = Add (height, one)
    width_rounded = Add (width, one)
    rows = Div (height_rounded, two)
    columns = Div (width_rounded, two)
    rows1 = Unsqueeze (rows, zeros1)
    columns1 = Unsqueeze (columns, zeros1)
    {whole}
    apart_shape = Concat <axis: int = 0> (zeros1, rows1, twos1, columns1, twos1, minus1)
    apart = Reshape (whole, apart_shape)
    turned = Transpose <perm: ints = [0, 1, 3, 2, 4, 5]> (apart)
    merged_shape = Concat <axis: int = 0> (zeros1, rows1, columns1, minus1)
    merged = Reshape (turned, merged_shape)
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (merged, scale, shift)
}}"""

#: What is done about sides of odd size: they get a row or column of zeros.
_PADDED = """
    more_rows = Mod (height, two)
    more_columns = Mod (width, two)
    odd = Add (more_rows, more_columns)
    zero = Constant <value_int: int = 0> ()
    is_padded = Greater (odd, zero)
    whole = If (is_padded) <
        then_branch = larger () => (larger_map) {
            more_rows1 = Unsqueeze (more_rows, zeros1)
            more_columns1 = Unsqueeze (more_columns, zeros1)
            before = Constant <value_ints: ints = [0, 0, 0, 0, 0]> ()
            pads = Concat <axis: int = 0> (before, more_rows1, more_columns1, zeros1)
            larger_map = Pad (x, pads)
        },
        else_branch = even () => (even_map) {
            even_map = Identity (x)
        }
    >"""


def bodies(odd: bool) -> list[str]:
    """Functions in ONNX's text, without their headers.

    Args:
        odd: some map that is merged has a side of odd size; else the body needs no condition.
    """
    merging = _PATCH_MERGE_NORM.format(whole=_PADDED if odd else "whole = Identity (x)")
    return [_ADD_NORM, merging, _FEATURE_MAP_NORM, _FEATURE_MAP_NORM_32]
