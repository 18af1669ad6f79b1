from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from clips import pictures

pytest.importorskip("tritonclient.grpc")
from triton_server import TritonServer


def test_a_model_is_exported_to_a_server_and_run_there(sparsevit, tiny_model, tmp_path: Path):
    model, repository = tiny_model(), tmp_path / "repository"
    said = sparsevit("export-triton", model, repository, "--name", "seg", "-s", "0.5")
    assert said.code == 0, said.err
    assert f"tritonserver --model-repository={repository}" in said.out
    cv2.imwrite(str(tmp_path / "a.png"), next(pictures(1)))
    server = TritonServer(repository)
    lines = []
    try:
        for name, each in (("ours", server.uri("seg")), ("local", model)):
            out = tmp_path / f"{name}.jsonl"
            ran = sparsevit("run", tmp_path / "a.png", f"{out}?masks=rle", "-m", each, "-s", "0.5")
            assert ran.code == 0, ran.err
            lines.append(json.loads(out.read_text()))
    finally:
        server.stop()
    for name in ("keep", "class_shares", "masks", "image_wh"):
        assert lines[0][name] == lines[1][name]
    gone = sparsevit("run", tmp_path / "a.png", tmp_path / "out.jsonl", "-m", server.uri("seg"))
    assert gone.code == 1 and "does not answer" in gone.err


def test_a_version_that_is_there_is_not_replaced_by_surprise(sparsevit, tiny_model, tmp_path: Path):
    command = ("export-triton", tiny_model(), tmp_path / "repository", "--name", "seg")
    assert sparsevit(*command).code == 0
    again = sparsevit(*command)
    assert again.code == 1 and "--version-number" in again.err
    assert sparsevit(*command, "--overwrite").code == 0
    assert sparsevit(*command, "--version-number", 2).code == 0
    assert {path.name for path in (tmp_path / "repository" / "seg").iterdir()} == {"1", "2", "config.pbtxt"}
