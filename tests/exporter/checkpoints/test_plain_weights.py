"""Weights that are no plain numbers are refused by name, with what to save instead."""

import pytest
import torch

from sparsevit_exporter import load_checkpoint
from sparsevit_runtime.errors import CheckpointError

KEY = "stages.0.blocks.0.attn.w_msa.proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), r"is sparse .*save tensor.to_dense\(\)"),
        (lambda t: t.to_sparse_csr(), r"is sparse .*save tensor.to_dense\(\)"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), r"is quantised .*save tensor.dequantize\(\)"),
        (lambda t: t.to("meta"), "no values .meta device.; load the weights"),
        (lambda t: t.to(torch.complex64), "is complex .*real weights"),
        (lambda t: t.to(torch.float8_e4m3fn), r"is torch.float8_e4m3fn; save tensor.float\(\)"),
        (lambda t: (t * 100).to(torch.int8), "whole numbers"),
    ],
    ids=["sparse", "csr", "quantised", "meta", "complex", "float8", "int8"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:.*quantize", "ignore:.*TypedStorage")
def test_weights_that_are_no_plain_numbers(tmp_path, net, change, message):
    state = net.state_dict()
    state[KEY] = change(state[KEY])
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"w.pth: .*{KEY}.*{message}"):
        load_checkpoint(tmp_path / "w.pth")


def test_what_lies_outside_the_backbone_does_not_matter(tmp_path, net, same_outputs):
    state = {f"backbone.{name}": tensor for name, tensor in net.state_dict().items()}
    state["neck.weight"] = torch.eye(3).to_sparse()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    same_outputs(load_checkpoint(tmp_path / "w.pth").network, net)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_are_read(tmp_path, net, dtype):
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in net.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    read = load_checkpoint(tmp_path / "w.pth").network.state_dict()
    torch.testing.assert_close(read[KEY], state[KEY].float())
