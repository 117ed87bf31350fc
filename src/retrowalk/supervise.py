"""Runs the guard, the voice and the courier for a person in the foreground, as systemd does on a device.

A process that dies is started again, sooner or later according to how long it lived; none outlives the supervisor,
not even when that is killed.  A step: whoever owns a `Supervisor` calls `poll(now)` every tenth of a second.

Without Linux's `SO_PASSCRED` (macOS) nobody knows who sent a sign of life, so there a process that hangs is not
noticed; and without `prctl` the processes outlive a supervisor that is killed.
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
RESTART_MAX_S = 2.0
"""... twice as long each time it dies young, up to this: it serves again within 5 s of each death."""
YOUNG_S = 5.0
"""A process that lived for less has died young: something is wrong that a quick restart does not cure."""
GOODBYE_S = 5.0
"""The leader may take this long to say goodbye, while the others still serve it."""
END_S = 3.0
"""The others may take this long to end; then they are killed."""

WATCHDOG_S = {"guard": 3.0, "voice": 5.0, "courier": 30.0}
"""A process that has fed its watchdog, or was ready, and then falls silent for so long hangs: it is killed and started
again.  As WatchdogSec in systemd's units."""
START_S = {"guard": 30.0, "voice": 30.0, "courier": 60.0}
"""So does one that is not ready this long after its start.  As TimeoutStartSec in systemd's units."""
GONE_S = 1.0
"""A killed process is gone within this time, or it hangs in the kernel and is not waited for any longer."""

_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid of a sender (`struct ucred`)."""
_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
"""Linux only."""

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
    `prctl` it ends only if that process is gone already.
    """

    def apply() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it died before the line above: nobody would tell us any more

    return apply


@dataclass(slots=True)
class _Child:
    name: str
    argv: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    restart_s: float = RESTART_S
    due_s: float = 0.0
    """When it is to be started (again)."""
    told_to_end: bool = False
    fed_s: float | None = None
    """When it last said that all is well with it; None: not yet."""
    ending_s: float | None = None
    """When it said that it ends."""
    hung: str = ""
    """What was wrong with it when it was killed for it."""
    killed_s: float = math.inf


class Supervisor:
    """Keeps the processes of `commands` (name and argument list, in starting order) running until it is stopped.

    The first one, the guard, leads: when it ends with status 0, or `stop` is called, everything ends; it is asked
    first, so that it can say goodbye through the others.  `on_event(name, what)` is told in plain words what happens.
    All calls come from one thread, and the processes do not outlive it.

    With `notify_at`, the path of a socket that only this user may write to, it listens to their signs of life as the
    service manager does on a device, and kills by its number who hangs, who does not become ready, and who says that it
    ends and does not.  It never waits for one.  Raises `DeviceError` if the path is too long for a socket.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        env: Mapping[str, str] | None = None,
        on_event: Callable[[str, str], None] = lambda name, what: None,
        *,
        notify_at: Path | None = None,
        watchdog_s: Mapping[str, float] = WATCHDOG_S,
        start_s: Mapping[str, float] = START_S,
    ) -> None:
        self._watchdog_s = watchdog_s
        self._start_s = start_s
        self._notify_at = notify_at
        self._signs = _listen(notify_at) if notify_at is not None and hasattr(socket, "SO_PASSCRED") else None
        self._left: list[subprocess.Popen[bytes]] = []
        """Killed, and not seen to be gone."""
        self._children = [_Child(name, tuple(argv)) for name, argv in commands.items()]
        self._env = dict(os.environ if env is None else env)
        # Whoever started this program waits for signs of this process, not of its children.
        self._env.pop("NOTIFY_SOCKET", None)
        if self._signs is not None:
            self._env["NOTIFY_SOCKET"] = str(notify_at)
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
        """Starts what is due, takes note of what has ended; `now` in seconds that never go back."""
        self._left = [process for process in self._left if process.poll() is None]
        if self._signs is not None:
            # Before anybody is judged: after a stop of this process (Ctrl-Z) the signs of all are still in the socket.
            self._take_signs(self._signs, now)
        for child in self._children:
            self._look(child, now)
        if self._stopping:
            self._end(now)

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

    # -- signs of life --------------------------------------------------------------------------------------

    def _take_signs(self, signs: socket.socket, now: float) -> None:
        """Who said that all is well; the sender's number is the kernel's word, so nobody can speak for another."""
        while True:
            try:
                message, ancillary, _, _ = signs.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            for level, kind, data in ancillary:
                if (level, kind) != (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    continue
                pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
                lines = message.split(b"\n")
                for child in self._children:
                    if child.process is None or child.process.pid != pid:
                        continue
                    if b"STOPPING=1" in lines and child.ending_s is None:
                        child.ending_s = now
                    elif b"WATCHDOG=1" in lines or b"READY=1" in lines:
                        child.fed_s = now

    def _close(self) -> None:
        if self._signs is not None:
            self._signs.close()
            self._signs = None
            if self._notify_at is not None:
                self._notify_at.unlink(missing_ok=True)

    def _hangs(self, child: _Child, now: float) -> str:
        """In plain words, or empty."""
        if self._signs is None:
            return ""
        if child.ending_s is not None:
            return f"said that it ends and has not for {GOODBYE_S:g} s" if now - child.ending_s > GOODBYE_S else ""
        if child.fed_s is None:
            limit_s = self._start_s.get(child.name, math.inf)
            return f"was not ready within {limit_s:g} s" if now - child.started_s > limit_s else ""
        limit_s = self._watchdog_s.get(child.name, math.inf)
        return "hangs" if now - child.fed_s > limit_s else ""

    def _end_hung(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        """Kills what hangs; what is left of it is taken away when the kernel has ended it."""
        if not child.hung:
            child.hung = self._hangs(child, now)
            if child.hung:
                child.killed_s = now
                self._on_event(child.name, f"{child.hung}, and is killed")
                process.kill()
        elif now - child.killed_s > GONE_S:
            self._left.append(process)
            child.process = None
            self._retry(child, now, "was killed, and hangs in the kernel")

    # -- one process ----------------------------------------------------------------------------------------

    def _look(self, child: _Child, now: float) -> None:
        if child.process is None:
            if not self._stopping and now >= child.due_s:
                self._start(child, now)
            return
        returncode = child.process.poll()
        if returncode is None:
            if not self._stopping:
                self._end_hung(child, child.process, now)
            return
        child.process = None
        how = in_words(returncode)
        if self._stopping:
            self._on_event(child.name, "ended" if returncode == 0 else how)
            return
        if child is self._children[0] and returncode == 0:
            self._on_event(child.name, "ended by itself")
            self._stopping = True
            return
        self._retry(child, now, how)

    def _start(self, child: _Child, now: float) -> None:
        child.started_s = now
        child.fed_s = child.ending_s = None
        child.hung = ""
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
        if self.finished:
            self._close()

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


def _listen(path: Path) -> socket.socket:
    """A socket for signs of life, for this user alone.  One that a killed supervisor left there is replaced."""
    if len(os.fsencode(path)) > 100:
        raise DeviceError(f"run directory {path.parent}: its path is too long for a socket (100 bytes at most)")
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()
    signs = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        signs.bind(str(path))
    finally:
        os.umask(before)
    signs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return signs


def device(
    config_file: Path, run_dir: Path, state_dir: Path, on_event: Callable[[str, str], None] = lambda name, what: None
) -> Supervisor:
    """A supervisor of the three processes, with this Python and these settings and directories."""
    where = ["--config", str(config_file), "--run-dir", str(run_dir), "--state-dir", str(state_dir)]
    return Supervisor(
        {name: [sys.executable, "-m", "retrowalk", name, *where] for name in ("guard", "voice", "courier")},
        env={**os.environ, "LG_WD": str(run_dir)},  # lgpio leaves a FIFO there
        on_event=on_event,
        notify_at=run_dir / "supervisor.sock",
    )
