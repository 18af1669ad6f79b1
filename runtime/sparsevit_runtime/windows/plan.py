"""Sparsity plans: pruning ratios per block, and the number of windows each block keeps.

Terms: a *ratio* is the share of windows pruned; *keep* is the number of windows computed. The counts follow the
reference to the last truncation (float64, toward zero), because one window more or less changes the output.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..arguments import as_whole
from ..errors import ArgumentError, PlanError
from ..files import write_atomic
from ..texts import shown
from .geometry import StageGeometry

PLAN_SCHEMA = 1
#: A ratio as text: ``0.6``, ``.6``, ``6e-1``, ``60%``.
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,4}))?\s*(%?)\s*", re.ASCII)
#: A plan file is no larger than this.
_MOST_BYTES = 1 << 20
#: Blocks of a stage are no more.
_MOST_BLOCKS = 1 << 16
#: Rows of a tile of a GPU's matrix products, as libraries choose it for those of a block.
TILE = 128
#: From this stage on windows are so few that part of a tile counts.
_FIRST_SNAPPED = 2
#: Plans that SparseViT was published with, for Swin-T, by name (Chen et al., CVPR 2023).
PUBLISHED: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "cfg1": ((0.3, 0.3), (0.0, 0.0), (0.1, 0.1, 0.2, 0.2, 0.2, 0.2), (0.0, 0.0)),
    "cfg2": ((0.6, 0.6), (0.0, 0.0), (0.2, 0.2, 0.4, 0.4, 0.5, 0.5), (0.0, 0.0)),
    "cfg3": ((0.7, 0.7), (0.0, 0.0), (0.2, 0.2, 0.4, 0.4, 0.5, 0.5), (0.0, 0.0)),
}
_FORMS = (
    f"a number (0.6 or 60%), a list per stage (0.6,0.6,0.4,0), a published plan ({', '.join(PUBLISHED)}) or a JSON "
    "plan file"
)

#: A number for all blocks, one number per stage, one list (per block or per pair) per stage, a plan, a plan file, or
#: any of these as text.
PlanLike: TypeAlias = "float | Sequence[float | Sequence[float]] | np.ndarray | Plan | str | Path"


def kept_windows(windows: int, ratio: float) -> int:
    """Number of windows a block computes: ``int(windows * (1 - ratio))`` in float64.

    The truncation is the reference's: ``kept_windows(120, 0.8) == 23``.
    """
    return int(windows * (1 - float(ratio)))


def snapped_windows(count: int, windows: int, window_size: int) -> int:
    """The most windows, of all there are, whose tokens fill no more tiles of `TILE` rows than those of `count` do.

    Of 7x7 tokens 2, 5, 7, 10, 13, 15, 18, 20, 23 and so on.
    """
    tokens = window_size**2
    tiles = -(-count * tokens // TILE)
    return min(windows, tiles * TILE // tokens)


@dataclass(frozen=True)
class Plan:
    """Pruning ratios per block.

    Attributes:
        ratios: one tuple per stage, one float in [0, 1] per block. Within a stage the ratios of the even blocks must
            not decrease, nor those of the odd blocks: each parity keeps a prefix of its first list of windows.
    """

    ratios: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not _is_list(self.ratios):
            raise PlanError(f"the ratios of a plan are lists, one per stage, not {shown(self.ratios)}")
        ratios = tuple(_stage_ratios(i, stage) for i, stage in enumerate(self.ratios))
        object.__setattr__(self, "ratios", ratios)
        for i, stage in enumerate(ratios):
            for r in stage:
                if not (math.isfinite(r) and 0.0 <= r <= 1.0):
                    raise PlanError(f"stage {i} has ratio {r}; a ratio is the pruned share, from 0 to 1")
            for parity, blocks in (("even", stage[0::2]), ("odd", stage[1::2])):
                if any(b < a for a, b in pairwise(blocks)):
                    raise PlanError(
                        f"ratios of the {parity} blocks of stage {i} decrease: {list(blocks)}; a later block can only "
                        "keep a part of what an earlier one kept. Sort them in ascending order"
                    )

    @classmethod
    def dense(cls, depths: Sequence[int]) -> Plan:
        """Every window computed. Raises ArgumentError where `depths` are no block counts."""
        return cls.uniform(0.0, depths)

    @classmethod
    def uniform(cls, ratio: float, depths: Sequence[int]) -> Plan:
        """One ratio for all blocks.

        Raises:
            PlanError: it is no ratio.
            ArgumentError: `depths` are no block counts.
        """
        return cls(tuple((ratio,) * d for d in _checked(depths)))

    @classmethod
    def parse(cls, value: PlanLike, depths: Sequence[int]) -> Plan:
        """Reads any of the accepted forms of a plan for a network with these block counts.

        Args:
            value: a number; one number per stage; one list per stage with a ratio per block or per block pair; a Plan;
                a text of one of these, as on the command line (``.6``, ``60%``, ``0.6,0.6,0.4,0``, ``[0.6,0,0.4,0]``);
                the name of one of `PUBLISHED`, for networks of their depths; or the path of a JSON plan file
                (``{"schema": 1, "ratios": [...]}``).
            depths: blocks per stage.

        Raises:
            PlanError: the value has another form, another number of stages or blocks, or ratios out of range.
            ArgumentError: `depths` are no block counts.
        """
        depths = _checked(depths)
        value = _plain(value)
        if isinstance(value, Plan):
            plan = value
        elif isinstance(value, (str, Path)):
            plan = cls._from_text(str(value), depths)
        elif _is_list(value):
            plan = cls._from_stages(value, depths)
        else:
            ratio = number_of(value)
            if ratio is None:
                raise PlanError(f"a plan is {_FORMS}, not {type(value).__name__}: {shown(value)}")
            plan = cls.uniform(ratio, depths)
        if tuple(len(s) for s in plan.ratios) != tuple(depths):
            raise PlanError(
                f"the plan has {[len(s) for s in plan.ratios]} blocks per stage, the model has {list(depths)}; "
                "use a plan made for this model"
            )
        return plan

    @classmethod
    def _from_text(cls, text: str, depths: Sequence[int]) -> Plan:
        ratio = ratio_of_text(text)
        if ratio is not None:
            return cls.uniform(ratio, depths)
        if text in PUBLISHED:
            published = cls(PUBLISHED[text])
            blocks = [len(stage) for stage in published.ratios]
            if blocks != list(depths):
                raise PlanError(
                    f"{text} is a published plan of a network with {blocks} blocks per stage, the model has "
                    f"{list(depths)}; give ratios of its own, or ./{text} for a plan file of that name"
                )
            return published
        parts = text.split(",")
        if len(parts) > 1 and all(map(_NUMBER.fullmatch, parts)):
            return cls._from_stages(parts, depths)
        if text.lstrip().startswith("["):
            try:
                return cls._from_stages(json.loads(text), depths)
            except (ValueError, RecursionError) as error:
                if isinstance(error, PlanError):
                    raise
                raise PlanError(f"{shown(text)} is no list of ratios ({error}); give {_FORMS}") from None
        return cls._from_file(text, depths)

    @classmethod
    def _from_file(cls, name: str, depths: Sequence[int]) -> Plan:
        try:
            with open(name, "rb") as file:
                data = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            raise PlanError(f"no plan file {shown(name)}; give {_FORMS}") from None
        except (OSError, ValueError) as error:  # the latter for a zero byte in the name
            raise PlanError(f"cannot read the plan file {shown(name)} ({_reason(error)}); give {_FORMS}") from error
        if len(data) > _MOST_BYTES:
            raise PlanError(f"{shown(name)} is larger than {_MOST_BYTES} bytes, which no plan file is; give {_FORMS}")
        try:
            document = json.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise PlanError(f"plan file {shown(name)} is not readable JSON ({error})") from error
        if not isinstance(document, dict) or "ratios" not in document:
            raise PlanError(
                f'plan file {shown(name)} has no "ratios"; expected {{"schema": 1, "ratios": [[...], ...]}}'
            )
        if document.get("schema") != PLAN_SCHEMA:
            raise PlanError(
                f"plan file {shown(name)} has schema {shown(document.get('schema'))}, this version reads "
                f"{PLAN_SCHEMA}; upgrade sparsevit-edge or write the plan again"
            )
        ratios = document["ratios"]
        if isinstance(ratios, str):
            raise PlanError(
                f'plan file {shown(name)} has "ratios" {shown(ratios)}; expected a number or a list per stage'
            )
        return cls.parse(ratios, depths)

    @classmethod
    def _from_stages(cls, value: Any, depths: Sequence[int]) -> Plan:
        if len(value) != len(depths):
            raise PlanError(f"the plan has {len(value)} stages, the model has {len(depths)}: {shown(list(value))}")
        stages = []
        for i, (stage, depth) in enumerate(zip(value, depths)):
            ratios = list(_stage_ratios(i, _plain(stage), depth))
            pairs = -(-depth // 2)
            if len(ratios) == pairs and pairs != depth:
                ratios = [ratios[j // 2] for j in range(depth)]
            if len(ratios) != depth:
                raise PlanError(
                    f"stage {i} of the plan has {len(ratios)} ratios; it has {depth} blocks in {pairs} pairs, give one "
                    "ratio per block or per pair"
                )
            stages.append(tuple(ratios))
        return cls(tuple(stages))

    def save(self, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
        """Writes the plan as a JSON file that `parse` reads, whole or not at all.

        Args:
            path: the file.
            provenance: origin of the plan, plain values; kept beside the ratios for whoever reads the file.

        Raises:
            SinkError: it cannot be written.
        """
        document: dict[str, Any] = {"schema": PLAN_SCHEMA, "ratios": [list(s) for s in self.ratios]}
        if provenance is not None:
            document["provenance"] = provenance
        write_atomic(path, (json.dumps(document, indent=1) + "\n").encode())

    @property
    def is_dense(self) -> bool:
        return all(r == 0.0 for stage in self.ratios for r in stage)

    def snapped(self, stages: Sequence[StageGeometry]) -> Plan:
        """A plan that computes as many windows as the matrix products of the same time take (`snapped_windows`).

        A GPU multiplies tiles of `TILE` rows: what a last tile has room for costs nothing. In stages of few windows,
        the third and later ones, that is up to two windows more in each block; for single images.

        Args:
            stages: window geometry of the model's input size.
        """
        snapped = []
        for i, (ratios, stage) in enumerate(zip(self.ratios, stages, strict=True)):
            counts = [kept_windows(stage.windows, ratio) for ratio in ratios]
            more = [snapped_windows(count, stage.windows, stage.window_size) for count in counts]
            if i < _FIRST_SNAPPED or more == counts:
                snapped.append(ratios)
            else:  # half a window more, for the truncation
                snapped.append(tuple(max(0.0, 1.0 - (count + 0.5) / stage.windows) for count in more))
        return Plan(tuple(snapped))

    def keep(self, stages: Sequence[StageGeometry]) -> np.ndarray:
        """Windows computed per block pair, the `keep` input of an exported graph.

        Args:
            stages: window geometry of the model's input size.

        Returns:
            (pairs,) int64, stage by stage.

        Raises:
            PlanError: the two blocks of a pair differ (only a `--fixed` export can run such a plan).
        """
        counts = []
        for i, (ratios, stage) in enumerate(zip(self.ratios, stages, strict=True)):
            for j in range(0, len(ratios), 2):
                pair = {kept_windows(stage.windows, r) for r in ratios[j : j + 2]}
                if len(pair) != 1:
                    raise PlanError(
                        f"blocks {j} and {j + 1} of stage {i} keep different numbers of windows ({sorted(pair)}); "
                        "`keep` has one entry per block pair. Give both one ratio, or export this plan with --fixed"
                    )
                counts.append(pair.pop())
        return np.array(counts, dtype=np.int64)


def ratio_of_text(text: str) -> float | None:
    """The number that a text is, ``0.6``, ``.6`` or ``60%``, within its range or not; None when it is no number."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    mantissa, exponent, percent = found.groups()
    return float(f"{mantissa}e{int(exponent or 0) - (2 if percent else 0)}")


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _plain(value: Any) -> Any:
    """An array of another library, such as a tensor, as one of NumPy; any other value as it is."""
    if isinstance(value, (np.ndarray, np.generic)) or not hasattr(value, "__array__"):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # on a GPU, or one that gradients go through
        return value


def _stage_ratios(index: int, stage: Any, blocks: int = 0) -> tuple[float, ...]:
    """The ratios of a stage, or one for so many blocks. Raises PlanError."""
    read = [number_of(ratio) for ratio in stage] if _is_list(stage) else [number_of(stage)] * blocks or [None]
    ratios = tuple(ratio for ratio in read if ratio is not None)
    if len(ratios) < len(read):
        raise PlanError(f"stage {index} of the plan is not a ratio or a list of ratios: {shown(stage)}")
    return ratios


def _checked(depths: Sequence[int]) -> tuple[int, ...]:
    """Blocks per stage. Raises ArgumentError."""
    if not _is_list(depths):
        raise ArgumentError(f"depths are the blocks of each stage, a list of whole numbers, not {shown(depths)}")
    return tuple(as_whole(depth, "the blocks of a stage", 0, _MOST_BLOCKS) for depth in depths)


def number_of(value: Any) -> float | None:
    """A number of any kind, also of NumPy, or the text of one; None for anything else, truth values among them."""
    if isinstance(value, str):
        return ratio_of_text(value)
    value = _plain(value)
    if isinstance(value, np.ndarray):
        if value.ndim:
            return None
        value = value[()]
    if isinstance(value, (bytes, bool, np.bool_, complex, np.complexfloating)) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # an integer beyond all floats; what is not whole
        return None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def dense_keep(stages: Sequence[StageGeometry]) -> np.ndarray:
    """`keep` with every window computed, (pairs,) int64: the dense model, exactly."""
    return np.array([s.windows for s in stages for _ in range(s.pairs)], dtype=np.int64)


def validate_keep(keep: object, stages: Sequence[StageGeometry]) -> np.ndarray:
    """Checks a `keep` vector against the model's windows.

    Returns:
        (pairs,) int64, C-contiguous.

    Raises:
        PlanError: wrong length or type, a count out of range, or counts that increase within a stage.
    """
    array = np.asarray(keep)
    pairs = sum(s.pairs for s in stages)
    if array.dtype.kind not in "iu" or array.shape != (pairs,):
        raise PlanError(
            f"keep must be {pairs} integers, one per block pair; got dtype {array.dtype}, shape {array.shape}"
        )
    start = 0
    for i, stage in enumerate(stages):
        counts = array[start : start + stage.pairs]
        start += stage.pairs
        if (counts < 0).any() or (counts > stage.windows).any():
            raise PlanError(f"keep of stage {i} is {counts.tolist()}; this stage has 0 to {stage.windows} windows")
        if (np.diff(counts.astype(np.int64)) > 0).any():
            raise PlanError(
                f"keep of stage {i} increases: {counts.tolist()}; a later pair can only keep a part of what an "
                "earlier one kept"
            )
    return np.ascontiguousarray(array, dtype=np.int64)
