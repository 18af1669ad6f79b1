"""Engines that are not for this machine, refused by TensorRT for RTX itself; running them takes a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import sparsevit_runtime
from sparsevit_runtime.errors import BackendError, CardError, ModelError
from sparsevit_runtime.tensorrt import BuildOptions, build_engine, read_sidecar, sidecar_path
from sparsevit_runtime.tensorrt.engine import check_version, find_tensorrt, open_engine, read_engine
from sparsevit_runtime.tensorrt.engine_card import sha256
from sparsevit_runtime.tensorrt.log import process_log

#: What opening an engine asks of the driver before TensorRT does.
DEVICE = SimpleNamespace(device=SimpleNamespace(name="Any", compute_capability="8.6"))


@pytest.fixture(scope="module")
def built(rtx, exported, tmp_path_factory):
    """A real engine without plugins, as bytes, and its card."""
    path = tmp_path_factory.mktemp("built") / "m.engine"
    build_engine(exported(), path, BuildOptions(flavour="tensorrt_rtx", portable=True))
    return path.read_bytes(), read_sidecar(path)


@pytest.fixture
def place(built, tmp_path):
    """Function (data, what is other in the card's inputs) -> an engine file with a card beside it that fits."""

    def make(data=built[0], **inputs):
        path = tmp_path / "m.engine"
        path.write_bytes(data)
        card = built[1].model_copy(
            update={
                "engine_sha256": sha256(data),
                "engine_bytes": len(data),
                "inputs": built[1].inputs.model_copy(update=inputs),
            }
        )
        sidecar_path(path).write_text(card.model_dump_json())
        return path

    return make


def test_an_engine_is_read_with_its_card_and_its_tensorrt(built, place):
    path = place()
    data, card = read_engine(path)
    assert (data, card) == built
    trt = find_tensorrt(card, path)
    check_version(trt, card, path)
    assert f"{trt.__name__} {trt.__version__}" == card.inputs.tensorrt


@pytest.mark.parametrize(
    ("tensorrt", "message"),
    [
        ("tensorrt_rtx 1.2.3", "m.engine needs tensorrt_rtx 1.2.3, which built it; here is tensorrt_rtx 1.*build the"),
        ("tensorrt_next 1.0", "m.engine is of 'tensorrt_next 1.0', which this version does not know.*build the"),
    ],
)
def test_an_engine_of_another_tensorrt(place, tensorrt, message):
    path = place(tensorrt=tensorrt)
    _, card = read_engine(path)
    with pytest.raises(BackendError, match=message):
        check_version(find_tensorrt(card, path), card, path)


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        (lambda data: b"x" * 4096, "incompatible serialization version"),
        (lambda data: data[:1000], "header.size == blobSize failed"),
        (lambda data: b"not an engine", "readHeader"),
    ],
    ids=["another program's", "a part", "a text"],
)
def test_bytes_that_tensorrt_does_not_take(built, place, foreign, message):
    """What TensorRT says comes first, not the missing driver."""
    path = place(foreign(built[0]))
    data, card = read_engine(path)
    with pytest.raises(BackendError, match=rf"tensorrt_rtx 1\S+ does not open .*m.engine on Any .*{message}.*build"):
        open_engine(path, data, card, find_tensorrt(card, path), DEVICE)


def test_all_engines_of_a_process_have_one_log(place, caplog):
    """TensorRT warns about a second logger as long as anything made with the first lives."""
    path = place(b"x" * 4096)
    data, card = read_engine(path)
    trt = find_tensorrt(card, path)
    first = trt.Runtime(process_log(trt))
    with caplog.at_level("INFO"), pytest.raises(BackendError, match="incompatible serialization version"):
        open_engine(path, data, card, trt, DEVICE)
    assert "logger" not in caplog.text
    del first


def test_files_that_do_not_belong_together(place, tmp_path):
    path = place()
    path.write_bytes(b"another engine")
    with pytest.raises(ModelError, match=r"m.engine \(14 bytes\) is not the engine its card describes"):
        read_engine(path)
    sidecar_path(path).unlink()
    with pytest.raises(CardError, match="keep both files together"):
        read_engine(path)
    with pytest.raises(ModelError, match="no engine file"):
        read_engine(tmp_path / "absent.engine")


#: Opens an engine in several threads at once where no engine was opened before.
OPEN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace as Thing
from sparsevit_runtime.errors import BackendError
from sparsevit_runtime.tensorrt import plugin_library
from sparsevit_runtime.tensorrt.engine import find_tensorrt, open_engine, read_engine

plugin_library._PACKAGED = plugin_library.Path("/nowhere/package.so")
data, card = read_engine(sys.argv[1])
path = plugin_library.Path(sys.argv[1])
trt = find_tensorrt(card, path)

def attempt(_):
    try:
        open_engine(path, data, card, trt, Thing(device=Thing(name="Any", compute_capability="8.6")))
    except BackendError as error:
        return str(error)

with ThreadPoolExecutor(4) as threads:
    print(*threads.map(attempt, range(4)), sep="\\n")
print("plugins:", sorted({c.name for c in trt.get_plugin_registry().all_creators if c.name.startswith("Window")}))
"""


def open_apart(engine: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "SPARSEVIT_PLUGINS"}
    environment["PYTHONPATH"] = str(Path(sparsevit_runtime.__file__).parents[1])
    command = [sys.executable, "-c", OPEN, engine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_engine_finds_the_library_it_was_built_with(rtx, exported, plugin_library, tmp_path):
    """As `sparsevit build --plugins FILE` and `sparsevit run` do, each in a process of its own."""
    library, engine = Path(shutil.copy(plugin_library, tmp_path / "mine.so")), tmp_path / "m.engine"
    build_engine(exported(), engine, BuildOptions(flavour="tensorrt_rtx", plugins=library))
    said = open_apart(engine)
    assert "no plugin library" not in said and "cannot load the plugin library" not in said
    windows = ["Attention", "Gather", "GatherNorm", "Rank", "Scatter", "ScatterAdd", "Score"]
    assert f"plugins: {[f'Window{name}' for name in windows]}" in said
    library.unlink()
    said = open_apart(engine)
    assert "m.engine runs with the plugins it was built with: no plugin library: looked for" in said
    assert "/nowhere/package.so" in said and "mine.so (a build of yours)" in said and "plugins: []" in said


def test_a_library_that_comes_with_an_engine_is_not_loaded(rtx, exported, plugin_library, tmp_path, cache):
    """Engine, side-car and library of a stranger, who knows how to write digests."""
    library, engine = Path(shutil.copy(plugin_library, tmp_path / "theirs.so")), tmp_path / "m.engine"
    build_engine(exported(), engine, BuildOptions(flavour="tensorrt_rtx", plugins=library))
    shutil.rmtree(cache)  # they built it elsewhere
    said = open_apart(engine)
    assert "theirs.so', which no build of this user noted" in said and "plugins: []" in said


def test_an_engine_whose_plugins_are_missing(place, tmp_path, monkeypatch):
    monkeypatch.setenv("SPARSEVIT_PLUGINS", str(tmp_path / "absent.so"))
    path = place(plugins_sha256="0" * 64)
    data, card = read_engine(path)
    with pytest.raises(BackendError, match=r"m.engine runs with the plugins it was built with.*absent.so"):
        open_engine(path, data, card, find_tensorrt(card, path), DEVICE)
