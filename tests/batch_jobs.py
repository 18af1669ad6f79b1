"""What the tests of jobs over archives share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sparsevit_runtime import Model

#: Columns that differ from run to run.
TIMES = ["capture_ms", "preprocess_ms", "inference_ms", "postprocess_ms"]


def read_rows(folder: Path) -> list[dict]:
    """The rows of a job without times, in the order of sources and frames."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(folder).drop_columns(TIMES).to_pylist()
    return sorted(rows, key=lambda row: (row["source"], row["frame_index"]))


def label_map_of(row: dict) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(row["label_map"], np.uint8), cv2.IMREAD_GRAYSCALE)


def assert_as_streamed(rows: list[dict], model: Model, source: Path, sparsity: float | None = None) -> None:
    """The rows of one source are the results of one process that reads it from its beginning, frame by frame."""
    results = list(model.stream(source, sparsity))
    assert [row["frame_index"] for row in rows] == [result.frame_index for result in results]
    assert [row["timestamp_ns"] for row in rows] == [result.timestamp_ns for result in results]
    for row, result in zip(rows, results, strict=True):
        assert (row["width"], row["height"]) == result.image_wh
        assert row["keep"] == list(result.keep)
        assert np.array_equal(label_map_of(row), result.label_map)
