import torch
from torch import nn

from sparsevit_training.ema import ModelEma


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def test_first_updates_forget_the_start():
    model = make()
    ema = ModelEma(model, 0.999)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    for _ in range(100):
        ema.update(model)
    assert (ema.model[0].weight - 1).abs().max() < 0.01  # at 0.999 throughout, nine tenths of the start would remain


def test_decay_at_length():
    model = make()
    ema = ModelEma(model, 0.9)
    ema.updates = 10_000
    before = ema.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    ema.update(model)
    torch.testing.assert_close(ema.model[0].weight, before + 0.1)


def test_batch_statistics_follow_and_counters_are_copied():
    model = make()
    ema = ModelEma(model, 0.5)
    model.train()(torch.randn(16, 3) + 4)
    ema.update(model)
    assert (ema.model[1].running_mean != 0).all()
    assert ema.model[1].num_batches_tracked == model[1].num_batches_tracked == 1


def test_the_average_is_for_evaluation():
    ema = ModelEma(make().train(), 0.9)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_state_survives():
    model = make()
    ema = ModelEma(model, 0.9)
    ema.update(model)
    other = ModelEma(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), 0.9)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1
    torch.testing.assert_close(other.model.state_dict(), ema.model.state_dict())
