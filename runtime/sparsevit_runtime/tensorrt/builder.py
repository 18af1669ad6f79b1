"""From a model file to an engine and its side-car, or the word that they are up to date."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import signal
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import child_process
from ..contract import IMAGE
from ..dependencies import missing, require
from ..errors import BuildError, ModelError, SinkError
from ..files import write_atomic
from ..graph.branches import without_conditions
from ..graph.onnx_file import OnnxFile, read_onnx, without_functions
from ..graph.real_first import with_real_first
from ..progress import SILENT, Progress
from ..windows.plan import PlanLike
from .cache import TimingCache, engine_file, reasons_to_build, record_plugins, sole_builder
from .capabilities import FLAVOURS, has_aliased_plugins, has_timing_cache, launch_environment
from .device import Gpu, find_gpu, workspace_bytes
from .engine_card import NO_GPU, EngineCard, Inputs, changes, read_sidecar, sha256, sidecar_path
from .limits import check_topk
from .messages import Built, Request
from .plugin_library import WITHOUT_PLUGIN, PluginLibrary, find_plugins
from .profile import make_levels, make_profile

_MIB = 1 << 20
_SHOWN_LINES = 5


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        portable: functions stay in the graph; no plugin is needed, and none is used.
        batch: smallest, typical and largest batch.
        levels: sparsities, in any form `Plan.parse` reads, that the engine is tuned for, by an optimisation profile
            each, which makes the build as many times as long; none for one profile, tuned for 60%. Either way an engine
            runs at every sparsity.
        workspace_mib: scratch memory TensorRT may plan with; None for half of what is free on the device.
        timing_cache: file with measured kernel times, made where it does not exist and extended by each build; None for
            the one of this TensorRT and GPU in the cache folder (`cache.cache_folder`).
        plugins: the plugin library; None for the one `find_plugins` finds.
        tf32: fp32 products may round their factors to TF32: faster, ten bits of mantissa.
        in_place: scatters may write into the map they read, where that is safe and TensorRT can.
        flavour: ``tensorrt`` or ``tensorrt_rtx``; None for the first that is installed.
        force: build even what is up to date.
    """

    portable: bool = False
    batch: tuple[int, int, int] = (1, 1, 1)
    levels: tuple[PlanLike, ...] = ()
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    plugins: Path | None = None
    tf32: bool = False
    in_place: bool = True
    flavour: str | None = None
    force: bool = False


@dataclass(frozen=True)
class _Job:
    """An engine to build: everything but where it goes."""

    file: OnnxFile
    inputs: Inputs
    plugins: PluginLibrary | None
    gpu: Gpu | None
    options: BuildOptions


@dataclass(frozen=True)
class BuildReport:
    """What a call of `build_engine` did.

    Attributes:
        engine: the file.
        card: its side-car.
        reasons: reasons why it was built; empty when it was up to date.
    """

    engine: Path
    card: EngineCard
    reasons: tuple[str, ...]


def build_engine(
    model: str | Path, engine: str | Path, options: BuildOptions | None = None, progress: Progress = SILENT
) -> BuildReport:
    """Builds a TensorRT engine from an exported model, unless the one that is there was built from the same things.

    TensorRT works in a process of its own: nothing it does to its process reaches the caller's, and its memory is free
    afterwards. The side-car is written before the engine, both whole or not at all.

    Args:
        model: .onnx file of `sparsevit export`.
        engine: file to write; its card is written beside it (`sidecar_path`).
        options: settings of the build.
        progress: listener, told TensorRT's phases from this thread; a phase goes on after those within it.

    Raises:
        ModelError, CardError: the model file is broken, or not one of ours.
        BuildError: a wrong option, no plugin library, or TensorRT refuses the model; with its first errors.
        MissingDependencyError: no TensorRT is installed.
        SinkError: a file cannot be written.
    """
    options = options or BuildOptions()
    job, engine = _prepare(model, options), Path(engine)
    reasons = changes(engine, job.inputs)
    if not reasons:
        if not options.force:
            return _up_to_date(job, engine)
        reasons = ["asked for"]
    for target in filter(None, (engine, options.timing_cache)):
        if not target.parent.is_dir():  # known before minutes of building
            raise SinkError(f"cannot write {target}: no folder {target.parent}; make it first")
    return _build(job, engine, progress, reasons)


def build_cached(model: str | Path, options: BuildOptions | None = None, progress: Progress = SILENT) -> BuildReport:
    """The engine of a model file in the cache folder, built when there is none of the same content.

    Its name is made from everything that decides what it is. Several processes may ask for the same engine: one builds,
    the others wait for it.

    Args:
        model, options, progress: the same as in `build_engine`; an engine that is there is never built again.

    Raises:
        ModelError, CardError, BuildError, MissingDependencyError, SinkError: as `build_engine`.
    """
    job = _prepare(model, options or BuildOptions())
    engine = engine_file(job.file.card.name, job.inputs)
    if reasons_to_build(engine, job.inputs):
        with sole_builder(engine):
            reasons = reasons_to_build(engine, job.inputs)
            if reasons:
                return _build(job, engine, progress, reasons)
    return _up_to_date(job, engine)


def _prepare(model: str | Path, options: BuildOptions) -> _Job:
    if options.workspace_mib is not None and options.workspace_mib < 1:
        raise BuildError(f"a workspace of {options.workspace_mib} MiB; give at least 1, or leave it out")
    file = read_onnx(model)
    profile = make_profile(file.card, options.batch)
    levels = make_levels(file.card, options.levels)
    check_topk(file, options.portable)
    trt = _find_tensorrt(options.flavour)
    flavour, version = trt.__name__, trt.__version__
    if options.timing_cache is not None and not has_timing_cache(flavour):
        raise BuildError(f"{flavour} keeps no timing cache; leave {options.timing_cache} out")
    plugins = None if options.portable or not _plugin_nodes(file) else find_plugins(options.plugins)
    if plugins is not None:
        plugins.check_version(flavour, version)
    gpu = find_gpu()
    inputs = Inputs(
        onnx_sha256=file.digest(),
        plugins_sha256=None if plugins is None else sha256(plugins.data),
        tensorrt=f"{flavour} {version}",
        gpu=NO_GPU if gpu is None else f"{gpu.name}, compute capability {gpu.compute_capability}",
        precision=file.card.precision,
        tf32=options.tf32,
        in_place=options.in_place and plugins is not None and has_aliased_plugins(trt),
        profile=profile,
        levels=levels,
    )
    return _Job(file, inputs, plugins, gpu, options)


def _plugin_nodes(file: OnnxFile) -> list[str]:
    """Types of a file's nodes that take plugins; the others' functions stay in the graph."""
    return [node for node in file.nodes if node not in WITHOUT_PLUGIN]


def _graph(file: OnnxFile, portable: bool) -> bytes:
    """What TensorRT is given of a file: functions of its nodes, or their names for plugins to take."""
    data = file.data if portable else without_functions(file.data, WITHOUT_PLUGIN)
    try:
        return with_real_first(without_conditions(data), IMAGE)
    except ValueError as error:
        raise ModelError(f"the functions of {file.path} do not fit its nodes ({error}); export it again") from error


def _up_to_date(job: _Job, engine: Path) -> BuildReport:
    """Nothing to do, but to note where the same plugin library is now."""
    card = read_sidecar(engine)
    place = "" if job.plugins is None else str(job.plugins.path)
    _record(job)
    if card.plugins_path != place:
        card = card.model_copy(update={"plugins_path": place})
        with contextlib.suppress(SinkError):  # a folder that may only be read
            _write_card(engine, card)
    return BuildReport(engine, card, ())


def _record(job: _Job) -> None:
    """Notes the plugin library where a run of this user looks for it."""
    if job.plugins is not None and job.inputs.plugins_sha256 is not None and not job.plugins.is_packaged:
        record_plugins(job.plugins.path, job.inputs.plugins_sha256)


def _write_card(engine: Path, card: EngineCard) -> None:
    write_atomic(sidecar_path(engine), (card.model_dump_json(indent=2) + "\n").encode())


def _find_tensorrt(flavour: str | None) -> ModuleType:
    """The TensorRT to use; it has a version."""
    if flavour is not None and flavour not in FLAVOURS:
        raise BuildError(f"no TensorRT flavour {flavour!r}; choose {' or '.join(FLAVOURS)}, or leave it out")
    for name in FLAVOURS if flavour is None else (flavour,):
        if importlib.util.find_spec(name) is None:
            continue
        try:
            trt = require(name)
            trt.__version__  # noqa: B018 - a module without it is a broken installation
            return trt
        except (ImportError, OSError, AttributeError) as error:
            raise BuildError(
                f"{name} is installed but does not load ({error}); its libraries are missing or of another version. "
                f"Install it again, or leave it out with --flavour"
            ) from error
    raise missing(flavour or FLAVOURS[0])


def _build(job: _Job, engine: Path, progress: Progress, reasons: list[str]) -> BuildReport:
    file, inputs, plugins, gpu, options = job.file, job.inputs, job.plugins, job.gpu, job.options
    workspace = workspace_bytes(gpu) if options.workspace_mib is None else options.workspace_mib * _MIB
    flavour = inputs.tensorrt.split()[0]
    with tempfile.TemporaryDirectory(prefix="sparsevit-build-") as name:
        folder = Path(name)
        graph, built_file = folder / "model.onnx", folder / "engine"
        times_before, times_after = folder / "times", folder / "new-times"
        graph.write_bytes(_graph(file, options.portable))
        cache = _timing_cache(job)
        if cache is not None:
            times_before.write_bytes(cache.read())
        request = Request(
            flavour=flavour,
            model=str(graph),
            source=str(file.path.absolute()),
            plugins=None if plugins is None else str(plugins.path),
            nodes=_plugin_nodes(file),
            precision=file.card.precision,
            tf32=options.tf32,
            in_place=inputs.in_place,
            profile={key: [list(r.min), list(r.opt), list(r.max)] for key, r in inputs.profile.items()},
            levels=[list(level) for level in inputs.levels],
            workspace=workspace,
            engine=str(built_file),
            timing_cache=None if cache is None else str(times_before),
            timing_cache_name=str(cache.path) if cache is not None and cache.named else None,
            timing_cache_out=None if cache is None else str(times_after),
            gpu=gpu is not None,
        )
        links = folder / "links"
        links.mkdir()
        built = _run_worker(request, launch_environment(flavour, links), progress)
        data = built_file.read_bytes()
        times = b"" if cache is None else times_after.read_bytes()
    if built.in_place_refused:
        logging.getLogger(__name__).warning("scatters copy their maps: %s", built.in_place_refused)
    card = EngineCard(
        inputs=inputs,
        engine_sha256=sha256(data),
        engine_bytes=len(data),
        plugins_path="" if plugins is None else str(plugins.path),
        plugins_built_for="" if plugins is None else plugins.built_for,
        workspace_mib=workspace // _MIB,
        model=file.card,
        **asdict(built),
    )
    # The engine last: without it, or with an older one, the card does not fit and the next build starts anew.
    _write_card(engine, card)
    write_atomic(engine, data)
    _record(job)
    if cache is not None and times:
        cache.write(times)
    return BuildReport(engine, card, tuple(reasons))


def _timing_cache(job: _Job) -> TimingCache | None:
    if job.options.timing_cache is not None:
        return TimingCache(job.options.timing_cache, named=True)
    flavour = job.inputs.tensorrt.split()[0]
    return TimingCache.default(job.inputs.tensorrt, job.inputs.gpu) if has_timing_cache(flavour) else None


def _run_worker(request: Request, environment: dict[str, str], progress: Progress) -> Built:
    command = child_process.command(f"{__package__}.worker")
    pipe = subprocess.PIPE
    answer: dict[str, Any] = {}
    piece: tuple[str, int] | None = None
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, text=True, env=environment) as worker:
            given, answers = worker.stdin, worker.stdout
            if given is None or answers is None:
                raise BuildError("the process that builds engines has no pipes; report this")
            try:
                with contextlib.suppress(BrokenPipeError):  # it did not even start; its exit code says more
                    given.write(json.dumps(asdict(request)))
                    given.close()
                for line in answers:
                    answer = json.loads(line)
                    if "progress" in answer:
                        phase, done, steps = answer["progress"]
                        if piece != (phase, steps):
                            piece = phase, steps
                            progress.start(phase, steps)
                        progress.advance(done)
            except BaseException:
                worker.kill()
                raise
        said.seek(0)
        # What a plugin library writes that is built for another major version of TensorRT: it cannot reach the log.
        lines = [" ".join(line.split()) for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    if "built" in answer:
        return Built(**answer["built"])
    tail = "; ".join(dict.fromkeys(lines[-_SHOWN_LINES:]))
    if "error" in answer:
        raise BuildError(answer["error"] + (f". On stderr: {tail}" if tail else ""))
    code = worker.returncode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise BuildError(
        f"TensorRT's process ended with {ended} while building {request.source}: {tail or 'it said nothing'}. Out of "
        "memory ends so, too: close other programs or give a smaller --workspace"
    )
