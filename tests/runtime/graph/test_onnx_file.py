"""The walk over the wire format, against the onnx package."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from onnx import TensorProto, helper

import tiny
from exports import EXPORTED_BEFORE
from external_weights import change_weights, point_to, split_weights
from sparsevit_runtime.card import CARD_KEY
from sparsevit_runtime.errors import CardError, ModelError
from sparsevit_runtime.graph.onnx_file import fields, read_onnx, without_functions
from sparsevit_runtime.model import load


def test_an_exported_file_reads_as_onnx_reads_it(exported):
    path = exported()
    model = onnx.load(path)
    file = read_onnx(path)
    assert file.data == path.read_bytes() and file.path == path
    assert file.card.to_json() == {entry.key: entry.value for entry in model.metadata_props}[CARD_KEY]
    assert file.nodes == tuple(sorted({n.op_type for n in model.graph.node if n.domain == "sparsevit"}))
    windows = ("WindowAttention", "WindowGatherNorm", "WindowRank", "WindowScatterAdd")
    others = ("AddNorm", "FeatureMapNorm", "KeepCount", "LabelDecode", "LinearGelu", "PatchEmbed", "PatchMergeNorm")
    assert file.nodes == (*others, *windows)


def test_counts_of_sorted_lists(exported, tmp_path):
    assert not read_onnx(exported()).sorted_counts  # the node that ranks windows sorts them
    bundled = read_onnx(EXPORTED_BEFORE)  # there was one
    assert set(bundled.sorted_counts) == {stage.windows for stage in bundled.card.stages}
    path = tiny.write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    for name, constant in (
        ("packed", helper.make_tensor("packed", TensorProto.INT64, [1], [300])),
        ("raw", helper.make_tensor("raw", TensorProto.INT64, [1], (301).to_bytes(8, "little"), raw=True)),
    ):
        model.graph.initializer.append(constant)
        model.graph.node.append(helper.make_node("TopK", ["x", name], [f"{name}_v", f"{name}_i"]))
    model.graph.node.append(helper.make_node("TopK", ["x", "computed"], ["v", "i"]))
    before = read_onnx(path).sorted_counts
    onnx.save(model, path)
    assert read_onnx(path).sorted_counts == (*before, 300, 301)


def test_a_function_that_asks_for_shapes_twice_is_found(exported, tmp_path):
    assert not read_onnx(exported()).repeats_shapes
    model = onnx.load(exported())
    gather = next(f for f in model.functions if f.name == "WindowGatherNorm")
    for name in ("batch_of_x", "channels_of_x"):
        gather.node.append(helper.make_node("Shape", ["x"], [name]))
    onnx.save(model, tmp_path / "earlier.onnx")
    assert read_onnx(tmp_path / "earlier.onnx").repeats_shapes


def test_functions_are_removed_as_onnx_removes_them(exported):
    data = exported().read_bytes()
    model = onnx.load_from_string(data)
    bodies = {function.name: function for function in model.functions}
    windows = {"WindowRank", "WindowGatherNorm", "WindowAttention", "WindowScatterAdd"}
    others = {"KeepCount", "PatchEmbed", "AddNorm", "LinearGelu", "PatchMergeNorm", "FeatureMapNorm", "LabelDecode"}
    assert bodies.keys() == {*windows, *others}
    for kept in ([], ["AddNorm", "PatchMergeNorm", "PatchEmbed", "LabelDecode"]):
        del model.functions[:]
        model.functions.extend(bodies[name] for name in kept)
        short = without_functions(data, [*kept, "Absent"])
        assert onnx.load_from_string(short) == model
        assert without_functions(short, kept) == short


def test_functions_of_other_domains_stay_where_they_are():
    """Also between two that go, and with fields behind them."""
    domains = ["sparsevit", "other", "sparsevit", "", "sparsevit.more"]
    model = helper.make_model(
        helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", [], []),
        functions=[
            helper.make_function(d, f"F{i}", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [])
            for i, d in enumerate(domains)
        ],
    )
    data = (
        model.SerializeToString() + onnx.ModelProto(producer_name="behind", model_version=1 << 40).SerializeToString()
    )
    left = onnx.load_from_string(without_functions(data))
    assert [f.domain for f in left.functions] == ["other", "", "sparsevit.more"]
    assert left.producer_name == "behind" and left.model_version == 1 << 40


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1])
def test_numbers_of_every_length(value):
    data = onnx.ModelProto(ir_version=value, producer_name="n").SerializeToString()
    assert [f.number for f in fields(data)] == [1, 2]
    assert [f.end for f in fields(data)][-1] == len(data)


def test_every_wire_type():
    """A tensor's packed numbers, and the fixed-width fields of an attribute."""
    attribute = helper.make_attribute("alpha", 0.5)  # name: bytes, f: 32 bits, type: varint
    found = {f.number: f.wire for f in fields(attribute.SerializeToString())}
    assert found == {1: 2, 2: 5, 20: 0}
    fixed64 = b"\x09" + bytes(8) + b"\x10\x01"
    assert [(f.number, f.wire, f.end) for f in fields(fixed64)] == [(1, 1, 9), (2, 0, 11)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x05abc", "field 1 at byte 0 ends at byte 7, the data at 5"),
        (b"\x08", "a number ends past byte 1"),
        (b"\x08" + b"\x80" * 11, "more than ten bytes"),
        (b"\x0b\x01", "wire type 3 at byte 0"),
        (b"\x00\x01", "field number 0 at byte 0"),
    ],
    ids=["long field", "no value", "long number", "group", "no number"],
)
def test_what_is_no_message_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        list(fields(data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no graph"),
        (b"hello world", "not an ONNX model, or only a part"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an ONNX model"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "it has no graph"),
        (b"\x38\x01", "field 7 at byte 0 is no message"),
    ],
    ids=["empty", "text", "picture", "no graph", "graph of a wrong type"],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_onnx(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_export_is_refused(exported, tmp_path, share):
    data = exported().read_bytes()
    path = tmp_path / "part.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        read_onnx(path)


def test_a_model_without_or_with_a_wrong_card_is_refused(tmp_path):
    with pytest.raises(CardError, match="carries no model card"):
        read_onnx(tiny.write_model(tmp_path / "a.onnx", card=""))
    with pytest.raises(CardError, match="is not JSON"):
        read_onnx(tiny.write_model(tmp_path / "b.onnx", card="{"))
    with pytest.raises(ModelError, match="cannot read"):
        read_onnx(tmp_path / "c.onnx")


def test_only_nodes_of_our_domain_count(tmp_path):
    path = tiny.write_model(tmp_path / "a.onnx")
    assert read_onnx(path).nodes == ()
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("WindowScore", ["x"], ["s"], domain="elsewhere"))
    model.graph.node.append(helper.make_node("WindowScore", ["x"], ["t"], domain="sparsevit"))
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [300], [0.0] * 300))
    onnx.save(model, path)
    assert read_onnx(path).nodes == ("WindowScore",)


def test_a_model_of_one_file_is_known_by_that_file(exported):
    file = read_onnx(exported())
    assert file.weights == () and file.digest() == hashlib.sha256(file.data).hexdigest()


def test_a_model_is_known_by_all_its_files(exported, tmp_path):
    path = tmp_path / "m.onnx"
    weights = split_weights(exported(), path)
    file = read_onnx(path)
    assert file.weights == ("weights.bin",) and file.weight_files() == [weights]
    before = file.digest()
    assert before == read_onnx(path).digest()
    change_weights(weights)
    assert read_onnx(path).data == file.data and read_onnx(path).digest() != before


def test_weights_of_constants_count_too(tmp_path):
    path = tiny.write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    value = helper.make_tensor("c", TensorProto.FLOAT, [300], [0.0] * 300)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="c.bin", size_threshold=0, convert_attribute=True
    )
    constant = model.graph.node[-1].attribute[0].t
    constant.data_location = TensorProto.EXTERNAL
    del constant.external_data[:]
    constant.external_data.add(key="location", value="c.bin")
    path.write_bytes(model.SerializeToString())
    assert "c.bin" in read_onnx(path).weights


@pytest.mark.parametrize(
    "location", ["../weights.bin", "{folder}/weights.bin", "link.bin", "a\0b", "x" * 5000, "none.bin"]
)
def test_weights_that_are_missing_or_outside_are_refused(exported, tmp_path, location):
    weights = split_weights(exported(), tmp_path / "m.onnx")
    path = tmp_path / "inside" / "m.onnx"
    point_to(tmp_path / "m.onnx", location.format(folder=tmp_path), path)
    (tmp_path / "inside" / "link.bin").symlink_to(weights)
    with pytest.raises(ModelError, match="has weights in"):
        read_onnx(path).digest()


@pytest.mark.parametrize("before", [b'"name":"', CARD_KEY[:5].encode()])
def test_metadata_with_a_byte_that_is_no_text_is_told(tmp_path, before):
    path = tiny.write_model(tmp_path / "m.onnx")
    data = bytearray(path.read_bytes())
    data[data.index(before) + len(before)] = 0xFF
    path.write_bytes(data)
    with pytest.raises(CardError, match="not UTF-8|carries no model card"):
        read_onnx(path)
    with pytest.raises(CardError, match="not UTF-8|carries no model card"):
        load(path)
