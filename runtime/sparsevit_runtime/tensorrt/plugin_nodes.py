"""Nodes as TensorRT's parser looks plugins up for them: by type, version, and the namespace that an attribute says."""

from __future__ import annotations

from collections.abc import Collection

from ..graph.nodes import rewrite_nodes
from ..graph.onnx_file import DOMAIN
from ..graph.wire import integer, message, text_of

# Field numbers of onnx.proto.
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_TEXT, _ATTRIBUTE_TYPE = 1, 4, 20
_TYPE_STRING = 3  # AttributeProto.STRING


def in_namespace(data: bytes, kinds: Collection[str], namespace: str) -> bytes:
    """A serialised model whose nodes take their plugins from a namespace; without the attribute it is the empty one.

    Args:
        data: the model.
        kinds: types of the nodes of domain `sparsevit` that take plugins.
        namespace: where their creators are registered.

    Raises:
        ValueError: `data` is no protobuf message.
    """
    if not namespace:
        return data
    name, text = message(_ATTRIBUTE_NAME, b"plugin_namespace"), message(_ATTRIBUTE_TEXT, namespace.encode())
    attribute = message(_NODE_ATTRIBUTE, name + text + integer(_ATTRIBUTE_TYPE, _TYPE_STRING))

    def rewrite(_index: int, node: bytes) -> bytes:
        takes_plugin = text_of(node, _NODE_DOMAIN) == DOMAIN and text_of(node, _NODE_OP_TYPE) in kinds
        return node + attribute if takes_plugin else node

    return rewrite_nodes(data, rewrite)
