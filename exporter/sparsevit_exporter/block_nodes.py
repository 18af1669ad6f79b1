"""The nodes that a block is made of, and their portable bodies: windows ranked, gathered and normalised, attended to,
and put back with what was computed for them.

`nodes` says how the bodies address tokens. Their one condition is whether a map is padded. It folds when ONNX Runtime
opens a file; in TensorRT it stays. Files without padding do not have it.
"""

from __future__ import annotations

from onnx.defs import OpSchema

_INT, _FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
_WINDOW = dict.fromkeys(("height", "width", "window_size", "shift"), _INT)
_INT32 = "tensor(int32)"
#: Of each node: inputs, outputs, how many of the types (T of the maps, I of window ids), attributes.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str], int, dict[str, OpSchema.AttrType]]] = {
    "WindowRank": ({"x": "T"}, {"order": _INT32}, 1, _WINDOW),
    "WindowGatherNorm": (
        {"x": "T", "index": "I", "scale": "T", "bias": "T"},
        {"tokens": "T", "normed": "T"},
        2,
        _WINDOW | {"epsilon": _FLOAT},
    ),
    "WindowAttention": (
        {"qkv": "T", "qkv_bias": "T", "index": "I", "kind": _INT32, "position_bias": "T"},
        {"y": "T"},
        2,
        {"heads": _INT, "window_size": _INT},
    ),
    "WindowScatterAdd": (
        {"x": "T", "tokens": "T", "update": "T", "bias": "T", "index": "I"},
        {"y": "T"},
        2,
        _WINDOW,
    ),
}

# No score is negative, so that -1 puts what is not a number last. Of equals TopK takes the lower place first.
_WINDOW_RANK = """
WindowRank <height, width, window_size, shift> (x) => (order) {{
    {tables}
    {scores}
    last = Constant <value_float: float = -1.0> ()
    is_nan = IsNaN (scores)
    sortable = Where (is_nan, last, scores)
    count = Mul (window_rows_count, window_columns_count)
    count1 = Unsqueeze (count, zeros1)
    sorted, place = TopK <axis: int = 1> (sortable, count1)
    order = Cast <to: int = 6> (place)
}}"""

_WINDOW_GATHER_NORM = """
WindowGatherNorm <height, width, window_size, shift, epsilon> (x, index, scale, bias) => (tokens, normed) {{
    {tables}
    {address}
    area = Mul (height, width)
    area1 = Unsqueeze (area, zeros1)
    map_shape = Concat <axis: int = 0> (zeros1, area1, minus1)
    map_tokens = Reshape (x, map_shape)
    flat_shape = Constant <value_ints: ints = [0, -1]> ()
    flat_address = Reshape (local_address, flat_shape)
    where_from = Unsqueeze (flat_address, address_axes)
    read = GatherND <batch_dims: int = 1> (map_tokens, where_from)
    {masked}
    tokens32 = Cast <to: int = 1> (tokens)
    scale32 = Cast <to: int = 1> (scale)
    bias32 = Cast <to: int = 1> (bias)
    normed32 = LayerNormalization <axis: int = -1, epsilon: float = @epsilon> (tokens32, scale32, bias32)
    normed = CastLike (normed32, x)
}}"""

#: What is done about padding: tokens of it are read as zero, and repeat a real token when they are written.
_MASKED = """
    tokens = If (is_padded) <
        then_branch = masked () => (masked_tokens) {
            real_bool = Gather (real_table, index)
            flat_bool = Reshape (real_bool, flat_shape)
            real = CastLike (flat_bool, x)
            real_column = Unsqueeze (real, address_axes)
            masked_tokens = Mul (read, real_column)
        },
        else_branch = whole () => (whole_tokens) {
            whole_tokens = Identity (read)
        }
    >"""
_REPEATED = """
    values = If (is_padded) <
        then_branch = repeated () => (repeated_values) {
            {token_table}
            token = Gather (token_table, index)
            source = Unsqueeze (token, address_axes)
            repeated_values = GatherND <batch_dims: int = 2> (windows, source)
        },
        else_branch = direct () => (direct_values) {
            direct_values = Identity (windows)
        }
    >"""

# A window's rows of one head's channels, (T * 3 heads, d), are gathered into the order that the products read: a slice
# and a transposition in one pass over memory. Where all windows are of one kind, the first one's position bias serves
# all. Sizes follow from their neighbours and from the shape of a weight, which is known before it runs.
_WINDOW_ATTENTION = """
WindowAttention <heads, window_size> (qkv, qkv_bias, index, kind, position_bias) => (y) {
    h = Constant <value_int: int = @heads> ()
    ws = Constant <value_int: int = @window_size> ()
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    three = Constant <value_int: int = 3> ()
    zeros1 = Constant <value_ints: ints = [0]> ()
    minus1 = Constant <value_ints: ints = [-1]> ()
    ones1 = Constant <value_ints: ints = [1]> ()
    tokens = Mul (ws, ws)
    thirds = Mul (h, three)
    token_rows = Mul (tokens, thirds)
    token_rows1 = Unsqueeze (token_rows, zeros1)
    head_range = Range (zero, h, one)
    head = Unsqueeze (head_range, ones1)
    token_start = Range (zero, token_rows, thirds)
    q_rows = Add (head, token_start)
    k_rows = Add (q_rows, h)
    v_rows = Add (k_rows, h)
    biased = Add (qkv, qkv_bias)
    three_channels = Shape (qkv_bias)
    head_channels = Div (three_channels, thirds)
    rows_shape = Concat <axis: int = 0> (zeros1, minus1, token_rows1, head_channels)
    rows = Reshape (biased, rows_shape)
    q = Gather <axis: int = 2> (rows, q_rows)
    k = Gather <axis: int = 2> (rows, k_rows)
    v = Gather <axis: int = 2> (rows, v_rows)
    k_turned = Transpose <perm: ints = [0, 1, 2, 4, 3]> (k)
    products = MatMul (q, k_turned)
    products32 = Cast <to: int = 1> (products)
    position_bias32 = Cast <to: int = 1> (position_bias)
    kind64 = Cast <to: int = 7> (kind)
    last_kind = ReduceMax <keepdims: int = 1> (kind64)
    has_kinds = Greater (last_kind, zeros1)
    all = Constant <value_ints: ints = [2147483647]> ()
    biases1 = Where (has_kinds, all, ones1)
    biases = Concat <axis: int = 0> (biases1, biases1)
    starts = Constant <value_ints: ints = [0, 0]> ()
    bias_index = Slice (index, starts, biases)
    window_kind = Gather (kind, bias_index)
    window_bias = Gather (position_bias32, window_kind)
    scores = Add (products32, window_bias)
    probabilities32 = Softmax <axis: int = -1> (scores)
    probabilities = CastLike (probabilities32, qkv)
    mixed = MatMul (probabilities, v)
    by_token = Transpose <perm: ints = [0, 1, 3, 2, 4]> (mixed)
    channels = Div (three_channels, three)
    y_shape = Concat <axis: int = 0> (zeros1, minus1, channels)
    y = Reshape (by_token, y_shape)
}"""

_WINDOW_SCATTER_ADD = """
WindowScatterAdd <height, width, window_size, shift> (x, tokens, update, bias, index) => (y) {{
    {tables}
    {address}
    x_shape = Shape (x)
    batch = Gather (x_shape, zero)
    area = Mul (height, width)
    sample = Range (zero, batch, one)
    sample_offset = Mul (sample, area)
    sample_axes = Constant <value_ints: ints = [1, 2]> ()
    sample_offset3 = Unsqueeze (sample_offset, sample_axes)
    sample_address = Add (local_address, sample_offset3)
    where_to = Unsqueeze (sample_address, address_axes)
    map_rows = Flatten <axis: int = 3> (x)
    biased = Add (update, bias)
    summed = Add (tokens, biased)
    window_axis = Constant <value_ints: ints = [2]> ()
    summed4 = Unsqueeze (summed, window_axis)
    windows_shape = Concat <axis: int = 0> (zeros1, minus1, window_tokens, zeros1)
    windows = Reshape (summed4, windows_shape)
    {repeated}
    replaced = ScatterND (map_rows, where_to, values)
    y = Reshape (replaced, x_shape)
}}"""


def bodies(tables: str, address: str, scores: str, token_table: str, padded: bool) -> list[str]:
    """Functions in ONNX's text, without their headers.

    Args:
        tables: statements that make the tables of addresses from the attributes.
        address: statements that look `index` up in them.
        scores: statements that give `scores` of `x`, (B, nW) float32.
        token_table: statements that give `token_table`: which token of a window repeats its value where one is padding.
        padded: some map is padded; else the bodies need no condition.
    """
    parts = {"tables": tables, "address": address, "scores": scores}
    parts["masked"] = _MASKED if padded else "tokens = Identity (read)"
    parts["repeated"] = _REPEATED.replace("{token_table}", token_table) if padded else "values = Identity (windows)"
    texts = (_WINDOW_RANK, _WINDOW_GATHER_NORM, _WINDOW_SCATTER_ADD)
    return [text.format(**parts) for text in texts] + [_WINDOW_ATTENTION]
