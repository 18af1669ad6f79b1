"""The doctor's document. Printed by `sparsevit doctor --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from sparsevit_runtime.diagnostics.machine import MachineInfo

DOCTOR_SCHEMA: Literal[1] = 1

#: ok: as it should be. warn: works, but something will go wrong or slow. missing: not here.
Status = Literal["ok", "warn", "missing"]


class Finding(BaseModel):
    """One thing looked at.

    Attributes:
        area: group it belongs to.
        name: name of what was looked at.
        status: state that it is in.
        value: text of what was found.
        advice: the next step; empty when there is none to take.
        required: True for what the runtime does not work without.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    area: str
    name: str
    status: Status
    value: str
    advice: str = ""
    required: bool = False


class DoctorReport(BaseModel):
    """Schema-versioned findings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = DOCTOR_SCHEMA
    machine: MachineInfo
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Nothing required is missing."""
        return not any(f.required and f.status == "missing" for f in self.findings)
