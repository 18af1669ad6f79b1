"""`sparsevit export-triton`: a model repository for a Triton server."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import options


class Kind(str, Enum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


def export_triton(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="An exported .onnx file, a bundled model's name, or an .engine file."),
    ],
    repository: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Folder of the server's models.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model on the server; its card's unless given.")
    ] = None,
    version: Annotated[int, typer.Option("--version-number", min=1, help="Number of the version's folder.")] = 1,
    sparsity: Annotated[
        str | None,
        typer.Option(
            "--sparsity",
            "-s",
            help=f"Level of requests that bring none. {options.SPARSITY_HELP} All windows unless given.",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Most frames of a run.")] = 8,
    delay_us: Annotated[
        int, typer.Option("--delay-us", min=0, help="Longest wait of a request for others to be joined with.")
    ] = 1000,
    instances: Annotated[
        int, typer.Option("--instances", min=1, help="Copies of the model at the same time, on each GPU or in all.")
    ] = 1,
    kind: Annotated[Kind, typer.Option("--kind", help="What instances run on.")] = Kind.auto,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of each instance on a CPU.")] = None,
    plugins: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Plugin library of an .engine; the installed one unless given.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model repository for NVIDIA's Triton Inference Server.

    An .onnx file is run by its ONNX Runtime backend, an .engine by its TensorRT backend. Run it from anywhere then:
    sparsevit run SOURCE -m triton://host:8001/NAME.
    """
    from sparsevit_exporter.triton import TritonOptions, export_triton, export_triton_plan, plugin_place
    from sparsevit_runtime.errors import SinkError
    from sparsevit_runtime.model import find_model
    from sparsevit_runtime.tensorrt.engine_card import read_sidecar
    from sparsevit_runtime.tensorrt.plugin_library import find_plugins

    from ..console import say

    path = find_model(model)
    how = TritonOptions(name, version, sparsity, max_batch, delay_us, instances, kind.value, threads)
    if name is not None and (repository / name / str(version)).exists() and not overwrite:
        raise SinkError(f"{repository / name / str(version)} exists; take another --version-number, or --overwrite")
    if path.suffix == ".onnx":
        folder = export_triton(path, repository, how)
        say(f"wrote {folder}: tritonserver --model-repository={repository}")
        return
    library = plugins
    if library is None and read_sidecar(path).plugin_layers:
        library = find_plugins().path
    folder = export_triton_plan(path, repository, library, how)
    with_plugins = f" --backend-config=tensorrt,plugins={plugin_place(repository)}" if library is not None else ""
    say(f"wrote {folder}: tritonserver --model-repository={repository}{with_plugins}")
