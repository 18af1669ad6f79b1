import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import tiny
from external_weights import point_to, split_weights
from sparsevit_runtime.backends.onnxruntime import OnnxRuntimeBackend
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.errors import BackendError, CardError, FrameError, ModelError, PlanError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
IMAGES = np.random.RandomState(0).randint(0, 256, (2, 32, 48, 3)).astype(np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny.write_model(tmp_path / "tiny.onnx")


@pytest.fixture
def backend(path: Path):
    opened = OnnxRuntimeBackend(path, threads=1)
    yield opened
    opened.close()


def test_what_it_tells(backend):
    assert backend.card.name == "tiny"
    assert backend.output_names == ("labels", "windows0", "shifted_windows0", "windows1", "shifted_windows1")
    assert backend.details["threads"] == "1" and onnxruntime.__version__ in backend.details["library"]


def test_only_what_is_asked_for_is_fetched(backend):
    outputs = backend.run(feeds_of(IMAGES), ["labels"])
    assert list(outputs) == ["labels"]
    np.testing.assert_array_equal(outputs["labels"], IMAGES[:, 2::4, 2::4, 0] // 32)
    windows = backend.run(feeds_of(IMAGES[:1], np.array([12, 3, 3])), ["windows1", "windows0"])
    assert list(windows) == ["windows1", "windows0"] and sorted(windows["windows0"][0]) == list(range(24))


def test_more_threads_than_cores_are_not_started(tmp_path):
    """Where one cannot begin, as memory is limited, ONNX Runtime waits for ever."""
    path = tiny.write_model(tmp_path / "tiny.onnx")
    before = len(os.listdir("/proc/self/task"))
    backend = OnnxRuntimeBackend(path, threads=1000)
    started = len(os.listdir("/proc/self/task")) - before
    backend.close()
    assert started < os.cpu_count() + 8  # ONNX Runtime has a few of its own


def test_runs_from_several_threads_do_not_mix(backend):
    batches = [np.full((1, 32, 48, 3), 32 * i, np.uint8) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        outputs = pool.map(lambda b: backend.run(feeds_of(b), ["labels"])["labels"], batches * 5)
    assert [np.unique(o).tolist() for o in outputs] == [[i] for i in range(8)] * 5


@pytest.mark.parametrize(
    ("images", "keep", "outputs", "error", "message"),
    [
        (IMAGES[:, :31], None, ["labels"], FrameError, r"\(B, 32, 48, 3\) uint8, got \(2, 31, 48, 3\)"),
        (IMAGES[0], None, ["labels"], FrameError, "got"),
        (IMAGES[:0], None, ["labels"], FrameError, "got"),
        (IMAGES.astype(np.float32), None, ["labels"], FrameError, "float32"),
        (IMAGES, np.array([25, 3, 3]), ["labels"], PlanError, "0 to 24"),
        (IMAGES, np.array([12, 2, 3]), ["labels"], PlanError, "increases"),
        (IMAGES, np.array([12, 3]), ["labels"], PlanError, "3 integers"),
        (IMAGES, None, ["masks"], BackendError, "no output 'masks'; it has labels"),
    ],
)
def test_what_it_refuses_to_run(backend, images, keep, outputs, error, message):
    with pytest.raises(error, match=message):
        backend.run(feeds_of(images, keep), outputs)


def test_a_fixed_export_takes_no_keep(tmp_path: Path):
    fixed = ((0.5, 0.5), (0.0,) * 4)
    backend = OnnxRuntimeBackend(tiny.write_model(tmp_path / "fixed.onnx", fixed=fixed), threads=1)
    assert backend.run(feeds_of(IMAGES), ["windows0"])["windows0"].shape == (2, 12)
    with pytest.raises(PlanError, match="fixed export"):
        backend.run(feeds_of(IMAGES, np.array([12, 6, 6])), ["labels"])


def test_a_closed_backend_says_so(backend):
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(feeds_of(IMAGES), ["labels"])


def test_a_failing_run_is_one_quiet_error(tmp_path: Path, capfd):
    backend = OnnxRuntimeBackend(tiny.write_model(tmp_path / "tiny.onnx", fails=True), threads=1)
    with pytest.raises(BackendError, match="ONNX Runtime failed on tiny.onnx .* keep .*sparsevit check"):
        backend.run(feeds_of(IMAGES, np.array([12, 3, 3])), ["labels"])
    assert capfd.readouterr() == ("", "")


def cut(share):
    return lambda data: data[: int(len(data) * share)]


@pytest.mark.parametrize(
    "damage",
    [cut(0), cut(0.01), cut(0.5), cut(0.99), lambda _: b"hello", lambda _: bytes(5000)],
    ids=["nothing", "1%", "50%", "99%", "text", "zeros"],
)
def test_broken_files(path, capfd, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=str(path)):
        OnnxRuntimeBackend(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("", "carries no model card: it was not made by `sparsevit export`"),
        ("{", "not JSON"),
        (json.dumps({**tiny.card_document(), "schema_version": 9}), "schema 9, .* upgrade sparsevit-edge"),
        (
            json.dumps({**tiny.card_document(), "task": "karaoke"}),
            "karaoke.*it knows .*Upgrade",
        ),
    ],
)
def test_foreign_cards(tmp_path: Path, card, message):
    path = tiny.write_model(tmp_path / "foreign.onnx", card=card)
    with pytest.raises(CardError, match=message):
        OnnxRuntimeBackend(path)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"drop_output": "labels"}, "output 'labels' .* missing"),
        ({"drop_output": "shifted_windows1"}, "output 'shifted_windows1' .* missing"),
        (
            {"card": json.dumps(tiny.card_document(hw=(32, 64)))},
            r"'image' .*says \(batch, 32, 64, 3\) uint8",
        ),
        ({"card": json.dumps(tiny.card_document(fixed=((0.5, 0.5), (0,) * 4)))}, "inputs .*keep"),
        ({"card": json.dumps(tiny.card_document(task="detection"))}, "output 'boxes' .* missing"),
    ],
)
def test_graphs_that_are_not_what_their_card_says(tmp_path: Path, properties, message):
    path = tiny.write_model(tmp_path / "liar.onnx", **properties)
    with pytest.raises(ModelError, match=message):
        OnnxRuntimeBackend(path)


@pytest.mark.parametrize(
    ("options", "message"), [({"threads": 0}, "at least 1"), ({"device": "tpu"}, "choose cpu or cuda")]
)
def test_options_that_make_no_sense(path, options, message):
    with pytest.raises(BackendError, match=message):
        OnnxRuntimeBackend(path, **options)


class _Opened(Exception):
    """Carries how a session would have been opened."""


def test_files_whose_shapes_cuda_mixes_up_run_without_reuse_of_memory(exported, tmp_path, monkeypatch, caplog):
    """The options alone: a session on CUDA needs a GPU."""

    def open_session(path, options, providers):
        raise _Opened(options.enable_mem_reuse, providers)

    earlier = tmp_path / "earlier.onnx"
    model = onnx.load(exported())
    for function in model.functions:
        function.node.append(onnx.helper.make_node("Shape", ["x"], ["a"]))
        function.node.append(onnx.helper.make_node("Shape", ["x"], ["b"], start=3))
    onnx.save(model, earlier)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    for path, device, reuse, providers in (
        (exported(), None, True, [(CUDA, {"use_tf32": "0"}), CPU]),
        (earlier, None, False, [(CUDA, {"use_tf32": "0"}), CPU]),
        (earlier, "cpu", True, [CPU]),
    ):
        caplog.clear()
        with pytest.raises(_Opened) as opened:
            OnnxRuntimeBackend(path, device=device)
        assert opened.value.args == (reuse, providers)
        assert ("sparsevit export" in caplog.text) is not reuse


def test_cuda_is_used_when_there_and_explained_when_not(path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert OnnxRuntimeBackend(path, device="cuda").device.kind == "cuda"
    else:
        with pytest.raises(BackendError, match="onnxruntime-gpu"):
            OnnxRuntimeBackend(path, device="cuda")
    assert OnnxRuntimeBackend(path, device="cpu").device.kind == "cpu"


def test_weights_in_another_file_are_read_or_named(exported, tmp_path):
    weights = split_weights(exported(), tmp_path / "m.onnx")
    frame = np.random.RandomState(0).randint(0, 256, (1, 60, 88, 3)).astype(np.uint8)
    answers = []
    for path in (exported(), tmp_path / "m.onnx"):
        backend = OnnxRuntimeBackend(path, threads=1)
        answers.append(backend.run(feeds_of(frame), ["labels"])["labels"])
        backend.close()
    np.testing.assert_array_equal(*answers)
    point_to(tmp_path / "m.onnx", "../weights.bin", tmp_path / "inside" / "m.onnx")
    with pytest.raises(ModelError, match=r"weights in '../weights.bin', outside of its folder"):
        OnnxRuntimeBackend(tmp_path / "inside" / "m.onnx")
    weights.unlink()
    with pytest.raises(ModelError, match=r"weights in weights.bin, which is not beside it; copy both"):
        OnnxRuntimeBackend(tmp_path / "m.onnx")
