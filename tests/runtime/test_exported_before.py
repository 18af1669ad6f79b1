"""A file of an earlier exporter, with other nodes than those of today: it runs, agrees and is read back as it did."""

from __future__ import annotations

import numpy as np
import torch

from exports import EXPORTED_BEFORE
from sparsevit_exporter import load_checkpoint
from sparsevit_runtime.diagnostics import check
from sparsevit_runtime.model import load


def test_its_answers_are_those_that_it_recorded_then():
    with load(EXPORTED_BEFORE, threads=1) as model:
        report = check(model)
    assert report.agrees
    assert {output.output for output in report.outputs} >= {"labels", "windows0", "shifted_windows0"}


def test_it_is_read_back():
    network = load_checkpoint(EXPORTED_BEFORE).network.eval()
    frame = np.random.default_rng(0).integers(0, 256, (112, 210, 3), np.uint8)
    with load(EXPORTED_BEFORE, threads=1) as model, torch.no_grad():
        found = model(frame, sparsity=0).label_map
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.input.mean, model.card.input.std))
        image = (torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1) - mean) / std
        logits = torch.nn.functional.interpolate(
            network(image[None]), size=found.shape, mode="bilinear", align_corners=False
        )
    assert (logits.argmax(1)[0].numpy() == found).mean() > 0.9
