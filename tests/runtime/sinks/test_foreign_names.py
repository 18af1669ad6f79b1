"""Names of bytes that are no UTF-8, which a disk of an old camera may hold: OpenCV ends the process over them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

import tiny
from clips import write_clip
from sparsevit_runtime import load, open_sink, open_source
from sparsevit_runtime.errors import ModelError, PermanentSourceError, SinkError
from sparsevit_runtime.sinks.mqtt import read_mqtt

NAME = os.fsdecode(b"Stra\xdfe")


@pytest.mark.parametrize(
    ("uri", "advice"),
    [(f"{NAME}.mp4", "convmv"), (f"rtsp://127.0.0.1:1/{NAME}", "%XX"), (f"http://127.0.0.1:1/{NAME}.m3u8", "%XX")],
)
def test_what_cannot_be_read_is_told_with_what_to_do(uri, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(Path("whole.mp4"), 3)
    os.rename("whole.mp4", f"{NAME}.mp4")
    with pytest.raises(PermanentSourceError, match=advice) as told:
        open_source(uri)
    assert str(told.value).isprintable()


def test_pictures_are_read_and_lines_and_folders_written(tmp_path, picture, result_of):
    cv2.imwrite(str(tmp_path / "a.png"), picture(7))
    os.rename(tmp_path / "a.png", tmp_path / f"{NAME}.png")
    for source in (tmp_path / f"{NAME}.png", tmp_path):
        with open_source(source) as opened:
            assert (opened.read().image == 7).all()
    for name in (f"{NAME}.jsonl", f"{NAME}/"):
        with open_sink(os.path.join(tmp_path, name)) as sink:
            sink.write(result_of(), picture())
        assert os.path.exists(os.path.join(tmp_path, name))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_videos_of_such_a_name_are_refused(tmp_path, suffix):
    with pytest.raises(SinkError, match="convmv"):
        open_sink(tmp_path / f"{NAME}{suffix}")
    assert not list(tmp_path.iterdir())


def test_models_and_topics(tmp_path):
    tiny.write_model(tmp_path / "m.onnx")
    os.rename(tmp_path / "m.onnx", tmp_path / f"{NAME}.onnx")
    with pytest.raises(ModelError, match="convmv"):
        load(tmp_path / f"{NAME}.onnx")
    with pytest.raises(SinkError, match="no topic"):
        read_mqtt(f"mqtt://127.0.0.1/{NAME}")
