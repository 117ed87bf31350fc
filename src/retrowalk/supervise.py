"""Runs the guard, the voice and the courier for a person in the foreground, as systemd does on a device.

A process that dies is started again, sooner or later according to how long it lived; none outlives the supervisor,
not even when that is killed.  One that hangs is killed and started again: each tells that it is ready and that it lives
through `platform.notify`, as it tells systemd, and here the supervisor listens.  A step: whoever owns a `Supervisor`
calls `poll(now)` every tenth of a second.

On a system without Linux's `SO_PASSCRED` (macOS) nobody knows who sent a sign of life, so a process that hangs is not
noticed; and without `prctl`, the processes outlive a supervisor that is killed.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrowalk.errors import DeviceError

RESTART_S = 1.0
"""A process that died is started again after this long ..."""
RESTART_MAX_S = 10.0
"""... twice as long each time it dies young, up to this."""
YOUNG_S = 5.0
"""A process that lived for less has died young: something is wrong that a quick restart does not cure."""
GOODBYE_S = 5.0
"""The leader may take this long to say goodbye, while the others still serve it."""
END_S = 3.0
"""The others may take this long to end; then they are killed."""
GONE_S = 1.0
"""A killed process is gone within this time, or it hangs in the kernel, and nobody waits for it any longer."""
LOOKED_AWAY_S = 1.0
"""A supervisor that was not polled for so long cannot tell who else stood still: all get their time anew."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process may keep its supervisor waiting for a sign of life."""

    start_s: float
    """From its start until it says that it is ready."""
    sign_s: float
    """Between two signs from then on."""


PATIENCE = {"guard": Patience(30.0, 3.0), "voice": Patience(30.0, 5.0), "courier": Patience(60.0, 30.0)}
"""TimeoutStartSec and WatchdogSec of the service files."""

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
"""Linux only."""

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user and group of the sender, as the kernel saw them."""
_SIGN_MAX_BYTES = 4096

_SIGNALS = {
    signal.SIGKILL: "was killed",
    signal.SIGTERM: "was asked to end",
    signal.SIGINT: "was interrupted",
    signal.SIGSEGV: "crashed",
    signal.SIGBUS: "crashed",
    signal.SIGILL: "crashed",
    signal.SIGFPE: "crashed",
    signal.SIGABRT: "gave up",
}


def in_words(returncode: int) -> str:
    """How a process ended: `returncode` as `subprocess` has it, negative for a signal."""
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        number = signal.Signals(-returncode)
    except ValueError:
        return f"was ended by signal {-returncode}"
    return f"{_SIGNALS.get(number, 'was ended')} ({number.name})"


def end_with_parent(parent: int) -> Callable[[], None]:
    """For `preexec_fn`: the child is asked to end (SIGTERM) when the thread that started it is gone, however it went.

    `parent` is the process that starts it.  Only what was looked up before the fork is called after it.  Without
    `prctl` (macOS) it ends with a parent that goes in this moment only.
    """

    def apply() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it died before the line above: nobody would tell us any more

    return apply


class _Signs:
    """A socket as systemd has one for its services (sd_notify), in the run directory."""

    def __init__(self, path: Path) -> None:
        if len(os.fsencode(path)) > 100:
            raise DeviceError(f"run directory {path.parent}: its path is too long for a socket (100 bytes at most)")
        self.path = path
        self._unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Linux creates the file with the mode of the socket, so nobody else can write to it even at first.
        os.fchmod(self._socket.fileno(), 0o600)
        self._socket.bind(str(path))

    def read(self) -> list[tuple[int, frozenset[str]]]:
        """What has come since the last call: the process that sent it, and the lines."""
        found: list[tuple[int, frozenset[str]]] = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_SIGN_MAX_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return found
            for level, kind, content in ancillary:
                if (level, kind, len(content)) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, _CREDENTIALS.size):
                    pid, _, _ = _CREDENTIALS.unpack(content)
                    found.append((pid, frozenset(data.decode(errors="replace").splitlines())))

    def close(self) -> None:
        """Takes it down."""
        self._socket.close()
        self._unlink()

    def _unlink(self) -> None:
        try:
            if stat.S_ISSOCK(self.path.lstat().st_mode):
                self.path.unlink()
        except FileNotFoundError:
            pass


@dataclass(slots=True)
class _Child:
    name: str
    argv: tuple[str, ...]
    patience: Patience | None
    """None: it is not asked for signs of life."""
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_s: float = RESTART_S
    due_s: float = 0.0
    """When it is to be started (again)."""
    told_to_end: bool = False
    ending: bool = False
    """Whether it has said that it ends."""
    sign_due_s: float = math.inf
    """When it is killed unless a sign of life has come."""
    missed: str = ""
    """What will have been wrong then."""
    killed_s: float | None = None
    """When it was killed for that."""


class Supervisor:
    """Keeps the processes of `commands` (name and argument list, in starting order) running until it is stopped.

    The first one, the guard, leads: when it ends with status 0, or `stop` is called, everything ends; it is asked
    first, so that it can say goodbye through the others.  `on_event(name, what)` is told in plain words what happens.
    All calls come from one thread, and the processes do not outlive it.

    With a `run_dir`, those named in `patience` are killed and started again when they do not become ready, when their
    signs of life cease, or when they say that they end and do not; `<run_dir>/notify.sock` is where they tell, and only
    what comes from the process itself counts.  Raises `DeviceError` if that path is too long.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        env: Mapping[str, str] | None = None,
        on_event: Callable[[str, str], None] = lambda name, what: None,
        run_dir: Path | None = None,
        patience: Mapping[str, Patience] = PATIENCE,
    ) -> None:
        self._env = dict(os.environ if env is None else env)
        # Not ours to answer: whoever started this program waits for signs of this process.
        self._env.pop("NOTIFY_SOCKET", None)
        self._signs: _Signs | None = None
        if run_dir is not None and hasattr(socket, "SO_PASSCRED"):
            self._signs = _Signs(run_dir / "notify.sock")
            self._env["NOTIFY_SOCKET"] = str(self._signs.path.absolute())
        self._children = [
            _Child(name, tuple(argv), patience.get(name) if self._signs is not None else None)
            for name, argv in commands.items()
        ]
        self._left: list[subprocess.Popen[bytes]] = []
        """Killed, and not seen to be gone."""
        self._polled_s = -math.inf
        self._on_event = on_event
        self._stopping = False
        self._others_s: float | None = None
        self._kill_s: float | None = None
        self.finished = False
        """Whether every process has ended, and none will be started again."""
        self.status = 0
        """How it went: 0 when the leader ended by itself or as asked, 1 when it had to be killed."""

    # -- what its owner calls -------------------------------------------------------------------------------

    def poll(self, now: float) -> None:
        """Starts what is due, takes note of what has ended or hangs; `now` in seconds that never go back."""
        self._left = [process for process in self._left if process.poll() is None]
        self._listen(now)
        for child in self._children:
            self._look(child, now)
        if self._stopping:
            self._end(now)
        if self.finished:
            self._close()

    def stop(self) -> None:
        """Asks everything to end; `finished` tells when it has.  May be called from a signal handler."""
        self._stopping = True

    def run(self) -> int:
        """Supervises until the leader ends or `stop` is called, for owners with nothing else to do; the status."""
        while not self.finished:
            self.poll(time.monotonic())
            time.sleep(0.05)
        return self.status

    def kill(self) -> None:
        """Ends everything at once."""
        for child in self._children:
            if child.process is not None:
                child.process.kill()
        for child in self._children:
            self._kill(child, 0.0)
        self._left = [process for process in self._left if process.poll() is None]
        self._stopping = self.finished = True
        self._close()

    def pid(self, name: str) -> int | None:
        """Process number, None while the process is not there."""
        for child in self._children:
            if child.name == name and child.process is not None:
                return child.process.pid
        return None

    # -- one process ----------------------------------------------------------------------------------------

    def _look(self, child: _Child, now: float) -> None:
        if child.process is None:
            if not self._stopping and now >= child.due_s:
                self._start(child, now)
            return
        returncode = child.process.poll()
        if returncode is None:
            self._judge(child, child.process, now)
            return
        child.process = None
        how = in_words(returncode) if child.killed_s is None else f"{child.missed} and was killed"
        if self._stopping:
            self._on_event(child.name, "ended" if returncode == 0 else how)
            return
        if child is self._children[0] and returncode == 0:
            self._on_event(child.name, "ended by itself")
            self._stopping = True
            return
        self._retry(child, now, how)

    def _listen(self, now: float) -> None:
        """Takes in the signs of life."""
        if self._signs is None:
            return
        if now - self._polled_s > LOOKED_AWAY_S and self._polled_s > -math.inf:
            for child in self._children:
                child.sign_due_s += now - self._polled_s
        self._polled_s = now
        by_pid = {child.process.pid: child for child in self._children if child.process is not None}
        for pid, lines in self._signs.read():
            child_of = by_pid.get(pid)
            if child_of is None or child_of.patience is None or child_of.ending:
                continue
            if "STOPPING=1" in lines:
                child_of.ending = True
                child_of.sign_due_s, child_of.missed = now + GOODBYE_S, f"said it ends, did not within {GOODBYE_S:g} s"
            elif not lines.isdisjoint(("READY=1", "WATCHDOG=1")):
                sign_s = child_of.patience.sign_s
                child_of.sign_due_s, child_of.missed = now + sign_s, f"gave no sign of life for {sign_s:g} s"

    def _judge(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        """Kills what hangs; it is not waited for."""
        if child.killed_s is not None:
            if now - child.killed_s >= GONE_S:
                self._left.append(process)
                child.process = None
                if not self._stopping:
                    self._retry(child, now, f"{child.missed}, was killed, and hangs in the kernel")
        elif not self._stopping and now >= child.sign_due_s:
            child.killed_s = now
            process.kill()

    def _start(self, child: _Child, now: float) -> None:
        child.started_s = now
        child.killed_s = None
        child.ending = False
        if child.patience is not None:
            start_s = child.patience.start_s
            child.sign_due_s, child.missed = now + start_s, f"was not ready within {start_s:g} s"
        try:
            child.process = subprocess.Popen(
                child.argv,
                stdin=subprocess.DEVNULL,
                env=self._env,
                # Ctrl-C in the terminal reaches the supervisor only: the guard is to end before its voice does.
                process_group=0,
                preexec_fn=end_with_parent(os.getpid()),
            )
        except OSError as error:
            self._retry(child, now, f"cannot be started: {error.strerror or error}")
            return
        self._on_event(child.name, "started")

    def _retry(self, child: _Child, now: float, how: str) -> None:
        if now - child.started_s >= YOUNG_S:
            child.restart_s = RESTART_S
        child.due_s = now + child.restart_s
        self._on_event(child.name, f"{how}; starting it again in {child.restart_s:g} s")
        child.restart_s = min(2.0 * child.restart_s, RESTART_MAX_S)

    # -- the end --------------------------------------------------------------------------------------------

    def _end(self, now: float) -> None:
        leader, others = self._children[0], self._children[1:]
        if self._others_s is None:
            self._others_s = now + GOODBYE_S
        self._ask(leader)
        if leader.process is not None and now < self._others_s:
            return
        if leader.process is not None:
            self._kill(leader, GOODBYE_S)
            self.status = 1
        for child in others:
            self._ask(child)
        if self._kill_s is None:
            self._kill_s = now + END_S
        elif now >= self._kill_s:
            for child in others:
                self._kill(child, END_S)
        self.finished = all(child.process is None for child in self._children)

    def _ask(self, child: _Child) -> None:
        if child.process is not None and not child.told_to_end:
            child.told_to_end = True
            child.process.terminate()

    def _kill(self, child: _Child, after_s: float) -> None:
        process, child.process = child.process, None
        if process is None:
            return
        process.kill()
        try:
            process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            self._left.append(process)
            self._on_event(child.name, "was killed, and hangs in the kernel")
            return
        self._on_event(child.name, f"did not end within {after_s:g} s and was killed" if after_s else "was killed")

    def _close(self) -> None:
        if self._signs is not None:
            self._signs.close()
            self._signs = None


def device(
    config_file: Path, run_dir: Path, state_dir: Path, on_event: Callable[[str, str], None] = lambda name, what: None
) -> Supervisor:
    """A supervisor of the three processes, with this Python and these settings and directories."""
    where = ["--config", str(config_file), "--run-dir", str(run_dir), "--state-dir", str(state_dir)]
    return Supervisor(
        {name: [sys.executable, "-m", "retrowalk", name, *where] for name in ("guard", "voice", "courier")},
        env={**os.environ, "LG_WD": str(run_dir)},  # lgpio leaves a FIFO there
        on_event=on_event,
        run_dir=run_dir,
    )
