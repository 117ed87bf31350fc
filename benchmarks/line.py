"""The line between device and broker, in a process of its own, so that it can be bad in every way that lines are.

As a program it forwards connections to a port of this machine and reads its orders from standard input, a JSON object
a line; each is answered with a line when it holds.  `Line` starts it.

- `healthy`: forwards, each way `delay_ms` later
- `absent`: nothing listens: connecting is refused by the machine
- `refusing`: every connection is accepted and reset at once
- `swallowing`: connections are accepted, or stay, and whatever they send vanishes; nobody hears a FIN
- `unanswered`: connections that are there swallow, and whoever connects gets no answer at all (a full backlog: the
  kernel drops what asks for more)
- `slow`: forwards one byte a second each way
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from types import TracebackType

MODES = ("healthy", "absent", "refusing", "swallowing", "unanswered", "slow")
SLOW_S = 1.0
"""A byte."""
READ_BYTES = 65536
FILLERS = 4


class Line:
    """A line to `to_port`, on a port of its own (`port`).  A context manager."""

    host = "127.0.0.1"

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.port = 0

    def __enter__(self) -> Line:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = int(self._answer())
        self.set("healthy")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError("the line's process has ended")
        return line

    def set(self, mode: str, *, delay_ms: float = 0.0, to_port: int | None = None, cut: bool = False) -> None:
        """Makes the line so from now on.  `cut`: connections that are there are reset first."""
        assert self._process.stdin is not None
        if to_port is not None:
            self._to_port = to_port
        order = {"mode": mode, "delay_ms": delay_ms, "to": self._to_port, "cut": cut}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self._answer()

    def stop(self, number: int) -> None:
        """Sends the process a signal (SIGSTOP: packets are taken, and nobody answers them)."""
        os.kill(self._process.pid, number)


# ------------------------------------------------------------------------------------------------------ the process


class _End:
    """One end of a connection, and what is to be sent there."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.queue: deque[tuple[float, bytes]] = deque()
        """When it may be sent, and what."""
        self.other: _End | None = None
        self.next_byte_s = 0.0


class _Forwarder:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._mode = "absent"
        self._delay_s = 0.0
        self._to_port = 0
        self._ends: dict[int, _End] = {}
        self._fillers: list[socket.socket] = []
        self._server: socket.socket | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._orders = b""

    def _listen(self) -> None:
        if self._server is None:
            self._server = socket.socket()
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._server.bind(("127.0.0.1", self.port))
            self._server.listen(64)
            self._server.setblocking(False)
            self._selector.register(self._server, selectors.EVENT_READ, "server")

    def _deaf(self) -> None:
        if self._server is not None:
            self._selector.unregister(self._server)
            self._server.close()
            self._server = None

    def _fill(self) -> None:
        """Takes every place in the backlog: whoever comes now gets no answer."""
        self._deaf()
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", self.port))
        server.listen(0)
        for _ in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)
        self._fillers.append(server)

    def order(self, mode: str, delay_ms: float, to: int, cut: bool) -> None:
        before, self._mode = self._mode, mode
        self._delay_s, self._to_port = delay_ms / 1000.0, to
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        if cut or mode in ("absent", "refusing") or (mode == "healthy" and before != "healthy"):
            for end in list(self._ends.values()):
                self._reset(end)
        if mode == "absent":
            self._deaf()
        elif mode == "unanswered":
            self._fill()
        else:
            self._listen()

    def _accept(self) -> None:
        assert self._server is not None
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return
        if self._mode == "refusing":
            _reset(connection)
            return
        near = _End(connection)
        self._add(near)
        if self._mode == "swallowing":
            return
        beyond = socket.socket()
        try:
            beyond.connect(("127.0.0.1", self._to_port))
        except OSError:
            self._reset(near)
            return
        beyond.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far = _End(beyond)
        near.other, far.other = far, near
        self._add(far)

    def _add(self, end: _End) -> None:
        end.socket.setblocking(False)
        self._ends[end.socket.fileno()] = end
        self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _reset(self, end: _End) -> None:
        for each in (end, end.other):
            if each is not None and self._ends.pop(each.socket.fileno(), None) is not None:
                self._selector.unregister(each.socket)
                _reset(each.socket)

    def _close(self, end: _End) -> None:
        """One side has ended; where nothing vanishes, the other one hears of it."""
        if self._mode in ("swallowing", "unanswered"):
            if self._ends.pop(end.socket.fileno(), None) is not None:
                self._selector.unregister(end.socket)
                end.socket.close()
            return
        self._reset(end)

    def _read(self, end: _End, now: float) -> None:
        try:
            data = end.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(end)
        elif self._mode not in ("swallowing", "unanswered") and end.other is not None:
            end.other.queue.append((now + self._delay_s, data))

    def _send(self, now: float) -> float:
        """Sends what is due; returns how long until there is more."""
        wait_s = 1.0
        for end in list(self._ends.values()):
            while end.queue:
                due_s, data = end.queue[0]
                if self._mode == "slow":
                    due_s = max(due_s, end.next_byte_s)
                if due_s > now:
                    wait_s = min(wait_s, due_s - now)
                    break
                try:
                    sent = end.socket.send(data[:1] if self._mode == "slow" else data)
                except BlockingIOError:
                    wait_s = min(wait_s, 0.01)
                    break
                except OSError:
                    self._reset(end)
                    break
                end.next_byte_s = now + SLOW_S
                end.queue.popleft()
                if sent < len(data):
                    end.queue.appendleft((due_s, data[sent:]))
        return wait_s

    def _take_orders(self) -> bool:
        data = os.read(0, READ_BYTES)
        self._orders += data
        while b"\n" in self._orders:
            line, _, self._orders = self._orders.partition(b"\n")
            self.order(**json.loads(line))
            print("done", flush=True)
        return bool(data)

    def run(self) -> None:
        """Until standard input ends."""
        self._selector.register(0, selectors.EVENT_READ, "orders")
        wait_s = 1.0
        while True:
            for key, _ in self._selector.select(wait_s):
                if key.data == "orders":
                    if not self._take_orders():
                        return
                elif key.data == "server":
                    self._accept()
                elif key.fd in self._ends:
                    self._read(key.data, time.monotonic())
            wait_s = self._send(time.monotonic())


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


if __name__ == "__main__":
    forwarder = _Forwarder()
    print(forwarder.port, flush=True)
    forwarder.run()
