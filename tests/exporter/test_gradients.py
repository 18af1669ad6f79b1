import pytest
import torch

from sparsevit_exporter import gradients, ops


def random(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(
    ("operation", "inputs", "kept"),
    [
        (ops.reshape, (random(2, 3, 4),), ((0, -1),)),
        (ops.select, (random(5, 2, 3),), (torch.tensor([[4, 0, 4], [1, 1, 2]]),)),
        (ops.matmul, (random(2, 3, 4, 5), random(2, 3, 5, 2)), ()),
        (ops.matmul, (random(4, 5), random(3, 5, 2)), ()),
        (ops.matmul, (random(3, 4, 5), random(5, 2)), ()),
    ],
)
def test_gradients_are_those_of_finite_differences(operation, inputs, kept):
    assert operation in gradients.DIFFERENTIABLE
    assert torch.autograd.gradcheck(lambda *given: operation(*given, *kept), inputs)
