"""What the file of a service says: TOML, read into values that are checked one by one."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sparsevit_runtime.errors import ArgumentError, ConfigError, SparseViTError
from sparsevit_runtime.files import read_bounded
from sparsevit_runtime.sinks import check_sink, folder_of
from sparsevit_runtime.sinks.images import PICTURE_SUFFIXES
from sparsevit_runtime.sinks.video import VIDEO_SUFFIXES
from sparsevit_runtime.sources import may_be_live
from sparsevit_runtime.sources.addresses import hide_password
from sparsevit_runtime.texts import printable, shown

from ..options import DEFAULT_MODEL, tracking_at
from ..outputs import place_of

if TYPE_CHECKING:
    from sparsevit_runtime import Tracking
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the same, before Python had it

#: No such file is as large.
_MOST_BYTES = 16 << 20
#: In a sink's URI: the name of the source, one sink for each.
SOURCE_MARK = "{source}"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
_Ms = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
_SPARSITIES = '0.6, [0.6, 0.6, 0.4, 0], "60%", "plan.json"'
#: A sparsity in any form that the command line takes: a number, a list, or text.
SparsityLike = float | str | tuple[float, ...]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelConfig(_Part):
    """What runs.

    Attributes:
        name: name of a bundled model.
        path: path of an exported file, in place of a name.
        sparsity: share of windows pruned; None for none. Not beside a governor's target.
        backend: auto, onnxruntime or tensorrt.
        device: cpu or cuda; None for the best there is.
        threads: CPU threads; None for one per physical core.
        threshold: least score of a detection; what the card says where it is not given.
    """

    name: str | None = Field(default=None, min_length=1)
    path: str | None = Field(default=None, min_length=1)
    sparsity: Annotated[SparsityLike, Field(union_mode="left_to_right")] | None = None
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    device: Literal["cpu", "cuda"] | None = None
    threads: int | None = Field(default=None, ge=1, le=4096)
    threshold: float | None = Field(default=None, ge=0, le=1)

    @field_validator("sparsity", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one(self) -> ModelConfig:
        if self.name is not None and self.path is not None:
            raise ValueError("name and path are both given; leave one out")
        return self

    @property
    def file(self) -> str:
        """What `load` takes."""
        return self.path or self.name or DEFAULT_MODEL


class SourceConfig(_Part):
    """Where frames come from.

    Attributes:
        uri: URI as `sparsevit run` takes it.
        max_reconnect: attempts in a row to open a live source anew; None for ever.
        timeout_ms: longest wait for it to open, and for a frame; None for 15 and 10 s.
    """

    uri: str | int
    max_reconnect: int | None = Field(default=None, ge=0, le=10**9)
    timeout_ms: _Ms | None = None


class SinkConfig(_Part):
    """Where results go.

    Attributes:
        uri: URI as `sparsevit run` takes it; ``{source}`` in it makes a sink for each source.
        sources: names of the sources whose results it takes; None for all.
        overwrite: replaces files that are no results of an earlier run.
    """

    uri: str
    sources: tuple[str, ...] | None = Field(default=None, min_length=1)
    overwrite: bool = False

    @field_validator("sources", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class GovernorConfig(_Part):
    """What frames should meet.

    Attributes:
        target_ms: longest time from a frame's arrival to its result, for nine of ten.
        target_fps: frames per second that the model takes.
        levels: sparsities to choose among, in any form of `model.sparsity`; None for 0 to 80% by tens.
        max_age_ms: frames of live sources that are older when the model is free are dropped.
    """

    target_ms: _Ms | None = None
    target_fps: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    levels: tuple[Annotated[SparsityLike, Field(union_mode="left_to_right")], ...] | None = Field(
        default=None, min_length=1
    )
    max_age_ms: _Ms | None = None

    @field_validator("levels", mode="before")
    @classmethod
    def _as_tuples(cls, value: Any) -> Any:
        return tuple(tuple(e) if isinstance(e, list) else e for e in value) if isinstance(value, list) else value

    @property
    def has_target(self) -> bool:
        return self.target_ms is not None or self.target_fps is not None


class TrackingConfig(_Part):
    """Objects that keep their numbers from frame to frame, where the model finds objects.

    Attributes:
        lost_s: seconds for which an object that is not seen keeps its number.
        count_lines, count_zones: places where objects are counted, as the command line takes them.
    """

    lost_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = 1.0
    count_lines: tuple[str, ...] = ()
    count_zones: tuple[str, ...] = ()

    @field_validator("count_lines", "count_zones", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def tracking(self) -> Tracking:
        """Raises ArgumentError: a line or zone is none, or two have one name."""
        return tracking_at(self.count_lines, self.count_zones, lost_s=self.lost_s)


class ServiceConfig(_Part):
    """All of it. Without `tracking` nothing is tracked."""

    model: ModelConfig = ModelConfig()
    sources: dict[_Name, SourceConfig] = Field(min_length=1)
    sinks: dict[_Name, SinkConfig] = Field(min_length=1)
    governor: GovernorConfig = GovernorConfig()
    tracking: TrackingConfig | None = None

    def sources_of(self, sink: SinkConfig) -> tuple[str, ...]:
        """Names of the sources whose results a sink takes."""
        return tuple(self.sources) if sink.sources is None else sink.sources

    def without_level(self) -> ServiceConfig:
        """The same, but for what may be changed while it runs."""
        return self.model_copy(update={"model": self.model.model_copy(update={"sparsity": None})})


_TABLES: dict[str, type[_Part]] = {
    "model": ModelConfig,
    "sources": SourceConfig,
    "sinks": SinkConfig,
    "governor": GovernorConfig,
    "tracking": TrackingConfig,
}


def load_config(path: Path, environment: Mapping[str, str] = os.environ) -> ServiceConfig:
    """Reads and checks a file. Nothing that it names is opened.

    ``${NAME}`` in a URI is a variable of the environment, so that passwords need not stand in the file.

    Args:
        path: path of the file.
        environment: variables.

    Raises:
        ConfigError: it cannot be read, a key is unknown, or a value means nothing; the message has the file, the key,
            and what is accepted.
    """
    try:
        content = read_bounded(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{shown(str(path))} cannot be read ({why}); name a file of settings") from error
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of bytes, of numbers with thousands of digits, of nesting, too
        raise ConfigError(f"{path} is no TOML: {printable(str(error))}") from error
    try:
        config = ServiceConfig.model_validate(document)
    except ValidationError as error:
        told = dict.fromkeys(map(_explain, error.errors(include_url=False)))
        raise ConfigError("\n".join(f"{path}: {each}" for each in told)) from error
    try:
        config = _with_variables(config, environment)
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def _explain(error: Any) -> str:
    """One of pydantic's errors: the key, what was seen, what is accepted."""
    where = [str(part) for part in error["loc"]]
    kind, seen = error["type"], error["input"]
    if {"sparsity", "levels"} & set(where[:2]) and kind != "too_short":
        return f"{'.'.join(where[:2])} is {shown(seen)}; accepted: a number, a list of numbers, or text: {_SPARSITIES}"
    if kind == "extra_forbidden":
        return f"{'.'.join(where)} is an unknown key; {_nearest(where[-1], _accepted(where[:-1]))}"
    key = ".".join(part for part in where if part not in ("str", "float", "int", "[key]") and "[" not in part)
    if kind == "missing":
        return f"{key} is missing; write {_example(where)}"
    if kind == "too_short":
        return f"{key} is empty; name at least one"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}"
    if kind == "string_pattern_mismatch" and where[-1] == "[key]":
        return f"{key}: a name has letters, digits and _ . -, at most 64, got {shown(seen)}"
    said = error["msg"].removeprefix("Input should be ").replace("Input should ", "")
    what = hide_password(seen) if isinstance(seen, str) else seen
    return f"{key} is {shown(what)}; accepted: {said}"


def _accepted(where: list[str]) -> list[str]:
    table = ServiceConfig if not where else _TABLES.get(where[0], ServiceConfig)
    return list(table.model_fields)


def _nearest(name: str, accepted: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, accepted, 1, 0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"accepted: {', '.join(accepted)}"


def _example(where: list[str]) -> str:
    examples = {"sources": '[sources.front] uri = "rtsp://..."', "sinks": '[sinks.video] uri = "out.jsonl?every=1h"'}
    return examples.get(where[0], "it")


def _with_variables(config: ServiceConfig, environment: Mapping[str, str]) -> ServiceConfig:
    def expand(key: str, uri: str) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1] not in environment:
                raise ConfigError(f"{key} needs the variable {found[1]} of the environment, which is not set")
            return environment[found[1]]

        return _VARIABLE.sub(value, uri)

    sources = {
        name: each.model_copy(update={"uri": expand(f"sources.{name}.uri", str(each.uri))})
        for name, each in config.sources.items()
    }
    sinks = {
        name: each.model_copy(update={"uri": expand(f"sinks.{name}.uri", each.uri)})
        for name, each in config.sinks.items()
    }
    return config.model_copy(update={"sources": sources, "sinks": sinks})


def _check(config: ServiceConfig) -> None:
    """What no value says alone."""
    if config.governor.has_target and config.model.sparsity is not None:
        raise ConfigError("model.sparsity and a governor's target, which chooses it, are both given; leave one out")
    if config.governor.levels is not None and not config.governor.has_target:
        raise ConfigError("governor.levels has no target; add target_ms or target_fps")
    if config.tracking is not None:
        try:
            config.tracking.tracking  # noqa: B018 - its check
        except ArgumentError as error:
            raise ConfigError(f"tracking: {error}") from error
    live: dict[str, bool] = {}
    for name, source in config.sources.items():
        try:
            live[name] = may_be_live(source.uri) is not False
        except SparseViTError as error:
            raise ConfigError(f"sources.{name}.uri: {error}") from error
    places: dict[str, str] = {}
    for name, sink in config.sinks.items():
        _check_sink(config, name, sink, live, places)


def _check_sink(
    config: ServiceConfig, name: str, sink: SinkConfig, live: Mapping[str, bool], places: dict[str, str]
) -> None:
    key = f"sinks.{name}"
    taken = config.sources_of(sink)
    for each in taken:
        if each not in config.sources:
            raise ConfigError(f"{key}.sources names {each!r}; {_nearest(each, tuple(config.sources))}")
    for uri in uris_of(sink, taken):
        try:
            check_sink(uri)
        except SparseViTError as error:
            raise ConfigError(f"{key}.uri: {error}") from error
        place = str(place_of(uri) or uri)
        if place in places:
            raise ConfigError(f"{key}.uri is that of sinks.{places[place]}, too; name each place once")
        places[place] = name
    if sink.uri.startswith("display:"):
        raise ConfigError(f"{key}.uri: a service has no screen; show it to browsers: http://localhost:8080")
    place, _, options = sink.uri.partition("?")
    if "://" in sink.uri or place == "-":
        return
    suffix = Path(place).suffix.lower()
    folder = folder_of(sink.uri.replace(SOURCE_MARK, "name")) is not None
    if not folder and suffix in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES) and len(taken) > 1 and SOURCE_MARK not in sink.uri:
        raise ConfigError(
            f"{key}.uri takes one source, and {', '.join(taken)} are given; write {SOURCE_MARK} into it, or name one "
            f"in {key}.sources"
        )
    endless = [each for each in taken if live[each]]
    if endless and (folder or suffix in PICTURE_SUFFIXES or ("every=" not in options and "size=" not in options)):
        raise ConfigError(
            f"{key}.uri takes {endless[0]}, which has no end, and the next start would write over it; record a video "
            f"or JSON lines in parts: rec/{SOURCE_MARK}.mp4?every=10m&keep=144"
        )


def uris_of(sink: SinkConfig, sources: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """URI of each sink that a table stands for, and the sources whose results it takes."""
    if SOURCE_MARK not in sink.uri:
        return {sink.uri: frozenset(sources)}
    return {sink.uri.replace(SOURCE_MARK, source): frozenset([source]) for source in sources}
