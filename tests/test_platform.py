"""Pins and bus that are not there yet are taken when they are; nobody waits for the service manager."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import termios

import pytest

from retrowalk.errors import DeviceError
from retrowalk.platform import LazyBus, LazyPins, PySerialPorts, SmBus, SocketMailbox, notify


class Bus:
    """A bus that answers with what it was asked."""

    closed = False

    def transfer(self, address, write, read):
        return bytes((address, *write))[:read]

    def close(self):
        self.closed = True


class Factory:
    """As much of a pin factory as the drivers use."""

    closed = False

    def pin(self, name):
        return f"pin {name}"

    def ticks(self):
        return 7.0

    def ticks_diff(self, later, earlier):
        return later - earlier

    def close(self):
        self.closed = True


class Opening:
    """Opens nothing until `there`; counts how often it was asked."""

    def __init__(self, device, error):
        self.device, self.error = device, error
        self.there = False
        self.asked = 0

    def __call__(self):
        self.asked += 1
        if not self.there:
            raise self.error
        return self.device


def test_bus_is_tried_again_until_it_is_there():
    """Not opened before it is used; each use tries again; once open it stays open"""
    opening = Opening(Bus(), FileNotFoundError(2, "No such file or directory", "/dev/i2c-1"))
    bus = LazyBus(opening)
    assert opening.asked == 0
    for _ in range(2):
        with pytest.raises(OSError, match="i2c-1"):
            bus.transfer(0x6A, b"\x0f", 1)
    opening.there = True
    assert bus.transfer(0x6A, b"\x0f", 2) == b"\x6a\x0f"
    assert bus.transfer(0x6A, b"\x0f", 1) == b"\x6a"
    assert opening.asked == 3
    bus.close()
    assert opening.device.closed


def test_pins_are_tried_again_until_they_are_there():
    """A pin asked for too early raises what the drivers expect; later it is there, with its ticks"""
    opening = Opening(Factory(), DeviceError("GPIO pins cannot be opened"))
    pins = LazyPins(opening)
    with pytest.raises(DeviceError, match="GPIO pins"):
        pins.pin(23)
    opening.there = True
    assert pins.pin(23) == "pin 23"
    assert pins.ticks_diff(pins.ticks(), 5.0) == 2.0
    assert opening.asked == 2
    pins.close()
    assert opening.device.closed


def test_closing_what_was_never_open_is_nothing():
    """A guard that ends before it had pins or bus ends cleanly"""
    LazyBus(Opening(Bus(), OSError())).close()
    LazyPins(Opening(Factory(), OSError())).close()


def test_a_bus_that_cannot_be_set_up_keeps_no_file_open(tmp_path):
    """What refuses the bus's settings is tried again for ever, and each time closed again."""
    import smbus2

    no_bus = tmp_path / "i2c"
    no_bus.touch()

    class Elsewhere(smbus2.SMBus):
        def open(self, bus):
            super().open(str(no_bus))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smbus2, "SMBus", Elsewhere)
        bus = LazyBus(SmBus)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with pytest.raises(OSError, match="ioctl"):
                bus.transfer(0x10, b"\x00", 1)
        assert len(os.listdir("/proc/self/fd")) <= len(before)


@pytest.mark.parametrize("call", ["tcsetattr", "tcflush"])
def test_a_serial_adapter_unplugged_while_it_is_opened_is_an_os_error(monkeypatch, call):
    """termios has an error of its own, which would end the guard; the driver knows what to do with an `OSError`."""
    master, slave = os.openpty()
    name = os.ttyname(slave)

    def unplugged(*args):
        raise termios.error(errno.EIO, "Input/output error")

    monkeypatch.setattr(termios, call, unplugged)
    before = set(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(OSError, match="Input/output") as caught:
            PySerialPorts().open(name, 9600)
        assert caught.value.errno == errno.EIO
        assert len(os.listdir("/proc/self/fd")) <= len(before)
    finally:
        os.close(master)
        os.close(slave)


def test_sign_of_life_waits_for_nobody(monkeypatch, tmp_path):
    """A service manager that reads nothing, until its queue is full: `notify` goes on returning"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as flood:
            with contextlib.suppress(BlockingIOError):
                while True:
                    flood.sendto(b"x" * 1000, str(tmp_path / "notify"))
        notify("WATCHDOG=1")  # a blocking send would hang here for ever


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_service_of_another_user_can_answer_root(tmp_path):
    """With sudo one asks a service that runs as a user of its own: the mailbox belongs to whom the folder belongs to"""
    os.chown(tmp_path, 12345, 12346)
    mailbox = SocketMailbox(tmp_path, "doctor-1")
    try:
        status = (tmp_path / "doctor-1.sock").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12346, 0o660)
    finally:
        mailbox.close()
