"""State dicts on their way into the backbone: unwrapping, finding the backbone among other parts, bookkeeping."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparsevit_runtime.errors import CheckpointError


class KeyMismatch(CheckpointError):
    """The keys or shapes are not those of the format the file was read as."""


def check_plain(key: str, tensor: Tensor) -> None:
    """Refuses what no network can be given as it is.

    Raises:
        CheckpointError: the tensor has no values, or holds them otherwise than as an array of plain numbers.
    """
    if tensor.is_meta:
        what, advice = "has a shape but no values (meta device)", "load the weights before saving the network"
    elif tensor.layout is not torch.strided or tensor.is_nested:
        what, advice = f"is sparse ({tensor.layout})", "save tensor.to_dense()"
    elif tensor.is_quantized:
        what, advice = f"is quantised ({tensor.dtype})", "save tensor.dequantize(), or the weights before quantisation"
    elif tensor.is_complex():
        what, advice = f"is complex ({tensor.dtype})", "a Swin Transformer has real weights; save those"
    elif tensor.dtype not in _PLAIN:
        what, advice = f"is {tensor.dtype}", "save tensor.float()"
    else:
        return
    raise CheckpointError(f"{key} {what}; {advice}")


#: Letters of a key that a message shows.
_LONGEST = 120
#: Dictionaries within one another that are looked into.
_DEEPEST = 3
#: Types of weights, and of the index buffers and masks that come with them.
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PLAIN = frozenset((*_FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool))


@dataclass(slots=True)
class BackboneState:
    """A checkpoint sorted into parts.

    Attributes:
        weights: tensors under the reference's names.
        origins: the file's own key of each of them.
        unknown: keys inside the backbone that have no counterpart in SparseViT.
        leftovers: keys inside the backbone that it does not need (buffers that are rebuilt, a classifier).
        outside: keys of other parts, e.g. a detector's neck.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def add(self, name: str, key: str, tensor: Tensor) -> None:
        """Files `tensor`, found under `key`, as the reference's `name`. Raises CheckpointError, see `check_plain`."""
        check_plain(key, tensor)
        if name in self.weights:
            raise KeyMismatch(f"{self.origins[name]} and {key} both stand for {name}; keep one of them")
        self.weights[name] = tensor
        self.origins[name] = key


#: Names that stand for nothing SparseViT needs: masks it builds itself, a classifier and the norm before it.
CLASSIFIER_LEFTOVER = re.compile(r"(\.|^)attn_mask$|^norm\.(weight|bias)$|^head\.")


@dataclass(frozen=True, slots=True)
class Format:
    """One naming scheme.

    Attributes:
        name: name as given to `load_checkpoint`.
        pattern: matches the keys typical of the scheme, anywhere in a longer key.
        convert: sorts a state dict of this scheme; raises `KeyMismatch`.
        matches: test, for schemes that share their names, that all keys together are laid out as in this one.
    """

    name: str
    pattern: re.Pattern[str]
    convert: Callable[[Mapping[str, Tensor]], BackboneState]
    matches: Callable[[Iterable[str]], bool] = lambda keys: True

    def count(self, keys: Iterable[str]) -> int:
        """How many of the keys look like this scheme's; none where they are laid out otherwise."""
        keys = list(keys)
        if not self.matches(keys):
            return 0
        return sum(self.pattern.search(key) is not None for key in keys)


def unwrap(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint: those under `state_dict`, else `model`, else the root, as the reference takes them;
    where there are none, those of the one dictionary in it that holds some.

    Raises:
        CheckpointError: there are none, or several dictionaries hold some.
    """
    for wrapper in ("state_dict", "model"):
        if isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
            break
    for _ in range(_DEEPEST):
        inside = [key for key, value in raw.items() if isinstance(value, Mapping) and _holds_tensors(value)]
        if any(isinstance(value, Tensor) for value in raw.values()) or not inside:
            break
        if len(inside) > 1:
            raise CheckpointError(
                f"{listing(map(str, inside))} hold tensors each; save one of them as a checkpoint under 'state_dict'"
            )
        raw = raw[inside[0]]
    tensors = {key: value for key, value in raw.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"it holds no tensors, only {listing(map(str, raw)) or 'an empty dictionary'}; save the network's state "
            "dict at the root or under 'state_dict'"
        )
    return tensors


def _holds_tensors(value: Mapping[Any, Any], depth: int = 0) -> bool:
    """Whether names lead to tensors; an optimizer's state is numbered."""
    return depth < _DEEPEST and any(
        isinstance(key, str)
        and (isinstance(inner, Tensor) or (isinstance(inner, Mapping) and _holds_tensors(inner, depth + 1)))
        for key, inner in value.items()
    )


def find_prefix(state: Mapping[str, Tensor], anchor: str) -> str:
    """What stands before the backbone's own names, e.g. ``module.backbone.``; one key ends in `anchor` and tells.

    Raises:
        KeyMismatch: no key ends so, or several do.
    """
    prefixes = sorted(key[: -len(anchor)] for key in state if key == anchor or key.endswith(f".{anchor}"))
    if not prefixes:
        raise KeyMismatch(f"none of its {len(state)} keys is or ends in {anchor}; the first are {listing(state)}")
    if len(prefixes) > 1:
        raise KeyMismatch(
            f"it holds {len(prefixes)} backbones, under {listing(p or 'the root' for p in prefixes)}; save one of them"
        )
    return prefixes[0]


def sort_keys(
    state: Mapping[str, Tensor],
    name_inside: Callable[[str], str | None],
    leftover: re.Pattern[str],
    rename: Callable[[str], str | None],
) -> BackboneState:
    """Sorts a state dict.

    Args:
        state: weights of the file.
        name_inside: key -> name inside the backbone; None for keys of other parts.
        leftover: names the backbone does not need.
        rename: name -> the reference's name; None when there is none.

    Raises:
        KeyMismatch: two keys stand for one name.
    """
    parts = BackboneState()
    for key, tensor in state.items():
        name = name_inside(key)
        if name is None:
            parts.outside.append(key)
        elif leftover.search(name):
            parts.leftovers.append(key)
        elif (renamed := rename(name)) is None:
            parts.unknown.append(key)
        else:
            parts.add(renamed, key, tensor)
    return parts


def behind(prefix: str) -> Callable[[str], str | None]:
    """A `name_inside` for backbones whose keys all start with `prefix`."""
    return lambda key: key[len(prefix) :] if key.startswith(prefix) else None


def check_fit(
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    unknown: Iterable[str] = (),
    origins: Mapping[str, str] | None = None,
) -> None:
    """Compares names and shapes.

    Args:
        expected: shapes of the network.
        given: shapes of the checkpoint, under the network's names.
        unknown: further keys of the checkpoint that have no counterpart.
        origins: the checkpoint's own key of each of `given`, for messages.

    Raises:
        KeyMismatch: naming the first few that are missing, unknown or of another shape.
    """
    origins = origins or {}
    missing = [name for name in expected if name not in given]
    unknown = [*unknown, *(origins.get(name, name) for name in given if name not in expected)]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of the network's names missing ({listing(missing)})")
    if unknown:
        problems.append(f"{len(unknown)} unknown keys ({listing(unknown)})")
    if problems:
        raise KeyMismatch(", ".join(problems))
    shapes = [
        f"{origins.get(name, name)} is {tuple(tensor.shape)}, the network's {tuple(expected[name].shape)}"
        for name, tensor in given.items()
        if tensor.shape != expected[name].shape
    ]
    if shapes:
        raise KeyMismatch(f"other shapes: {listing(shapes, '; ')}")


def listing(items: Iterable[str], separator: str = ", ", limit: int = 3) -> str:
    """The first few of them, none of them long, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return separator.join(item if len(item) <= _LONGEST else f"{item[:_LONGEST]}..." for item in items[:limit]) + more
