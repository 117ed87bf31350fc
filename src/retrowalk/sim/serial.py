"""Simulated serial ports: a twin at each, whose bytes arrive when the line has carried them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Protocol

from retrowalk.errors import StrictTwinError
from retrowalk.platform import Clock, SerialPort


class SerialTwin(Protocol):
    """A module at a serial port."""

    baud: int

    def sent(self, now: float) -> bytes:
        """Bytes that have arrived at the Pi since the last call.  Raises `OSError` (a USB adapter unplugged)."""

    def receive(self, data: bytes, now: float) -> None:
        """The Pi has written."""

    def opened(self, now: float) -> None:
        """The Pi has opened the port: what came before is lost."""


class SimSerialPorts:
    """Opens the simulated ports.  A port without a module opens and stays silent, as the Pi's own do."""

    def __init__(self, clock: Clock, twins: Mapping[str, SerialTwin]) -> None:
        self._clock = clock
        self._twins = dict(twins)
        self._open: set[str] = set()

    def open(self, port: str, baud: int) -> SerialPort:
        if port in self._open:
            raise OSError(errno.EBUSY, f"{port} is in use")
        twin = self._twins.get(port)
        if twin is not None:
            if baud != twin.baud:
                raise StrictTwinError(f"{port}: opened at {baud} baud; the module speaks {twin.baud}")
            twin.opened(self._clock.now())
        self._open.add(port)
        return _SimPort(self, port, self._clock, twin)

    def closed(self, port: str) -> None:
        """The port can be opened again."""
        self._open.discard(port)


class _SimPort:
    def __init__(self, ports: SimSerialPorts, name: str, clock: Clock, twin: SerialTwin | None) -> None:
        self._ports = ports
        self._name = name
        self._clock = clock
        self._twin = twin

    def read(self) -> bytes:
        return self._twin.sent(self._clock.now()) if self._twin is not None else b""

    def write(self, data: bytes) -> None:
        if self._twin is not None:
            self._twin.receive(data, self._clock.now())

    def close(self) -> None:
        self._ports.closed(self._name)
