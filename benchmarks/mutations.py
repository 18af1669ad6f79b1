"""Broken inputs by the thousand: is every one refused with an error that was meant, soon and in little memory?

    python benchmarks/mutations.py --count 3000 --seed 1

Each input is a valid one with a few changes: bytes turned, cut or repeated, numbers exchanged for those at the edge of
their range, fields left out. What counts as wrong is an exception that is no `SparseViTError`, ten seconds of work, a
minute of waiting, or two gigabytes. Every kind runs in a process of its own, under a limit of memory and an alarm; its
number repeats a case.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.texts import printable

SECONDS = 10
MEMORY = 2 << 30
#: Methods of `Kinds` and of `TrainingKinds`.
KINDS = ("plan", "card", "carried_card", "onnx", "opened_onnx", "engine", "image", "uri")
TRAINING_KINDS = ("coco", "recipe", "checkpoint", "command")
ALL_KINDS = (*KINDS, *TRAINING_KINDS)


class TooSlowError(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


@contextmanager
def limits() -> Iterator[None]:
    """Raises TooSlowError in this thread after the work allowed."""

    def stop(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # counts this process's own work, however busy the machine is
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _maker(kind: str) -> Callable[[Path], object]:
    """The class of a kind. PyTorch is imported where it is needed, and before memory is limited."""
    if kind in TRAINING_KINDS:
        from mutation_training_kinds import TrainingKinds

        return TrainingKinds
    from mutation_kinds import Kinds

    return Kinds


def run_kind(kind: str, seed: int, first: int, count: int, say: Any) -> None:
    """Runs cases of a kind, in a process of its own; says (case, verdict, details) of each."""
    logging.disable(logging.CRITICAL)
    for stream in (1, 2):  # what commands print, and what the codecs have to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    make = _maker(kind)
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + MEMORY, here + MEMORY))
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        case: Callable[[random.Random], None] = getattr(make(Path(name)), kind)
        for number in range(first, first + count):
            say.send((number, "begun", ""))
            verdict, details = "taken", ""
            try:
                with limits():
                    case(random.Random(f"{seed} {kind} {number}"))
            except SparseViTError:
                verdict = "refused"
            except TooSlowError:
                verdict, details = "slow", "".join(traceback.format_stack(limit=3))
            except MemoryError:
                verdict, details = "memory", traceback.format_exc(limit=-3)
            except Exception:
                verdict, details = "untyped", traceback.format_exc(limit=-3)
            say.send((number, verdict, details))
    say.send((first + count, "done", ""))


def watch(kind: str, seed: int, count: int, shown: int) -> Counter[str]:
    """All cases of a kind; a process that ends or hangs in the middle is a finding, and the rest goes on."""
    found: Counter[str] = Counter()
    context, number = multiprocessing.get_context("spawn"), 0
    while number < count:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_kind, args=(kind, seed, number, count - number, theirs))
        process.start()
        theirs.close()
        while True:
            try:
                answer = ours.recv() if ours.poll(6 * SECONDS) else None  # what does not return to Python hangs, too
            except EOFError:
                process.join(SECONDS)
                answer = (number, f"ended: {process.exitcode}", "")
            at, verdict, details = answer or (number, "hung", "")
            number = at
            if verdict == "begun":
                continue
            number = at + (verdict != "done")
            if verdict != "done":
                found[verdict] += 1
                if verdict not in ("taken", "refused") and found[verdict] <= shown:
                    print(f"--- {kind} {at}: {verdict}\n{printable(details, keep=chr(10))}", flush=True)
            if answer is None or verdict == "done" or verdict.startswith("ended"):
                break
        process.kill()
        process.join()
    return found


def main(
    count: Annotated[int, typer.Option(help="Cases of each kind.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="Another seed, other cases.")] = 0,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join((*KINDS, *TRAINING_KINDS))}; all unless given.")
    ] = None,
    shown: Annotated[int, typer.Option(help="Findings of a sort that are shown whole.")] = 3,
) -> None:
    """Breaks inputs and reports those that are not refused as they should."""
    wrong = 0
    for name in kind or ALL_KINDS:
        found = watch(name, seed, count, shown)
        wrong += sum(number for verdict, number in found.items() if verdict not in ("taken", "refused"))
        print(f"{name}: {', '.join(f'{number} {verdict}' for verdict, number in sorted(found.items()))}", flush=True)
    raise typer.Exit(int(wrong > 0))


if __name__ == "__main__":
    typer.run(main)
