"""ONNX Runtime on CUDA, simulated: custom ops registered by themselves, buffers bound, frames that stay on the GPU."""

from __future__ import annotations

import gc
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from host_kernels import host_kernels
from host_ort import host_ort
from simulated_frames import GpuImage, QueuedLetterbox
from simulated_gpu import Cuda
from simulated_ort import CPU, CUDA, simulate
from sparsevit_runtime import custom_ops, load
from sparsevit_runtime.backends import LoadOptions, onnxruntime_session, open_backend
from sparsevit_runtime.backends import onnxruntime as backend_module
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.cuda import CudaRuntime
from sparsevit_runtime.diagnostics import optimised_nodes
from sparsevit_runtime.diagnostics.optimised import TO_HOST
from sparsevit_runtime.errors import BackendError, FrameError, MissingDependencyError, ModelError
from sparsevit_runtime.graph.host_counts import with_host_counts
from sparsevit_runtime.graph.nodes import read_nodes
from sparsevit_runtime.graph.onnx_file import read_onnx

ON_CUDA = [(CUDA, {"use_tf32": "0"}), CPU]
WITH_GRAPHS = [(CUDA, {"use_tf32": "0", "enable_cuda_graph": "1"}), CPU]


class Machine:
    """A GPU with ONNX Runtime on it, a model, and the answers of the CPU."""

    def __init__(self, monkeypatch, model, cuda=None):
        self.model, self.cuda = model, cuda
        self.reference = open_backend(model)
        self.session = simulate(monkeypatch, cuda)
        monkeypatch.setattr(onnxruntime_session, "_SAID", set())
        monkeypatch.setattr(custom_ops, "_PACKAGED", model.with_name("packaged.so"))
        monkeypatch.delenv(custom_ops.VARIABLE, raising=False)
        self.rng = np.random.default_rng(3)

        def open_cuda():
            if cuda is None:
                raise MissingDependencyError("cuda is not installed")
            return CudaRuntime(cuda)

        monkeypatch.setattr(backend_module, "open_cuda", open_cuda)

        def kernel(path, resize):
            return QueuedLetterbox(cuda, path or host_kernels(), resize)

        monkeypatch.setattr(backend_module, "LetterboxKernel", kernel)

    def images(self, batch=1):
        size = self.reference.card.input
        return self.rng.integers(0, 256, (batch, size.height, size.width, 3), dtype=np.uint8)

    def keep(self, share):
        return np.array([int(s.windows * share) for s in self.reference.card.stages for _ in range(s.pairs)])

    def same(self, backend, batch=1, share=1.0):
        feeds = feeds_of(self.images(batch), self.keep(share))
        found, wanted = (each.run(feeds, each.output_names) for each in (backend, self.reference))
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def machine(monkeypatch, exported) -> Machine:
    """Without cuda-python."""
    return Machine(monkeypatch, exported())


@pytest.fixture(params=["discrete", "integrated"])
def bound(request, monkeypatch, exported) -> Machine:
    return Machine(monkeypatch, exported(), Cuda(request.param == "integrated"))


@pytest.fixture
def library(monkeypatch):
    """Named in the environment."""
    monkeypatch.setenv(custom_ops.VARIABLE, str(host_ort()))
    return host_ort()


def test_the_ops_are_registered_by_themselves_on_cuda_alone(machine, library):
    nodes = read_onnx(machine.model).nodes
    backend = open_backend(machine.model)
    assert nodes and backend.ops.nodes == nodes and not backend.ops.others
    assert str(backend.ops) == f"{', '.join(nodes)} ({library.name})"
    assert backend.details["custom ops"] == str(backend.ops)
    assert backend.details["fp32 products"] == "in full, not TF32"
    machine.same(backend, 2, 0.5)
    on_cpu = open_backend(machine.model, options=LoadOptions(device="cpu"))
    assert on_cpu.ops.library is None and "custom ops" not in on_cpu.details
    machine.same(on_cpu)
    assert [providers for providers, _ in machine.session.opened] == [WITH_GRAPHS, [CPU]]


def test_a_file_in_half_precision(monkeypatch, exported):
    machine = Machine(monkeypatch, exported("fp16"))
    backend = open_backend(machine.model, options=LoadOptions(plugins=host_ort()))
    assert backend.ops.nodes == read_onnx(machine.model).nodes, str(backend.ops)
    feeds = feeds_of(machine.images(2), machine.keep(0.5))
    found, wanted = (each.run(feeds, ["labels"])["labels"] for each in (backend, machine.reference))
    assert (found == wanted).mean() > 0.99


def test_a_model_loaded_as_portable_has_none(machine, library, caplog):
    backend = open_backend(machine.model, options=LoadOptions(portable=True))
    assert backend.details["custom ops"] == "none: the model was loaded as portable"
    assert not caplog.records
    machine.same(backend)


def test_tf32_is_asked_for(machine, library):
    backend = open_backend(machine.model, options=LoadOptions(precision="tf32"))
    assert machine.session.opened[0][0] == [(CUDA, {"use_tf32": "1", "enable_cuda_graph": "1"}), CPU]
    assert backend.details["fp32 products"] == "rounded to TF32"


def test_without_a_library_the_bodies_run_which_is_said_once(machine, caplog):
    for _ in range(2):
        backend = open_backend(machine.model)
        assert "no library of custom ops: looked for " in backend.details["custom ops"]
        machine.same(backend, 1, 0.5)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and "slower: no library" in said[0] and "packaged.so" in said[0]


def broken(folder):
    """It says that it has the ops, and has no way to register them."""
    path = folder / "broken.so"
    path.write_bytes(host_kernels().read_bytes() + b"sparsevit-ort api=18 cpu nodes=WindowGather;")
    return path


def test_a_library_that_does_not_register_is_left_out(machine, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv(custom_ops.VARIABLE, str(broken(tmp_path)))
    backend = open_backend(machine.model)
    assert "broken.so cannot be used: " in backend.details["custom ops"]
    assert "broken.so cannot be used: " in caplog.text
    machine.same(backend)


@pytest.mark.parametrize("made", ["missing", "text", "kernels", "broken"])
def test_a_library_that_was_asked_for_has_to_be_one(machine, tmp_path, made):
    path = {"kernels": host_kernels(), "broken": broken(tmp_path)}.get(made, tmp_path / "named.so")
    if made == "text":
        path.write_text("no library")
    message = {
        "missing": r"no library of custom ops: looked for .*named.so \(LoadOptions.plugins\)",
        "text": "is not a shared library; give the path of libsparsevit_ort.so",
        "kernels": "has no custom ops for ONNX Runtime",
        "broken": "cannot be used: .*load the model as portable",
    }[made]
    with pytest.raises(BackendError, match=message):
        open_backend(machine.model, options=LoadOptions(plugins=path))
    backend = open_backend(machine.model, options=LoadOptions(plugins=host_ort()))
    assert backend.ops.library.path == host_ort()


def test_a_wrong_variable_does_not_mean_the_packaged_library(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(custom_ops, "_PACKAGED", host_ort())
    assert open_backend(machine.model).ops.library.path == host_ort()
    monkeypatch.setenv(custom_ops.VARIABLE, str(tmp_path / "gone.so"))
    assert f"gone.so (${custom_ops.VARIABLE})" in open_backend(machine.model).ops.reason


def test_nodes_that_the_library_does_not_know_run_as_bodies(machine, library, tmp_path):
    """As of a file that is newer than the library."""
    model, (renamed, *others) = onnx.load(machine.model), read_onnx(machine.model).nodes
    for node in [*model.graph.node, *model.functions]:
        name = "op_type" if isinstance(node, onnx.NodeProto) else "name"
        if getattr(node, name) == renamed:
            setattr(node, name, "WindowNovelty")
    onnx.save(model, tmp_path / "newer.onnx")
    backend = open_backend(tmp_path / "newer.onnx")
    assert backend.ops.others == ("WindowNovelty",) and backend.ops.nodes == tuple(others)
    assert str(backend.ops).endswith("; WindowNovelty as portable bodies")
    machine.same(backend, 2, 0.5)


def test_memory_is_reused_where_no_body_is_left_that_asks_for_shapes(machine, library, tmp_path, caplog):
    model = onnx.load(machine.model)
    for function in model.functions:
        function.node.append(onnx.helper.make_node("Shape", function.input[:1], ["a"]))
        function.node.append(onnx.helper.make_node("Shape", function.input[:1], ["b"]))
    onnx.save(model, tmp_path / "earlier.onnx")
    open_backend(tmp_path / "earlier.onnx")
    open_backend(tmp_path / "earlier.onnx", options=LoadOptions(portable=True))
    assert [reuse for _, reuse in machine.session.opened] == [True, False]
    assert caplog.text.count("sparsevit export earlier.onnx") == 1


def test_a_broken_file_is_still_a_broken_file(machine, library, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(machine.model.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"cannot open .*cut.onnx"):
        open_backend(path)


def test_the_optimised_graph_tells_how_much_arithmetic_of_shapes_is_left(machine, library):
    """Of the CPU's optimiser here; on a GPU it has the copies to the host as well."""
    with_ops, bodies = (optimised_nodes(machine.model, portable=portable) for portable in (False, True))
    nodes = read_onnx(machine.model).nodes
    assert all(with_ops[node] for node in nodes) and not any(bodies[node] for node in nodes)
    assert with_ops["Shape"] < bodies["Shape"] and not with_ops["ScatterND"] and with_ops[TO_HOST] == 0


def test_nothing_goes_through_pageable_memory(bound, library):
    backend = open_backend(bound.model)
    assert backend.capabilities.device_frames and not backend.capabilities.queue
    assert backend.details["device"] == "Simulated, compute capability 8.7"
    assert backend.details["memory"] == "pinned, bound to the session"
    for batch, share in ((1, 1.0), (1, 0.5), (3, 0.3), (2, 0.0)):
        bound.same(backend, batch, share)
    assert bound.session.plain == 0
    assert bound.session.bound == 4 * (1 + len(backend.output_names))
    backend.close()
    gc.collect()
    assert not bound.cuda.memory.blocks and not bound.cuda.faults


def test_memory_is_made_once_for_a_batch(bound, library):
    backend = open_backend(bound.model)
    bound.same(backend, 2)
    before = bound.cuda.allocations
    for batch, share in ((2, 0.5), (1, 1.0), (2, 0.0)):
        bound.same(backend, batch, share)
    assert bound.cuda.allocations == before


def test_only_what_is_asked_for_is_brought_back(monkeypatch, exported, library):
    machine = Machine(monkeypatch, exported(), Cuda())
    backend = open_backend(machine.model)
    feeds = feeds_of(machine.images(2), machine.keep(0.5))
    backend.run(feeds, backend.output_names)
    before = machine.cuda.copies
    (labels,) = backend.run(feeds, ["labels"]).values()
    assert machine.cuda.copies - before == feeds["image"].nbytes + labels.nbytes


def test_several_threads_have_buffers_of_their_own(bound, library):
    backend = open_backend(bound.model)
    images = [bound.images() for _ in range(4)]
    wanted = [bound.reference.run(feeds_of(each), ["labels"])["labels"] for each in images]

    def work(i):
        return np.array_equal(backend.run(feeds_of(images[i % 4]), ["labels"])["labels"], wanted[i % 4])

    with ThreadPoolExecutor(2) as pool:  # the simulated streams are not made for more
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("version", [2, 3])
def test_frames_on_the_gpu_stay_there(bound, library, version):
    frames = [bound.rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((101, 131), (40, 200))]
    with load(bound.model) as model, load(bound.model, device="cpu") as reference:
        for frame in frames:
            found = model(GpuImage(bound.cuda, frame, version, gap=5), 0.5)
            np.testing.assert_array_equal(found.label_map, reference(frame, 0.5).label_map)
            assert found.image is None
        both = model.batch([GpuImage(bound.cuda, frame, version) for frame in frames])
        for found, frame in zip(both, frames):
            np.testing.assert_array_equal(found.label_map, reference(frame).label_map)


def test_frames_elsewhere_are_refused(bound, library):
    frame = GpuImage(bound.cuda, np.zeros((40, 50, 3), np.uint8))
    bound.cuda.places[frame.address] = 2, 1
    with load(bound.model) as model, pytest.raises(FrameError, match="the frame is on GPU 1, .* runs on GPU 0"):
        model(frame)


def test_without_cuda_python_frames_of_the_gpu_are_refused(machine, library):
    backend = open_backend(machine.model)
    assert not backend.capabilities.device_frames
    assert "install cuda-python" in backend.details["memory"]


def test_a_failing_run_leaves_nothing_behind(bound, library):
    backend = open_backend(bound.model)
    bound.same(backend)
    bound.cuda.failing["cudaMemcpyAsync" if not bound.cuda.integrated else "cudaEventRecord"] = 700
    with pytest.raises(BackendError, match="cudaErrorIllegalAddress"):
        backend.run(feeds_of(bound.images()), ["labels"])
    bound.cuda.failing.clear()
    bound.same(backend, 1, 0.5)
    backend.close()
    assert onnxruntime.InferenceSession is bound.session


def labels(backend, feeds):
    return backend.run(feeds, ["labels"])["labels"]


def test_runs_are_recorded_from_the_second_time_on(bound, library):
    """Whatever image they see, a replayed run has the `keep` of its recording: each `keep` has its own."""
    backend = open_backend(bound.model)
    kinds = [(1, 1.0), (1, 0.5), (2, 0.5)]
    for turn in range(4):
        for batch, share in kinds:
            feeds = feeds_of(bound.images(batch), bound.keep(share))
            np.testing.assert_array_equal(labels(backend, feeds), labels(bound.reference, feeds))
        assert (bound.session.recorded, bound.session.replayed) == ((3, 3 * turn - 3) if turn else (0, 0))
    assert backend.details["cuda graphs"] == "3 held"
    for _ in range(3):
        bound.same(backend, 1, 0.5)  # all outputs: runs of another kind
    assert bound.session.recorded == 4


def test_graphs_are_held_up_to_a_limit(bound, library):
    backend = open_backend(bound.model, options=LoadOptions(graphs=2))
    for share in (1.0, 0.75, 0.5, 0.25) * 3:
        feeds = feeds_of(bound.images(), bound.keep(share))
        np.testing.assert_array_equal(labels(backend, feeds), labels(bound.reference, feeds))
    assert bound.session.recorded == 2 and backend.details["cuda graphs"] == "2 held"
    off = open_backend(bound.model, options=LoadOptions(graphs=0))
    assert bound.session.opened[-1][0] == ON_CUDA and off.details["cuda graphs"] == "none"


def test_threads_record_for_themselves(bound, library):
    backend = open_backend(bound.model)

    def run(seed):
        feeds = feeds_of(np.full((1, *bound.images().shape[1:]), seed, np.uint8), bound.keep(0.5 + seed % 2 / 2))
        return feeds, labels(backend, feeds)

    with ThreadPoolExecutor(3) as pool:
        for feeds, found in pool.map(run, range(60)):
            np.testing.assert_array_equal(found, labels(bound.reference, feeds))
    assert bound.session.replayed


def test_a_session_that_cannot_record_runs_without(bound, library):
    bound.session.refuses_graphs = "not all nodes are on the GPU"
    backend = open_backend(bound.model)
    assert [providers for providers, _ in bound.session.opened] == [WITH_GRAPHS, ON_CUDA]
    assert backend.ops.nodes and backend.details["cuda graphs"] == "none"
    bound.same(backend)


def test_a_run_that_cannot_be_recorded_is_run_by_another_session(bound, library, caplog):
    """What failed may be recording still."""
    bound.session.breaks_recording = "stream is capturing"
    backend = open_backend(bound.model)
    for _ in range(3):
        feeds = feeds_of(bound.images(), bound.keep(0.5))
        np.testing.assert_array_equal(labels(backend, feeds), labels(bound.reference, feeds))
    assert [providers for providers, _ in bound.session.opened] == [WITH_GRAPHS, ON_CUDA]
    assert backend.details["cuda graphs"] == "off: stream is capturing"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "CUDA graphs are given up, runs are slower: stream is capturing"
    ]


def test_without_cuda_python_nothing_is_recorded(machine, library):
    backend = open_backend(machine.model)
    for _ in range(3):
        machine.same(backend, 1, 0.5)
    assert machine.session.plain and not machine.session.recorded and backend.details["cuda graphs"] == "none"


def test_bodies_are_not_recorded(bound, library):
    """Some of their operators run on the host."""
    backend = open_backend(bound.model, options=LoadOptions(portable=True))
    assert bound.session.opened[-1][0] == ON_CUDA and backend.details["cuda graphs"] == "none"


def test_counts_of_a_file_that_gathers_them_are_read_on_the_host(bound, library, tmp_path, monkeypatch):
    """As bundled models and other files do that were exported before `KeepCount` was."""
    model = onnx.load(bound.model)
    for number, node in enumerate(node for node in model.graph.node if node.op_type == "KeepCount"):
        place = numpy_helper.from_array(np.array([node.attribute[0].i]), f"place{number}")
        model.graph.initializer.append(place)
        gather = helper.make_node("Gather", ["keep", place.name], node.output, name=node.name, axis=0)
        node.CopyFrom(gather)
    assert number
    for function in [f for f in model.functions if f.name == "KeepCount"]:
        model.functions.remove(function)
    path = tmp_path / "before.onnx"
    onnx.save(model, path)
    kinds = [node.kind for node in read_nodes(with_host_counts(path.read_bytes()))]
    assert kinds == [node.kind for node in read_nodes(bound.model.read_bytes())]
    backend = open_backend(path)
    assert bound.session.opened[-1][0] == WITH_GRAPHS
    for share in (1.0, 0.5, 0.5, 0.25):
        feeds = feeds_of(bound.images(), bound.keep(share))
        np.testing.assert_array_equal(labels(backend, feeds), labels(bound.reference, feeds))
    assert bound.session.recorded == 1
