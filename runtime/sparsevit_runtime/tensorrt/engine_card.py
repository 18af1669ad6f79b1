"""The side-car of an engine: what it was built from, and the model card that TensorRT's format has no place for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..card import ModelCard, first_problem
from ..errors import CardError
from ..files import read_bounded
from .profile import MOST_LEVELS, Range

ENGINE_SCHEMA: Literal[1] = 1
NO_GPU = "none"
_MOST_BYTES = 64 << 20
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")]
_Text = Annotated[str, Field(max_length=65536)]
_Windows = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inputs(_Part):
    """Everything that decides what an engine is: two builds with equal inputs are one build.

    Attributes:
        onnx_sha256: digest of the model file and of the weights that lie in others (`OnnxFile.digest`).
        plugins_sha256: digest of the plugin library; None for an engine without plugins.
        tensorrt: flavour and version, such as ``tensorrt 10.3.0`` or ``tensorrt_rtx 1.7.1.116``.
        gpu: name and compute capability, or ``none`` for an engine built where there is no GPU.
        precision: precision of the graph, as the model card says.
        tf32: fp32 products may round their factors to TF32.
        in_place: scatters were to write into the map they read.
        profile: ranges by graph input.
        levels: `keep` that an optimisation profile each is tuned for; empty for a single profile.
    """

    onnx_sha256: _Digest
    plugins_sha256: _Digest | None
    tensorrt: _Text
    gpu: _Text
    precision: Literal["fp32", "fp16"]
    tf32: bool
    in_place: bool = False
    profile: dict[str, Range]
    levels: tuple[tuple[_Windows, ...], ...] = Field((), max_length=MOST_LEVELS)


_CALLED = {
    "onnx_sha256": "the model file",
    "plugins_sha256": "the plugin library",
    "tensorrt": "TensorRT",
    "gpu": "the GPU",
    "precision": "the precision",
    "tf32": "the use of TF32",
    "in_place": "scattering in place",
    "profile": "the profile",
    "levels": "the levels it is tuned for",
}


class EngineCard(_Part):
    """Content of ``model.engine.json``.

    Attributes:
        inputs: everything that the engine was built from.
        engine_sha256, engine_bytes: digest and size of the engine file.
        plugins_path: path where the plugin library was, for people: nothing is loaded from there; empty without.
        plugins_built_for: TensorRT headers, CUDA runtime and GPU architectures of the plugin library; empty without.
        plugin_layers: number of layers that are plugins.
        in_place_scatters: number of those that write into the map they read; the other scatters copy it.
        in_place_refused: reason why none do although they were to: what TensorRT said; empty otherwise.
        arithmetic: matrix products and convolutions of the network by type.
        precision_checked: ``engine`` when the built engine's tensors were read back, ``network`` where that needs a GPU
            that was not there: a strongly typed network's types are its engine's types.
        workspace_mib: scratch memory TensorRT was allowed to plan with.
        model: the model card.
    """

    schema_version: Literal[1] = ENGINE_SCHEMA
    inputs: Inputs
    engine_sha256: _Digest
    engine_bytes: _Count
    plugins_path: _Text = ""
    plugins_built_for: _Text = ""
    plugin_layers: _Count
    in_place_scatters: _Count = 0
    in_place_refused: _Text = ""
    arithmetic: dict[str, _Count]
    precision_checked: Literal["engine", "network"]
    workspace_mib: _Count
    model: ModelCard


def sidecar_path(engine: str | Path) -> Path:
    """``model.engine`` -> ``model.engine.json``."""
    engine = Path(engine)
    return engine.with_name(engine.name + ".json")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_sidecar(engine: str | Path) -> EngineCard:
    """The side-car of an engine file.

    Raises:
        CardError: it is missing, unreadable, or of another schema.
    """
    path = sidecar_path(engine)
    try:
        if path.exists() and not path.is_file():  # whoever gave the engine gave this, too: a pipe would never end
            raise ValueError("it is no file")
        return EngineCard.model_validate_json(read_bounded(path, _MOST_BYTES))
    except OSError as error:
        raise CardError(
            f"cannot read {path} ({error.strerror or error}), the card of {Path(engine).name}; keep both files "
            "together, or build the engine again with `sparsevit build`"
        ) from error
    except ValidationError as error:
        raise CardError(f"{path} is no engine card: {first_problem(error)}; build the engine again") from error
    except ValueError as error:
        raise CardError(f"{path} is no engine card: {error}; build the engine again") from error


def changes(engine: str | Path, inputs: Inputs) -> list[str]:
    """Why an engine must be built from `inputs`; empty when the engine that is there was built from just those."""
    engine = Path(engine)
    if not engine.is_file():
        return [f"there is no {engine.name} yet"]
    try:
        card = read_sidecar(engine)
    except CardError:
        return [f"{sidecar_path(engine).name} is missing or not readable"]
    found = []
    for name, called in _CALLED.items():
        before, now = getattr(card.inputs, name), getattr(inputs, name)
        if before != now:
            found.append(f"{called} changed{_values(name, before, now)}")
    if not found and sha256(engine.read_bytes()) != card.engine_sha256:
        found.append(f"{engine.name} is not the file that its card describes")
    return found


def _values(name: str, before: object, now: object) -> str:
    if name in ("profile", "levels"):
        return ""
    if name.endswith("_sha256"):
        short = [value[:8] if isinstance(value, str) else "none" for value in (before, now)]
        return f" (sha256 {short[0]} -> {short[1]})"
    return f" ({before} -> {now})"
