"""Single nodes in the real ONNX Runtime: the custom ops, with kernels that run on the CPU, against the portable bodies;
what they refuse, and where they write."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nms_kernel import KINDS, NmsCase, random_boxes
from roi_kernel import RoiCase, random_maps, random_rois
from single_nodes import TYPES, nodes_run, open_model, single_node, whole_model
from sparsevit_exporter.nodes import DOMAIN
from window_kernels import Case, random_inputs

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
CASES = [
    Case(1, 14, 14, 8, 7, 0, 4),  # every window
    Case(2, 9, 10, 8, 7, 3, 2),  # padded and shifted
    Case(3, 9, 10, 3, 4, 2, 5),
    Case(2, 5, 30, 16, 8, 4, 0),  # none listed
    Case(1, 12, 24, 4, 12, 6, 1),
]
ELEMENTS, INDICES = ("float32", "float16", "bfloat16"), (np.int64, np.int32)


def attributes(case: Case) -> dict[str, int]:
    return {"height": case.height, "width": case.width, "window_size": case.window_size, "shift": case.shift}


def window_model(kind: str, case: Case, index: type) -> bytes:
    """A model of one window node with float inputs and output around it, in between of the case's element."""
    inputs = {"WindowScore": ["x"], "WindowGather": ["x", "index"], "WindowScatter": ["x", "windows", "index"]}[kind]
    element = {"float32": 1, "float16": 10, "bfloat16": 16}[case.element]
    given, nodes, names = [], [], []
    for name in inputs:
        is_index = name == "index"
        kinds = (TensorProto.INT64 if index is np.int64 else TensorProto.INT32) if is_index else TensorProto.FLOAT
        given.append(helper.make_tensor_value_info(name, kinds, None))
        names.append(name if is_index else f"{name}/element")
        if not is_index:
            nodes.append(helper.make_node("Cast", [name], [names[-1]], to=element))
    nodes.append(helper.make_node(kind, names, ["out"], domain=DOMAIN, **attributes(case)))
    nodes.append(helper.make_node("Cast", ["out"], ["y"], to=TensorProto.FLOAT))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    return whole_model(helper.make_graph(nodes, "windows", given, outputs))


def window_feeds(kind: str, case: Case, index: type, seed: int) -> dict[str, np.ndarray]:
    """Random inputs; numbers that every element holds exactly."""
    drawn = random_inputs(case, seed)
    feeds = {name: np.round(np.float32(drawn[name]) * 8) / 8 for name in ("x", "windows")}
    wanted = {"WindowScore": ("x",), "WindowGather": ("x",), "WindowScatter": ("x", "windows")}[kind]
    listed = {} if kind == "WindowScore" else {"index": drawn["index"].astype(index)}
    return {**{name: feeds[name] for name in wanted}, **listed}


@pytest.mark.parametrize("kind", ["WindowScore", "WindowGather", "WindowScatter"])
@pytest.mark.parametrize("element", ELEMENTS)
def test_windows_are_those_of_the_portable_body(library, kind, element):
    """Copies bit by bit, whatever the element and the type of the index; scores to the last bits of a sum."""
    for seed, case in enumerate(CASES):
        for index in INDICES if kind != "WindowScore" else INDICES[:1]:
            feeds = window_feeds(kind, case, index, seed)
            # ONNX Runtime's CPU has no bfloat16 body; these numbers are the same in float.
            wanted = open_model(window_model(kind, case, index)).run(None, feeds)[0]
            of_element = replace(case, element=element)
            found = open_model(window_model(kind, of_element, index), library).run(None, feeds)[0]
            if kind == "WindowScore":
                np.testing.assert_allclose(found, wanted, rtol=1e-6)
            else:
                np.testing.assert_array_equal(found, wanted)


def test_the_ops_run_and_not_the_bodies(library, tmp_path):
    case = CASES[1]
    feeds = window_feeds("WindowScatter", case, np.int64, 0)
    model = window_model("WindowScatter", case, np.int64)
    _, with_ops = nodes_run(model, feeds, library, tmp_path)
    _, without = nodes_run(model, feeds, None, tmp_path)
    assert with_ops["WindowScatter"] == 1 and "ScatterND" not in with_ops
    assert without["ScatterND"] == 1 and "WindowScatter" not in without


@pytest.mark.parametrize("kind", KINDS)
def test_suppression(library, kind):
    case = NmsCase(3, 150, 0.5, 0.05, 40, kind)
    boxes, scores = random_boxes(case, 1)
    given = {"iou": case.iou, "score_threshold": case.score_threshold, "limit": case.limit}
    model = single_node("NmsKeep", given, {"boxes": "float32", "scores": "float32"}, "int32")
    feeds = {"boxes": boxes, "scores": scores}
    wanted, found = (open_model(model, which).run(None, feeds)[0] for which in (None, library))
    assert wanted.any() and found.dtype == np.int32
    np.testing.assert_array_equal(found, wanted)


def test_suppression_of_sizes_that_rise_and_fall(library):
    """The workspace serves them all, and nothing at all."""
    given = {"iou": 0.5, "score_threshold": 0.05, "limit": 1000}
    model = single_node("NmsKeep", given, {"boxes": "float32", "scores": "float32"}, "int32")
    bodies, ops = open_model(model), open_model(model, library)
    for seed, (groups, count) in enumerate([(2, 64), (3, 200), (1, 1), (0, 5), (4, 0), (5, 130), (2, 64)]):
        boxes, scores = random_boxes(NmsCase(groups, count), seed)
        feeds = {"boxes": boxes, "scores": scores}
        found = ops.run(None, feeds)[0]
        assert found.shape == (groups, count)
        if found.size:
            np.testing.assert_array_equal(found, bodies.run(None, feeds)[0])


@pytest.mark.parametrize(("element", "limit"), [("float32", 1e-5), ("float16", 2e-3)])
def test_regions(library, element, limit):
    case = RoiCase(2, 30, 5, 7)
    boxes = np.nan_to_num(np.clip(random_rois(case, 2), -1000, 1000))
    maps = {f"p{i + 2}": np.clip(cells, -4, 4).astype(element) for i, cells in enumerate(random_maps(case, 2))}
    given = {"output_size": 7, "finest_scale": case.finest_scale, "strides": list(case.strides)}
    types = {**dict.fromkeys(maps, element), "boxes": "float32"}
    model = single_node("MultiLevelRoiAlign", given, types, element)
    wanted, found = (open_model(model, which).run(None, {**maps, "boxes": boxes})[0] for which in (None, library))
    assert found.dtype == element and found.shape == (2, 30, 5, 7, 7)
    np.testing.assert_allclose(np.float32(found), np.float32(wanted), atol=limit, rtol=limit)


GOOD = {"height": 9, "width": 10, "window_size": 7, "shift": 3}
ROI = {"output_size": 7, "finest_scale": 56, "strides": [4, 8, 16, 32]}
NMS = {"iou": 0.5, "score_threshold": 0.0, "limit": 5}


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("WindowGather", {**GOOD, "height": 0}, "height is 0, width 10, window_size 7; they must be at least 1"),
        ("WindowGather", {**GOOD, "shift": 2}, "shift is 2, it must be 0 or window_size / 2 = 3"),
        ("WindowGather", {k: v for k, v in GOOD.items() if k != "width"}, "attribute 'width' is missing"),
        ("WindowGather", {**GOOD, "width": 1.5}, "attribute 'width' is missing, or not one integer"),
        ("WindowGather", {**GOOD, "height": 1 << 40}, "attribute 'height' is 1099511627776, beyond 32 bits"),
        ("WindowGather", {**GOOD, "height": 1 << 20, "width": 1 << 20}, "beyond 32-bit addresses"),
        ("NmsKeep", {**NMS, "iou": 1.5}, "iou is 1.5, score_threshold 0, limit 5; they must be from 0 to 1"),
        ("NmsKeep", {**NMS, "limit": -1}, "limit -1; they must be from 0 to 1, a number, and not negative"),
        ("NmsKeep", {**NMS, "iou": 1}, "attribute 'iou' is missing, or not one float"),
        ("MultiLevelRoiAlign", {**ROI, "strides": [4, 8, 16]}, "attribute 'strides' is missing, or not 4 integers"),
        ("MultiLevelRoiAlign", {**ROI, "strides": [0, 8, 16, 32]}, "the strides 0 to 32; they must be at least 1"),
        ("MultiLevelRoiAlign", {**ROI, "output_size": 2000}, "output_size is 2000"),
    ],
)
def test_attributes_that_mean_nothing_are_refused_when_the_model_is_opened(library, kind, given, message):
    with pytest.raises(ERRORS.RuntimeException, match="node 'the/node': ") as caught:
        open_model(model_of(kind, given), library)
    assert message in str(caught.value) and kind in str(caught.value)


def model_of(kind: str, given: dict) -> bytes:
    inputs = {
        "WindowScore": {"x": "float32"},
        "WindowGather": {"x": "float32", "index": "int64"},
        "WindowScatter": {"x": "float32", "windows": "float32", "index": "int64"},
        "NmsKeep": {"boxes": "float32", "scores": "float32"},
        "MultiLevelRoiAlign": {**{f"p{i}": "float32" for i in range(2, 6)}, "boxes": "float32"},
    }[kind]
    return single_node(kind, given, inputs, "int32" if kind == "NmsKeep" else "float32")


X, INDEX = (2, 9, 10, 8), (2, 3)


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("WindowScore", [(2, 10, 9, 8)], "x has the shape (2, 10, 9, 8), the node was exported for (batch, 9, 10,"),
        ("WindowScore", [(9, 10, 8)], "x has the shape (9, 10, 8)"),
        ("WindowGather", [X, (2, 5)], "index has the shape (2, 5) for x (2, 9, 10, 8), expected (batch, at most 4"),
        ("WindowGather", [X, (1, 3)], "index has the shape (1, 3)"),
        ("WindowScatter", [X, (2, 3, 48, 8), INDEX], "windows has the shape (2, 3, 48, 8)"),
        ("WindowScatter", [X, (2, 2, 49, 8), INDEX], "expected (batch, kept windows, 49, channels)"),
        ("NmsKeep", [(2, 9, 4), (2, 8)], "boxes have the shape (2, 9, 4) and scores (2, 8)"),
        ("NmsKeep", [(2, 9, 5), (2, 9)], "expected (groups, boxes, 4) and (groups, boxes)"),
        ("MultiLevelRoiAlign", [(1, 3, 8, 8), (2, 3, 4, 4), *[(1, 3, 2, 2)] * 2, (1, 5, 4)], "map 1 has the shape"),
        (
            "MultiLevelRoiAlign",
            [*[(1, 3, 2, 2)] * 4, (2, 5, 4)],
            "boxes have the shape (2, 5, 4) for maps (1, 3, 2, 2)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(library, kind, shapes, message):
    given = {"NmsKeep": NMS, "MultiLevelRoiAlign": ROI}.get(kind, GOOD)
    session = open_model(model_of(kind, given), library)
    kinds = {i.name: np.int64 if "int64" in i.type else np.float32 for i in session.get_inputs()}
    feeds = {name: np.zeros(shape, dtype) for (name, dtype), shape in zip(kinds.items(), shapes, strict=True)}
    with pytest.raises(ERRORS.InvalidArgument) as caught:
        session.run(None, feeds)
    assert f"{kind}: " in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("element", ELEMENTS)
def test_shapes_and_types_are_known_when_the_graph_is_opened(library, element):
    """ONNX Runtime fuses, and plans memory, by them."""
    x = helper.make_tensor_value_info("x", TYPES[element], ["B", 9, 10, 8])
    index = helper.make_tensor_value_info("index", TensorProto.INT64, ["B", "k"])
    nodes = [
        helper.make_node("WindowScore", ["x"], ["scores"], domain=DOMAIN, **GOOD),
        helper.make_node("WindowGather", ["x", "index"], ["windows"], domain=DOMAIN, **GOOD),
        helper.make_node("WindowScatter", ["x", "windows", "index"], ["y"], domain=DOMAIN, **GOOD),
    ]
    types = {"scores": TensorProto.FLOAT, "windows": TYPES[element], "y": TYPES[element]}
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    session = open_model(whole_model(helper.make_graph(nodes, "windows", [x, index], outputs)), library)
    assert {o.name: o.shape for o in session.get_outputs()} == {
        "scores": ["B", 4],
        "windows": ["B", "k", 49, 8],
        "y": ["B", 9, 10, 8],
    }


def test_sizes_without_a_name_get_one_each(library):
    """Two lists of windows whose lengths nobody knows are not taken for equally long."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 9, 10, 8])
    lists = [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", None]) for name in ("few", "many")]
    nodes = [
        helper.make_node("WindowGather", ["x", name], [f"of_{name}"], domain=DOMAIN, **GOOD) for name in ("few", "many")
    ]
    outputs = [helper.make_tensor_value_info(f"of_{name}", TensorProto.FLOAT, None) for name in ("few", "many")]
    session = open_model(whole_model(helper.make_graph(nodes, "windows", [x, *lists], outputs)), library)
    few, many = (output.shape for output in session.get_outputs())
    assert few[0] == many[0] == "B" and few[2:] == many[2:] == [49, 8]
    assert few[1] != many[1] and all(str(shape[1]).startswith("sparsevit/size") for shape in (few, many))
    sizes = {"few": np.array([[1]]), "many": np.array([[0, 2, 3]])}
    found = session.run(None, {"x": np.ones((1, 9, 10, 8), np.float32), **sizes})
    assert [array.shape[1] for array in found] == [1, 3]


def test_several_sessions_and_threads_at_once(library):
    """Kernels with shared memory and a workspace, in two sessions, each run by two threads."""
    given = {"iou": 0.5, "score_threshold": 0.05, "limit": 1000}
    model = single_node("NmsKeep", given, {"boxes": "float32", "scores": "float32"}, "int32")
    sessions = [open_model(model, library), open_model(model, library)]
    cases = [dict(zip(("boxes", "scores"), random_boxes(NmsCase(2, 40 + 30 * i), i))) for i in range(4)]
    wanted = [open_model(model).run(None, feeds)[0] for feeds in cases]

    def work(i: int) -> bool:
        return bool(np.array_equal(sessions[i % 2].run(None, cases[i % 4])[0], wanted[i % 4]))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))


_PEAK = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.enable_cpu_mem_arena = options.enable_mem_pattern = False
options.register_custom_ops_library(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
x = np.ones((1, 700, 700, 16), np.float32)
windows = np.zeros((1, 1, 49, 16), np.float32)
assert session.run(None, {"x": x, "windows": windows, "index": np.zeros((1, 1), np.int64)})[0] == float(sys.argv[3])
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


def peak_megabytes(model: Path, library: Path, answer: float) -> int:
    """The most memory that a process has which runs a model once."""
    command = [sys.executable, "-c", _PEAK, str(model), str(library), str(answer)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_scatter_writes_in_place_unless_its_map_is_needed_afterwards(library, tmp_path):
    """The map is of 31 MB, and so is a second one."""
    given = {"height": 700, "width": 700, "window_size": 7, "shift": 0}
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 700, 700, 16]),
        helper.make_tensor_value_info("windows", TensorProto.FLOAT, [1, 1, 49, 16]),
        helper.make_tensor_value_info("index", TensorProto.INT64, [1, 1]),
    ]
    peaks = []
    for needed, answer in ((False, 0.0), (True, 1.0)):
        nodes = [
            helper.make_node("Abs", ["x"], ["own"]),
            helper.make_node("WindowScatter", ["own", "windows", "index"], ["written"], domain=DOMAIN, **given),
            helper.make_node("Sub", ["own" if needed else "written", "written"], ["less"]),
            helper.make_node("ReduceMax", ["less"], ["y"], keepdims=0),
        ]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
        model = tmp_path / f"{needed}.onnx"
        model.write_bytes(whole_model(helper.make_graph(nodes, "scatter", inputs, outputs)))
        peaks.append(peak_megabytes(model, library, answer))
    assert 20 < peaks[1] - peaks[0] < 45


def count_model(place: int) -> bytes:
    node = helper.make_node("KeepCount", ["keep"], ["count"], name="the/node", domain=DOMAIN, place=place)
    given = helper.make_tensor_value_info("keep", TensorProto.INT64, ["pairs"])
    counted = helper.make_tensor_value_info("count", TensorProto.INT64, [1])
    return whole_model(helper.make_graph([node], "counts", [given], [counted]))


def test_a_count_of_keep(library):
    keep = np.array([9, 8, 7, 6], np.int64)
    for ops in (None, library):
        assert open_model(count_model(2), ops).run(None, {"keep": keep})[0].tolist() == [7]
    with pytest.raises(ERRORS.InvalidArgument, match=r"keep has the shape \(2\), expected more than 2 counts"):
        open_model(count_model(2), library).run(None, {"keep": keep[:2]})
    with pytest.raises(ERRORS.RuntimeException, match="KeepCount node 'the/node': place is -1"):
        open_model(count_model(-1), library)


def gelu_model(element: str) -> bytes:
    names = ("x", "weight", "bias")
    node = helper.make_node("LinearGelu", names, ["y"], name="the/node", domain=DOMAIN)
    kind = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}[element]
    given = [helper.make_tensor_value_info(name, kind, None) for name in names]
    return whole_model(helper.make_graph([node], "gelu", given, [helper.make_tensor_value_info("y", kind, None)]))


@pytest.mark.parametrize(("element", "limit"), [("float32", 1e-5), ("float16", 4e-3)])
def test_a_product_with_its_bias_through_gelu(library, element, limit):
    random = np.random.default_rng(5)
    for shape, out in (((2, 9, 16), 40), ((1, 3, 4, 7), 5), ((2, 0, 8), 8), ((6, 8), 33)):
        sizes = {"x": shape, "weight": (shape[-1], out), "bias": (out,)}
        feeds = {name: random.normal(size=size).astype(element) for name, size in sizes.items()}
        wanted, found = (open_model(gelu_model(element), ops).run(None, feeds)[0] for ops in (None, library))
        assert found.dtype == element and found.shape == (*shape[:-1], out)
        np.testing.assert_allclose(np.float32(found), np.float32(wanted), rtol=limit, atol=limit)
    with pytest.raises(ERRORS.InvalidArgument, match="LinearGelu: x has the shape"):
        open_model(gelu_model(element), library).run(None, feeds | {"bias": feeds["bias"][:-1]})
