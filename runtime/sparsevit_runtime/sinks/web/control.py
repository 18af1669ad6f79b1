"""The running session as visitors may see it and move it: names shortened, values checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from ... import __version__
from ...errors import ArgumentError, PlanError, SessionError
from ...texts import printable, shown
from ...windows.level import Level, say_pruned
from .figures import Figures
from .labels import Labels
from .protocol import Draw, Governor, LiveSession, Recorder

#: Version of the state's layout.
STATE_SCHEMA = 1
#: Letters of a reason that are shown.
_LONGEST_REASON = 200


class Control:
    """Reads and moves the session, if there is one.

    Threads: safe from any thread.

    Attributes:
        session: session that is shown; None before it is known.
        labels: labels of its sources.
        task: name of the model's task; empty before the first result.
    """

    def __init__(self, figures: Figures) -> None:
        self.session: LiveSession | None = None
        self.labels = Labels()
        self.task = ""
        self._windows_first = False
        self._figures = figures
        self._seen: dict[str, None] = {}

    @property
    def cameras(self) -> list[str]:
        """Labels of all cameras, in their order."""
        names = list(self._seen) if self.session is None else list(self.session.sources)
        return list(self.labels.of(names).values())

    @property
    def governor(self) -> Governor | None:
        return getattr(self.session, "governor", None)

    @property
    def recorder(self) -> Recorder | None:
        return getattr(self.session, "recorder", None)

    def attach(self, session: LiveSession) -> None:
        """Has another session shown from now on, and nothing of those before."""
        self._figures.clear()
        self.labels, self._seen = Labels(), {}
        self.session = session
        self._windows_first = bool(getattr(session, "activity", False))

    def ask_for_windows(self, wanted: bool) -> None:
        """Has results tell their windows while somebody looks at them, and then as before."""
        session: Any = self.session
        if self.shows_windows:
            session.activity = wanted or self._windows_first

    @property
    def shows_windows(self) -> bool:
        """Whether results can be asked to tell which windows were computed."""
        return hasattr(self.session, "activity")

    @property
    def draw(self) -> Draw | None:
        """How the session draws its pictures; None where it does not say."""
        return getattr(self.session, "draw", None)

    @property
    def model(self) -> tuple[str, str]:
        """Names of model and backend."""
        session = self.session
        return printable(str(getattr(session, "model_name", ""))), str(getattr(session, "backend_name", ""))

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and at least one source delivers."""
        session = self.session
        if session is None or session.status.state.value != "running":
            return False
        return any(status.state.value == "live" for status in session.sources.values())

    def see(self, source: str) -> str:
        """The label of the source of a result."""
        self._seen.setdefault(source)
        return self.labels[source]

    def command(self, wanted: Mapping[str, Any]) -> None:
        """Does what a visitor wants: ``sparsity`` (0 to 1, or a list of one share a stage), ``governor`` (on or off),
        ``recording`` (on or off).

        Raises:
            ArgumentError, PlanError: a value means nothing here.
            SessionError: there is nothing that could do it.
        """
        unknown = sorted(set(wanted) - {"sparsity", "governor", "recording"})
        if unknown or not wanted:
            what = shown(unknown[0]) if unknown else "nothing"
            raise ArgumentError(f"{what} can be set; accepted: sparsity, governor, recording")
        if "governor" in wanted:
            self._set_governor(_flag(wanted, "governor"))
        if "sparsity" in wanted:
            self._set_level(wanted["sparsity"])
        if "recording" in wanted:
            self._set_recording(_flag(wanted, "recording"))

    def state(self, viewers: int) -> dict[str, Any]:
        """All that the page shows, ready for JSON.

        Args:
            viewers: visitors that have a picture or the page open.
        """
        session, governor, recorder = self.session, self.governor, self.recorder
        model, backend = self.model
        status = None if session is None else session.status
        return {
            "schema": STATE_SCHEMA,
            "time": time.time(),
            "version": __version__,
            "model": model,
            "backend": backend,
            "task": self.task,
            "session": None if status is None else {"state": status.state.value, "since": status.since_ns / 1e9},
            "level": None if session is None else _said_level(session.level),
            "governor": None if governor is None else _said_governor(governor),
            "recording": None if recorder is None else {"active": recorder.active},
            "windows": {"first": self._windows_first} if self.shows_windows else None,
            "viewers": viewers,
            "cameras": self._cameras(),
            "outputs": self._outputs(),
        }

    def history(self) -> dict[str, list[list[float | None]]]:
        """Points of the plots by camera; see `Figures.history`."""
        return {camera: self._figures.history(camera) for camera in self.cameras}

    def _cameras(self) -> list[dict[str, Any]]:
        session = self.session
        if session is None:
            return [{"name": name, "state": "live", **self._figures.say(name)} for name in self.cameras]
        counted, said = session.metrics.sources, []
        for name, status in session.sources.items():
            label, counts = self.labels[name], counted[name]
            said.append(
                {
                    "name": label,
                    "state": status.state.value,
                    "since": status.since_ns / 1e9,
                    "captured": counts.captured,
                    "processed": counts.processed,
                    "dropped": counts.dropped,
                    "failed": counts.failed,
                    "in_flight": counts.in_flight,
                    "damaged": getattr(counts, "damaged", 0),
                    "reconnects": counts.reconnects,
                    **self._figures.say(label),
                }
            )
        return said

    def _outputs(self) -> list[dict[str, Any]]:
        if self.session is None:
            return []
        return [
            {"name": name, "written": each.written, "skipped": each.skipped, "failed": bool(each.error)}
            for name, each in shown_outlets(self.session).items()
        ]

    def _set_level(self, sparsity: object) -> None:
        session = self._running()
        if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float, list)):
            raise PlanError("sparsity is a number from 0 to 1, or a list of one share a stage")  # no file, no text
        session.level = sparsity

    def _set_governor(self, enabled: bool) -> None:
        governor = self.governor
        if governor is None:
            raise SessionError("this run has no governor; start it with a target")
        governor.enabled = enabled

    def _set_recording(self, active: bool) -> None:
        recorder = self.recorder
        if recorder is None:
            raise SessionError("this run has nothing that could be recorded to")
        if active != recorder.active:
            (recorder.start if active else recorder.stop)()

    def _running(self) -> LiveSession:
        if self.session is None:
            raise SessionError("there is no session to be moved")
        return self.session


def shown_outlets(session: LiveSession) -> dict[str, Any]:
    """Counts of outlets by a name that may be shown."""
    labels = Labels()
    return {labels[name]: each for name, each in session.metrics.outlets.items()}


def kept_by_stage(level: Level) -> list[int]:
    """Windows that the blocks of each stage compute, all together; empty where a fixed plan does not say."""
    if level.kept is None:
        return []
    depths = [len(stage) for stage in level.plan.ratios]
    ends = list(accumulate((depth + 1) // 2 for depth in depths))
    kept = []
    for depth, end in zip(depths, ends):
        pairs = level.kept[end - (depth + 1) // 2 : end]
        kept.append(sum(count * min(2, depth - 2 * i) for i, count in enumerate(pairs)))
    return kept


def _said_level(level: Level) -> dict[str, Any]:
    ratios = {ratio for stage in level.plan.ratios for ratio in stage}
    return {
        "sparsity": ratios.pop() if len(ratios) == 1 else None,
        "pruned": round(1 - level.window_share, 4),
        "text": say_pruned(level.window_share),
        "kept_windows": kept_by_stage(level),
        "fixed": level.keep is None,
    }


def _said_governor(governor: Governor) -> dict[str, Any]:
    return {
        "enabled": governor.enabled,
        "reason": _short(governor.reason),
        "met": governor.met,
        "target": _short(governor.target),
    }


def _short(reason: object) -> str:
    text = printable(" ".join(str(reason).split()))
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _flag(wanted: Mapping[str, Any], name: str) -> bool:
    value = wanted[name]
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is true or false, not {shown(value)}")
    return value
