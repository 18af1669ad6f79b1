"""Files to raw dictionaries. Nothing in a checkpoint is ever executed."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from sparsevit_runtime.errors import CheckpointError, MissingDependencyError

#: Weights of a HuggingFace directory, the preferred one first.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
#: Of the list of files that hold the weights, where they are split.
_INDEX = re.compile(r"\.index(\.\w+)?\.json$")
#: Names of the same in another precision, say, as `save_pretrained(variant="fp16")` gives them.
_VARIANT = re.compile(
    r"(model\.\w+\.safetensors|pytorch_model\.\w+\.bin|(model\.safetensors|pytorch_model\.bin)\.index\.\w+\.json)$"
)
#: One of the files that split weights are in.
_SPLIT = re.compile(r"-\d+-of-(\d+)\.(safetensors|bin)$")
_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_LFS_POINTER = b"version https://git-lfs"
_RESAVE = (
    "where it was written, and only if you trust it, keep the weights alone: "
    "ckpt = torch.load(path, weights_only=False); "
    "torch.save({k: ckpt[k] for k in ('state_dict', 'model', 'meta') if k in ckpt}, 'weights.pth')"
)


def read_state(path: str | Path) -> dict[str, Any]:
    """The dictionary a checkpoint holds, as stored.

    Args:
        path: `.pth`, `.pt`, `.bin`, `.ckpt` or `.tar` (PyTorch), `.safetensors`, or a HuggingFace directory with one of
            `WEIGHT_FILES`, whole or split over several files.

    Returns:
        The root dictionary; tensors on the CPU.

    Raises:
        CheckpointError: no such file, an empty, truncated or foreign one, or one that holds more than tensors and
            plain Python values.
    """
    file = weights_file(Path(path))
    if _INDEX.search(file.name):
        return _read_shards(file)
    return _read_file(file)


def _read_file(file: Path) -> dict[str, Any]:
    with _opened(file) as stream:
        head = stream.read(len(_LFS_POINTER))
    if not head:
        raise CheckpointError(f"{file} is empty (0 bytes); copy or download it again")
    if head == _LFS_POINTER:
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights; run `git lfs pull` in its repository")
    raw = _read_safetensors(file) if file.suffix.lower() == ".safetensors" else _read_torch(file)
    if not isinstance(raw, dict):
        raise CheckpointError(
            f"{file} holds a {type(raw).__name__}, not a dictionary of tensors; save a state dict: "
            "torch.save({'state_dict': net.state_dict()}, 'weights.pth')"
        )
    return raw


def weights_file(path: Path) -> Path:
    """The file that holds the weights: `path`, or the one inside the directory `path`; of weights that are split, the
    list of the files.

    Raises:
        CheckpointError: it does not exist, its name ends in nothing we read, or it is a part of the weights.
    """
    if path.is_dir():
        for name in WEIGHT_FILES:
            if (path / name).is_file():
                return path / name
        for name in WEIGHT_FILES:
            if (path / f"{name}.index.json").is_file():
                return path / f"{name}.index.json"
        variants = sorted(file for file in path.iterdir() if _VARIANT.match(file.name))
        if len(variants) == 1:
            return variants[0]
        raise CheckpointError(f"{path} is a directory without {' or '.join(WEIGHT_FILES)}; give the checkpoint file")
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint at {path}; check the path")
    if _INDEX.search(path.name):
        return path
    if (split := _SPLIT.search(path.name)) and int(split[1]) > 1:
        raise CheckpointError(
            f"{path.name} is one of {int(split[1])} files that hold the weights; give the folder that they are in, "
            "with their list (model.safetensors.index.json or pytorch_model.bin.index.json)"
        )
    known = (*_TORCH_SUFFIXES, ".safetensors")
    if path.suffix.lower() not in known:
        numpy = "; a detectron2 model of NumPy arrays has to be saved by torch.save first"
        raise CheckpointError(
            f"{path.name} ends in {path.suffix or 'no suffix'!r}; checkpoints end in {', '.join(known)}, "
            f"or are a HuggingFace directory{numpy if path.suffix.lower() == '.pkl' else ''}"
        )
    return path


def read_sidecar(path: str | Path, name: str) -> dict[str, Any] | None:
    """A JSON file of the HuggingFace directory that `path` is, or whose weights file `path` is.

    Returns:
        The JSON object; None when `path` is another kind of checkpoint or the directory lacks `name`.

    Raises:
        CheckpointError: the file is not a JSON object.
    """
    path = Path(path)
    name_of_weights = _INDEX.sub("", path.name)
    if not path.is_dir() and name_of_weights not in WEIGHT_FILES and not _VARIANT.match(name_of_weights):
        return None
    file = (path if path.is_dir() else path.parent) / name
    return _read_json(file) if file.is_file() else None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not JSON ({error}); download it again, or remove it") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{file} holds a {type(document).__name__}, not a JSON object; download it again")
    return document


def _read_shards(index: Path) -> dict[str, Any]:
    """Weights that a HuggingFace directory has in several files; its list of them may name files beside it only."""
    listed = _read_json(index).get("weight_map")
    places: dict[str, Any] = listed if isinstance(listed, dict) else {}
    names = sorted(set(places.values())) if all(isinstance(v, str) for v in places.values()) else []
    if not names or any(Path(name).name != name or Path(name).suffix not in (".safetensors", ".bin") for name in names):
        raise CheckpointError(f"{index} does not say which files beside it hold the weights; download it again")
    state: dict[str, Any] = {}
    for name in names:
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{name}, one of the {len(names)} files of {index}, is not there; download it")
        state |= _read_file(index.parent / name)
    if missing := [key for key in places if key not in state]:
        raise CheckpointError(
            f"{index} promises {len(missing)} weights that its files lack, {missing[0][:99]} among them"
        )
    return state


def _opened(file: Path):
    try:
        return file.open("rb")
    except OSError as error:
        raise CheckpointError(f"{file} cannot be opened ({error.strerror}); check its permissions") from error


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError(f"{file} needs safetensors; run: pip install safetensors") from error
    try:
        return load_file(file, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_damaged(file, "safetensors", error)) from error


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise CheckpointError(_damaged(file, "PyTorch", "")) from error
        raise CheckpointError(
            f"{file} holds Python objects besides tensors ({refused[1]}), and loading those can run code; {_RESAVE}"
        ) from error
    except Exception as error:  # the unpickler meets arbitrary bytes: KeyError, EOFError, RuntimeError, ...
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{file} is a TorchScript archive; save the state dict of the original module instead"
            ) from error
        raise CheckpointError(_damaged(file, "PyTorch", error if isinstance(error, RuntimeError) else "")) from error


def _damaged(file: Path, kind: str, error: Exception | str) -> str:
    detail = str(error).partition("\n")[0].partition(". ")[0]
    what = f"{file} ({file.stat().st_size} bytes) is truncated or not a {kind} file"
    return f"{what}{f' ({detail})' if detail else ''}; copy or download it again"
