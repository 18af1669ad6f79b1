"""Names of an exported graph's nodes and tensors: where in the network they were computed.

The tracer notes in each node's metadata which module it came from. `stages.1/blocks.0/attention/qkv/MatMul` is the
first product that the module `stages.1.blocks.0.attention.qkv` of the deployed backbone computes; `parts.part_of_layer`
of the runtime reads the part from such names. What no part of the backbone computes (the norms of its maps, the head,
the decoding) is the head's, but for the parts that a head keeps apart.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

import onnx

from sparsevit_runtime.graph.parts import HEAD_PARTS, OTHER, part_of_layer

#: The tracer's list of the modules a node was computed in, by their paths, outermost first; the operator is the last.
_SCOPES = "pkg.torch.onnx.name_scopes"
#: The module of the deployed head, and within its paths where a part begins that it keeps apart.
_HEAD = "answers"
_APART = re.compile(rf"(?<![^/])({'|'.join(HEAD_PARTS)})/")


def name_nodes(graph: onnx.GraphProto) -> None:
    """Names nodes after their modules, and tensors after the nodes that make them, in place; outputs keep their names.

    Names are unique, and the same whenever the same network is exported.
    """
    scopes = [_scope(node) for node in graph.node]
    _name_by_readers(graph, scopes)
    counts: Counter[str] = Counter()
    tensors = {output.name: output.name for output in graph.output}
    for node, scope in zip(graph.node, scopes, strict=True):
        name = f"{scope}/{node.op_type}"
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name] - 1}"
        for i, output in enumerate(node.output):
            if output:
                tensors.setdefault(output, node.name if i == 0 else f"{node.name}:{i}")
    for node in graph.node:
        node.input[:] = [tensors.get(name, name) for name in node.input]
        node.output[:] = [tensors.get(name, name) for name in node.output]


def _scope(node: onnx.NodeProto) -> str | None:
    """Of a node as the tracer left it; None where it was made of no module's operator."""
    noted = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES)
    modules = ast.literal_eval(noted)[:-1] if noted else []
    if not modules or modules[0] != "":
        return None
    owner, _, inside = modules[-1].partition(".")
    path = re.sub(r"\.(?!\d)", "/", inside)  # indices stay with the name of their list
    if owner == "backbone" and part_of_layer(f"{path}/") != OTHER:
        return path
    if owner == _HEAD and (apart := _APART.search(f"{path}/")):
        return path[apart.start() :]
    return path if f"{path}/".startswith("head/") else f"head/{path}".rstrip("/")


def _name_by_readers(graph: onnx.GraphProto, scopes: list[str | None]) -> None:
    """Gives nodes without a scope, such as the cast of a weight, that of the first node which reads them."""
    reader: dict[str, str] = {}
    for i in range(len(scopes) - 1, -1, -1):
        node = graph.node[i]
        scopes[i] = scopes[i] or next((reader[name] for name in node.output if name in reader), "head")
        reader.update(dict.fromkeys(node.input, scopes[i]))
