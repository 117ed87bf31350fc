"""What is exchanged below the drivers: the protocols, and the real pins, bus, clock and local mailboxes.

`Platform(pin_factory, bus, serial, host, sound, link, clock)`: a process receives only what it owns.  The real sound
comes from `voice.alsa`, the real broker link from `mqtt`; the simulated ones from `sim`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retrowalk.core.samples import Item
from retrowalk.errors import DeviceError

log = logging.getLogger("retrowalk.platform")

# ------------------------------------------------------------------------------------------------- clock


class Clock(Protocol):
    """Session time.  Only this tells the time anywhere below the core."""

    origin_mono_s: float
    """CLOCK_MONOTONIC at session second 0."""

    def now(self) -> float:
        """Session seconds."""

    def pause(self, seconds: float) -> None:
        """Waits a short while (a trigger pulse); never more than a few milliseconds."""

    def wall_s(self) -> float:
        """Unix time, for labels only; may be wrong by years and may jump."""


SPIN_S = 30e-6
"""Going to sleep and waking up again costs more processor time than waiting so long."""


class MonotonicClock:
    """The real clock.  `origin_mono_s` None: the session begins now."""

    def __init__(self, origin_mono_s: float | None = None) -> None:
        self.origin_mono_s = time.monotonic() if origin_mono_s is None else origin_mono_s

    def now(self) -> float:
        return time.monotonic() - self.origin_mono_s

    def pause(self, seconds: float) -> None:
        if seconds > SPIN_S:
            time.sleep(seconds)
            return
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def wall_s(self) -> float:
        return time.time()


# ------------------------------------------------------------------------------------------------- steps


class Step(Protocol):
    """A driver, an output or a loop, cut into steps.

    `poll(now)` does what is due and returns the items it has and the session second at which it wants to be called
    next (`math.inf`: only when woken).  It never blocks longer than a bus transfer.  A `SensorError` it raises is
    reported by the runner, which calls again after `retry_s`.  The runner sets `wake`; whatever happens outside
    `poll` (an edge, a message) calls it, from any thread, to be polled at once.
    """

    name: str
    retry_s: float
    wake: Callable[[], None]
    shares: str
    """Name of wires that this step shares with others (`i2c`): one thread polls them all.  Empty: none."""

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        """Does what is due at session second `now`."""

    def close(self) -> None:
        """Releases the device."""


def no_wake() -> None:
    """`wake` of a step that has no runner yet."""


# --------------------------------------------------------------------------------------------- pins and bus


class I2CBus(Protocol):
    """One I2C bus."""

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        """Writes, then reads `read` bytes in one combined transaction.  Raises `OSError` (a NACK, a stuck bus)."""

    def close(self) -> None:
        """Releases the bus."""


class BusLines(Protocol):
    """The two lines of the I2C bus, past their controller.  For use between transfers only; raises `OSError`."""

    def held(self) -> str:
        """Which line is low, in words; empty: both are high, nobody holds the bus."""

    def clock_out(self) -> None:
        """Nine clocks with the data line let go, then a STOP; after it the controller has its lines again."""


I2C_TIMEOUT = 0x0702
"""ioctl of i2c-dev: how long a transfer may take, in units of 10 ms."""
I2C_TIMEOUT_10_MS = 3
"""A transfer takes 5 ms at most; the kernel rounds to its ticks."""


class SmBus:
    """The real bus, /dev/i2c-N through smbus2; `i2c_rdwr` keeps a write and its read in one transaction."""

    def __init__(self, number: int = 1) -> None:
        import smbus2  # here, because a machine without a bus need not have the module loaded

        self._message = smbus2.i2c_msg
        self._bus = smbus2.SMBus()
        try:
            self._bus.open(number)
            # The kernel waits a second for a bus whose data line is held low; nobody else could be read meanwhile.
            assert self._bus.fd is not None  # opened in the line before
            fcntl.ioctl(self._bus.fd, I2C_TIMEOUT, I2C_TIMEOUT_10_MS)
        except OSError:
            self._bus.close()  # it is tried again for ever, and files that stay open are used up within minutes
            raise

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        messages = []
        if write:
            messages.append(self._message.write(address, write))
        answer = None
        if read:
            answer = self._message.read(address, read)
            messages.append(answer)
        self._bus.i2c_rdwr(*messages)
        return bytes(answer) if answer is not None else b""

    def close(self) -> None:
        self._bus.close()


class SerialPort(Protocol):
    """An open serial port."""

    def read(self) -> bytes:
        """What has arrived since the last call, at once and possibly nothing.  Raises `OSError` (unplugged)."""

    def write(self, data: bytes) -> None:
        """Sends a few bytes.  Raises `OSError`."""

    def close(self) -> None:
        """Releases the port."""


class SerialPorts(Protocol):
    """Opens serial ports by name."""

    def open(self, port: str, baud: int) -> SerialPort:
        """Opens `port` for itself alone, 8 data bits, no parity, one stop bit.  Raises `OSError`."""


class PySerialPorts:
    """The real ports, through pyserial."""

    def open(self, port: str, baud: int) -> SerialPort:
        return _PySerialPort(port, baud)


class _PySerialPort:
    def __init__(self, port: str, baud: int) -> None:
        import termios

        import serial  # here, because few devices have a sensor on a serial port

        self._port = serial.Serial(None, baud, timeout=0, write_timeout=0, exclusive=True)
        self._port.port = port
        try:
            self._port.open()
            self._port.reset_input_buffer()  # what came before is older than anybody can say
        except termios.error as error:
            # Unplugged while it is being set up: pyserial lets through what is no `OSError`.
            self._port.close()
            raise OSError(*error.args) from error

    def read(self) -> bytes:
        return bytes(self._port.read(4096))

    def write(self, data: bytes) -> None:
        self._port.write(data)

    def close(self) -> None:
        self._port.close()


class HostFiles(Protocol):
    """What the kernel tells of the computer itself, as files."""

    def read(self, path: str) -> str:
        """Text of a file under /sys or /proc.  Raises `OSError`."""

    def begin(self, path: str) -> Callable[[], str | None]:
        """Begins to read a file that may take seconds (the kernel measures meanwhile), and returns at once.

        What it returns gives the text, None while it is not there yet, and raises `OSError`.
        """

    def names(self, directory: str) -> Sequence[str]:
        """Names in a directory, in order; empty when it is not there."""


class SysFiles:
    """The real ones."""

    def read(self, path: str) -> str:
        return Path(path).read_text()

    def begin(self, path: str) -> Callable[[], str | None]:
        outcome: deque[str | OSError] = deque(maxlen=1)

        def work() -> None:
            try:
                outcome.append(Path(path).read_text(errors="replace"))
            except OSError as error:
                outcome.append(error)

        def text() -> str | None:
            got = outcome[0] if outcome else None
            if isinstance(got, OSError):
                raise got
            return got

        # A thread of its own, which nobody waits for: a bus whose wires are off keeps the kernel trying for seconds.
        threading.Thread(target=work, name="slow file", daemon=True).start()
        return text

    def names(self, directory: str) -> Sequence[str]:
        try:
            return sorted(os.listdir(directory))
        except OSError:
            return ()


def real_pin_factory() -> Any:
    """gpiozero's lgpio pin factory: edges carry the kernel's time stamp (CLOCK_MONOTONIC).

    lgpio opens a FIFO in the working directory when it is imported: an unwritable one fails here, loudly, instead of
    letting gpiozero fall back to a factory whose edges are stamped by a sleepy thread.

    One thread of lgpio's tells everybody of edges, and an exception in anybody's handler ends it for all.  So the
    factory has an `edge_thread()`: the one that lines opened from now on are told by, a new one if it has died.
    """
    try:
        import lgpio
        from gpiozero.pins.lgpio import LGPIOFactory

        class Pins(LGPIOFactory):  # type: ignore[misc]  # gpiozero is published without types
            def edge_thread(self) -> threading.Thread:
                if not lgpio._notify_thread.is_alive():
                    log.warning("lgpio's thread has died of an exception in a handler; another one takes its place")
                    lgpio._notify_thread = lgpio._callback_thread()
                thread: threading.Thread = lgpio._notify_thread
                return thread

        return Pins()
    except Exception as error:
        raise DeviceError(f"GPIO pins cannot be opened: {_pins_hint()}: {error}") from error


def _pins_hint() -> str:
    directory = os.environ.get("LG_WD") or "."
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"lgpio cannot write to {directory}: set LG_WD to a directory that this user can write to"
    return "are you in group gpio, and does no other program hold them?"


class LazyBus:
    """A bus that is opened when it is first used, and tried again at every use until it can be.

    A guard whose bus is not there yet must come up all the same, and say so: `transfer` raises what the opening did.
    """

    def __init__(self, open_bus: Callable[[], I2CBus]) -> None:
        self._open_bus = open_bus
        self._bus: I2CBus | None = None
        self._lock = threading.Lock()  # several drivers share it

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        bus = self._bus
        if bus is None:
            with self._lock:
                bus = self._bus = self._bus or self._open_bus()
        return bus.transfer(address, write, read)

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
        self._bus = None


class LazyPins:
    """A pin factory that is opened when a pin is first asked for, and tried again each time until it can be.

    `open_factory` raises `DeviceError` when it cannot; every driver then names its part as absent and tries again.
    """

    def __init__(self, open_factory: Callable[[], Any]) -> None:
        self._open_factory = open_factory
        self._factory: Any = None
        self._lock = threading.Lock()  # each driver has a thread; the chip is opened once

    def _opened(self) -> Any:
        with self._lock:
            if self._factory is None:
                self._factory = self._open_factory()
            return self._factory

    def pin(self, name: Any) -> Any:
        return self._opened().pin(name)

    def edge_thread(self) -> threading.Thread | None:
        """The thread that tells of edges of lines opened from now on; None: nobody knows of one."""
        thread = getattr(self._opened(), "edge_thread", None)
        return thread() if thread is not None else None

    def ticks(self) -> Any:
        return self._opened().ticks()

    def ticks_diff(self, later: Any, earlier: Any) -> Any:
        return self._opened().ticks_diff(later, earlier)

    def close(self) -> None:
        if self._factory is not None:
            self._factory.close()
        self._factory = None


# ------------------------------------------------------------------------------------------------- sound


class Sound(Protocol):
    """An open sound device: 48 kHz, two channels, signed 16-bit little-endian, interleaved."""

    name: str
    output: str
    """What carries the frames: `alsa`, `aplay` (a child process) or `portaudio`."""
    underruns: int
    """How often the device ran out of frames since it was opened."""
    beyond_s: float
    """Seconds that a frame takes after it has left this buffer (a server, a radio link), as the device reports it."""

    def keep(self, buffer_ms: int) -> None:
        """Keeps so much sound in the device from now on, without a gap; less where the device cannot hold it."""

    def writable(self, now: float) -> int:
        """Frames that can be written now without waiting.  Raises `SoundError` if the device is gone."""

    def write(self, pcm: bytes, now: float) -> int:
        """Hands over frames (4 bytes each); returns how many were taken.  Raises `SoundError`."""

    def played(self, now: float) -> int:
        """Play pointer: frames that have left since opening.  Raises `SoundError`."""

    def wait(self, timeout_s: float) -> None:
        """Waits until frames can be written, at most `timeout_s`.  Virtual devices return at once."""

    def close(self) -> None:
        """Releases the device without waiting for it."""


APLAY = "aplay:"
"""A device name that begins so asks for the device that follows through a child process, the emergency road."""


class SoundSystem(Protocol):
    """Opens sound devices by name."""

    def open(self, device: str, buffer_ms: int) -> Sound:
        """Opens a device.  Raises `SoundError` with what to do, soon: within a second."""

    def condition(self, device: str, now: float) -> str:
        """Why nobody hears a device whose play pointer moves all the same: `muted`, `null_sink`; empty: none is known.

        Asked some times a second, and never waits.  Of a device that was never opened nothing is known.
        """


# -------------------------------------------------------------------------------------------- microphone


class Microphone(Protocol):
    """A microphone that is open, or being opened: one channel, signed 16-bit little-endian."""

    name: str
    rate_hz: int
    """A multiple of 8 kHz; 0 until the device is open."""
    lost: int
    """How often sound was lost because nobody fetched it in time."""

    def read(self, now: float) -> bytes:
        """What came since the last call, at once and possibly nothing.  Raises `SoundError` (absent, unplugged)."""

    def close(self) -> None:
        """Releases the device without waiting for it."""


class MicrophoneSystem(Protocol):
    """Opens microphones by name."""

    def open(self, device: str) -> Microphone:
        """Begins to open a device and returns at once: whoever keeps a loudspeaker fed cannot wait for it."""


# -------------------------------------------------------------------------------------------- broker link


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or could not be made."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered a publish.  Codes from 0x80 mean refused."""

    token: int
    reason_code: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message arrived."""

    topic: str
    payload: bytes
    retained: bool
    token: int = 0
    """For `BrokerLink.handled`; 0: nobody waits for that."""


LinkEvent = Connected | Disconnected | Acknowledged | Arrived


class BrokerLink(Protocol):
    """A connection to an MQTT broker that keeps itself up.  No call blocks; what happens comes from `events`."""

    wake: Callable[[], None]
    """Called, from any thread, when `events` has something."""

    def start(self, will_topic: str, will_payload: bytes, subscriptions: Sequence[str]) -> None:
        """Begins to connect, and to connect again for ever.  The will is retained, QoS 1.

        Called again, it exchanges the will from the next connection on.
        """

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, expiry_s: int | None = None
    ) -> int:
        """Hands over a message; its answer comes as `Acknowledged` with the returned token.

        `expiry_s`: a broker of MQTT 5 forgets what it could not pass on for so long.
        """

    def handled(self, token: int) -> None:
        """A message that `Arrived` is on disk: only now the broker may forget it.  For links made to ask for that."""

    def events(self, now: float) -> list[LinkEvent]:
        """What has happened since the last call."""

    def next_due(self, now: float) -> float:
        """When to ask again even without a wake (`math.inf` on the street)."""

    def stop(self) -> None:
        """Ends the connection cleanly (the will is not sent)."""


# --------------------------------------------------------------------------------------------- mailboxes


class Mailbox(Protocol):
    """Bounded, non-blocking datagrams between the processes: `guard`, `voice`, `courier` and whoever watches."""

    name: str
    wake: Callable[[], None]
    """Called when a message has arrived (virtual time only; a real process waits on `fileno`)."""

    def send(self, to: str, message: bytes) -> bool:
        """Sends, or returns False at once: nobody there, or their queue is full."""

    def receive(self) -> bytes | None:
        """The next message, or None at once."""

    def fileno(self) -> int:
        """What `select` can wait on (-1 in virtual time)."""

    def close(self) -> None:
        """Takes the mailbox down."""


MESSAGE_MAX_BYTES = 128 * 1024


class SocketMailbox:
    """A Unix datagram socket `<run_dir>/<name>.sock`."""

    def __init__(self, run_dir: str | Path, name: str) -> None:
        self.name = name
        self.wake: Callable[[], None] = no_wake
        self._run_dir = Path(run_dir)
        self._path = self._run_dir / f"{name}.sock"
        if len(os.fsencode(self._path)) > 100:
            raise DeviceError(f"run directory {self._run_dir}: its path is too long for a socket (100 bytes at most)")
        try:
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()  # left by a process that was killed; systemd and the supervisor run one at a time
        except FileNotFoundError:
            pass
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.bind(str(self._path))
        self._path.chmod(0o660)
        if os.geteuid() == 0:
            # With sudo one asks a service of another user, which could not answer a socket of root's.
            owner = self._run_dir.stat()
            if owner.st_uid != 0:
                with contextlib.suppress(PermissionError):  # root in a sandbox
                    os.chown(self._path, owner.st_uid, owner.st_gid)

    def send(self, to: str, message: bytes) -> bool:
        try:
            self._socket.sendto(message, str(self._run_dir / f"{to}.sock"))
        except (BlockingIOError, FileNotFoundError, ConnectionError):
            return False
        except OSError:
            return False  # ENOBUFS, EMSGSIZE: to the sender it is a message not taken
        return True

    def receive(self) -> bytes | None:
        try:
            return self._socket.recv(MESSAGE_MAX_BYTES)
        except (BlockingIOError, ConnectionError):
            return None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------ service


class Waker:
    """A pipe that ends the wait of a process's main loop (`select` on it), from any thread or signal handler."""

    def __enter__(self) -> Waker:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        read, write, self._read, self._write = self._read, self._write, -1, -1
        os.close(read)
        os.close(write)

    def wake(self) -> None:
        """Ends the wait that is, or the next one."""
        try:
            os.write(self._write, b"!")
        except OSError:
            pass  # full: it is awake already; closed: nobody sleeps any more

    def clear(self) -> None:
        """Makes the next wait a wait again."""
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            pass

    def fileno(self) -> int:
        """What `select` can wait on."""
        return self._read


NOTIFY_READY_S = 0.5


def notify(message: str) -> None:
    """Tells systemd (`READY=1`, `WATCHDOG=1`, `STATUS=...`); does nothing where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # Not even for the service manager does a warning wait: a sign of life it has no room for is left out.  "READY=1"
    # is sent once, and is worth a moment.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(NOTIFY_READY_S if "READY=1" in message else 0.0)
        try:
            connection.sendto(message.encode(), address)
        except OSError:
            pass  # the service manager is not our business; the guard goes on


def boot_id() -> str:
    """Identifies this boot, so that monotonic times of two boots are never compared."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


@dataclass(slots=True)
class Platform:
    """What a process stands on.  Each process receives only what it owns; the rest is None."""

    clock: Clock
    mailbox: Mailbox
    pin_factory: Any = None
    """A gpiozero pin factory."""
    bus: I2CBus | None = None
    bus_lines: BusLines | None = None
    """None: nobody can look at them, or free them."""
    serial: SerialPorts | None = None
    host: HostFiles | None = None
    sound: SoundSystem | None = None
    microphone: MicrophoneSystem | None = None
    link: BrokerLink | None = None
