"""The folder of engines and measured times; engines are real ones, of TensorRT for RTX."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import sparsevit_runtime
import tiny
from external_weights import change_weights, split_weights
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import BuildError, SinkError
from sparsevit_runtime.tensorrt import BuildOptions, build_cached, sidecar_path
from sparsevit_runtime.tensorrt.cache import TimingCache, cache_folder, engine_file
from sparsevit_runtime.tensorrt.engine import read_engine
from sparsevit_runtime.tensorrt.engine_card import Inputs
from sparsevit_runtime.tensorrt.profile import make_profile

RTX = BuildOptions(flavour="tensorrt_rtx")
INPUTS = Inputs(
    onnx_sha256="a" * 64,
    plugins_sha256=None,
    tensorrt="tensorrt 10.3.0",
    gpu="NVIDIA Orin (nvgpu), compute capability 8.7",
    precision="fp32",
    tf32=False,
    profile=make_profile(ModelCard.model_validate(tiny.card_document())),
)


@pytest.fixture
def model(tmp_path):
    return tiny.write_model(tmp_path / "tiny.onnx", layout="normalized")


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSEVIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SPARSEVIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sparsevit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sparsevit"


def test_files_are_named_by_what_decides_their_content(cache):
    first = engine_file("Street scenes/2", INPUTS)
    assert first == engine_file("Street scenes/2", INPUTS.model_copy())
    assert first.parent == cache / "engines" and first.name.startswith("Street-scenes-2-")
    changes = {key: "other" for key in ("onnx_sha256", "plugins_sha256", "tensorrt", "gpu")}
    changes |= {"precision": "fp16", "tf32": True, "in_place": True, "profile": {}, "levels": ((1, 2),)}
    assert set(changes) == set(Inputs.model_fields)
    others = {engine_file("Street scenes/2", INPUTS.model_copy(update={key: changes[key]})) for key in changes}
    assert len(others | {first}) == len(changes) + 1
    times = TimingCache.default(INPUTS.tensorrt, INPUTS.gpu).path
    assert times == cache / "timing" / "tensorrt-10.3.0-NVIDIA-Orin-nvgpu-compute-capability-8.7.cache"


def test_an_engine_is_built_once_and_another_one_says_what_changed(rtx, model, cache):
    first = build_cached(model, RTX)
    assert first.reasons == (f"there is no {first.engine.name} yet",) and first.engine.parent == cache / "engines"
    again = build_cached(model, RTX)
    assert again.reasons == () and (again.engine, again.card) == (first.engine, first.card)
    moved = model.rename(model.with_name("moved.onnx"))
    assert build_cached(moved, RTX).reasons == ()

    other = build_cached(moved, replace(RTX, tf32=True))
    assert other.reasons == ("the use of TF32 changed (False -> True)",) and other.engine != first.engine
    assert build_cached(moved, RTX).reasons == ()  # both are kept
    tiny.write_model(moved, layout="normalized", hw=(40, 48))
    assert build_cached(moved, RTX).reasons[0].startswith("there is no tiny-")


def test_other_weights_in_another_file_are_another_model(rtx, exported, cache):
    path = cache.parent / "m.onnx"
    weights = split_weights(exported(), path)
    options = replace(RTX, portable=True)
    first = build_cached(path, options)
    assert first.reasons and build_cached(path, options).reasons == ()
    change_weights(weights)
    again = build_cached(path, options)
    assert again.reasons and again.engine != first.engine


@pytest.mark.parametrize(
    "damage",
    [lambda engine: engine.write_bytes(b"half"), lambda engine: sidecar_path(engine).write_text("{")],
    ids=["engine", "card"],
)
def test_a_damaged_engine_is_built_again(rtx, model, damage):
    engine = build_cached(model, RTX).engine
    damage(engine)
    assert build_cached(model, RTX).reasons and build_cached(model, RTX).reasons == ()
    read_engine(engine)


def test_processes_that_want_the_same_engine_build_it_once(rtx, model):
    """None sees an engine that does not fit its card yet."""
    program = (
        "import sys\n"
        "from sparsevit_runtime.tensorrt import BuildOptions, build_cached\n"
        "from sparsevit_runtime.tensorrt.engine import read_engine\n"
        "report = build_cached(sys.argv[1], BuildOptions(flavour='tensorrt_rtx'))\n"
        "read_engine(report.engine)\n"
        "print(report.engine, *report.reasons)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sparsevit_runtime.__file__).parents[1])}
    command = [sys.executable, "-c", program, model]
    processes = [subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert len({out.split()[0] for out, _ in said}) == 1
    assert sorted("there is no" in out for out, _ in said) == [False, False, True]


def test_a_folder_that_cannot_be_made_or_only_be_read(rtx, model, cache, monkeypatch):
    cache.write_text("no folder")
    with pytest.raises(SinkError, match=r"cannot write .*engines .*; name another folder in \$SPARSEVIT_CACHE"):
        build_cached(model, RTX)
    cache.unlink()
    engine = build_cached(model, RTX).engine
    engine.with_name(f"{engine.name}.lock").unlink()
    engine.with_name(f"{engine.name}.lock").mkdir()  # root writes everywhere; this it cannot open
    assert build_cached(model, RTX).reasons == ()


def test_times_that_cannot_be_read_or_written(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert TimingCache(tmp_path / "absent", named=True).read() == b""
    assert TimingCache(folder, named=False).read() == b""
    with pytest.raises(BuildError, match="cannot read the timing cache .*folder"):
        TimingCache(folder, named=True).read()
    with pytest.raises(SinkError, match="cannot write"):
        TimingCache(folder, named=True).write(b"times")
    TimingCache(folder, named=False).write(b"times")
    assert "measured times are not kept" in caplog.text
    kept = TimingCache(tmp_path / "new" / "times", named=False)
    kept.write(b"times")
    assert kept.read() == b"times"


@pytest.mark.parametrize("made_with", [None, 0o777, 0o755])
def test_the_cache_is_private_whoever_made_it(rtx, model, cache, made_with):
    if made_with is not None:
        for folder in (cache, cache / "engines"):
            folder.mkdir()
            folder.chmod(made_with)
    engine = build_cached(model, RTX).engine
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (cache, engine.parent)] == [0o700, 0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_cache_or_an_engine_of_another_user_is_not_used(rtx, model, cache):
    engine = build_cached(model, RTX).engine
    os.chown(engine, 54321, 54321)
    assert build_cached(model, RTX).reasons == (f"{engine.name} was there, and may be another user's",)
    assert build_cached(model, RTX).reasons == () and engine.stat().st_uid == 0
    os.chown(cache, 54321, 54321)
    with pytest.raises(SinkError, match=r"another user's .uid 54321.*name another folder in \$SPARSEVIT_CACHE"):
        build_cached(model, RTX)
    times = TimingCache.default(INPUTS.tensorrt, INPUTS.gpu)
    times.path.parent.mkdir(exist_ok=True)
    times.path.write_bytes(b"theirs")
    assert times.read() == b""


def test_a_long_name_of_a_model_makes_no_name_that_is_too_long(cache):
    assert len(os.fsencode(engine_file("漢" * 256, INPUTS).name)) < 200
