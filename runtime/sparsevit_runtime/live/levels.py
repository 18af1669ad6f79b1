"""What levels cost on this machine, measured before a governor chooses among them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from ..contract import zero_inputs
from ..errors import PlanError
from ..images.probe import probe_image
from ..power.sysfs import HostSensors
from ..progress import SILENT, Progress
from ..runner import Runner
from ..windows.level import Level
from ..windows.plan import PlanLike
from .governor import Governor, Target

#: Uniform sparsities that a governor chooses among unless it is told others.
SPARSITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
#: The sensors are looked at no more often.
_LOOK_EVERY_S = 1.0


def govern(
    runner: Runner,
    target: Target,
    sparsities: Sequence[PlanLike] = SPARSITIES,
    *,
    activity: bool = False,
    progress: Progress = SILENT,
) -> Governor:
    """A governor for a model on this machine. Runs every level a few times, so that none is new to the backend later.

    Args:
        runner: runner of the model.
        target: what frames should meet.
        sparsities: what to choose among, each in any form `Plan.parse` reads: plans that `sparsevit search` found, too.
        activity: results will tell which windows were computed, which costs more.
        progress: listener, told the levels.

    Raises:
        PlanError: one does not fit the model, or the model is a fixed export, which has one level.
    """
    if runner.card.windows.fixed is not None:
        raise PlanError(
            f"{runner.card.name} is a fixed export of one sparsity, with nothing to choose; export it without --fixed"
        )
    levels = list({level.kept: level for level in map(runner.level, sparsities)}.values())
    runner.prepare(levels)
    return Governor(levels, measure_levels(runner, levels, activity, progress), target, held_back=_host_watch())


def measure_levels(
    runner: Runner, levels: Sequence[Level], activity: bool = False, progress: Progress = SILENT, rounds: int = 3
) -> list[float]:
    """Inference time of each level in milliseconds: the median of some rounds in which all levels run in turn, after
    one that does not count."""
    nothing = {name: array[0] for name, array in zero_inputs(runner.contract, 1).items()}
    placed = runner.place(probe_image(*runner.input_hw, seed=0), nothing)
    images = runner.new_buffer()
    runner.letterbox(placed, images[0])
    requests = [runner.request(level, activity=activity) for level in levels]
    times: list[list[float]] = [[] for _ in levels]
    progress.start("measuring levels", (rounds + 1) * len(levels))
    for round_ in range(rounds + 1):
        for i, request in enumerate(requests):
            start = time.perf_counter()
            runner.run([placed], images, request)
            if round_:
                times[i].append((time.perf_counter() - start) * 1e3)
            progress.advance(round_ * len(levels) + i + 1)
    return [median(spent) for spent in times]


def _host_watch() -> Callable[[], str | None]:
    """Says what holds this machine's clocks back, by what Linux knows; a look now and then."""
    sensors, seen, looked_s = HostSensors(), None, float("-inf")

    def held_back() -> str | None:
        nonlocal seen, looked_s
        now = time.monotonic()
        if now - looked_s >= _LOOK_EVERY_S:
            seen, looked_s = sensors.read().throttled, now
        return seen

    return held_back
