"""Opens a file that is already exported with its card, and changes the card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_model

from sparsevit_runtime.card import CARD_KEY, MetricCard, ModelCard
from sparsevit_runtime.errors import CardError, ModelError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.graph.onnx_file import read_onnx


def record_metrics(path: str | Path, metrics: Sequence[MetricCard]) -> ModelCard:
    """Writes measured figures into the card; those of the same name, dataset and ratio are replaced.

    Args:
        path: an exported .onnx file, rewritten whole; its graph stays as it is.
        metrics: new figures.

    Returns:
        The new card.

    Raises:
        ModelError: the file is missing, or not an ONNX file.
        CardError: it carries no card, or an invalid one.
        SinkError: it cannot be written.
    """
    path = Path(path)
    proto, entry, card = open_exported(path)
    replaced = {(m.name, m.dataset, m.ratio) for m in metrics}
    kept = tuple(m for m in card.metrics if (m.name, m.dataset, m.ratio) not in replaced)
    return _rewritten(path, proto, entry, card.model_copy(update={"metrics": kept + tuple(metrics)}))


def record_objects(path: str | Path, **changes: float | None) -> ModelCard:
    """Writes how objects are read from the answers into the card, see `ObjectsCard`.

    Args:
        path: an exported .onnx file of a detector, rewritten whole; its graph stays as it is.
        changes: fields of `ObjectsCard`; the others stay.

    Returns:
        The new card.

    Raises:
        ModelError, CardError, SinkError: as for `record_metrics`; also where a value is not possible.
    """
    path = Path(path)
    proto, entry, card = open_exported(path)
    document = card.model_dump(mode="json")
    document["objects"] |= changes
    return _rewritten(path, proto, entry, ModelCard.from_json(json.dumps(document), origin=str(path)))


def _rewritten(path: Path, proto: onnx.ModelProto, entry: onnx.StringStringEntryProto, card: ModelCard) -> ModelCard:
    """The card, once the file carries it."""
    entry.value = card.to_json()
    write_atomic(path, proto.SerializeToString())
    return card


def open_exported(path: Path, weights: bool = False) -> tuple[onnx.ModelProto, onnx.StringStringEntryProto, ModelCard]:
    """A file of `export`, its metadata entry that holds the card, and the card.

    Args:
        path: the file.
        weights: take in those that lie in other files beside it; they stay references otherwise.

    Raises:
        ModelError: the file is missing, or not an ONNX file, or weights of it are missing or lie elsewhere.
        CardError: it carries no card, or an invalid one.
    """
    try:
        proto = onnx.load_from_string(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ModelError(f"cannot read {path} as ONNX ({error}); give the path of an exported file") from error
    entry = next((p for p in proto.metadata_props if p.key == CARD_KEY), None)
    if entry is None:
        raise CardError(f"{path} carries no model card: it was not made by `sparsevit export`")
    card = ModelCard.from_json(entry.value, origin=str(path))
    if weights and (names := read_onnx(path).weight_files()):
        try:
            load_external_data_for_model(proto, str(path.parent))
        except (OSError, ValueError, ValidationError) as error:
            files = ", ".join(p.name for p in names)
            raise ModelError(f"cannot read the weights of {path} in {files} ({error}); copy both together") from error
    return proto, entry, card
