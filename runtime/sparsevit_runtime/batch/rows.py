"""Rows: what a job says about a frame, and the Parquet files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BatchError
from ..tasks import task_of
from .places import arrow
from .segments import Broken

if TYPE_CHECKING:
    from ..card import ModelCard
    from ..tasks import Result
    from ..tasks.columns import ColumnKind

#: Key of what a file says of itself, as JSON, in its metadata.
KEY = b"sparsevit"
TIMINGS = ("capture_ms", "preprocess_ms", "inference_ms", "postprocess_ms")


def answer_of(result: Result) -> dict[str, Any]:
    """What a result says, as a row without the frame's source and the model: size, answer, level, timings."""
    width, height = result.image_wh
    return {
        "width": width,
        "height": height,
        **result.columns(),
        "keep": None if result.keep is None else list(result.keep),
        "window_share": result.window_share,
        **{name: getattr(result.timings, name) for name in TIMINGS},
    }


def check_columns(card: ModelCard) -> None:
    """Raises BatchError for a model whose answers have no columns, or that takes more than pixels."""
    if not task_of(card).columns:
        raise BatchError(
            f"{card.name} is a model for {card.task}, whose answers no table holds; run it from Python: "
            "sparsevit_runtime.load"
        )
    if card.inputs:
        names = ", ".join(each.name for each in card.inputs)
        raise BatchError(f"{card.name} takes {names} with each frame, which no file holds; run it from Python: model()")


def schema_of(card: ModelCard) -> Any:
    """The `pyarrow.Schema` of the rows of a model."""
    pa = arrow()
    kinds: Mapping[ColumnKind, Any] = {
        "boxes": pa.list_(pa.list_(pa.float32(), 4)),
        "floats": pa.list_(pa.float32()),
        "integers": pa.list_(pa.int32()),
        "texts": pa.list_(pa.string()),
        "masks": pa.list_(pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string()), ("area", pa.int64())])),
        "label_map": pa.binary(),
    }
    fields = [
        ("source", pa.string()),
        ("frame_index", pa.int64()),
        ("timestamp_ns", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *((column.name, kinds[column.kind]) for column in task_of(card).columns),
        ("keep", pa.list_(pa.int32())),
        ("window_share", pa.float64()),
        *((name, pa.float32()) for name in TIMINGS),
        ("model", pa.string()),
        ("model_digest", pa.string()),
    ]
    about = {"task": card.task, "classes": card.class_names}
    return pa.schema(fields, metadata={KEY: json.dumps(about)})


def say_broken(broken: list[Broken]) -> dict[bytes, bytes]:
    """The metadata of a finished file: inputs of its segment that could not be read."""
    return {KEY + b".broken": json.dumps([[each.source, each.reason] for each in broken]).encode()}


def read_broken(metadata: Mapping[bytes, bytes] | None) -> list[Broken]:
    """What `say_broken` wrote."""
    return [Broken(*each) for each in json.loads((metadata or {}).get(KEY + b".broken", b"[]"))]
