"""Engines of model files on a simulated GPU, with cards that say what they were built from."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from altered_models import card_of
from simulated_engines import write_engine
from simulated_gpu import Cuda, simulated_tensorrt
from sparsevit_runtime.backends import tensorrt
from sparsevit_runtime.cuda import CudaRuntime
from sparsevit_runtime.tensorrt import read_sidecar, sidecar_path
from sparsevit_runtime.tensorrt.engine_card import sha256
from sparsevit_runtime.tensorrt.profile import make_profile


class EngineFolder:
    """A folder with an engine, whose answers are those of a model file, on a simulated GPU."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch = folder, monkeypatch

    def write(self, answers: Path, source: Path, batch: tuple[int, int, int] = (1, 1, 1), **inputs: object) -> Path:
        """An engine whose card says that it was built from `source` for batches of this size."""
        cuda = Cuda()
        self._monkeypatch.setitem(sys.modules, "tensorrt", simulated_tensorrt(cuda, answers, (batch[0], batch[2])))
        self._monkeypatch.setattr(tensorrt, "open_cuda", lambda: CudaRuntime(cuda))
        engine = write_engine(self._folder / "m.engine", card_of(answers))
        card = read_sidecar(engine)
        profile = make_profile(card.model, batch)
        about = card.inputs.model_copy(
            update={"onnx_sha256": sha256(source.read_bytes()), "profile": profile, **inputs}
        )
        sidecar_path(engine).write_text(card.model_copy(update={"inputs": about}).model_dump_json())
        return engine


def beside(engine: Path, model: Path, name: str) -> Path:
    """A copy of a model file in the folder of an engine."""
    return Path(shutil.copy(model, engine.with_name(name)))
