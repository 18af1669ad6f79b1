"""What a configuration is made of when it runs: model, governor, sources, sinks."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparsevit_runtime import Model, Outlet, Reconnect, Sink, Source, load
from sparsevit_runtime.errors import SinkError, SparseViTError
from sparsevit_runtime.live.feeds import open_feed
from sparsevit_runtime.live.governor import Governor, Target
from sparsevit_runtime.live.levels import SPARSITIES, govern
from sparsevit_runtime.sinks import folder_of, open_sink
from sparsevit_runtime.sinks.web.options import TOKEN_VARIABLE
from sparsevit_runtime.windows.level import Level

from ..outputs import place_of
from ..running import playback_fps
from .config import SOURCE_MARK, GovernorConfig, ModelConfig, ServiceConfig, SinkConfig, SparsityLike, uris_of

_log = logging.getLogger(__name__)


def load_model(config: ModelConfig) -> Model:
    """Loads and warms a model.

    Raises:
        SparseViTError: it cannot be loaded, or run.
    """
    return load(config.file, config.backend, threads=config.threads, device=config.device)


def level_of(model: Model, sparsity: SparsityLike | None) -> Level:
    """The level of a sparsity in a configuration.

    Raises:
        PlanError: it does not fit the model.
    """
    return model.level(list(sparsity) if isinstance(sparsity, tuple) else sparsity)


def check_levels(model: Model, config: ServiceConfig) -> None:
    """Raises PlanError where a sparsity of a configuration does not fit the model."""
    level_of(model, config.model.sparsity)
    for sparsity in config.governor.levels or ():
        level_of(model, sparsity)


def make_governor(model: Model, config: GovernorConfig) -> Governor | None:
    """The governor, with its levels measured on this machine; None without a target. The model must not be in use.

    Raises:
        PlanError: a level does not fit the model, or the model has one only.
    """
    if not config.has_target:
        return None
    levels = SPARSITIES if config.levels is None else [level_of(model, sparsity).plan for sparsity in config.levels]
    return govern(model.runner, Target(config.target_ms, config.target_fps), levels)


def open_sources(config: ServiceConfig) -> dict[str, Source]:
    """The sources by name, opened side by side, so that several that do not answer take no longer than one. Those that
    are live and not there yet are waited for later.

    Raises:
        SourceError: one cannot be opened, and never will be.
    """
    with ThreadPoolExecutor(len(config.sources), "sparsevit-opening") as pool:
        opening = {
            name: pool.submit(open_feed, source.uri, _rule(source.max_reconnect, source.timeout_ms))
            for name, source in config.sources.items()
        }
    failed = next((each.exception() for each in opening.values() if each.exception() is not None), None)
    if failed is None:
        return {name: each.result() for name, each in opening.items()}
    for each in opening.values():
        if each.exception() is None:
            each.result().close()
    raise failed


def _rule(max_reconnect: int | None, timeout_ms: float | None) -> Reconnect:
    rule = Reconnect(attempts=max_reconnect, before_first=max_reconnect != 0)
    return rule if timeout_ms is None else rule.within(timeout_ms / 1e3)


@dataclass(frozen=True)
class OpenSink:
    """A sink that is open.

    Attributes:
        name: name in logs and metrics.
        uri: URI it was opened by.
        config: table that it comes from.
        sources: names of the sources whose results it takes.
        sink: sink itself.
    """

    name: str
    uri: str
    config: SinkConfig
    sources: frozenset[str]
    sink: Sink

    @property
    def outlasts(self) -> bool:
        """Whether it may stay open from one session to the next: a page, or what sends to others; recordings end."""
        return not self.sink.may_block

    def outlet(self) -> Outlet:
        return Outlet(self.sink, name=self.name, sources=self.sources)

    def close(self) -> None:
        """Completes what it has written; what goes wrong is logged."""
        try:
            self.sink.close()
        except SparseViTError as error:
            _log.error("%s", error, extra={"sink": self.name})


def open_sinks(
    config: ServiceConfig, sources: dict[str, Source], inference_ms: float, kept: list[OpenSink]
) -> list[OpenSink]:
    """The sinks of a configuration.

    Args:
        config: configuration.
        sources: open sources by name.
        inference_ms: time of a frame, for the rate of videos.
        kept: sinks that are open already and may be taken.

    Raises:
        SinkError, MissingDependencyError: one cannot be opened; those that were opened here are closed.
    """
    opened: list[OpenSink] = []
    fresh: list[OpenSink] = []
    try:
        for name, table in config.sinks.items():
            for uri, taken in uris_of(table, config.sources_of(table)).items():
                shown = f"{name}:{next(iter(taken))}" if SOURCE_MARK in table.uri else name
                found = next((each for each in kept if each.uri == uri), None)
                if found is not None:
                    opened.append(OpenSink(shown, uri, table, taken, found.sink))
                    continue
                first = sources[min(taken)]
                live = any(sources[source].live for source in taken)
                sink = _open(uri, playback_fps(first, inference_ms), table.overwrite, live)
                fresh.append(OpenSink(shown, uri, table, taken, sink))
                opened.append(fresh[-1])
    except SparseViTError:
        for each in fresh:
            each.sink.abort()
        raise
    return opened


def _open(uri: str, fps: float | None, overwrite: bool, live: bool) -> Sink:
    place = place_of(uri)
    if place is not None and folder_of(uri) is None:
        _make_folder(place.parent)
    sink = open_sink(uri, fps, overwrite=overwrite, live=live)
    url = getattr(sink, "url", "")
    if url:
        address, _, token = url.partition("?token=")
        if token and "token=" not in uri and TOKEN_VARIABLE not in os.environ:
            sink.abort()
            raise SinkError(
                f"{address} is for other machines and needs a token that you know: set {TOKEN_VARIABLE}, or write "
                f"{uri}?token=..."
            )
        _log.info("seen at %s%s", address, " with the token" if token else "")
    return sink


def _make_folder(folder: Path) -> None:
    """Makes the folder of recordings where only it is missing; what else is wrong is told when a sink opens."""
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
