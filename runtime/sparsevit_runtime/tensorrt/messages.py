"""What the builder and its worker process say to each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Request:
    """What to build.

    Attributes:
        flavour: Python module, ``tensorrt`` or ``tensorrt_rtx``.
        model: file to parse.
        source: the user's model file, beside which external weights would lie; for messages, too.
        plugins: library to load, or None.
        nodes: plugins that the library must bring.
        precision: precision of the model card.
        tf32: permission for fp32 products to use it.
        in_place: scatters may write into the map they read, where that is safe.
        profile: input name -> [min, opt, max].
        levels: `keep` that a profile each is tuned for, in place of that of `profile`; empty for one profile.
        workspace: bytes.
        engine: file to write.
        timing_cache: times measured by earlier builds, an empty file where there are none; None to do without.
        timing_cache_name: name that the user gave it; None for the default one, which is begun anew where TensorRT does
            not take it.
        timing_cache_out: file to write, or None.
        gpu: presence of one, so that the engine can be opened here.
    """

    flavour: str
    model: str
    source: str
    plugins: str | None
    nodes: list[str]
    precision: str
    tf32: bool
    in_place: bool
    profile: dict[str, list[list[int]]]
    levels: list[list[int]]
    workspace: int
    engine: str
    timing_cache: str | None
    timing_cache_name: str | None
    timing_cache_out: str | None
    gpu: bool


@dataclass
class Built:
    """What was built: see `engine_card.EngineCard` for the fields' meaning."""

    plugin_layers: int
    arithmetic: dict[str, int]
    precision_checked: str
    in_place_scatters: int = 0
    in_place_refused: str = ""
