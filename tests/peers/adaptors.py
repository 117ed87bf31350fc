"""How other people's drivers get onto the simulated bus, and into virtual time.

Each adaptor is a bus as one family of drivers expects it, over the same `SimBus` that ours use.  The drivers are as
published (`requirements/peers.txt`); only what they would find on a board is put in their way: a bus, and time.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from retrowalk.platform import I2CBus
from retrowalk.sim.scheduler import VirtualClock

BLOCK_MAX = 32
"""Bytes of an SMBus block."""


def import_peer(name: str) -> ModuleType:
    """A module of somebody else.  Skips the test where it is not installed; in CI that is a failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs to mend
            return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a driver in C that was built for another machine
        why = f"{name} cannot be imported ({error}): script/setup --dev installs it"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def stand_in(name: str, **names: Any) -> ModuleType:
    """A module in place of one that only a board has."""
    module = ModuleType(name)
    vars(module).update(names)
    return module


BOARD = {
    # What drivers of these families import from a board's support; only `const` and `SMBus` are ever called.
    "micropython": stand_in("micropython", const=lambda value: value),
    "busio": stand_in("busio", I2C=object, SPI=object),
    "digitalio": stand_in("digitalio", DigitalInOut=object),
    "smbus": stand_in("smbus", SMBus=None),
}


def into_virtual_time(monkeypatch: pytest.MonkeyPatch, clock: VirtualClock, package: str) -> None:
    """Has every module of a package sleep in virtual time."""

    def sleep(seconds: float) -> None:
        clock.reach(clock.now() + seconds)

    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            if hasattr(module, "sleep"):
                monkeypatch.setattr(module, "sleep", sleep)
            if isinstance(getattr(module, "time", None), ModuleType):
                monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep))


class BusioI2C:
    """CircuitPython's `busio.I2C`.  `log` keeps what was written, `locks` how often it was held."""

    def __init__(self, bus: I2CBus) -> None:
        self._bus = bus
        self._locked = False
        self.log: list[bytes] = []

    def try_lock(self) -> bool:
        free, self._locked = not self._locked, True
        return free

    def unlock(self) -> None:
        assert self._locked, "unlocked, but not locked"
        self._locked = False

    def _transfer(self, address: int, write: bytes, read: int) -> bytes:
        assert self._locked, "the bus is used without its lock"
        self.log.append(write)
        return self._bus.transfer(address, write, read)

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        self._transfer(address, bytes(buffer[start:end]), 0)

    def readfrom_into(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        count = len(buffer[start:end])
        buffer[start : start + count] = self._transfer(address, b"", count)

    def writeto_then_readfrom(
        self,
        address: int,
        out_buffer: Any,
        in_buffer: Any,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
    ) -> None:
        count = len(in_buffer[in_start:in_end])
        written = bytes(out_buffer[out_start:out_end])
        in_buffer[in_start : in_start + count] = self._transfer(address, written, count)


class SMBus:
    """`smbus.SMBus`, and of `smbus2` what its drivers use: `i2c_rdwr` with the real `i2c_msg`.

    A transfer takes `transfer_s` of virtual time, as Python on a small computer does; drivers in C wait in real time,
    which nobody can take from them, but count their polls.
    """

    def __init__(self, bus: I2CBus, clock: VirtualClock, transfer_s: float = 0.0) -> None:
        self._bus = bus
        self._clock = clock
        self._transfer_s = transfer_s
        self.errors = 0
        self.opened = 0
        """How often it is open now."""

    def __call__(self, bus: int | None = None) -> SMBus:
        """Stands for the class: every instance is this one."""
        if bus is not None:
            self.open(bus)
        return self

    def open(self, bus: int) -> None:
        assert bus == 1
        self.opened += 1

    def close(self) -> None:
        self.opened = 0

    def _transfer(self, address: int, write: bytes, read: int) -> bytes:
        if not self.opened:
            raise OSError(errno.EBADF, "the bus is closed")
        if self._transfer_s:
            self._clock.pause(self._transfer_s)
        try:
            return self._bus.transfer(address, write, read)
        except OSError:
            self.errors += 1
            raise

    def write_quick(self, address: int) -> None:
        self._transfer(address, b"", 0)

    def read_byte_data(self, address: int, register: int) -> int:
        return self._transfer(address, bytes((register,)), 1)[0]

    def read_word_data(self, address: int, register: int) -> int:
        return int.from_bytes(self._transfer(address, bytes((register,)), 2), "little")

    def read_i2c_block_data(self, address: int, register: int, length: int = BLOCK_MAX) -> list[int]:
        assert length <= BLOCK_MAX, f"{length} bytes; a block has {BLOCK_MAX} at most"
        return list(self._transfer(address, bytes((register,)), length))

    def write_byte_data(self, address: int, register: int, value: int) -> None:
        self._transfer(address, bytes((register, value)), 0)

    def write_word_data(self, address: int, register: int, value: int) -> None:
        self._transfer(address, bytes((register,)) + value.to_bytes(2, "little"), 0)

    def write_i2c_block_data(self, address: int, register: int, data: Sequence[int]) -> None:
        assert len(data) <= BLOCK_MAX, f"{len(data)} bytes; a block has {BLOCK_MAX} at most"
        self._transfer(address, bytes((register, *data)), 0)

    def i2c_rdwr(self, *messages: Any) -> None:
        """A write, a read, or a write and a read in one transaction."""
        reads = [message for message in messages if message.flags & 1]
        writes = [message for message in messages if not message.flags & 1]
        assert len(reads) <= 1
        assert len(writes) <= 1
        assert list(messages) == writes + reads, "a write, then a read"
        written = bytes(writes[0]) if writes else b""
        data = self._transfer(messages[0].addr, written, reads[0].len if reads else 0)
        for i, value in enumerate(data):
            reads[0].buf[i] = value
