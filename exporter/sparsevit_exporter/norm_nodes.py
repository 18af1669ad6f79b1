"""The nodes of a LayerNorm and what stands beside it, and their portable bodies: the residual sum before it."""

from __future__ import annotations

from onnx.defs import OpSchema

_FLOAT = OpSchema.AttrType.FLOAT
#: As `block_nodes.SIGNATURES`.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str], int, dict[str, OpSchema.AttrType]]] = {
    "AddNorm": (
        dict.fromkeys(("x", "update", "bias", "scale", "shift"), "T"),
        {"sum": "T", "normed": "T"},
        1,
        {"epsilon": _FLOAT},
    ),
}

# A LayerNormalization has its statistics in float32 whatever its type is.
_ADD_NORM = """
AddNorm <epsilon> (x, update, bias, scale, shift) => (sum, normed) {
    biased = Add (update, bias)
    sum = Add (x, biased)
    normed = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (sum, scale, shift)
}"""

#: Functions in ONNX's text, without their headers.
BODIES = [_ADD_NORM]
