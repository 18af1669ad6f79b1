"""A graph in half precision, made of one in float32, without the onnx package.

What computes before the last weights do is rounded: products, window nodes, and what lies between them. Norms, softmax
and other sums stay in float32 between casts, as does what follows the last product, the decoding. Inputs and outputs
keep their types.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..card import CheckCard
from .nodes import Node, read_nodes
from .onnx_file import DOMAIN, OnnxFile, with_card
from .parts import part_of_layer
from .tensors import BOOL, FLOAT, HALF, INT32, INT64, UINT8, Tensor, as_half, constant_type, number_of, read_tensor
from .wire import BYTES, fields, integer, message, with_texts

#: Places of a node's inputs that stay float32, of nodes that otherwise compute in half precision.
_EXACT_INPUTS = {"PatchEmbed": (1, 2, 3), "MultiLevelRoiAlign": (4,), "Resize": (1, 2)}
_WINDOW_NODES = {
    *("PatchEmbed", "WindowRank", "WindowGatherNorm", "WindowAttention", "WindowScatterAdd", "LabelDecode"),
    *("LinearGelu", "AddNorm", "PatchMergeNorm", "FeatureMapNorm"),
    *("WindowScore", "WindowGather", "WindowScatter", "MultiLevelRoiAlign"),
}
_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose"}
_BETWEEN = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Max", "Min", "Relu", "Erf", "Gelu", "Clip", "Where", "Identity"),
    *("Reshape", "Transpose", "Slice", "Pad", "Concat", "Split", "Squeeze", "Unsqueeze", "Gather", "GatherND"),
    *("Flatten", "Expand", "Resize", "MaxPool", "ScatterND"),
}
#: Element types that operators answer with, whatever they take.
_ANSWERS = {
    **dict.fromkeys(("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression"), INT64),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or"), BOOL),
    **dict.fromkeys(("IsNaN", "IsInf"), BOOL),
    **dict.fromkeys(("PatchEmbed", "WindowScore"), FLOAT),
    **dict.fromkeys(("WindowRank", "NmsKeep"), INT32),
    "LabelDecode": UINT8,
}
#: The part of a network, as its nodes' names say it, in which files without `PatchEmbed` embed patches.
_EMBED = "embed"
#: Outputs of window nodes that are no maps.
_NOT_OF_MAPS = {"WindowRank", "WindowScore", "LabelDecode"}

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 7, 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP_TYPE, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TYPE, _TYPE_INT = 1, 3, 20, 2


def half_file(file: OnnxFile, checks: tuple[CheckCard, ...] = ()) -> bytes:
    """A model file in half precision, with a card that says so; raises as `in_half`.

    Args:
        file: the model in float32.
        checks: outputs that its card records; those of `file` are of float32.
    """
    return with_card(in_half(file.data), file.card.model_copy(update={"precision": "fp16", "checks": checks}))


def in_half(data: bytes) -> bytes:
    """A serialised model of `export` in half precision.

    Args:
        data: an fp32 model with its weights inside, which may be stored in half precision.

    Raises:
        ValueError: it is no model, or has no product.
    """
    for field in fields(data):
        if field.number == _MODEL_GRAPH and field.wire == BYTES:
            graph = _Graph(data[field.value : field.end], read_nodes(data))
            return data[: field.tag] + message(_MODEL_GRAPH, graph.rewritten()) + data[field.end :]
    raise ValueError("it has no graph")


class _Graph:
    """A graph while it is rewritten."""

    def __init__(self, body: bytes, nodes: Sequence[Node]) -> None:
        self.body, self.nodes = body, nodes
        self.raw = [body[f.value : f.end] for f in fields(body) if f.number == _GRAPH_NODE and f.wire == BYTES]
        stored = (body[f.value : f.end] for f in fields(body) if f.number == _GRAPH_INITIALIZER)
        self.weights: dict[str, Tensor] = {tensor.name: tensor for tensor in map(read_tensor, stored)}
        values = [f for f in fields(body) if f.number in (_GRAPH_INPUT, _GRAPH_OUTPUT)]
        self.outputs = {
            name: kind for f in values if f.number == _GRAPH_OUTPUT for name, kind in [_value(body[f.value : f.end])]
        }
        self.types = {name: tensor.kind for name, tensor in self.weights.items()}
        self.types |= dict(_value(body[f.value : f.end]) for f in values if f.number == _GRAPH_INPUT)
        for node, raw in zip(nodes, self.raw):
            self.types |= dict.fromkeys(node.outputs, self._answer(node, raw))
            if node.kind == "TopK":
                self.types[node.outputs[1]] = INT64
        #: Weights that lie in half precision behind a cast: the cast's output, and the tensor.
        self.stored = {
            node.outputs[0]: self.weights[node.inputs[0]]
            for node in nodes
            if node.kind == "Cast" and node.inputs[0] in self.weights and self.types[node.inputs[0]] == HALF
        }
        #: Real numbers that are there, in which form they are.
        self.there = {name for name, kind in self.types.items() if kind == FLOAT and name not in self.weights}
        self.there -= {name for node in nodes for name in node.outputs}
        self.pieces: list[bytes] = []
        self.tensors: dict[str, bytes] = {}

    def _answer(self, node: Node, raw: bytes) -> int:
        if node.kind in _ANSWERS:
            return _ANSWERS[node.kind]
        if node.kind in ("Cast", "Constant", "ConstantOfShape"):
            return constant_type(node.kind, raw)
        source = 1 if node.kind in ("CastLike", "Where") else 0
        return self.types.get(node.inputs[source], FLOAT) if len(node.inputs) > source else FLOAT

    def _rounded(self) -> list[bool]:
        """Which nodes compute in half precision: those that a product still follows, and the products."""
        awaited: set[str] = set()
        found = []
        for node in reversed(self.nodes):
            windows = node.domain == DOMAIN and node.kind in _WINDOW_NODES
            product = windows or (node.kind in _PRODUCTS and self.types.get(node.outputs[0]) == FLOAT)
            follows = product or any(name in awaited for name in node.outputs)
            if follows:
                awaited.update(node.inputs)
            real = any(self.types.get(name) == FLOAT for name in (*node.inputs, *node.outputs))
            between = follows and real and node.domain == "" and node.kind in _BETWEEN
            exact = not windows and part_of_layer(node.name) == _EMBED  # pixels, and so their product
            found.append((product or between) and not exact)
        if not any(found):
            raise ValueError("it has no product")
        return found[::-1]

    def rewritten(self) -> bytes:
        for node, raw, rounded in zip(self.nodes, self.raw, self._rounded()):
            if node.outputs[0] in self.stored:
                continue  # made anew in the precision that its readers take
            exact = _EXACT_INPUTS.get(node.kind, ()) if rounded else range(len(node.inputs))
            inputs = [self._read(name, i not in exact, node) for i, name in enumerate(node.inputs)]
            outputs = []
            for name in node.outputs:
                half = rounded and self._is_float(name) and node.kind not in _NOT_OF_MAPS
                outputs.append(f"{name}/half" if half else name)
            self.there.update(outputs)
            self.pieces.append(message(_GRAPH_NODE, with_texts(raw, {_NODE_INPUT: inputs, _NODE_OUTPUT: outputs})))
        for name, kind in self.outputs.items():
            if kind == FLOAT and name not in self.there:
                self._cast(f"{name}/half", name, FLOAT, name)
        return self._joined()

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) == FLOAT

    def _read(self, name: str, half: bool, node: Node) -> str:
        """What a node reads in place of a tensor; makes it where it is not there."""
        if not name or not self._is_float(name):
            if name in self.weights:
                self.tensors.setdefault(name, self.weights[name].body)
            return name
        weight = self.stored.get(name) or self.weights.get(name)
        wanted = f"{name}/half" if half else name
        if weight is not None:
            if wanted not in self.tensors:
                self.tensors[wanted] = as_half(weight, wanted) if half else weight.in_full(wanted)
        elif wanted not in self.there:
            self._cast(name if half else f"{name}/half", wanted, HALF if half else FLOAT, node.name)
            self.there.add(wanted)
        return wanted

    def _cast(self, source: str, target: str, kind: int, reader: str) -> None:
        attribute = message(_ATTRIBUTE_NAME, b"to") + integer(_ATTRIBUTE_INT, kind)
        attribute += integer(_ATTRIBUTE_TYPE, _TYPE_INT)
        texts = ((_NODE_INPUT, source), (_NODE_OUTPUT, target), (_NODE_NAME, f"{reader}/Cast of {source}"))
        node = b"".join(message(number, text.encode()) for number, text in texts)
        node += message(_NODE_OP_TYPE, b"Cast") + message(_NODE_ATTRIBUTE, attribute)
        self.pieces.append(message(_GRAPH_NODE, node))

    def _joined(self) -> bytes:
        others = [
            self.body[f.tag : f.end] for f in fields(self.body) if f.number not in (_GRAPH_NODE, _GRAPH_INITIALIZER)
        ]
        weights = [message(_GRAPH_INITIALIZER, tensor) for tensor in self.tensors.values()]
        return b"".join([*self.pieces, *others, *weights])


def _value(info: bytes) -> tuple[str, int]:
    """Name and element type of an input or output of the graph."""
    name, kind = "", 0
    for field in fields(info):
        if field.number == 1 and field.wire == BYTES:
            name = info[field.value : field.end].decode()
        elif field.number == 2 and field.wire == BYTES:  # its type: that of a tensor: its elements'
            tensor = next((f for f in fields(info, field.value, field.end) if f.number == 1), None)
            kind = 0 if tensor is None else number_of(info[tensor.value : tensor.end], 1)
    return name, kind
