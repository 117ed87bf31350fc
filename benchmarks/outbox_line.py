"""Lines to a broker that can be cut and fall silent, and that note every event which passes them.

`Lines` forwards in a thread of its own.  Each `Line` is a port of this machine:

- `cut`: its connections are reset, on both sides
- `swallow`: its connections stay, and nothing passes them any more: no byte, no end.  Whoever connects anew gets
  through: so does a NAT that forgot
- `stall`: for a while nothing passes in one direction; then what waited does
- `delay`: for a while everything takes so much longer

What passes is read as MQTT: `Lines.passed` has every event, in the order in which they were passed on.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

import msgspec

READ_BYTES = 65536
Way = Literal["up", "down"]
"""To the broker, and from it."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An event on a line, as it was handed on."""

    line: str
    way: Way
    connection: int
    at_s: float
    """CLOCK_MONOTONIC."""
    epoch: str
    seq: int
    priority: str
    type: str
    data: dict[str, object]


class _Envelope(msgspec.Struct):
    epoch: str
    seq: int
    priority: str
    eventtype: str
    data: dict[str, object]


_decoder = msgspec.json.Decoder(_Envelope)


class Packets:
    """Cuts a stream of bytes into MQTT packets, and finds the payload of what is published."""

    def __init__(self) -> None:
        self.version = 0
        """Of the protocol: known from a CONNECT."""
        self._bytes = bytearray()

    def feed(self, data: bytes, version: int) -> list[tuple[str, bytes]]:
        """Topic and payload of every message that is complete now."""
        self._bytes += data
        found = []
        while (packet := self._next()) is not None:
            kind, flags, body = packet
            if kind == 1 and len(body) > 6:
                self.version = body[6]
            elif kind == 3:
                found.append(_published(body, flags, version or self.version))
        return found

    def _next(self) -> tuple[int, int, bytes] | None:
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self._bytes):
                return None
            size |= (self._bytes[at] & 127) << shift
            at += 1
            if not self._bytes[at - 1] & 128:
                break
            shift += 7
        if len(self._bytes) < at + size:
            return None
        first, body = self._bytes[0], bytes(self._bytes[at : at + size])
        del self._bytes[: at + size]
        return first >> 4, first & 15, body


def _published(body: bytes, flags: int, version: int) -> tuple[str, bytes]:
    length = int.from_bytes(body[:2])
    topic, at = body[2 : 2 + length].decode(errors="replace"), 2 + length
    if flags & 6:
        at += 2
    if version == 5:
        size, shift = 0, 0
        while True:
            size |= (body[at] & 127) << shift
            at += 1
            if not body[at - 1] & 128:
                break
            shift += 7
        at += size
    return topic, body[at:]


class _End:
    """One end of a connection, and what is on its way there."""

    def __init__(self, line: Line, connection: socket.socket, way: Way, number: int) -> None:
        self.line = line
        self.socket = connection
        self.way = way
        self.number = number
        self.queue: deque[tuple[float, bytes]] = deque()
        self.other: _End | None = None
        self.packets = Packets()
        self.swallowed = False
        self.closing = False


class Line:
    """A line to `to_port`; the port it listens at is `port`.  Made by `Lines.add`."""

    def __init__(self, name: str, to_port: int) -> None:
        self.name = name
        self.to_port = to_port
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(64)
        self.server.setblocking(False)
        self.port = int(self.server.getsockname()[1])
        self.connections = 0
        self.stalled_until_s = {"up": -math.inf, "down": -math.inf}
        self.delayed_until_s = -math.inf
        self.delay_s = 0.0


class Lines:
    """All lines, forwarded by one thread.  A context manager."""

    def __init__(self) -> None:
        self.passed: list[Passed] = []
        self._selector = selectors.DefaultSelector()
        self._ends: dict[int, _End] = {}
        self._lines: list[Line] = []
        self._orders: deque[tuple[str, Line, float, Way]] = deque()
        self._news, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._news, selectors.EVENT_READ, "news")
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def __enter__(self) -> Lines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake()
        self._thread.join(5.0)
        for end in self._ends.values():
            end.socket.close()
        for line in self._lines:
            line.server.close()
        os.close(self._news)
        os.close(self._tell)
        self._selector.close()

    def add(self, name: str, to_port: int) -> Line:
        """A new line."""
        line = Line(name, to_port)
        self._lines.append(line)
        self._order("add", line)
        return line

    def cut(self, line: Line) -> None:
        """Resets what is connected."""
        self._order("cut", line)

    def swallow(self, line: Line) -> None:
        """Nothing passes what is connected now, ever."""
        self._order("swallow", line)

    def stall(self, line: Line, way: Way, seconds: float) -> None:
        """Nothing passes this way so long."""
        self._order("stall", line, seconds, way)

    def delay(self, line: Line, seconds: float, lasts_s: float) -> None:
        """Everything takes `seconds` longer, so long."""
        line.delay_s = seconds
        self._order("delay", line, lasts_s)

    def heal(self, line: Line) -> None:
        """Everything passes; what was swallowed stays so."""
        self._order("heal", line)

    def _order(self, what: str, line: Line, seconds: float = 0.0, way: Way = "up") -> None:
        self._orders.append((what, line, seconds, way))
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._tell, b"!")
        except BlockingIOError:
            pass  # it is awake

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        wait_s = 1.0
        while not self._stopping:
            for key, _ in self._selector.select(wait_s):
                if key.data == "news":
                    try:
                        os.read(self._news, 4096)
                    except BlockingIOError:
                        pass
                elif isinstance(key.data, Line):
                    self._accept(key.data)
                elif key.fd in self._ends:
                    self._read(key.data)
            now = time.monotonic()
            while self._orders:
                self._obey(*self._orders.popleft(), now)
            wait_s = self._send(now)

    def _obey(self, what: str, line: Line, seconds: float, way: Way, now: float) -> None:
        ends = [end for end in self._ends.values() if end.line is line]
        match what:
            case "add":
                self._selector.register(line.server, selectors.EVENT_READ, line)
            case "cut":
                for end in ends:
                    self._drop(end, reset=True)
            case "swallow":
                for end in ends:
                    end.swallowed = True
                    end.queue.clear()
            case "stall":
                line.stalled_until_s[way] = now + seconds
            case "delay":
                line.delayed_until_s = now + seconds
            case "heal":
                line.stalled_until_s = {"up": -math.inf, "down": -math.inf}
                line.delayed_until_s = -math.inf

    def _accept(self, line: Line) -> None:
        try:
            near, _ = line.server.accept()
        except BlockingIOError:
            return
        far = socket.socket()
        try:
            far.connect(("127.0.0.1", line.to_port))
        except OSError:
            far.close()
            _reset(near)
            return
        line.connections += 1
        ends = _End(line, near, "down", line.connections), _End(line, far, "up", line.connections)
        for end, other in (ends, ends[::-1]):
            end.other = other
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends[end.socket.fileno()] = end
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _drop(self, end: _End, *, reset: bool) -> None:
        for each in (end, end.other):
            if each is not None and self._ends.pop(each.socket.fileno(), None) is not None:
                self._selector.unregister(each.socket)
                if reset:
                    _reset(each.socket)
                else:
                    each.socket.close()

    def _read(self, end: _End) -> None:
        try:
            data = end.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        other = end.other
        if not data:
            if end.swallowed:  # the other side is never told
                if self._ends.pop(end.socket.fileno(), None) is not None:
                    self._selector.unregister(end.socket)
                    end.socket.close()
            elif other is not None and other.queue:
                other.closing = True  # what was sent before the end still passes
                self._selector.unregister(end.socket)
                self._ends.pop(end.socket.fileno())
                end.socket.close()
            else:
                self._drop(end, reset=False)
        elif not end.swallowed and other is not None:
            now = time.monotonic()
            delay_s = end.line.delay_s if now < end.line.delayed_until_s else 0.0
            due_s = now + delay_s
            if other.queue:
                due_s = max(due_s, other.queue[-1][0])
            other.queue.append((due_s, data))

    def _send(self, now: float) -> float:
        """Sends what is due; returns how long until there is more."""
        wait_s = 1.0
        for end in list(self._ends.values()):
            while end.queue:
                due_s, data = max(end.queue[0][0], end.line.stalled_until_s[end.way]), end.queue[0][1]
                if due_s > now:
                    wait_s = min(wait_s, due_s - now)
                    break
                try:
                    sent = end.socket.send(data)
                except BlockingIOError:
                    wait_s = min(wait_s, 0.01)
                    break
                except OSError:
                    self._drop(end, reset=True)
                    break
                self._note(end, data[:sent])
                if sent < len(data):
                    end.queue[0] = (due_s, data[sent:])
                else:
                    end.queue.popleft()
            if end.closing and not end.queue and end.socket.fileno() in self._ends:
                self._drop(end, reset=False)
        return wait_s

    def _note(self, end: _End, sent: bytes) -> None:
        version = end.other.packets.version if end.other is not None else 0
        for topic, payload in end.packets.feed(sent, version):
            if "/event/" in topic:
                try:
                    event = _decoder.decode(payload)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                line, now = end.line.name, time.monotonic()
                kind, data = event.eventtype, event.data
                passed = Passed(line, end.way, end.number, now, event.epoch, event.seq, event.priority, kind, data)
                self.passed.append(passed)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
