"""Simulated hardware in real time: the world in a process of its own, thin sides in the guard and in the voice.

`WorldServer` drives the very twins of virtual time along CLOCK_MONOTONIC.  The thin sides stand where pins, bus and
sound device stand, and speak to it over one Unix socket (packets that keep their bounds, one connection each).  Either
end may be killed: without a world there are no edges and no acknowledges, as without power; a guard that comes back
finds the world going on.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from retrowalk.errors import DeviceError, SoundError, StrictTwinError
from retrowalk.platform import APLAY, Clock, SerialPort, Sound, SoundSystem
from retrowalk.sim.chips.ds18b20 import MEASURES_S
from retrowalk.sim.faults import Faults
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.pins import RELEASED, Listener, SimPinFactory
from retrowalk.sim.scheduler import Scheduler
from retrowalk.sim.sound import FRAME_BYTES, RATE_HZ, SimSound, condition
from retrowalk.sim.sound import Listener as SoundListener
from retrowalk.sim.world import World

log = logging.getLogger("retrowalk.sim")

TRANSFER_LIMIT_S = 0.050
"""A bus transfer that takes longer is given up: the world is stopped or gone."""
RECONNECT_S = 0.1
PACKET_MAX = 128 * 1024
WAIT_MAX_S = 0.02
SWALLOWED_FRAMES = 960
"""What a device that plays to nowhere takes at every turn."""
REALIGN_S = 0.010
"""A sound device whose pointer is this far from where its frames should be is believed (it stopped, or drifted)."""


# ------------------------------------------------------------------------------------------- the messages


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What the two sides say.  Times are seconds of CLOCK_MONOTONIC."""


class Hello(Message, frozen=True, array_like=True, tag=True):
    """First word of a connection."""

    kind: str
    """`pins`, `sound`, or `questions`: bus, serial ports and files."""


class Output(Message, frozen=True, array_like=True, tag=True):
    line: int
    value: float
    mono_s: float


class Edge(Message, frozen=True, array_like=True, tag=True):
    line: int
    level: bool
    mono_s: float
    told: bool


class Levels(Message, frozen=True, array_like=True, tag=True):
    levels: dict[int, bool]


class Transfer(Message, frozen=True, array_like=True, tag=True):
    number: int
    address: int
    write: bytes
    read: int


class Port(Message, frozen=True, array_like=True, tag=True):
    """A serial port is opened, read, written or closed (`what`)."""

    number: int
    what: str
    port: str
    data: bytes = b""
    baud: int = 0


class File(Message, frozen=True, array_like=True, tag=True):
    """A file of the computer's own is read, or (`names`) a directory listed: its names, one a line."""

    number: int
    path: str
    names: bool


class Answer(Message, frozen=True, array_like=True, tag=True):
    number: int
    data: bytes


class Refused(Message, frozen=True, array_like=True, tag=True):
    """A transfer failed: with an error number, or (0) because the driver broke a rule of the chip."""

    number: int
    error: int
    text: str


class Frames(Message, frozen=True, array_like=True, tag=True):
    """Frames that leave the sound device from `mono_s` on."""

    pcm: bytes
    mono_s: float


class SoundFault(Message, frozen=True, array_like=True, tag=True):
    """The fault that the sound device has now, empty for none."""

    kind: str


_Question = Transfer | Port | File
_ANY = Hello | Output | Edge | Levels | _Question | Answer | Refused | Frames | SoundFault
_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(_ANY).decode


def _receive(connection: socket.socket) -> Any:
    """The next message; None when the other side is gone."""
    try:
        packet = connection.recv(PACKET_MAX)
    except (BlockingIOError, TimeoutError):
        raise
    except OSError:
        return None
    try:
        return _decode(packet) if packet else None
    except msgspec.DecodeError:
        log.warning("a packet of %d bytes makes no sense: connection dropped", len(packet))
        return None


def _connect(path: Path, kind: str) -> socket.socket | None:
    """A connection that has said what it is, or None: there is no world."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(TRANSFER_LIMIT_S)
        connection.connect(str(path))
        connection.send(_encode(Hello(kind)))
    except OSError:
        connection.close()
        return None
    return connection


# --------------------------------------------------------------------------------------------- the world


class WorldServer:
    """Runs a world, its modules and its ear along real time, and serves the thin sides.

    `scheduler` must stand on a virtual clock, and `hardware` on it; `listeners` (ear, file) get the
    sound.  Session second 0 is `origin_mono_s` of CLOCK_MONOTONIC (None: now).  `run` until `stop` (from any thread or
    signal handler) or a session second; call `close` after it.  Raises `DeviceError` when the socket cannot be made.
    """

    def __init__(
        self,
        world: World,
        scheduler: Scheduler,
        hardware: Hardware,
        listeners: Sequence[SoundListener],
        socket_path: str | Path,
        *,
        faults: Faults | None = None,
        origin_mono_s: float | None = None,
    ) -> None:
        self.origin_mono_s = time.monotonic() if origin_mono_s is None else origin_mono_s
        self._world = world
        self._scheduler = scheduler
        self._hardware = hardware
        self._board = hardware.board
        self._listeners = tuple(listeners)
        self._faults = faults or Faults()
        self._path = Path(socket_path)
        self._stopping = False
        self._kinds: dict[socket.socket, str] = {}
        self._outputs: dict[socket.socket, set[int]] = {}
        self._ports: dict[socket.socket, dict[str, SerialPort]] = {}
        """Serial ports by who has opened them: the kernel closes them when their process dies."""
        self._listening = _listen(self._path)
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._board.on_edge = self._edge
        for t_s in self._faults.changes("voice"):
            scheduler.at(t_s, self._tell_sound, "voice.fault")

    def now(self) -> float:
        """Session seconds."""
        return time.monotonic() - self.origin_mono_s

    def run(self, until_s: float = math.inf) -> None:
        """Serves until session second `until_s`, or until `stop`."""
        while not self._stopping and self.now() < until_s:
            self.poll(until_s)

    def poll(self, until_s: float = math.inf) -> None:
        """One round: everything that is due, then what comes in, waiting for it at most 20 ms."""
        now = self.now()
        self._scheduler.run_until(now)
        self._world.advance(now)
        wait_s = min(self._scheduler.next_due_s(), until_s, now + WAIT_MAX_S) - self.now()
        # Not epoll: its wait is rounded up to whole milliseconds, and an echo can be shorter.
        readable, _, _ = select.select([self._listening, self._wake, *self._kinds], [], [], max(0.0, wait_s))
        for connection in readable:
            if connection is self._listening:
                self._accept()
            elif connection is not self._wake:
                self._serve(connection)

    def stop(self) -> None:
        """Ends `run` soon."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def close(self) -> None:
        """Takes the socket down; the thin sides find the world gone."""
        self._board.on_edge = None
        for connection in list(self._kinds):
            self._drop(connection)
        for end in (self._listening, self._wake, self._waker):
            end.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listening.accept()
            connection.setblocking(False)
            self._kinds[connection] = ""

    def _serve(self, connection: socket.socket) -> None:
        while connection in self._kinds:
            try:
                message = _receive(connection)
            except BlockingIOError:
                return
            now = self.now()
            match message:
                case Transfer() | Port() | File():
                    # The chips' time is the moment of asking; what was due before it has run, or runs next.
                    self._send(connection, self._answer(connection, message, now))
                case Output():
                    self._outputs.setdefault(connection, set()).add(message.line)
                    self._board.output(message.line, message.value, message.mono_s - self.origin_mono_s)
                case Frames():
                    for listener in self._listeners:
                        listener.feed(message.pcm, message.mono_s - self.origin_mono_s)
                case Hello():
                    self._kinds[connection] = message.kind
                    if message.kind == "pins":
                        self._send(connection, Levels(dict(self._board.levels)))
                    elif message.kind == "sound":
                        self._send(connection, SoundFault(self._faults.active("voice", now)))
                case _:
                    self._drop(connection)

    def _answer(self, connection: socket.socket, asked: _Question, now: float) -> Message:
        try:
            match asked:
                case Transfer():
                    data = self._hardware.bus.answer(asked.address, asked.write, asked.read, now)
                case Port():
                    data = self._port(connection, asked)
                case File():
                    host = self._hardware.host
                    data = (
                        "\n".join(host.names(asked.path)).encode()
                        if asked.names
                        else host.answer(asked.path, now).encode()
                    )
            return Answer(asked.number, data)
        except OSError as error:
            return Refused(asked.number, error.errno or errno.EIO, error.strerror or str(error))
        except StrictTwinError as error:
            return Refused(asked.number, 0, str(error))

    def _port(self, connection: socket.socket, asked: Port) -> bytes:
        ports = self._ports.setdefault(connection, {})
        if asked.what == "open":
            ports[asked.port] = self._hardware.serial.open(asked.port, asked.baud)
        elif asked.port not in ports:
            raise OSError(errno.EBADF, f"{asked.port} is not open")
        elif asked.what == "read":
            return ports[asked.port].read()
        elif asked.what == "write":
            ports[asked.port].write(asked.data)
        else:
            ports.pop(asked.port).close()
        return b""

    def _edge(self, line: int, level: bool, t_s: float, told: bool) -> None:
        edge = Edge(line, level, t_s + self.origin_mono_s, told)
        for connection, kind in list(self._kinds.items()):
            if kind == "pins":
                self._send(connection, edge)

    def _tell_sound(self) -> None:
        fault = SoundFault(self._faults.active("voice", self._scheduler.clock.now()))
        for connection, kind in list(self._kinds.items()):
            if kind == "sound":
                self._send(connection, fault)

    def _send(self, connection: socket.socket, message: Message) -> None:
        try:
            connection.send(_encode(message))
        except BlockingIOError:
            pass  # it does not read: edges are lost, as the kernel loses them
        except OSError:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        """The other side is gone; the kernel would have released its lines."""
        self._kinds.pop(connection, None)
        connection.close()
        for port in self._ports.pop(connection, {}).values():
            port.close()
        for line in sorted(self._outputs.pop(connection, ())):
            self._board.output(line, RELEASED, self.now())


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > 100:
        raise DeviceError(f"socket {path}: its path is too long (100 bytes at most)")
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()  # left by a world that was killed
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listening.bind(str(path))
        listening.listen()
    except OSError as error:
        listening.close()
        raise DeviceError(f"socket {path} cannot be made: {error}") from error
    return listening


# ----------------------------------------------------------------------------------------------- pins


class _RemoteLines:
    """`pins.Lines` whose board is in the world's process.  A thread of its own brings the edges, as lgpio's does."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.levels: dict[int, bool] = {}
        self._path = path
        self._clock = clock
        self._outputs: dict[int, float] = {}
        self._listeners: dict[int, Listener] = {}
        self._connection: socket.socket | None = None
        self._closing = threading.Event()
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sim-pins", daemon=True)
        self._thread.start()
        # A world that is there is met before the first pin is used.
        self._connected.wait(TRANSFER_LIMIT_S)

    def output(self, line: int, value: float, t_s: float) -> None:
        self._outputs[line] = value
        self._send(Output(line, value, t_s + self._clock.origin_mono_s))

    def listen(self, line: int, listener: Listener | None) -> None:
        if listener is None:
            self._listeners.pop(line, None)
        else:
            self._listeners[line] = listener

    def close(self) -> None:
        self._closing.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(1.0)

    def _send(self, message: Message) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):  # the thread finds out that the world is gone
                connection.send(_encode(message), socket.MSG_DONTWAIT)

    def _run(self) -> None:
        while not self._closing.is_set():
            connection = _connect(self._path, "pins")
            if connection is None:
                self._closing.wait(RECONNECT_S)
                continue
            connection.settimeout(None)
            self._connection = connection
            now = self._clock.now()
            for line, value in list(self._outputs.items()):
                self._send(Output(line, value, now + self._clock.origin_mono_s))
            while not self._closing.is_set() and self._take(_receive(connection)):
                pass
            self._connection = None
            self._connected.clear()
            connection.close()
            self.levels.clear()

    def _take(self, message: Any) -> bool:
        match message:
            case Edge():
                self._change(message.line, message.level, message.mono_s - self._clock.origin_mono_s, message.told)
            case Levels():
                for line, level in message.levels.items():
                    self._change(line, level, self._clock.now(), told=True)
                self._connected.set()
            case _:
                return False
        return True

    def _change(self, line: int, level: bool, t_s: float, told: bool) -> None:
        self.levels[line] = level
        listener = self._listeners.get(line)
        if listener is not None:
            try:
                listener(level, t_s, told)
            except Exception:
                log.exception("the handler of GPIO%d failed", line)


class RemotePinFactory(SimPinFactory):
    """gpiozero's pins on a board in the world's process.  Edges carry the world's exact time of CLOCK_MONOTONIC.

    Without a world inputs do not move and outputs reach nobody; it is looked for again every 0.1 s.
    """

    def __init__(self, socket_path: str | Path, clock: Clock) -> None:
        self._remote = _RemoteLines(Path(socket_path), clock)
        super().__init__(self._remote, clock)

    def close(self) -> None:
        super().close()
        self._remote.close()


# ------------------------------------------------------------------------------------------------- bus


class _Questions:
    """One connection to the world, over which questions are answered one after the other.

    Raises `OSError`: what the world answers, EREMOTEIO without a world, ETIMEDOUT after 50 ms.
    """

    def __init__(self, socket_path: str | Path) -> None:
        self._path = Path(socket_path)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._number = 0
        self._closed = False

    def ask(self, question: Callable[[int], _Question]) -> bytes:
        """Asks what `question(number)` makes, and waits for the answer."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the device is closed")
            if self._connection is None:
                self._connection = _connect(self._path, "questions")
            if self._connection is None:
                raise OSError(errno.EREMOTEIO, "there is no world: nothing acknowledges")
            self._number += 1
            return self._ask(self._connection, question(self._number))

    def _ask(self, connection: socket.socket, asked: _Question) -> bytes:
        give_up_s = time.monotonic() + TRANSFER_LIMIT_S
        try:
            connection.settimeout(TRANSFER_LIMIT_S)
            connection.send(_encode(asked))
            while True:
                connection.settimeout(max(0.0001, give_up_s - time.monotonic()))
                message = _receive(connection)
                match message:
                    case Answer(asked.number, data):
                        return data
                    case Refused(asked.number, 0, text):
                        raise StrictTwinError(text)
                    case Refused(asked.number, number, text):
                        raise OSError(number, text)
                    case Answer() | Refused():
                        continue  # an answer that came too late for its question
                    case _:
                        self._disconnect()
                        raise OSError(errno.EREMOTEIO, "the world is gone: nothing acknowledges")
        except (TimeoutError, BlockingIOError) as error:
            raise OSError(errno.ETIMEDOUT, f"no answer within {TRANSFER_LIMIT_S * 1000:.0f} ms") from error
        except (BrokenPipeError, ConnectionError) as error:
            self._disconnect()
            raise OSError(errno.EREMOTEIO, "the world is gone: nothing acknowledges") from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Ends the connection for good."""
        with self._lock:
            self._closed = True
            self._disconnect()


class RemoteBus(_Questions):
    """The I2C bus of the world's process."""

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        return self.ask(lambda number: Transfer(number, address, bytes(write), read))


class RemoteHost(_Questions):
    """The files of the world's computer."""

    def read(self, path: str) -> str:
        return self.ask(lambda number: File(number, path, names=False)).decode()

    def begin(self, path: str) -> Callable[[], str | None]:
        ready_s = time.monotonic() + MEASURES_S
        return lambda: self.read(path) if time.monotonic() >= ready_s else None

    def names(self, directory: str) -> Sequence[str]:
        try:
            return self.ask(lambda number: File(number, directory, names=True)).decode().split()
        except OSError:
            return ()


class RemoteSerialPorts(_Questions):
    """The serial ports of the world's process."""

    def open(self, port: str, baud: int) -> SerialPort:
        self.ask(lambda number: Port(number, "open", port, baud=baud))
        return _RemotePort(self, port)


class _RemotePort:
    def __init__(self, ports: RemoteSerialPorts, name: str) -> None:
        self._ports = ports
        self._name = name

    def read(self) -> bytes:
        return self._ports.ask(lambda number: Port(number, "read", self._name))

    def write(self, data: bytes) -> None:
        self._ports.ask(lambda number: Port(number, "write", self._name, data))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # without a world it is closed already
            self._ports.ask(lambda number: Port(number, "close", self._name))


# ----------------------------------------------------------------------------------------------- sound


class _Wire:
    """Sends frames to the world and learns from it how the device is broken.  Never waits."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.fault = ""
        self._path = path
        self._clock = clock
        self._connection: socket.socket | None = None
        self._again_s = -math.inf

    def look(self, now: float) -> str:
        """The device's fault at this moment."""
        if self._connection is None and now >= self._again_s:
            self._again_s = now + RECONNECT_S
            self._connection = _connect(self._path, "sound")
            if self._connection is not None:
                # The world's first word is how the device is.
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    self._take(_receive(self._connection))
                if self._connection is not None:
                    self._connection.setblocking(False)
        while self._connection is not None:
            try:
                self._take(_receive(self._connection))
            except (BlockingIOError, TimeoutError):
                break
        return self.fault

    def _take(self, message: Any) -> None:
        if isinstance(message, SoundFault):
            self.fault = message.kind
        elif message is None:
            self.close()

    def frames(self, pcm: bytes, t_s: float) -> None:
        """Frames that leave the device at `t_s`."""
        if self._connection is not None:
            try:
                self._connection.send(_encode(Frames(pcm, t_s + self._clock.origin_mono_s)))
            except BlockingIOError:
                pass  # the world does not listen now; the person still does
            except OSError:
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self.fault = ""


class _Overheard:
    """A real sound device whose frames the world hears, too; the world can break it."""

    def __init__(self, inner: Sound, wire: _Wire) -> None:
        self.name = inner.name
        self.output = inner.output
        self.underruns = inner.underruns
        self.beyond_s = inner.beyond_s
        self._inner = inner
        self._wire = wire
        self._written = 0
        self._played = 0
        self._next_s: float | None = None
        self._swallowed = 0

    def keep(self, buffer_ms: int) -> None:
        self._inner.keep(buffer_ms)

    def writable(self, now: float) -> int:
        fault = self._check(now)
        if fault == "null":
            return SWALLOWED_FRAMES
        return 0 if fault == "stuck" else self._inner.writable(now)

    def write(self, pcm: bytes, now: float) -> int:
        fault = self._check(now)
        if fault == "stuck":
            return 0
        if fault == "null":
            self._swallowed += len(pcm) // FRAME_BYTES
            return len(pcm) // FRAME_BYTES
        if fault == "muted":
            pcm = bytes(len(pcm))
        taken = self._inner.write(pcm, now)
        if taken:
            # The first of them leaves when all before it have.
            leaves_s = now + max(0, self._written - self._inner.played(now)) / RATE_HZ
            if self._next_s is not None and abs(leaves_s - self._next_s) < REALIGN_S:
                leaves_s = self._next_s
            self._next_s = leaves_s + taken / RATE_HZ
            self._written += taken
            self._wire.frames(pcm[: taken * FRAME_BYTES], leaves_s)
        return taken

    def played(self, now: float) -> int:
        if self._check(now) != "stuck":
            self._played = self._inner.played(now) + self._swallowed
        self.beyond_s = self._inner.beyond_s
        return self._played

    def wait(self, timeout_s: float) -> None:
        self._inner.wait(timeout_s)

    def close(self) -> None:
        self._inner.close()

    def _check(self, now: float) -> str:
        self.underruns = self._inner.underruns
        fault = self._wire.look(now)
        if fault == "off":
            self.close()
            raise SoundError(f"sound device {self.name!r}: no such device; is it plugged in?")
        return fault


class RemoteSoundSystem:
    """Sound devices that the world hears: `inner`'s when one is given (a person hears them, too), else simulated ones
    that follow the clock.

    Without a world they play all the same.
    """

    def __init__(self, socket_path: str | Path, clock: Clock, inner: SoundSystem | None = None) -> None:
        self._clock = clock
        self._inner = inner
        self._wire = _Wire(Path(socket_path), clock)

    def open(self, device: str, buffer_ms: int) -> Sound:
        """Opens a device.  Raises `SoundError` when it cannot be."""
        if self._wire.look(self._clock.now()) == "off" or (self._inner is None and device.startswith(APLAY)):
            raise SoundError(f"sound device {device!r} cannot be opened: no such device; is it plugged in?")
        if self._inner is not None:
            return _Overheard(self._inner.open(device, buffer_ms), self._wire)
        return SimSound(device, buffer_ms, self._clock, self._wire.frames, self._wire.look)

    def condition(self, device: str, now: float) -> str:
        """What is known of the real device, and of the simulated one."""
        known = self._inner.condition(device, now) if self._inner is not None else ""
        return condition(self._wire.look(now)) or known

    def close(self) -> None:
        """Ends the connection to the world."""
        self._wire.close()
