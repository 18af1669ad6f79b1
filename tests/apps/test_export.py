from __future__ import annotations

import os

import pytest
import torch

from sparsevit_apps.exporting import failure, parity_table
from sparsevit_exporter import SparseViT
from sparsevit_exporter.parity import ParityReport, ParityRow
from sparsevit_runtime.model import load


def test_the_file_carries_what_the_checkpoint_says(exported):
    assert exported.said.code == 0, exported.said.err
    with load(exported.path, threads=1) as model:
        card = model.card
    assert (card.name, card.task, card.precision) == ("small", "segmentation", "fp32")
    assert (card.input.height, card.input.width) == (48, 64)
    assert card.input.mean == (100.0, 110.0, 120.0)
    assert card.class_names == ("road", "car", "tree")
    assert (card.training.data, card.training.licence) == ("noise", "CC0")
    assert [m.value for m in card.metrics] == [41.5, 40.25]
    assert card.checks


def test_the_parity_report_is_printed(exported):
    words = " ".join(exported.said.out.split())
    for expected in (
        "Parity: ONNX Runtime against PyTorch",
        "window order, stage 0",
        "logits",
        "labels",
        "holds",
        "wrote",
    ):
        assert expected in words, expected
    assert "differs" not in words


@pytest.mark.parametrize(("size", "told"), [("256x256", False), ("96x128", True)])
def test_a_dense_swin_that_answers_otherwise_is_told_in_a_line(sparsevit, tmp_path, size, told):
    """Windows of 4 tokens, four stages: at multiples of 128 nothing is padded, and at 256 no map is one window."""
    net = SparseViT(8, (2, 2, 2, 2), (1, 1, 2, 2), window_size=4).eval()
    names = (("stages.", "layers."), ("projection", "proj"), ("attn.w_msa", "attn"))
    state = {name: tensor for name, tensor in net.state_dict().items() if "position_index" not in name}
    for ours, theirs in (*names, ("ffn.layers.0.0", "mlp.fc1"), ("ffn.layers.1", "mlp.fc2")):
        state = {name.replace(ours, theirs): tensor for name, tensor in state.items()}
    torch.save({"model": state}, tmp_path / "swin.pth")
    said = sparsevit("export", tmp_path / "swin.pth", "-o", tmp_path / "m.onnx", "--size", size)
    assert said.code == 0, said.err
    words = " ".join(said.err.split())
    assert ("SparseViT will answer otherwise than this microsoft Swin: it pads before the norm" in words) == told


def test_backbone_alone_with_a_fixed_plan(sparsevit, checkpoint, tmp_path):
    out = tmp_path / "bb.onnx"
    options = ("--task", "backbone", "--fixed", "--plan", "0.5,0,0,0", "--size", "40x56", "--name", "mine", "-v")
    said = sparsevit("export", checkpoint, "-o", out, *options)
    assert said.code == 0, said.err
    assert "stage3" in said.out
    with load(out, threads=1) as model:
        card = model.card
    assert (card.name, card.task, card.classes, card.metrics) == ("mine", "backbone", (), ())
    assert (card.input.height, card.input.width) == (40, 56)
    assert card.windows.fixed[0] == (0.5, 0.5)


def test_where_parity_does_not_hold_nothing_is_written(sparsevit, checkpoint, tmp_path):
    """Weights beyond the range of half precision: the graph answers infinities where PyTorch answers numbers."""
    document = torch.load(checkpoint, weights_only=True)
    name = "backbone.stages.0.blocks.0.ffn.layers.1.weight"
    document["state_dict"][name] = document["state_dict"][name] * 1e6
    torch.save(document, tmp_path / "large.pth")
    out = tmp_path / "large.onnx"
    said = sparsevit("export", tmp_path / "large.pth", "-o", out, "--precision", "fp16")
    assert said.code == 1
    assert "differs" in said.out
    assert "was not written" in said.err and "--precision fp32" in said.err
    assert os.listdir(tmp_path) == ["large.pth"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "detection"), "no detection head"),
        (("--label-stride", "3"), "label_stride is 3"),
        (("--fixed", "--plan", "0.5,0.5"), "2 stages"),
        (("--fixed", "--plan", "2"), "from 0 to 1"),
        (("--format", "huggingface"), "huggingface"),
        (("--format", "flax"), "no checkpoint format"),
    ],
)
def test_requests_that_do_not_fit_the_checkpoint(sparsevit, checkpoint, tmp_path, options, words):
    said = sparsevit("export", checkpoint, "-o", tmp_path / "out.onnx", *options)
    assert said.code == 1
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_without_a_size_needs_one(sparsevit, checkpoint, tmp_path):
    document = torch.load(checkpoint, weights_only=True)
    del document["input"]["height"], document["input"]["width"]
    torch.save(document, tmp_path / "sizeless.pth")
    said = sparsevit("export", tmp_path / "sizeless.pth", "-o", tmp_path / "out.onnx")
    assert said.code == 1
    assert "--size" in said.err


@pytest.fixture
def report() -> ParityReport:
    def row(plan, tensor, difference, holds):
        return ParityRow(plan, 1, tensor, difference, 1e-4, None, holds)

    return ParityReport(
        "fp32",
        (
            row("dense", "logits", 5e-5, True),
            row("30% pruned", "logits", 2e-3, False),
            row("dense", "labels", 0.0, True),
        ),
    )


def test_the_table_shows_the_worst_run_of_each_tensor(report):
    assert parity_table(report).row_count == 2
    assert list(parity_table(report).columns[2].cells) == ["30% pruned, batch 1", "dense, batch 1"]
    assert parity_table(report, every_row=True).row_count == 3


def test_the_failure_names_the_worst_tensor(report):
    message = str(failure(report, "m.onnx"))
    assert "m.onnx was not written: 1 of 3" in message
    assert "logits at plan '30% pruned'" in message
