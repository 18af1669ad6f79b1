"""`sparsevit adapt`: train a model for every sparsity, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def adapt(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe, such as those in training/recipes.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change an entry: data.0.root=/data/camvid. Repeatable."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over, even where an earlier run can go on.")
    ] = False,
) -> None:
    """Train a model with a new plan at every step, so that one set of weights serves every sparsity.

    Stopped at any moment and started again, it goes on where it was.
    """
    from sparsevit_runtime.dependencies import require

    require("torch")
    require("yaml")
    changes = dict(_parse_change(text) for text in change or [])

    from sparsevit_training.adaptation import adapt as run
    from sparsevit_training.recipe import load_recipe

    from ..console import progress_bar, say

    with progress_bar() as progress:
        path = run(load_recipe(recipe, changes), resume=not restart, progress=progress)
    say(f"wrote {path}; export it with: sparsevit export {path} -o model.onnx")


def _parse_change(text: str) -> tuple[str, Any]:
    """``key=value``, the value read as YAML: ``8`` is a number, ``[a, b]`` a list."""
    import yaml

    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE, such as schedule.steps=2000", param_hint="--set")
    try:
        return key.strip(), yaml.safe_load(value)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"the value of {text!r} is not YAML: {error}", param_hint="--set") from error
