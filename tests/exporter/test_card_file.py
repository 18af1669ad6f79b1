import onnx
import pytest
from onnx import TensorProto, helper

from sparsevit_exporter.card_file import record_metrics, record_objects
from sparsevit_runtime.card import CARD_KEY, MetricCard, ModelCard
from sparsevit_runtime.errors import CardError, ModelError

CARD = ModelCard(
    name="m",
    task="backbone",
    precision="fp32",
    input={"height": 8, "width": 8, "mean": (0, 0, 0), "std": (1, 1, 1)},
    windows={"window_size": 7, "depths": (2,)},
    architecture={"embed_dim": 8, "num_heads": (1,), "parameters": 1},
    metrics=({"name": "mIoU", "dataset": "d", "ratio": 0.5, "value": 1.0},),
)


def write_file(path, card: str | None) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([], "g", [value], [value])
    proto = helper.make_model(graph)
    if card is not None:
        helper.set_model_props(proto, {CARD_KEY: card, "other": "kept"})
    path.write_bytes(proto.SerializeToString())
    return path.read_bytes()


def test_same_figure_is_replaced_and_others_stay(tmp_path):
    path = tmp_path / "m.onnx"
    write_file(path, CARD.to_json())
    card = record_metrics(
        path,
        [
            MetricCard(name="mIoU", dataset="d", ratio=0.5, value=2.0),
            MetricCard(name="mIoU", dataset="d", ratio=0.6, value=3.0),
        ],
    )
    assert [(m.ratio, m.value) for m in card.metrics] == [(0.5, 2.0), (0.6, 3.0)]
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert ModelCard.from_json(stored[CARD_KEY]) == card and stored["other"] == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_how_objects_are_read_is_changed_field_by_field(tmp_path):
    path = tmp_path / "m.onnx"
    write_file(path, CARD.to_json())
    record_objects(path, nms_iou=0.65)
    card = record_objects(path, threshold=0.1)
    assert (card.objects.threshold, card.objects.nms_iou) == (0.1, 0.65) and card.metrics == CARD.metrics
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert ModelCard.from_json(stored[CARD_KEY]) == card
    with pytest.raises(CardError, match="threshold"):
        record_objects(path, threshold=2.0)


@pytest.mark.parametrize(
    "content,error", [(None, CardError), ("{", CardError), (b"no onnx", ModelError), ("missing", ModelError)]
)
def test_files_that_are_not_ours_stay_as_they_are(tmp_path, content, error):
    path = tmp_path / "m.onnx"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content != "missing":
        write_file(path, content)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(error):
        record_metrics(path, [])
    assert (path.read_bytes() if path.exists() else None) == before
