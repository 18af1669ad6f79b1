"""A model as a callable class over batches of frames, for data pipelines that make one per worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..backends import Backend, LoadOptions
from ..errors import ArgumentError, ModelError
from ..graph.onnx_file import read_onnx
from ..images.image_files import decode_image
from ..model import find_model, load
from ..texts import shown
from ..triton import is_served
from .rows import answer_of, check_columns

if TYPE_CHECKING:
    from ..tasks import Result
    from ..windows.level import Level
    from ..windows.plan import PlanLike

#: Frames of a run on a GPU, where the model takes as many; on a CPU one at a time is as fast.
_GPU_BATCH = 8


def digest_of(model: str | Path, backend: Backend | None = None) -> str:
    """SHA-256 of a model file, and of its weights that lie in other files.

    Args:
        model: the same as in `load`.
        backend: backend that runs it; asked for a model that lies on a server.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    if is_served(model):
        return str(getattr(backend, "digest", ""))
    path = find_model(model)
    if path.suffix == ".onnx":
        return read_onnx(path).digest()
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path} ({error.strerror or error}); check the path") from error


class FramePredictor:
    """From a batch of frames to columns: ``dataset.map_batches(FramePredictor, fn_constructor_kwargs={"model": ...})``.

    Each object opens the model of its own, when it is made. Threads: one at a time.

    Attributes:
        model: the opened model.
        level: share of windows that is computed.
        digest: SHA-256 of the model, as `digest_of`.
        batch: frames of a run, at most.
    """

    def __init__(
        self,
        model: str | Path,
        sparsity: PlanLike | Level | None = None,
        *,
        threshold: float | None = None,
        backend: str = "auto",
        device: str | None = None,
        threads: int | None = None,
        options: LoadOptions | None = None,
        batch: int | None = None,
        image: str = "image",
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        """
        Args:
            model, backend, device, threads, options: the same as in `load`.
            sparsity: any form `Plan.parse` reads; None computes all windows.
            threshold: least score of a detection; None for what the card says.
            batch: frames of a run, at most; None for what suits model and device.
            image: name of the column with the frames.
            color: order of the channels of frames that come as arrays; Ray Data's `read_images` gives ``rgb``.

        Raises:
            BatchError: the answers of the model have no columns, or it takes more than pixels.
            ArgumentError: `color` is neither.
            And what `load` raises.
        """
        if color not in ("bgr", "rgb"):
            raise ArgumentError(f"color is bgr or rgb, got {shown(color)}")
        self.model = load(model, backend, device=device, threads=threads, options=options)
        check_columns(self.model.card)
        self.level = self.model.level(sparsity)
        self.digest = digest_of(model, self.model.backend)
        self._threshold, self._image, self._color = threshold, image, color
        wanted = batch or (_GPU_BATCH if self.model.backend.device.kind == "cuda" else 1)
        self._least, most = self.model.backend.batches
        self.batch = max(self._least, wanted if most is None else min(wanted, most))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Runs a batch.

        Args:
            batch: columns by name. That of the frames holds (H, W, 3) uint8 arrays, or one of (B, H, W, 3), or the
                bytes of image files.

        Returns:
            The other columns as they came, and those of the answers, with a list of a value for each frame: `width`,
            `height`, what the task says (`Task.columns`), `keep`, `window_share`, the times of its batch in
            milliseconds, `model` and `model_digest`.

        Raises:
            ArgumentError: there is no such column.
            FrameError, ImageError: one of it is no frame.
            BackendError: the run failed.
        """
        if self._image not in batch:
            raise ArgumentError(f"the batch has no column {self._image!r}; it has {', '.join(map(str, batch))}")
        results = self.predict([self._frame(each) for each in batch[self._image]])
        rows = [answer_of(result) for result in results]
        columns: dict[str, Any] = {name: values for name, values in batch.items() if name != self._image}
        names = rows[0] if rows else ()
        columns.update({name: [row[name] for row in rows] for name in names})
        return columns | {
            "model": [self.model.card.name] * len(rows),
            "model_digest": [self.digest] * len(rows),
        }

    def predict(self, frames: Sequence[np.ndarray]) -> list[Result]:
        """Results of frames, (H, W, 3) uint8 BGR each, in runs of at most `batch`. Raises FrameError, BackendError."""
        results: list[Result] = []
        for first in range(0, len(frames), self.batch):
            part = list(frames[first : first + self.batch])
            filled = part + part[-1:] * (self._least - len(part))  # engines may be made for no fewer
            results += self.model.batch(filled, self.level, threshold=self._threshold)[: len(part)]
        return results

    def close(self) -> None:
        """Releases the model. Safe to repeat."""
        self.model.close()

    def _frame(self, given: Any) -> np.ndarray:
        if isinstance(given, (bytes, bytearray, memoryview)):
            return decode_image(bytes(given))
        array = np.asarray(given)
        return np.ascontiguousarray(array[..., ::-1]) if self._color == "rgb" else array
