"""The TensorRT backend against ONNX Runtime, on a simulated driver; on a real GPU see tests/gpu/test_engine.py."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from networks import randomize
from simulated_gpu import Cuda, simulated_tensorrt
from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load
from sparsevit_runtime.backends import open_backend, tensorrt
from sparsevit_runtime.backends.base import MeasuredBackend
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.cuda import CudaError, CudaRuntime
from sparsevit_runtime.errors import BackendError, FrameError, ModelError, PlanError, SparseViTError
from sparsevit_runtime.tensorrt.engine_card import NO_GPU, EngineCard, Inputs, sha256, sidecar_path

VERSION = "tensorrt 10.3.0"


def write_engine(path, card, **inputs):
    """An engine file, whose content only the simulated TensorRT understands, and its true side-car."""
    data = b"engine of a simulation"
    path.write_bytes(data)
    given = {"tensorrt": VERSION, "gpu": NO_GPU, **inputs}
    about = Inputs(onnx_sha256="00", plugins_sha256=None, precision="fp32", tf32=False, profile={}, **given)
    document = EngineCard(
        inputs=about,
        engine_sha256=sha256(data),
        engine_bytes=len(data),
        plugin_layers=0,
        arithmetic={},
        precision_checked="network",
        workspace_mib=1,
        model=card,
    )
    sidecar_path(path).write_text(document.model_dump_json())
    return path


class Machine:
    """A simulated GPU with its TensorRT, an engine, and the model file the engine stands for."""

    def __init__(self, folder, monkeypatch, model, integrated=False, **simulated):
        self.model = model
        self.cuda = Cuda(integrated)
        self.trt = simulated_tensorrt(self.cuda, self.model, **simulated)
        monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(self.cuda))
        self.reference = open_backend(self.model)
        self.engine = write_engine(folder / "model.engine", self.reference.card)
        self.rng = np.random.default_rng(3)

    def images(self, batch=1):
        size = self.reference.card.input
        return self.rng.integers(0, 256, (batch, size.height, size.width, 3), dtype=np.uint8)

    def same(self, backend, images, keep):
        found = backend.run(images, keep, backend.output_names)
        wanted = self.reference.run(images, keep, backend.output_names)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    net = randomize(SegmentationModel(SparseViT(8, (2, 2), (1, 2), window_size=4), 2, 8), seed=7)
    assert export(net, path, ExportOptions(60, 88), [ClassCard(name=n, color=(0, 0, 0)) for n in ("a", "b")]).holds
    return path


@pytest.fixture(params=["discrete", "integrated", "keep on the GPU"])
def machine(request, tmp_path, monkeypatch, exported):
    kinds = {"discrete": {}, "integrated": {"integrated": True}, "keep on the GPU": {"keep_on_host": False}}
    return Machine(tmp_path, monkeypatch, exported, **kinds[request.param])


def plans(machine):
    full = [s.windows for s in machine.reference.card.stages for _ in range(s.pairs)]
    return [None, np.array(full) // 2, np.array(full) // 3, np.ones(len(full), int), np.array(full)]


def test_answers_are_those_of_onnx_runtime_at_every_plan_batch_and_repeat(machine):
    with load(machine.engine) as model:
        assert model.backend.name == "tensorrt" and isinstance(model.backend, MeasuredBackend)
        for _ in range(3):  # the first run is queued, the second recorded, the third replayed
            for keep in plans(machine):
                for batch in (1, 2):
                    machine.same(model.backend, machine.images(batch), keep)
        assert machine.cuda.launches > 0
        assert "captured" in model.backend.details["cuda graphs"]


def test_nothing_is_allocated_after_load_and_everything_is_given_back(machine):
    backend = open_backend(machine.engine)
    before = machine.cuda.allocations
    for keep in plans(machine):
        machine.same(backend, machine.images(), keep)
    assert machine.cuda.allocations == before
    backend.close()
    backend.close()
    assert not machine.cuda.memory.blocks and not machine.cuda.objects
    with pytest.raises(BackendError, match="closed"):
        backend.run(machine.images(), None, ["labels"])


def test_an_integrated_gpu_copies_nothing(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported, integrated=True)
    machine.same(open_backend(machine.engine), machine.images(), None)
    assert machine.cuda.copies == 0


def test_only_the_outputs_asked_for_come_back(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = open_backend(machine.engine)
    images = machine.images()
    backend.run(images, None, [])
    none = machine.cuda.copies
    found = backend.run(images, None, ["labels"])
    assert list(found) == ["labels"]
    assert machine.cuda.copies - none == images.nbytes + found["labels"].nbytes


def test_graphs_are_bounded(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = tensorrt.TensorRtBackend(machine.engine, graphs=2)
    for _ in range(3):
        for keep in plans(machine):  # four different ones in two places: each is recorded anew, and right
            machine.same(backend, machine.images(), keep)
            machine.same(backend, machine.images(), keep)
            machine.same(backend, machine.images(), keep)
    held = int(backend.details["cuda graphs"].split()[0])
    assert 0 < held <= 2 * 2  # per plan one for each of the two frames in flight


def test_work_that_cannot_be_captured_runs_all_the_same(tmp_path, monkeypatch, exported, caplog):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = open_backend(machine.engine)
    machine.cuda.failing["cudaStreamEndCapture"] = 900
    for _ in range(3):
        machine.same(backend, machine.images(), None)
    assert machine.cuda.launches == 0
    assert "cudaErrorStreamCaptureUnsupported" in backend.details["cuda graphs"]
    assert caplog.text.count("without CUDA graphs") == 1


def test_threads_have_contexts_of_their_own(machine):
    backend = open_backend(machine.engine)
    failed = []

    def work():
        try:
            for keep in plans(machine) * 3:
                machine.same(backend, machine.images(), keep)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failed


def test_spans_and_layers(machine):
    backend = open_backend(machine.engine)
    spans = backend.measure(machine.images(), None, ["labels"])
    assert min(spans.h2d_ms, spans.compute_ms, spans.d2h_ms, spans.enqueue_ms) >= 0
    assert spans.total_ms >= spans.compute_ms > 0
    assert backend.layers(machine.images(), None) == [("backbone.patch_embed", 0.5)]
    machine.same(backend, machine.images(), None)


def test_a_failed_run_is_told_and_the_next_one_works(machine):
    backend = open_backend(machine.engine)
    machine.trt.refuses = True
    with pytest.raises(BackendError, match="TensorRT refuses the run in model.engine"):
        backend.run(machine.images(), None, ["labels"])
    machine.trt.refuses = False
    machine.cuda.failing["cudaEventSynchronize"] = 700
    with pytest.raises(CudaError, match="cudaErrorIllegalAddress"):
        backend.run(machine.images(), None, ["labels"])
    machine.cuda.failing.clear()
    machine.same(backend, machine.images(), None)


def test_bad_calls(machine):
    backend = open_backend(machine.engine)
    with pytest.raises(FrameError):
        backend.run(machine.images()[:, 1:], None, ["labels"])
    with pytest.raises(PlanError):
        backend.run(machine.images(), np.array([1]), ["labels"])
    with pytest.raises(BackendError, match="no output 'depth'"):
        backend.run(machine.images(), None, ["depth"])
    with pytest.raises(BackendError, match=r"3 frames at once; model.engine was built for 1 to 2.*--batch 1,3,3"):
        backend.run(machine.images(3), None, ["labels"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"tensorrt": "tensorrt 10.9.0"}, "needs tensorrt 10.9.0, which built it; here is tensorrt 10.3.0"),
        ({"gpu": "Orin, compute capability 9.9"}, "built for Orin, compute capability 9.9; here is Simulated"),
        ({"tensorrt": "tensorrt_future 1.0"}, "does not know"),
    ],
)
def test_an_engine_of_another_machine(tmp_path, monkeypatch, exported, inputs, message):
    machine = Machine(tmp_path, monkeypatch, exported)
    with pytest.raises(BackendError, match=message):
        load(write_engine(tmp_path / "foreign.engine", machine.reference.card, **inputs))


def test_files_that_are_no_engines(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    with pytest.raises(ModelError, match="no model file"):
        load(tmp_path / "absent.engine")
    (tmp_path / "alone.engine").write_bytes(b"engine")
    with pytest.raises(SparseViTError, match=r"alone.engine.json.*sparsevit build"):
        load(tmp_path / "alone.engine")
    machine.engine.write_bytes(b"engine, cut")
    with pytest.raises(ModelError, match="damaged"):
        load(machine.engine)


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("cudaGetDeviceCount", 35, "no GPU to run on.*driver supports CUDA 12.4, cuda-python is for CUDA 13.0"),
        ("cudaGetDeviceCount", 100, "no GPU to run on.*cudaErrorNoDevice"),
        ("cudaHostAlloc", 2, "cudaErrorMemoryAllocation"),
    ],
)
def test_a_gpu_that_does_not_start(tmp_path, monkeypatch, exported, function, code, message):
    machine = Machine(tmp_path, monkeypatch, exported)
    machine.cuda.failing[function] = code
    with pytest.raises(CudaError, match=message):
        load(machine.engine)


def test_devices_and_backends_that_do_not_run_engines(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    with pytest.raises(BackendError, match="engines run on device cuda"):
        load(machine.engine, device="cpu")
    with pytest.raises(BackendError, match="is an engine"):
        load(machine.engine, backend="onnxruntime")


def test_a_model_file_is_built_once_and_kept(tmp_path, monkeypatch, exported, caplog):
    machine = Machine(tmp_path, monkeypatch, exported)
    monkeypatch.setenv(tensorrt.CACHE_VARIABLE, str(tmp_path / "cache"))
    asked = []

    def build(model, engine, progress):
        asked.append((model, engine))
        write_engine(engine, machine.reference.card)
        return SimpleNamespace(reasons=("there is none yet",) if len(asked) == 1 else ())

    monkeypatch.setattr(tensorrt, "build_engine", build)
    for _ in range(2):
        with load(exported, backend="tensorrt") as model:
            machine.same(model.backend, machine.images(), None)
    assert asked[0] == asked[1] == (exported, tensorrt.cached_engine(exported))
    assert caplog.text.count("there is none yet") == 1


def test_no_gpu_is_known_before_building(exported, monkeypatch, tmp_path):
    monkeypatch.setenv(tensorrt.CACHE_VARIABLE, str(tmp_path / "cache"))
    cuda = Cuda()
    cuda.failing["cudaGetDeviceCount"] = 100
    monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(cuda))
    with pytest.raises(CudaError, match="no GPU"):
        load(exported, backend="tensorrt")
    assert not (tmp_path / "cache").exists()


def test_tiny_models_of_every_task(tmp_path, monkeypatch):
    for task in ("segmentation", "detection"):
        machine = Machine(tmp_path, monkeypatch, tiny.write_model(tmp_path / f"{task}.onnx", task))
        with load(machine.engine) as model, load(machine.model) as reference:
            frame = machine.images()[0]
            for sparsity in (None, 0.5):
                assert type(model(frame, sparsity)) is type(reference(frame, sparsity))
