from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import tiny
from batch_jobs import label_map_of
from clips import pictures
from sparsevit_runtime import load
from sparsevit_runtime.batch import FramePredictor
from sparsevit_runtime.batch.predictor import digest_of
from sparsevit_runtime.errors import ArgumentError, BatchError

pytest.importorskip("pyarrow")


def test_a_batch_of_frames_becomes_columns(tiny_file: Path):
    frames = list(pictures(3))
    predictor = FramePredictor(tiny_file, 0.5, threads=1)
    columns = predictor({"image": np.stack(frames), "id": np.arange(3)})
    model = load(tiny_file, threads=1)
    for i, frame in enumerate(frames):
        wanted = model(frame, 0.5)
        row = {name: values[i] for name, values in columns.items()}
        assert np.array_equal(label_map_of(row), wanted.label_map)
        assert row["keep"] == list(wanted.keep) and row["window_share"] == wanted.window_share
        assert (row["width"], row["height"]) == (64, 48)
        assert row["inference_ms"] > 0
        assert row["id"] == i
        assert row["model_digest"] == digest_of(tiny_file)
    assert "image" not in columns


def test_frames_come_as_arrays_of_any_size_as_files_or_in_rgb(tiny_file: Path):
    frames = [next(pictures(1)), next(pictures(1, (96, 64)))]
    plain = FramePredictor(tiny_file, threads=1)({"image": frames})["label_map"]
    files = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]
    assert FramePredictor(tiny_file, threads=1, image="bytes")({"bytes": files})["label_map"] == plain
    turned = [frame[..., ::-1] for frame in frames]
    assert FramePredictor(tiny_file, threads=1, color="rgb")({"image": turned})["label_map"] == plain


def test_a_large_batch_is_run_in_parts(tiny_file: Path):
    frames = list(pictures(5))
    one, three = (FramePredictor(tiny_file, threads=1, batch=batch)({"image": frames}) for batch in (1, 3))
    assert one["label_map"] == three["label_map"]
    assert len(three["label_map"]) == 5


def test_an_empty_batch(tiny_file: Path):
    assert FramePredictor(tiny_file, threads=1)({"image": [], "id": []})["id"] == []


def test_what_it_refuses(tiny_file: Path, tmp_path: Path):
    with pytest.raises(ArgumentError, match="no column 'image'; it has picture"):
        FramePredictor(tiny_file, threads=1)({"picture": []})
    with pytest.raises(ArgumentError, match="bgr or rgb"):
        FramePredictor(tiny_file, color="hsv")
    with pytest.raises(BatchError, match="homography"):
        FramePredictor(tiny.write_model(tmp_path / "matrix.onnx", matrix=True))
