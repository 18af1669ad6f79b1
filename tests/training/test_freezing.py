import pytest
import torch

from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_training.adaptation import adapt
from sparsevit_training.freezing import FreezingError
from sparsevit_training.recipe import RecipeError

MODEL = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "head_channels": 8}


@pytest.fixture
def start(recipe_of, tmp_path):
    return adapt(recipe_of(output=str(tmp_path / "start"), model=MODEL, schedule={"steps": 2, "warmup_steps": 1}))


@pytest.fixture
def going_on(recipe_of, start):
    """The recipe that goes on from `start`, with parts kept."""
    return lambda *frozen, **changes: recipe_of(model={**MODEL, "start": str(start), "frozen": frozen, **changes})


def test_what_is_frozen_stays_and_the_rest_learns(going_on, start):
    """Batch norms' statistics and stochastic depth included."""
    before = load_checkpoint(start).network.state_dict()
    recipe = going_on("backbone", "head.pyramid", drop_path_rate=0.5)
    after = load_checkpoint(adapt(recipe)).network.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("head.pyramid") and name.endswith("running_mean") for name in after)
    assert changed and not any(name.startswith(("backbone.", "head.pyramid.")) for name in changed)
    assert {"head.classify.weight", "head.classify.bias"} <= changed


def test_a_resumed_run_equals_an_unbroken_one(going_on, tmp_path):
    recipe = going_on("backbone")
    unbroken = load_checkpoint(adapt(recipe)).network.state_dict()
    broken = recipe.model_copy(update={"output": tmp_path / "broken"})
    adapt(broken, stop_at=3)
    torch.testing.assert_close(load_checkpoint(adapt(broken)).network.state_dict(), unbroken, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (("backbone.stage9",), r"names \['backbone.stage9'\]; the network has backbone, backbone.patch_embed"),
        (("",), r"names \[''\]"),
        (("backbone", "head"), "leaves nothing to train"),
    ],
)
def test_what_cannot_be_kept(going_on, frozen, message):
    with pytest.raises(FreezingError, match=message):
        adapt(going_on(*frozen))


def test_random_weights_are_not_kept(going_on, recipe_of):
    with pytest.raises(FreezingError, match=r"random weights of \['head.pyramid'\]"):
        adapt(going_on("head.pyramid", head_channels=16))
    with pytest.raises(RecipeError, match="name what to `start` from"):
        recipe_of(model={**MODEL, "frozen": ["backbone"]})
