"""The error tree: every error retrowalk raises on purpose, and when.

Each class also inherits the built-in a caller would expect, so that code which knows nothing of
retrowalk catches it where it looks.  Messages name the thing, its value and the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RetrowalkError(Exception):
    """Everything retrowalk raises on purpose."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a configuration: where, what, and the rule it breaks."""

    file: str
    key: str
    value: str
    rule: str

    def __str__(self) -> str:
        what = f"{self.key} = {self.value}" if self.value else self.key
        return f"{self.file}: {what}: {self.rule}"


class ConfigError(RetrowalkError, ValueError):
    """A configuration cannot be used.  Carries every finding, not only the first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


class CalibrationError(RetrowalkError, ValueError):
    """What was measured of the walker is damaged, cannot be read, or is not there to be undone."""


class DeviceError(RetrowalkError, OSError):
    """A device that is not a sensor (buzzer, motor, sound, bus) cannot be used now."""


class SensorError(DeviceError):
    """A sensor is absent, does not answer, or answers nonsense.

    Expected in normal life: the driver raises it, the runner reports it and tries again.
    `fault` is the short name from the fault table (`absent`, `stuck`, `garbage`, ...).
    """

    def __init__(self, fault: str, detail: str) -> None:
        self.fault = fault
        self.detail = detail
        super().__init__(f"{fault}: {detail}")


class SoundError(DeviceError):
    """A sound device cannot be opened, or stopped taking frames."""


class BankError(RetrowalkError, ValueError):
    """A phrase bank is missing, damaged, or a phrase could not be rendered and verified."""


class LinkError(RetrowalkError, ConnectionError):
    """The broker cannot be reached or refused what was sent."""


class WireError(RetrowalkError, ValueError):
    """A message between processes, or from the broker, does not have the agreed form."""


class RecordingError(RetrowalkError, ValueError):
    """A recording is broken, truncated or foreign.  `position` is the byte where reading stopped."""

    def __init__(self, message: str, position: int | None = None) -> None:
        self.position = position
        super().__init__(message if position is None else f"{message} (at byte {position})")


class OutboxError(RetrowalkError, OSError):
    """The outbox cannot commit an event (disk full, read-only, damaged)."""


class StoreError(RetrowalkError, OSError):
    """The hub's store cannot be used (disk full, read-only, locked, of a newer program)."""


class StartError(RetrowalkError, RuntimeError):
    """The processes that a command started for itself did not come up."""


class SimulationError(RetrowalkError, RuntimeError):
    """The simulated world, or a part of it, could not be started or ended by itself."""


class StrictTwinError(RetrowalkError, RuntimeError):
    """A driver used a simulated chip in a way the real chip does not allow.  Names the register."""
