"""A model in half precision made from its float32 file on the device, and compared with it before anybody has it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ..agreement import RECORDED
from ..card import CheckCard
from ..errors import ModelError
from ..files import write_atomic
from ..graph.half import half_file
from ..graph.onnx_file import OnnxFile, read_onnx
from ..model import Model, find_model, load
from ..progress import SILENT, Progress
from .comparing import ComparisonReport, compare
from .probes import probe_batch, probe_feeds


def write_half(model: str | Path, path: str | Path, progress: Progress = SILENT) -> ComparisonReport:
    """Writes a model in half precision: the same weights rounded, and the same card with outputs recorded anew.

    Both are run by ONNX Runtime on the CPU and compared at several sparsities by the limits of half precision
    (`agreement.COMPARED`).

    Args:
        model: an fp32 file of `sparsevit export`, or a bundled model's name.
        path: the file; written whole, and only where the two agree.
        progress: listener, told the runs.

    Returns:
        The comparison; nothing is written where it does not agree.

    Raises:
        ModelError: the file is missing, broken, in half precision already, or its graph cannot be converted.
        CardError: it carries no card, or an invalid one.
        SinkError: the file cannot be written.
    """
    file = read_onnx(find_model(model))
    if file.card.precision != "fp32":
        raise ModelError(f"{file.path} is in {file.card.precision} already; use it as it is")
    if file.weights:
        raise ModelError(f"{file.path} has weights in {', '.join(file.weights)}; export it with --precision fp16")
    with tempfile.TemporaryDirectory(prefix="sparsevit-half-") as folder:
        made = Path(folder) / "half.onnx"
        made.write_bytes(_converted(file))
        try:
            half = load(made, "onnxruntime", device="cpu")
        except ModelError as error:
            raise ModelError(
                f"{file.path} does not run in half precision ({error}); export it with --precision fp16"
            ) from error
        with half, load(file.path, "onnxruntime", device="cpu") as full:
            report = compare(half, full, file=Path(path).name, progress=progress)
            checks = tuple(_recorded(half, record) for record in file.card.checks)
    if report.agrees:
        write_atomic(path, _converted(file, checks))
    return report


def _converted(file: OnnxFile, checks: tuple[CheckCard, ...] = ()) -> bytes:
    try:
        return half_file(file, checks)
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(
            f"{file.path} cannot be converted to half precision ({error}); export it with --precision fp16"
        ) from error


def _recorded(model: Model, record: CheckCard) -> CheckCard:
    """The same record, of this model."""
    keep = None if record.keep is None else np.array(record.keep, np.int64)
    names = [output.name for output in record.outputs]
    arrays = model.backend.run(probe_feeds(model.backend, probe_batch(model.runner, [record.seed]), keep), names)
    return record.model_copy(
        update={"outputs": tuple(_sampled(output, arrays[output.name]) for output in record.outputs)}
    )


def _sampled(output: CheckCard.Output, found: np.ndarray) -> CheckCard.Output:
    """A record at the same places, with the limits of half precision."""
    limits = RECORDED["fp16"]
    values = found.flatten()[list(output.positions)].tolist()
    return output.model_copy(
        update={
            "values": tuple(float(f"{value:.6g}") for value in values),
            "min_agreement": limits.order if "windows" in output.name else output.min_agreement,
        }
    )
