"""The custom ONNX nodes and their portable bodies.

Each node of domain `sparsevit` comes with a model-local function in standard operators, so any ONNX runtime executes
the file; TensorRT replaces the nodes by plugins of the same name. The bodies address tokens directly: a table of the
map's row addresses per window is gathered by window id. The map's size is an attribute, so that the table folds into a
constant when a file is opened, also where the batch is dynamic.

Tokens of the zero padding have no address. They borrow the address of a real token of the same window: reads are masked
to zero, and writes repeat that token's own value, so that no dummy row has to be appended to the map. The substitute is
the window's first row or column or, where a shifted window starts inside the padding, the wrapped row or column 0.
"""

from __future__ import annotations

import onnx
from onnx.defs import OpSchema

from . import block_nodes, ends_nodes, norm_nodes, region_nodes

DOMAIN = "sparsevit"
VERSION = 1
OPSET = 18
#: Integers that the window nodes carry: the token map, the window, and the shift (0 or window_size // 2).
ATTRIBUTES = ("height", "width", "window_size", "shift")

_TABLES = """
    ws = Constant <value_int: int = @window_size> ()
    shift = Constant <value_int: int = @shift> ()
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    zeros1 = Constant <value_ints: ints = [0]> ()
    minus1 = Constant <value_ints: ints = [-1]> ()
    height = Constant <value_int: int = @height> ()
    width = Constant <value_int: int = @width> ()
    ws_minus_one = Sub (ws, one)
    height_rounded = Add (height, ws_minus_one)
    width_rounded = Add (width, ws_minus_one)
    window_rows_count = Div (height_rounded, ws)
    window_columns_count = Div (width_rounded, ws)
    padded_height = Mul (window_rows_count, ws)
    padded_width = Mul (window_columns_count, ws)
    ws1 = Unsqueeze (ws, zeros1)
    window_shape = Concat <axis: int = 0> (minus1, ws1)
    row_range = Range (zero, padded_height, one)
    row_shifted = Add (row_range, shift)
    row_rolled = Mod (row_shifted, padded_height)
    rows = Reshape (row_rolled, window_shape)
    column_range = Range (zero, padded_width, one)
    column_shifted = Add (column_range, shift)
    column_rolled = Mod (column_shifted, padded_width)
    columns = Reshape (column_rolled, window_shape)
    row_real = Less (rows, height)
    column_real = Less (columns, width)
    first_row = Gather <axis: int = 1> (rows, zeros1)
    first_column = Gather <axis: int = 1> (columns, zeros1)
    first_row_real = Less (first_row, height)
    first_column_real = Less (first_column, width)
    row_substitute = Where (first_row_real, first_row, zero)
    column_substitute = Where (first_column_real, first_column, zero)
    row_address = Where (row_real, rows, row_substitute)
    column_address = Where (column_real, columns, column_substitute)
    row_axes = Constant <value_ints: ints = [1, 3]> ()
    column_axes = Constant <value_ints: ints = [0, 2]> ()
    row_address4 = Unsqueeze (row_address, row_axes)
    column_address4 = Unsqueeze (column_address, column_axes)
    row_offset4 = Mul (row_address4, width)
    address4 = Add (row_offset4, column_address4)
    window_tokens = Mul (ws1, ws1)
    table_shape = Concat <axis: int = 0> (minus1, window_tokens)
    address_table = Reshape (address4, table_shape)
    row_real4 = Unsqueeze (row_real, row_axes)
    column_real4 = Unsqueeze (column_real, column_axes)
    real4 = And (row_real4, column_real4)
    real_table = Reshape (real4, table_shape)
    padded_height_differs = Sub (padded_height, height)
    padded_width_differs = Sub (padded_width, width)
    padding = Add (padded_height_differs, padded_width_differs)
    is_padded = Greater (padding, zero)
"""

_ADDRESS = """
    address_axes = Constant <value_ints: ints = [-1]> ()
    local_address = Gather (address_table, index)
"""

_SCORES = """
    x32 = Cast <to: int = 1> (x)
    channel_axis = Constant <value_ints: ints = [3]> ()
    activation = Abs (x32)
    magnitude = ReduceMean <keepdims: int = 0> (activation, channel_axis)
    flat_shape = Constant <value_ints: ints = [0, -1]> ()
    flat = Reshape (magnitude, flat_shape)
    read = Gather <axis: int = 1> (flat, address_table)
    real = Cast <to: int = 1> (real_table)
    masked = Mul (read, real)
    token_axis = Constant <value_ints: ints = [2]> ()
    scores = ReduceL2 <keepdims: int = 0> (masked, token_axis)
"""

_TOKEN_TABLE = """
    token_range = Range (zero, ws, one)
    unwrapped = Sub (ws, shift)
    row_substitute_token = Where (first_row_real, zero, unwrapped)
    column_substitute_token = Where (first_column_real, zero, unwrapped)
    row_token = Where (row_real, token_range, row_substitute_token)
    column_token = Where (column_real, token_range, column_substitute_token)
    row_token4 = Unsqueeze (row_token, row_axes)
    column_token4 = Unsqueeze (column_token, column_axes)
    row_token_offset = Mul (row_token4, ws)
    token4 = Add (row_token_offset, column_token4)
    token_table = Reshape (token4, table_shape)
"""

# GELU in the form that runtimes recognise as one operator, whose roots and halves are of the type of the map.
_LINEAR_GELU = """
LinearGelu (x, weight, bias) => (y) {
    product = MatMul (x, weight)
    biased = Add (product, bias)
    root32 = Constant <value_float: float = 1.4142135381698608> ()
    one32 = Constant <value_float: float = 1.0> ()
    half32 = Constant <value_float: float = 0.5> ()
    root = CastLike (root32, x)
    one = CastLike (one32, x)
    half = CastLike (half32, x)
    scaled = Div (biased, root)
    error = Erf (scaled)
    raised = Add (error, one)
    doubled = Mul (biased, raised)
    y = Mul (doubled, half)
}"""

_HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'

_WINDOW_SCORE = f"""
WindowScore <height, width, window_size, shift> (x) => (scores) {{
    {_TABLES}
    {_SCORES}
}}"""

_WINDOW_GATHER = f"""
WindowGather <height, width, window_size, shift> (x, index) => (windows) {{
    {_TABLES}
    {_ADDRESS}
    area = Mul (height, width)
    area1 = Unsqueeze (area, zeros1)
    map_shape = Concat <axis: int = 0> (zeros1, area1, minus1)
    map_tokens = Reshape (x, map_shape)
    where_from = Unsqueeze (local_address, address_axes)
    read = GatherND <batch_dims: int = 1> (map_tokens, where_from)
    windows = If (is_padded) <
        then_branch = masked () => (masked_windows) {{
            real_bool = Gather (real_table, index)
            real = CastLike (real_bool, x)
            real_axes = Constant <value_ints: ints = [-1]> ()
            real4d = Unsqueeze (real, real_axes)
            masked_windows = Mul (read, real4d)
        }},
        else_branch = whole () => (whole_windows) {{
            whole_windows = Identity (read)
        }}
    >
}}"""

_WINDOW_SCATTER = f"""
WindowScatter <height, width, window_size, shift> (x, windows, index) => (y) {{
    {_TABLES}
    {_ADDRESS}
    x_shape = Shape (x)
    batch = Gather (x_shape, zero)
    area = Mul (height, width)
    sample = Range (zero, batch, one)
    sample_offset = Mul (sample, area)
    sample_axes = Constant <value_ints: ints = [1, 2]> ()
    sample_offset3 = Unsqueeze (sample_offset, sample_axes)
    address = Add (local_address, sample_offset3)
    where_to = Unsqueeze (address, address_axes)
    map_rows = Flatten <axis: int = 3> (x)
    values = If (is_padded) <
        then_branch = repeated () => (repeated_values) {{
            {_TOKEN_TABLE}
            token = Gather (token_table, index)
            source = Unsqueeze (token, address_axes)
            repeated_values = GatherND <batch_dims: int = 2> (windows, source)
        }},
        else_branch = direct () => (direct_values) {{
            direct_values = Identity (windows)
        }}
    >
    replaced = ScatterND (map_rows, where_to, values)
    y = Reshape (replaced, x_shape)
}}"""


# How many windows a pair of blocks computes: a length, which slices need on the host. As a node of its own ONNX Runtime
# reads it there, also where everything else runs on a GPU; of plain operators a GPU would run it and be waited for.
_KEEP_COUNT = """
KeepCount <place> (keep) => (count) {
    at = Constant <value_int: int = @place> ()
    zeros1 = Constant <value_ints: ints = [0]> ()
    at1 = Unsqueeze (at, zeros1)
    count = Gather (keep, at1)
}"""


def function(body: str) -> onnx.FunctionProto:
    """A portable body from its text."""
    return onnx.parser.parse_function(_HEADER + body)


def functions(padded: bool = True, odd: bool = True) -> list[onnx.FunctionProto]:
    """Portable bodies of the nodes that have one for all sizes, to be added to `model.functions`.

    Args:
        padded: bodies of a block's nodes for maps of any size; else for such alone as need no padding.
        odd: the body of merging for maps of any size; else for such alone as have even sides.
    """
    texts = [_KEEP_COUNT, _LINEAR_GELU, _WINDOW_SCORE, _WINDOW_GATHER, _WINDOW_SCATTER]
    texts += block_nodes.bodies(_TABLES, _ADDRESS, _SCORES, _TOKEN_TABLE, padded)
    texts += [*norm_nodes.bodies(odd), region_nodes.NMS_KEEP, region_nodes.MULTI_LEVEL_ROI_ALIGN]
    return [function(text) for text in texts]


def functions_of(graph: onnx.GraphProto) -> list[onnx.FunctionProto]:
    """Portable bodies of the nodes that a graph has, but for those at its ends (`ends_bodies`)."""
    used = {node.op_type for node in graph.node if node.domain == DOMAIN}
    of_graph = functions(any(map(_is_padded, graph.node)), any(map(_is_odd, graph.node)))
    return [body for body in of_graph if body.name in used]


def _is_padded(node: onnx.NodeProto) -> bool:
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.domain != DOMAIN or not sizes.keys() >= {*ATTRIBUTES}:
        return False
    return any(sizes[side] % sizes["window_size"] for side in ("height", "width"))


def _is_odd(node: onnx.NodeProto) -> bool:
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type == "PatchMergeNorm" and any(sizes[side] % 2 for side in ("height", "width"))


def register_schemas() -> None:
    """Makes the nodes known to the onnx package of this process; the tracer looks them up there. Idempotent."""
    kinds = OpSchema.AttrType
    window = dict.fromkeys(ATTRIBUTES, kinds.INT)
    floats = ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"]
    types = [("T", floats, "maps"), ("I", ["tensor(int64)", "tensor(int32)"], "window ids")]
    number, mark, length = "tensor(float)", "tensor(int32)", "tensor(int64)"
    maps = {f"p{level}": "T" for level in range(2, 6)}
    #: name -> inputs, output, how many of the types, attributes
    signatures: dict[str, tuple[dict[str, str], dict[str, str], int, dict[str, OpSchema.AttrType]]] = {
        "KeepCount": (dict.fromkeys(("keep",), length), dict.fromkeys(("count",), length), 0, {"place": kinds.INT}),
        "LinearGelu": (dict.fromkeys(("x", "weight", "bias"), "T"), {"y": "T"}, 1, {}),
        "WindowScore": ({"x": "T"}, {"scores": number}, 1, window),
        "WindowGather": ({"x": "T", "index": "I"}, {"windows": "T"}, 2, window),
        "WindowScatter": ({"x": "T", "windows": "T", "index": "I"}, {"y": "T"}, 2, window),
        "NmsKeep": (
            {"boxes": number, "scores": number},
            {"keep": mark},
            0,
            {"iou": kinds.FLOAT, "score_threshold": kinds.FLOAT, "limit": kinds.INT},
        ),
        "MultiLevelRoiAlign": (
            {**maps, "boxes": number},
            {"regions": "T"},
            1,
            {"output_size": kinds.INT, "finest_scale": kinds.INT, "strides": kinds.INTS},
        ),
        **block_nodes.SIGNATURES,
        **ends_nodes.SIGNATURES,
        **norm_nodes.SIGNATURES,
    }
    for name, (inputs, outputs, kind_count, attributes) in signatures.items():
        if onnx.defs.has(name, DOMAIN):
            continue
        onnx.defs.register_schema(
            OpSchema(
                name,
                DOMAIN,
                VERSION,
                inputs=[OpSchema.FormalParameter(*parameter) for parameter in inputs.items()],
                outputs=[OpSchema.FormalParameter(*parameter) for parameter in outputs.items()],
                type_constraints=types[:kind_count],
                attributes=[OpSchema.Attribute(key, kind, required=True) for key, kind in attributes.items()],
            )
        )
