"""Half-precision twins of bundled models, on ONNX Runtime that takes itself for one on CUDA, and on a CPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simulated_ort import CPU, simulate
from sparsevit_runtime import bundled_models, load
from sparsevit_runtime.backends import LoadOptions
from sparsevit_runtime.bundled import ALSO_IN_HALF
from sparsevit_runtime.diagnostics import compare
from sparsevit_runtime.diagnostics.comparing import find_source
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.half_twin import half_twin
from sparsevit_runtime.model import find_model

NAME = "street-scenes"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEVIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def precision(model=NAME, **options) -> str:
    with load(model, options=LoadOptions(portable=True, **options)) as loaded:
        return loaded.card.precision


def test_cuda_computes_a_bundled_model_in_half_precision_unless_told(monkeypatch, tmp_path):
    simulate(monkeypatch, None)
    assert precision() == "fp16"
    assert precision(device="cpu") == precision(precision="exported") == precision(precision="tf32") == "fp32"


def test_a_twin_is_kept_as_it_is_made(tmp_path, cache):
    twin = half_twin(find_model(NAME))
    assert list((cache / "half").iterdir()) == [twin] and read_onnx(twin).card.precision == "fp16"
    made = twin.read_bytes()
    twin.write_bytes(b"damaged")
    assert half_twin(find_model(NAME)) == twin and twin.read_bytes() == made
    theirs = Path(shutil.copy(find_model(NAME), tmp_path / f"{NAME}.onnx"))
    others = [theirs, *(path for name, path in bundled_models().items() if name not in ALSO_IN_HALF)]
    assert [half_twin(path) for path in others] == others


def test_where_cuda_is_offered_and_does_not_start_it_stays_as_it_is(monkeypatch):
    session = simulate(monkeypatch, None)
    monkeypatch.setattr(session, "get_providers", lambda self: [CPU])
    assert precision() == "fp32"


def test_without_a_place_for_it_it_stays_as_it_is(cache, caplog):
    cache.write_text("no folder")
    assert half_twin(find_model(NAME)) == find_model(NAME)
    assert f"{NAME} computes in float32, as there is no place" in caplog.text


def test_an_engine_of_the_twin_is_compared_with_the_bundled_file(tmp_path):
    class Card:
        class inputs:
            onnx_sha256 = read_onnx(half_twin(find_model(NAME))).digest()

    assert find_source(tmp_path / "m.engine", Card) == find_model(NAME)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALSO_IN_HALF)
def test_twins_agree_with_their_models(name):
    with load(half_twin(find_model(name)), device="cpu") as twin:
        report = compare(twin, name)
    assert report.precision == "fp16" and report.agrees, report.worst
