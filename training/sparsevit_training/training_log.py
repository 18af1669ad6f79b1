"""The log of a run, CSV and on demand TensorBoard; goes on, without duplicate steps, when a run is resumed."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from sparsevit_runtime.dependencies import require


class TrainingLog:
    """Appends rows to a CSV file; each row is flushed.

    Args:
        path: the file; created with a header when absent.
        columns: the first one counts steps.
        resume_step: rows of this and later steps are dropped, they will be written again.
        tensorboard: write the numbers for TensorBoard too, into a folder of the file's name beside it.

    Raises:
        MissingDependencyError: TensorBoard is asked for and not installed.
    """

    def __init__(self, path: Path, columns: list[str], resume_step: int, tensorboard: bool = False) -> None:
        self._columns = columns
        self._board = None
        if tensorboard:
            require("tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(path.with_suffix("")), purge_step=resume_step or None)
        kept: list[dict] = []
        if resume_step and path.exists():
            with path.open(newline="") as file:
                kept = [r for r in csv.DictReader(file) if (r[columns[0]] or "").isdigit()]
            kept = [r for r in kept if int(r[columns[0]]) < resume_step]
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, columns, extrasaction="ignore")
        self._writer.writeheader()
        self._writer.writerows(kept)
        self._file.flush()

    def write(self, **values: object) -> None:
        """Writes one row; columns that are not given stay empty."""
        self._writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in values.items()})
        self._file.flush()
        if self._board is not None:
            step = values[self._columns[0]]
            for name, value in values.items():
                if name in self._columns[1:]:
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


class Averages:
    """Running means since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor | float] = {}
        self._count = 0

    def add(self, **values: torch.Tensor | float) -> None:
        """Adds on the values' device: reading them at every step would make a GPU wait for the host."""
        self._count += 1
        for key, value in values.items():
            value = value.detach().double() if isinstance(value, torch.Tensor) else value
            self._sums[key] = self._sums.get(key, 0.0) + value

    def take(self) -> dict[str, float]:
        count = max(self._count, 1)
        means = {key: float(value) / count for key, value in self._sums.items()}
        means = {"loss": float("nan"), **means, "count": self._count}
        self._sums, self._count = {}, 0
        return means
