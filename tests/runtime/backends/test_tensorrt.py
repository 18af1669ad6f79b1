"""The TensorRT backend against ONNX Runtime, on a simulated driver; on a real GPU see tests/gpu/test_engine.py."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import tiny
from host_kernels import host_kernels
from networks import randomize
from simulated_engines import VERSION, write_engine
from simulated_frames import GpuImage, QueuedLetterbox
from simulated_gpu import Cuda, simulated_tensorrt
from sparsevit_exporter import ExportOptions, SegmentationModel, SparseViT, export
from sparsevit_runtime import load
from sparsevit_runtime.backends import DeviceInfo, open_backend, tensorrt
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.cuda import CudaError, CudaRuntime
from sparsevit_runtime.errors import BackendError, FrameError, ModelError, PlanError, SparseViTError
from sparsevit_runtime.images.device_frames import read_device_frame
from sparsevit_runtime.live.governor import Target
from sparsevit_runtime.live.levels import govern
from sparsevit_runtime.sources.base import Frame, Source
from sparsevit_runtime.tensorrt.context import EngineContext
from sparsevit_runtime.tensorrt.engine_card import sha256
from sparsevit_runtime.tensorrt.letterbox_kernel import LetterboxKernel


class Machine:
    """A simulated GPU with its TensorRT, an engine, and the model file the engine stands for."""

    def __init__(self, folder, monkeypatch, model, integrated=False, levels=(), **simulated):
        self.model = model
        self.cuda = Cuda(integrated)
        self.trt = simulated_tensorrt(self.cuda, self.model, profiles=max(1, len(levels)), **simulated)
        monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(self.cuda))
        self.reference = open_backend(self.model)
        self.engine = write_engine(folder / "model.engine", self.reference.card, levels=levels)
        self.rng = np.random.default_rng(3)

    def images(self, batch=1):
        size = self.reference.card.input
        return self.rng.integers(0, 256, (batch, size.height, size.width, 3), dtype=np.uint8)

    def same(self, backend, images, keep):
        found = backend.run(feeds_of(images, keep), backend.output_names)
        wanted = self.reference.run(feeds_of(images, keep), backend.output_names)
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
        assert model.backend.name == "tensorrt" and model.backend.capabilities.measure
        for _ in range(3):  # the first run is queued, the second recorded, the third replayed
            for keep in plans(machine):
                for batch in (1, 2):
                    machine.same(model.backend, machine.images(batch), keep)
        assert machine.cuda.launches > 0
        assert "captured" in model.backend.details["cuda graphs"]


def test_nothing_is_allocated_after_load_and_everything_is_given_back(machine):
    backend = open_backend(machine.engine)
    engine = weakref.ref(backend._engine.engine)
    before = machine.cuda.allocations
    for keep in (*plans(machine), None):
        machine.same(backend, machine.images(), keep)
    assert machine.cuda.allocations == before
    backend.close()
    backend.close()
    gc.collect()
    assert engine() is None  # and the weights with it
    assert backend.details["library"] == VERSION
    assert not machine.cuda.memory.blocks and not machine.cuda.objects
    with pytest.raises(BackendError, match="closed"):
        backend.run(feeds_of(machine.images()), ["labels"])


def test_an_integrated_gpu_copies_nothing(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported, integrated=True)
    machine.same(open_backend(machine.engine), machine.images(), None)
    assert machine.cuda.copies == 0


@pytest.mark.parametrize("integrated", [True, False])
def test_a_backend_says_what_it_runs_on(tmp_path, monkeypatch, exported, integrated):
    machine = Machine(tmp_path, monkeypatch, exported, integrated=integrated)
    device = open_backend(machine.engine).device
    assert device == DeviceInfo("cuda", "Simulated", "8.7", integrated)
    assert device.copies is not integrated and str(device) == "Simulated, compute capability 8.7"
    assert not machine.reference.device.copies
    assert DeviceInfo("cuda").copies


def test_only_the_outputs_asked_for_come_back(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = open_backend(machine.engine)
    images = machine.images()
    backend.run(feeds_of(images), [])
    none = machine.cuda.copies
    found = backend.run(feeds_of(images), ["labels"])
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


def test_each_graph_has_an_execution_context_of_its_own_and_the_memory_of_all(machine):
    backend = open_backend(machine.engine)
    made, allocated = machine.trt.contexts, machine.cuda.allocations
    for _ in range(3):
        for keep in plans(machine)[1:4]:
            machine.same(backend, machine.images(), keep)
    assert machine.trt.contexts - made == 3  # none for the first runs, none for the replays
    assert machine.cuda.launches == 3
    assert machine.cuda.allocations == allocated and len(machine.cuda.memory.users) == 1
    assert backend.details["cuda graphs"] == "3 held, 3 captured"


def costs(machine):
    return machine.trt.contexts, machine.cuda.captures, machine.cuda.allocations


@pytest.mark.parametrize("batch", [1, 2])
def test_a_level_that_was_prepared_costs_no_context_and_no_capture(machine, batch):
    """From the first run on, in both of the slots that a stream uses."""
    backend, keeps = open_backend(machine.engine), plans(machine)
    backend.prepare(keeps, batch)
    before, asked, launched = costs(machine), machine.trt.runs, machine.cuda.launches
    images = [machine.images(batch) for _ in range(2 * len(keeps))]
    with backend.queue() as queue:
        given = [feeds_of(image, keep) for image, keep in zip(images, [k for k in keeps for _ in range(2)])]
        flying = [queue.submit(given[0], ["labels"])]
        for i, feeds in enumerate(given):
            if i + 1 < len(given):
                flying.append(queue.submit(given[i + 1], ["labels"]))
            found = queue.collect(flying.pop(0))["labels"]
            np.testing.assert_array_equal(found, machine.reference.run(feeds, ["labels"])["labels"])
    assert costs(machine) == before and machine.trt.runs == asked
    assert machine.cuda.launches - launched == len(given)
    backend.prepare(keeps, batch)
    assert costs(machine) == before


def test_no_more_levels_are_prepared_than_there_is_room_for(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = tensorrt.TensorRtBackend(machine.engine, graphs=3)
    keeps = plans(machine)
    backend.prepare(keeps[1:4])  # the dense one has a place since the memory of all was measured
    assert backend.details["cuda graphs"] == "4 held, 4 captured"
    backend = tensorrt.TensorRtBackend(machine.engine, graphs=0)
    before = costs(machine)
    backend.prepare(keeps)
    assert costs(machine) == before and backend.details["cuda graphs"] == "off: not asked for"
    with pytest.raises(PlanError):
        backend.prepare([np.array([1])])
    with pytest.raises(BackendError, match="3 frames at once"):
        backend.prepare(keeps, 3)


def test_a_governor_changes_levels_without_a_stall(machine):
    """It measured them in one slot; a stream uses two."""
    images = frames(machine, 30)
    with load(machine.engine) as model, load(machine.model) as reference:
        governor = govern(model.runner, Target(latency_ms=50))
        assert len(governor.levels) >= 6
        before = costs(machine)
        stream, found, levels = model.stream(images, governor.levels[0]), [], []
        for i, result in enumerate(stream):
            found.append(result)
            levels.append(result.keep)
            stream.level = governor.levels[i % len(governor.levels)]
        assert costs(machine) == before and set(levels) == {level.kept for level in governor.levels}
        for image, result in zip(images, found):
            keep = next(level for level in governor.levels if level.kept == result.keep)
            np.testing.assert_array_equal(result.label_map, reference(image, keep).label_map)


def test_each_run_takes_the_profile_tuned_for_counts_like_its_own(tmp_path, monkeypatch, exported):
    full = np.array([s.windows for s in open_backend(exported).card.stages for _ in range(s.pairs)])
    levels = tuple(tuple((full * share).astype(int).tolist()) for share in (0.4, 1.0, 0.7))
    machine = Machine(tmp_path, monkeypatch, exported, levels=levels)
    backend = open_backend(machine.engine)
    for share, profile in ((0.35, 0), (0.45, 0), (0.7, 2), (0.95, 1), (1.0, 1), (0.0, 0)):
        del machine.trt.profiles_run[:]
        for _ in range(3):
            machine.same(backend, machine.images(), (full * share).astype(int))
        assert set(machine.trt.profiles_run) == {profile}
    assert machine.trt.contexts == 3 + 6  # one for each profile, and one for each graph


def test_an_engine_with_other_profiles_than_its_card_says_is_refused(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    pairs = len(plans(machine)[1])
    write_engine(machine.engine, machine.reference.card, levels=((1,) * pairs, (2,) * pairs))
    with pytest.raises(ModelError, match="has 1 optimisation profiles, its card says 2 levels; build the engine"):
        open_backend(machine.engine)


def test_a_graph_whose_execution_context_was_bound_to_something_else_is_wrong(machine):
    """The simulation sees what the backend must not do."""
    backend = open_backend(machine.engine)
    for _ in range(2):
        machine.same(backend, machine.images(), None)
    (prepared,) = (p for p in backend._idle[0]._shapes._entries.values() if p.replays)
    execution = prepared.replays[0].execution
    execution.bind(backend._idle[0]._slots[1], prepared)
    with pytest.raises(AssertionError, match="bound to something else"):
        machine.same(backend, machine.images(), None)


def test_an_execution_context_that_is_not_made_costs_the_graphs_alone(tmp_path, monkeypatch, exported, caplog):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = open_backend(machine.engine)
    machine.trt.contexts_left = 1
    for _ in range(3):
        for keep in plans(machine)[1:4]:
            machine.same(backend, machine.images(), keep)
    assert machine.cuda.launches == 1  # of the one that was made
    assert "cannot make a context" in backend.details["cuda graphs"]
    assert caplog.text.count("without CUDA graphs") == 1
    machine.trt.contexts_left = 0
    with pytest.raises(BackendError, match="cannot make a context of .*model.engine"):
        open_backend(machine.engine)


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
    spans = backend.measure(feeds_of(machine.images()), ["labels"])
    assert min(spans.h2d_ms, spans.compute_ms, spans.d2h_ms, spans.enqueue_ms) >= 0
    assert spans.total_ms >= spans.compute_ms > 0
    assert backend.layers(feeds_of(machine.images())) == [("embed/node_conv2d", 0.5), ("wait", 0.25)]
    machine.same(backend, machine.images(), None)


def test_a_failed_run_is_told_and_the_next_one_works(machine):
    backend = open_backend(machine.engine)
    machine.trt.refuses = True
    with pytest.raises(BackendError, match="TensorRT refuses the run in model.engine"):
        backend.run(feeds_of(machine.images()), ["labels"])
    machine.trt.refuses = False
    machine.cuda.failing["cudaEventSynchronize"] = 700
    with pytest.raises(CudaError, match="cudaErrorIllegalAddress"):
        backend.run(feeds_of(machine.images()), ["labels"])
    machine.cuda.failing.clear()
    machine.same(backend, machine.images(), None)


def test_shapes_that_tensorrt_cannot_tell(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    backend = open_backend(machine.engine)
    machine.trt.shapeless = True
    with pytest.raises(BackendError, match=r"output shapes of model.engine \(infer_shapes error code: -1\)"):
        backend.run(feeds_of(machine.images()), ["labels"])
    machine.trt.shapeless = False
    machine.same(backend, machine.images(), None)


def test_bad_calls(machine):
    backend = open_backend(machine.engine)
    with pytest.raises(FrameError):
        backend.run(feeds_of(machine.images()[:, 1:]), ["labels"])
    with pytest.raises(PlanError):
        backend.run(feeds_of(machine.images(), np.array([1])), ["labels"])
    with pytest.raises(BackendError, match="no output 'depth'"):
        backend.run(feeds_of(machine.images()), ["depth"])
    with pytest.raises(BackendError, match=r"3 frames at once; model.engine was built for 1 to 2.*--batch 1,3,3"):
        backend.run(feeds_of(machine.images(3)), ["labels"])


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


def test_a_model_file_runs_as_the_engine_that_the_cache_has_of_it(tmp_path, monkeypatch, exported, caplog):
    """Building and finding it: tests/runtime/tensorrt/test_cache.py."""
    machine = Machine(tmp_path, monkeypatch, exported)
    reasons = iter([("there is none yet",), ()])

    def build(model, options, progress):
        assert model == exported
        for step in range(2):
            progress.start("tactics", 2)
            progress.advance(step)
        return SimpleNamespace(engine=machine.engine, reasons=next(reasons))

    monkeypatch.setattr(tensorrt, "build_cached", build)
    for _ in range(2):
        with load(exported, backend="tensorrt") as model:
            machine.same(model.backend, machine.images(), None)
            assert sha256(machine.engine.read_bytes()) == model.backend.engine_card.engine_sha256
    assert caplog.text.count("there is none yet") == 1
    assert caplog.text.count("building an engine from") == 2  # once per build, not per step


def test_no_gpu_is_known_before_building(exported, monkeypatch):
    cuda = Cuda()
    cuda.failing["cudaGetDeviceCount"] = 100
    monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(cuda))
    monkeypatch.setattr(tensorrt, "build_cached", lambda *_, **__: pytest.fail("a build without a GPU"))
    with pytest.raises(CudaError, match="no GPU"):
        load(exported, backend="tensorrt")


def test_tiny_models_of_every_task(tmp_path, monkeypatch):
    for task in ("segmentation", "detection"):
        machine = Machine(tmp_path, monkeypatch, tiny.write_model(tmp_path / f"{task}.onnx", task))
        with load(machine.engine) as model, load(machine.model) as reference:
            frame = machine.images()[0]
            for sparsity in (None, 0.5):
                assert type(model(frame, sparsity)) is type(reference(frame, sparsity))


def frames(machine, count, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (30 + 7 * i, 50 + 11 * i, 3), np.uint8) for i in range(count)]


def same_results(found, wanted):
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one.label_map, other.label_map)
        assert (one.image_wh, one.keep, one.frame_index) == (other.image_wh, other.keep, other.frame_index)


def test_a_stream_starts_a_frame_before_it_waits_for_the_last(machine, monkeypatch):
    flying, submit = [], EngineContext.submit

    def watched(self, *arguments):
        ticket = submit(self, *arguments)
        flying.append(self.in_flight)
        return ticket

    monkeypatch.setattr(EngineContext, "submit", watched)
    images = frames(machine, 12)
    with load(machine.engine) as model, load(machine.model) as reference:
        same_results(list(model.stream(images, 0.5)), list(reference.stream(images, 0.5)))
        assert max(flying) == 2
        same_results([model(images[3])], [reference(images[3])])  # its context came back idle
        stream = model.stream(images)
        next(stream)
        stream.close()  # with a frame in flight
        same_results(list(model.stream(images, 0.7)), list(reference.stream(images, 0.7)))


def test_a_stream_never_holds_an_answer_back_for_the_next_frame(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    images, seen = frames(machine, 5), threading.Semaphore(1)

    class Polite(Source):
        """Gives a frame when the answer to the one before has been seen; fails behind the last."""

        name, live, frame_count = "polite", False, None
        index = 0

        def read(self):
            assert seen.acquire(timeout=20), "an answer was held back"
            if self.index == len(images):
                raise BackendError("the end of the cable")
            self.index += 1
            return Frame(images[self.index - 1], self.index - 1, 0)

        def close(self):
            pass

    found = []
    with load(machine.engine) as model, pytest.raises(BackendError, match="the end of the cable"):
        for result in model.stream(Polite()):
            found.append(result.frame_index)
            seen.release()
    assert found == list(range(5))


def test_a_failing_run_of_a_stream_comes_behind_the_frames_before_it(machine, monkeypatch):
    submit, runs = EngineContext.submit, []

    def failing(self, *arguments):
        runs.append(self)
        if len(runs) == 5:
            raise BackendError("the GPU is gone")
        return submit(self, *arguments)

    found = []
    with load(machine.engine) as model:
        monkeypatch.setattr(EngineContext, "submit", failing)
        with pytest.raises(BackendError, match="the GPU is gone"):
            for result in model.stream(frames(machine, 8)):
                found.append(result.frame_index)
        assert found == [0, 1, 2, 3]
        machine.same(model.backend, machine.images(), None)


@pytest.fixture(scope="module")
def letterbox_library():
    return host_kernels()


@pytest.fixture
def on_gpu(machine, monkeypatch, letterbox_library):
    monkeypatch.setattr(
        tensorrt, "LetterboxKernel", lambda _, resize: QueuedLetterbox(machine.cuda, letterbox_library, resize)
    )
    return machine


def test_frames_are_letterboxed_by_the_library_that_the_engine_runs_with(machine, monkeypatch, letterbox_library):
    """Also where $SPARSEVIT_PLUGINS and the package have none."""
    opened = tensorrt.open_engine
    monkeypatch.setattr(tensorrt, "open_engine", lambda *given: replace(opened(*given), plugins=letterbox_library))
    monkeypatch.setattr(tensorrt, "LetterboxKernel", lambda path, resize: QueuedLetterbox(machine.cuda, path, resize))
    image = frames(machine, 1)[0]
    with load(machine.engine) as model, load(machine.model) as reference:
        same_results([model(GpuImage(machine.cuda, image))], [reference(image)])


@pytest.mark.parametrize("version", [2, 3])
def test_frames_on_the_gpu_stay_there_and_are_waited_for(on_gpu, version):
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        for sparsity in (None, 0.5, None):
            for i, image in enumerate(frames(on_gpu, 4)):
                before = on_gpu.cuda.copies
                result = model(GpuImage(on_gpu.cuda, image, version, gap=i), sparsity)
                assert on_gpu.cuda.copies - before < image.nbytes  # labels came back, no pixel went over
                same_results([result], [reference(image, sparsity)])
                assert result.image is None
        images = frames(on_gpu, 2, seed=8)
        found = model.batch([GpuImage(on_gpu.cuda, image, version) for image in images])
        same_results(found, reference.batch(images))


def test_frames_on_the_gpu_may_be_streamed(on_gpu):
    images = frames(on_gpu, 6)
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        before = on_gpu.cuda.copies
        found = list(model.stream((GpuImage(on_gpu.cuda, image) for image in images), 0.5))
        assert on_gpu.cuda.copies - before < sum(image.nbytes for image in images)
        same_results(found, list(reference.stream(images, 0.5)))
        assert all(result.image is None for result in found)
        mixed = [GpuImage(on_gpu.cuda, image) if i % 2 else image for i, image in enumerate(images)]
        same_results(list(model.stream(mixed)), list(reference.stream(images)))


@pytest.mark.parametrize("stream", [None, 1], ids=["a stream of its own", "the default stream"])
def test_a_frame_of_pytorch_is_waited_for_on_its_current_stream(on_gpu, monkeypatch, stream):
    class Tensor(GpuImage):
        device = "cuda:0"

    def current_stream(device):
        assert device == "cuda:0"
        return SimpleNamespace(cuda_stream=0 if tensor.stream == 1 else tensor.stream)

    torch = SimpleNamespace(Tensor=Tensor, cuda=SimpleNamespace(current_stream=current_stream))
    monkeypatch.setitem(sys.modules, "torch", torch)
    image = frames(on_gpu, 1)[0]
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        tensor = Tensor(on_gpu.cuda, image, version=2, stream=stream)
        same_results([model(tensor)], [reference(image)])
        assert on_gpu.cuda.device_waits == 0
        same_results([model(GpuImage(on_gpu.cuda, image, version=2))], [reference(image)])
        assert on_gpu.cuda.device_waits == 1  # of a library that says nothing


def test_frames_on_the_gpu_that_cannot_be_run(on_gpu):
    image = frames(on_gpu, 1)[0]
    elsewhere, nowhere, managed = (GpuImage(on_gpu.cuda, image) for _ in range(3))
    on_gpu.cuda.places[elsewhere.address] = 2, 1
    del on_gpu.cuda.places[nowhere.address]
    on_gpu.cuda.places[managed.address] = 3, 1
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        with pytest.raises(FrameError, match=r"is on GPU 1, the engine runs on GPU 0 \(Simulated\).*to\('cuda:0'\)"):
            model(elsewhere)
        with pytest.raises(FrameError, match="in no memory that GPU 0"):
            model(nowhere)
        same_results([model(managed)], [reference(image)])
        with pytest.raises(FrameError, match='load the model with backend="tensorrt"'):
            reference(GpuImage(on_gpu.cuda, image))
        with pytest.raises(FrameError, match="some frames of the batch are on the GPU"):
            model.batch([GpuImage(on_gpu.cuda, image), image])
        with pytest.raises(BackendError, match="3 frames at once"):
            model.batch([GpuImage(on_gpu.cuda, image)] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4, 4)}, r"got shape \(4, 4\)"),
        ({"shape": (3, 4, 5)}, "channels last"),
        ({"shape": (0, 4, 3)}, "got shape"),
        ({"typestr": "<f4"}, "<f4; convert"),
        ({"strides": (16, 4, 1)}, r"strides \(16, 4, 1\).*contiguous"),
        ({"strides": (-12, 3, 1)}, "contiguous"),
        ({"data": None}, "not complete"),
        ({"stream": 0}, "stream 0"),
        ({"mask": "any"}, "no mask"),
    ],
    ids=str,
)
def test_what_is_no_frame_on_the_gpu(changes, message):
    about = {"shape": (4, 4, 3), "typestr": "|u1", "data": (4096, False), "version": 3, "stream": None, **changes}
    with pytest.raises(FrameError, match=message):
        read_device_frame(SimpleNamespace(__cuda_array_interface__=about))


LIMIT = 100 * 130


def large_frames(count, seed=9):
    """More than LIMIT pixels, all of different sizes; of coarse squares, so that something is left of them."""
    rng = np.random.default_rng(seed)

    def frame(height, width):
        squares = rng.integers(0, 256, (height // 12 + 1, width // 12 + 1, 3), np.uint8)
        return squares.repeat(12, 0).repeat(12, 1)[:height, :width].copy()

    return [frame(101 + 23 * i, 131 + 17 * i) for i in range(count)]


def copied(machine, run, *arguments):
    """Its result, and the bytes copied between the host and the GPU."""
    before = machine.cuda.copies
    return run(*arguments), machine.cuda.copies - before


def test_large_frames_of_the_host_are_letterboxed_on_the_gpu(on_gpu):
    shared, size = on_gpu.cuda.integrated, on_gpu.images().nbytes
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        small, at_the_limit = frames(on_gpu, 1)[0], np.zeros((100, 130, 3), np.uint8)
        for sparsity in (None, 0.5, None):
            model(small, sparsity)  # the plan itself is copied once
            for image in large_frames(3):
                model.backend.large_frame_pixels = None
                alone, without = copied(on_gpu, model, image, sparsity)
                model.backend.large_frame_pixels = LIMIT
                found, sent = copied(on_gpu, model, image, sparsity)
                same_results([found, alone], [reference(image, sparsity)] * 2)
                assert sent - without == (0 if shared else image.nbytes - size)
                assert found.image is image and found.timings.preprocess_ms == 0 < alone.timings.preprocess_ms
        for image in (small, at_the_limit):
            found, sent = copied(on_gpu, model, image)
            same_results([found], [reference(image)])
            assert sent == (0 if shared else without)
        image = large_frames(4)[3]
        given = image[::-1], image[3:, 5:-7], image[..., ::-1]  # rows that lie apart, or the wrong way round
        same_results([model(view) for view in given], [reference(view) for view in given])
        for batch in ([small, image], [image, small], large_frames(2)):
            same_results(model.batch(batch), reference.batch(batch))


def test_a_stream_sends_large_frames_whole(on_gpu):
    small, large = frames(on_gpu, 4), large_frames(4)
    mixed = [image for pair in zip(large, small) for image in pair]
    with load(on_gpu.engine) as model, load(on_gpu.model) as reference:
        model.backend.large_frame_pixels = LIMIT
        for given in (large, mixed, small):
            found = list(model.stream(given, 0.5))
            same_results(found, list(reference.stream(given, 0.5)))
            assert all(result.image is image for result, image in zip(found, given))
        _, sent = copied(on_gpu, lambda: list(model.stream(large * 3, 0.5)))
        assert on_gpu.cuda.integrated or sent > 3 * sum(image.nbytes for image in large)


@pytest.mark.parametrize("integrated", [False, True])
def test_full_hd_goes_to_an_integrated_gpu_whole(tmp_path, monkeypatch, exported, letterbox_library, integrated):
    machine = Machine(tmp_path, monkeypatch, exported, integrated=integrated)
    monkeypatch.setattr(
        tensorrt, "LetterboxKernel", lambda _, resize: QueuedLetterbox(machine.cuda, letterbox_library, resize)
    )
    backend = open_backend(machine.engine)
    full_hd, more = np.empty((1080, 1920, 3), np.uint8), np.empty((1081, 1920, 3), np.uint8)
    assert backend.prefers_gpu_letterbox([full_hd]) is integrated and backend.prefers_gpu_letterbox([more])
    assert not backend.prefers_gpu_letterbox([np.empty((720, 1280, 3), np.uint8)])


def test_memory_for_large_frames_grows_with_them_alone(on_gpu):
    smallest, middle, largest = large_frames(3)
    buffers = 1 if on_gpu.cuda.integrated else 2
    with load(on_gpu.engine) as model:
        model.backend.large_frame_pixels = LIMIT
        before, blocks = on_gpu.cuda.allocations, len(on_gpu.cuda.memory.blocks)
        for image, grown in ((middle, 1), (middle, 1), (smallest, 1), (largest, 2), (middle, 2), (largest, 2)):
            model(image)
            assert on_gpu.cuda.allocations - before == grown * buffers
            assert len(on_gpu.cuda.memory.blocks) - blocks == buffers
        on_gpu.cuda.failing["cudaHostAlloc"] = 2
        with pytest.raises(CudaError, match="cudaErrorMemoryAllocation"):
            model(large_frames(4)[3])
        on_gpu.cuda.failing.clear()
        model(largest)
    assert not on_gpu.cuda.memory.blocks


def test_large_frames_without_the_kernel_or_of_a_normalised_model(tmp_path, monkeypatch, exported, caplog):
    machine = Machine(tmp_path, monkeypatch, exported)
    monkeypatch.setenv("SPARSEVIT_PLUGINS", str(tmp_path / "absent.so"))
    image = large_frames(1)[0]
    with load(machine.engine) as model, load(machine.model) as reference:
        model.backend.large_frame_pixels = LIMIT
        for _ in range(2):
            same_results([model(image)], [reference(image)])
        assert caplog.text.count("large frames are scaled by the CPU") == 1 and "absent.so" in caplog.text
    normalised = Machine(tmp_path, monkeypatch, tiny.write_model(tmp_path / "model.onnx", layout="normalized"))
    with load(normalised.engine) as model, load(normalised.model) as reference:
        model.backend.large_frame_pixels = LIMIT
        same_results([model(image)], [reference(image)])


def test_no_plugins_for_frames_on_the_gpu(tmp_path, monkeypatch, exported):
    machine = Machine(tmp_path, monkeypatch, exported)
    monkeypatch.setenv("SPARSEVIT_PLUGINS", str(tmp_path / "absent.so"))
    with load(machine.engine) as model, pytest.raises(BackendError, match="letterboxed by a kernel.*absent.so"):
        model(GpuImage(machine.cuda, frames(machine, 1)[0]))
    monkeypatch.setenv("SPARSEVIT_PLUGINS", sys.executable)
    with load(machine.engine) as model, pytest.raises(BackendError, match="cannot letterbox on the GPU"):
        model(GpuImage(machine.cuda, frames(machine, 1)[0]))


@pytest.mark.parametrize("size_hw", [(101, 131), (64, 96)], ids=str)
def test_stretched_frames_are_stretched_on_the_gpu(tmp_path, monkeypatch, letterbox_library, size_hw):
    """Never letterboxed: on the GPU already, or large frames of the host."""
    machine = Machine(tmp_path, monkeypatch, tiny.write_model(tmp_path / "model.onnx", resize="stretch"))
    monkeypatch.setattr(
        tensorrt, "LetterboxKernel", lambda _, resize: QueuedLetterbox(machine.cuda, letterbox_library, resize)
    )
    image = np.random.RandomState(5).randint(0, 256, (*size_hw, 3)).astype(np.uint8)
    with load(machine.engine) as model, load(machine.model) as reference:
        wanted = reference(image)
        same_results([model(GpuImage(machine.cuda, image))], [wanted])
        model.backend.large_frame_pixels = 100
        found, sent = copied(machine, model, image)
        same_results([found], [wanted])
        assert machine.cuda.integrated or sent >= image.nbytes


def test_a_library_without_the_stretch_is_told(tmp_path):
    """One of before has the letterbox alone."""
    source = tmp_path / "old.c"
    source.write_text("int sparsevit_letterbox(void const* call, void* stream) { return 0; }\n")
    library = tmp_path / "old.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    LetterboxKernel(library)
    with pytest.raises(BackendError, match="cannot stretch on the GPU with .*old.so .*build the plugins again"):
        LetterboxKernel(library, "stretch")
