"""The nodes at a network's two ends as custom ops in the real ONNX Runtime, against their portable bodies."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from single_nodes import TYPES, open_model
from sparsevit_exporter import ends_nodes, nodes

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
ELEMENTS = {"float32": np.float32, "float16": np.float16}
EMBEDDING = ("image", "weight", "bias", "mean", "scale", "shift")


def model(kind: str, body: str, types: dict[str, int], output: int, **attributes: object) -> bytes:
    """A model of one node, whose inputs' shapes are open, and its body."""
    node = helper.make_node(kind, list(types), ["y"], name="the/node", domain=nodes.DOMAIN, **attributes)
    given = [helper.make_tensor_value_info(name, of, None) for name, of in types.items()]
    graph = helper.make_graph([node], "node", given, [helper.make_tensor_value_info("y", output, None)])
    opsets = [helper.make_opsetid("", nodes.OPSET), helper.make_opsetid(nodes.DOMAIN, nodes.VERSION)]
    functions = [nodes.function(body)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10).SerializeToString()


def embedding(element: str, height: int, width: int, pad: int, epsilon: float = 1e-5) -> bytes:
    types = dict.fromkeys(EMBEDDING, TYPES["float32"]) | {"image": onnx.TensorProto.UINT8}
    types |= dict.fromkeys(("scale", "shift"), TYPES[element])
    body = ends_nodes.patch_embed(bool(height % pad or width % pad))
    sizes = {"height": height, "width": width, "pad_multiple": pad, "epsilon": epsilon}
    return model("PatchEmbed", body, types, TYPES[element], **sizes)


def camera(element: str, batch: int, height: int, width: int, channels: int = 24) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(height)
    return {
        "image": rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8),
        "weight": np.float32(rng.normal(size=(48, channels)) * 0.01),
        "bias": np.float32(rng.normal(size=channels)),
        "mean": np.float32([110, 120, 130]),
        "scale": rng.normal(size=channels).astype(ELEMENTS[element]),
        "shift": rng.normal(size=channels).astype(ELEMENTS[element]),
    }


@pytest.mark.parametrize(("element", "limit"), [("float32", 1e-4), ("float16", 4e-3)])
def test_camera_bytes_to_tokens(library, element, limit):
    for batch, height, width, pad in ((1, 16, 24, 4), (3, 18, 23, 4), (2, 40, 33, 32)):
        feeds, given = camera(element, batch, height, width), embedding(element, height, width, pad)
        wanted, found = (open_model(given, which).run(None, feeds)[0] for which in (None, library))
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        np.testing.assert_allclose(np.float32(found), np.float32(wanted), atol=limit * np.abs(wanted).max())


def decoding(element: str, scale: int, height: int, width: int, rows: int) -> bytes:
    body = ends_nodes.label_decode([(0, height)], (rows, -(-width // scale)), scale, width)
    sizes = {"scale": scale, "height": height, "width": width}
    return model("LabelDecode", body, {"logits": TYPES[element]}, onnx.TensorProto.UINT8, **sizes)


@pytest.mark.parametrize("element", ELEMENTS)
def test_scores_to_labels(library, element):
    """All of them: scores that are the same after rounding are the lower class's in both."""
    for batch, classes, rows, columns, scale, height, width in ((2, 5, 6, 9, 4, 22, 33), (1, 200, 5, 4, 1, 5, 4)):
        rng = np.random.default_rng(classes)
        logits = (np.round(rng.normal(size=(batch, classes, rows, columns)) * 8) / 8).astype(ELEMENTS[element])
        given = decoding(element, scale, height, width, rows)
        wanted, found = (open_model(given, which).run(None, {"logits": logits})[0] for which in (None, library))
        assert found.dtype == np.uint8 and found.shape == (batch, height, width)
        assert (found == wanted).mean() > 0.995


def test_what_is_refused(library):
    with pytest.raises(ERRORS.RuntimeException, match="PatchEmbed node 'the/node': .* pad_multiple 6"):
        open_model(embedding("float32", 16, 24, 6), library)
    with pytest.raises(ERRORS.RuntimeException, match="LabelDecode node 'the/node': scale is 0"):
        open_model(decoding("float32", 1, 8, 8, 8).replace(b"scale\x18\x01", b"scale\x18\x00"), library)
    opened = open_model(embedding("float32", 16, 24, 4), library)
    for changed, message in (
        ({"image": np.zeros((1, 16, 20, 3), np.uint8)}, "image has the shape (1, 16, 20, 3), the node was exported"),
        ({"weight": np.zeros((49, 24), np.float32)}, "weight has the shape (49, 24)"),
        ({"shift": np.zeros(23, np.float32)}, "shift (23), expected (48, channels)"),
    ):
        with pytest.raises(ERRORS.InvalidArgument) as caught:
            opened.run(None, camera("float32", 1, 16, 24) | changed)
        assert f"PatchEmbed: {message}" in str(caught.value) or message in str(caught.value)
    with pytest.raises(ERRORS.InvalidArgument, match="LabelDecode: logits have the shape"):
        few = np.zeros((1, 3, 2, 2), np.float32)
        open_model(decoding("float32", 4, 22, 33, 6), library).run(None, {"logits": few})
