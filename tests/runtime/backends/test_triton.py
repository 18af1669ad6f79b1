from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny
from altered_models import card_of
from clips import pictures
from simulated_engines import write_engine
from sparsevit_exporter.triton import TritonOptions, export_triton, export_triton_plan, plugin_place
from sparsevit_runtime import load
from sparsevit_runtime.errors import BackendError, CardError, ExportError, ModelError, PlanError, ServerError
from sparsevit_runtime.tensorrt.engine_card import read_sidecar, sidecar_path
from sparsevit_runtime.tensorrt.profile import make_profile
from sparsevit_runtime.triton import keep_rows

pytest.importorskip("tritonclient.grpc")
from triton_server import TritonServer, read_config

BOXES = {"boxes": [(4, 4, 20, 16), (10, 8, 30, 30)], "scores": [0.9, 0.6], "classes": [2, 6]}
MASKS = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
MODELS = {
    "segmentation": {},
    "detection": {"task": "detection", **BOXES},
    "instances": {"task": "instances", **BOXES, "masks": MASKS},
    "fixed": {"fixed": ((0.5, 0.5), (0.0, 0.0, 0.5, 0.5))},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny.write_model(folder / f"{name}.onnx", **how) for name, how in MODELS.items()}


@pytest.fixture(scope="module")
def server(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("repository")
    for name, path in files.items():
        export_triton(path, repository, TritonOptions(name))
    export_triton(files["segmentation"], repository, TritonOptions("pruned", sparsity=0.5))
    server = TritonServer(repository)
    yield server
    server.stop()


def same(ours: object, theirs: object) -> None:
    assert type(ours) is type(theirs) and ours.keep == theirs.keep
    for name in ("label_map", "xyxy", "confidence", "class_id", "grids", "grid_xyxy"):
        if hasattr(theirs, name):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sparsity", [None, 0.5])
def test_answers_are_those_of_the_local_file(server: TritonServer, files, name, sparsity):
    sparsity = None if name == "fixed" else sparsity
    with load(server.uri(name)) as ours, load(files[name], threads=1) as theirs:
        assert ours.card == theirs.card and ours.backend.name == "triton"
        for frame in pictures(3, (96, 64)):
            same(ours(frame, sparsity), theirs(frame, sparsity))
        batches = zip(ours.batch(list(pictures(5)), sparsity), theirs.batch(list(pictures(5)), sparsity), strict=True)
        for a, b in batches:
            same(a, b)


def test_windows_are_told_as_by_the_local_file(server: TritonServer, files):
    frame = next(pictures(1))
    with load(server.uri("segmentation")) as ours, load(files["segmentation"], threads=1) as theirs:
        a, b = (model(frame, 0.5, activity=True).activity.stages for model in (ours, theirs))
    assert len(a) == len(b) == 2
    assert all(np.array_equal(x.computed, y.computed) for x, y in zip(a, b, strict=True))


def test_a_request_without_keep_is_computed_at_the_level_that_was_exported(server: TritonServer, files):
    session = server.models["pruned"].session
    images = np.stack([np.zeros((32, 48, 3), np.uint8)] * 2)
    with load(files["segmentation"], threads=1) as local:
        for name, sparsity in (("pruned", 0.5), ("segmentation", None)):
            served = server.models[name].session.run(["labels"], {"image": images})[0]
            keep = local.level(sparsity).keep
            wanted = local.backend.run({"image": images, "keep": keep}, ["labels"])["labels"]
            assert np.array_equal(served, wanted)
    assert [each.name for each in session.get_inputs()] == ["image"]


def test_requests_of_one_level_are_joined_and_those_of_others_are_not(server: TritonServer, files):
    served = server.models["segmentation"]
    frames = list(pictures(6))
    levels = [0.5, 0.5, 0.5, 0.0, 0.0, 0.9]
    results: dict[int, object] = {}
    with load(server.uri("segmentation")) as model, load(files["segmentation"], threads=1) as local:
        served.runs.clear()
        served.hold.clear()

        def ask(i: int) -> None:
            results[i] = model.backend.run(
                {"image": images[i], "keep": model.level(levels[i]).keep}, [*model.backend.output_names]
            )

        images = [np.ascontiguousarray(frame[None, :32, :48]) for frame in frames]
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while len(served._waiting) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        served.hold.set()
        for thread in threads:
            thread.join()
        assert sorted(served.runs) == [1, 2, 3]
        for i, answer in results.items():
            wanted = local.backend.run({"image": images[i], "keep": local.level(levels[i]).keep}, list(answer))
            assert all(np.array_equal(answer[name], wanted[name]) for name in wanted)


def test_rows_of_keep_say_the_level_and_differ_in_length_from_those_of_others():
    dense, pruned = np.array([12, 12, 3]), np.array([6, 6, 2])
    rows = keep_rows(dense, 2)
    assert rows.shape[0] == 2 and (rows[:, :3] == dense).all() and not rows[:, 3:].any()
    assert keep_rows(pruned, 1).shape[1] != rows.shape[1]
    assert keep_rows(dense, 1).shape[1] == rows.shape[1]


def test_a_server_that_goes_away_is_told_and_is_asked_again_when_it_is_back(files, tmp_path: Path):
    export_triton(files["segmentation"], tmp_path, TritonOptions("m"))
    server = TritonServer(tmp_path)
    frame = next(pictures(1))
    with load(server.uri("m")) as model:
        before = model(frame)
        server.stop()
        for _ in range(2):
            with pytest.raises(ServerError, match=f"127.0.0.1:{server.port} does not answer"):
                model(frame)
        server.start()
        until = time.monotonic() + 30
        while True:
            try:
                after = model(frame)
                break
            except ServerError:
                assert time.monotonic() < until, "the server is back, and not found"
                time.sleep(0.05)
        same(after, before)
    server.stop()


def test_what_cannot_be_opened(server: TritonServer, files):
    with pytest.raises(ModelError, match="has no model 'gone'"):
        load(server.uri("gone"))
    with pytest.raises(ModelError, match="triton://host:8001/name"):
        load("triton://nothing")
    with pytest.raises(ServerError, match="does not answer"):
        load("triton://127.0.0.1:1/m")
    with pytest.raises(BackendError, match="does not run"):
        load(server.uri("fixed"), "onnxruntime")
    with pytest.raises(BackendError, match="does not run"):
        load(files["fixed"], "triton")


def test_a_model_of_another_origin_has_no_card(server: TritonServer):
    config = server.models["fixed"].config
    kept = config.parameters["sparsevit_card"].string_value
    del config.parameters["sparsevit_card"]
    try:
        with pytest.raises(CardError, match="export-triton"):
            load(server.uri("fixed"))
    finally:
        config.parameters["sparsevit_card"].string_value = kept


def test_more_frames_than_the_server_joins_are_refused(server: TritonServer):
    with load(server.uri("segmentation")) as model, pytest.raises(BackendError, match="takes 1 to 8"):
        model.batch(list(pictures(9)))


def test_an_archive_is_run_by_a_server(server: TritonServer, files, archive_of: Callable[[], Path], tmp_path: Path):
    pytest.importorskip("pyarrow")
    from batch_jobs import read_rows
    from sparsevit_runtime.batch import ThisProcess, Work, run_batch

    folder = archive_of()
    rows = []
    for name, model in (("served", server.uri("segmentation")), ("local", str(files["segmentation"]))):
        run_batch(folder, tmp_path / name, Work(model, sparsity=0.5, threads=1), ThisProcess())
        rows.append(read_rows(tmp_path / name))
    assert rows[0] == rows[1] and rows[0]


def test_an_archive_waits_for_a_server_that_is_started_anew(files, archive_of: Callable[[], Path], tmp_path: Path):
    pytest.importorskip("pyarrow")
    from sparsevit_runtime.batch import ThisProcess, Work, run_batch

    export_triton(files["segmentation"], tmp_path / "repository", TritonOptions("m"))
    server = TritonServer(tmp_path / "repository")
    with load(server.uri("m")) as model:
        digest = model.backend.digest
    served = server.models["m"]
    served.hold.clear()

    def restart() -> None:
        until = time.monotonic() + 30
        while not served._waiting and time.monotonic() < until:
            time.sleep(0.01)
        server.stop()  # with a request under way
        served.hold.set()
        server.start()

    helper = threading.Thread(target=restart)
    helper.start()
    report = run_batch(archive_of(), tmp_path / "out", Work(server.uri("m"), digest), ThisProcess())
    helper.join()
    server.stop()
    assert (report.frames, report.failed, report.broken) == (3, (), ())


@pytest.fixture
def archive_of(tmp_path: Path) -> Callable[[], Path]:
    def write() -> Path:
        import cv2

        (tmp_path / "in").mkdir()
        for i, image in enumerate(pictures(3)):
            cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), image)
        return tmp_path / "in"

    return write


def test_the_configuration_is_what_triton_reads(files, tmp_path: Path):
    options = TritonOptions("seg", 3, max_batch=16, delay_us=500, instances=2, kind="gpu")
    folder = export_triton(files["segmentation"], tmp_path, options)
    config = read_config(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("seg", "onnxruntime", 16)
    inputs = {each.name: each for each in config.input}
    assert list(inputs["image"].dims) == [32, 48, 3] and not inputs["image"].optional
    assert list(inputs["keep"].dims) == [-1] and inputs["keep"].optional
    assert {each.name for each in config.output} >= {"labels", "windows0"}
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, group.KIND_GPU)
    assert (folder / "3" / "model.onnx").is_file()
    with load(files["segmentation"]) as model:
        assert model.card.from_json(config.parameters["sparsevit_card"].string_value) == model.card


def test_an_engine_lies_in_the_repository_and_its_plugins_beside_it(files, tmp_path: Path):
    card = card_of(files["segmentation"])
    engine = write_engine(tmp_path / "m.engine", card)
    about = read_sidecar(engine)
    inputs = about.inputs.model_copy(update={"profile": make_profile(card, (1, 2, 4))})
    sidecar_path(engine).write_text(about.model_copy(update={"plugin_layers": 3, "inputs": inputs}).model_dump_json())
    library = tmp_path / "lib.so"
    library.write_bytes(b"plugins")
    repository = tmp_path / "repository"
    folder = export_triton_plan(engine, repository, library, TritonOptions("m"))
    config = read_config(folder)
    assert (config.backend, config.max_batch_size) == ("tensorrt", 4)
    assert not config.input  # which the server reads of the plan
    assert (folder / "1" / "model.plan").read_bytes() == engine.read_bytes()
    assert plugin_place(repository).read_bytes() == b"plugins"
    assert [each.name for each in repository.iterdir()] == ["m"]
    with pytest.raises(ExportError, match="3 layers of the plugin library"):
        export_triton_plan(engine, repository, None, TritonOptions("m"))
    with pytest.raises(PlanError, match="no defaults"):
        export_triton_plan(engine, repository, library, TritonOptions("m", sparsity=0.5))


def test_a_name_that_no_folder_may_have(files, tmp_path: Path):
    with pytest.raises(ExportError, match="no name of a model"):
        export_triton(files["segmentation"], tmp_path, TritonOptions("../up"))
    assert not list(tmp_path.iterdir())
