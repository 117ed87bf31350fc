"""Runs the guard, the voice and the courier for a person in the foreground, as systemd does on a device.

A process that dies is started again, sooner or later according to how long it lived; none outlives the supervisor,
not even when that is killed.  A step: whoever owns a `Supervisor` calls `poll(now)` every tenth of a second.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl

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

    `parent` is the process that starts it.  Only what was looked up before the fork is called after it.
    """

    def apply() -> None:
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


class Supervisor:
    """Keeps the processes of `commands` (name and argument list, in starting order) running until it is stopped.

    The first one, the guard, leads: when it ends with status 0, or `stop` is called, everything ends; it is asked
    first, so that it can say goodbye through the others.  `on_event(name, what)` is told in plain words what happens.
    All calls come from one thread, and the processes do not outlive it.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        env: Mapping[str, str] | None = None,
        on_event: Callable[[str, str], None] = lambda name, what: None,
    ) -> None:
        self._children = [_Child(name, tuple(argv)) for name, argv in commands.items()]
        self._env = dict(os.environ if env is None else env)
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
            self._kill(child, 0.0)
        self._stopping = self.finished = True

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
        if child.process is None:
            return
        child.process.kill()
        child.process.wait()
        child.process = None
        self._on_event(child.name, f"did not end within {after_s:g} s and was killed" if after_s else "was killed")


def device(
    config_file: Path, run_dir: Path, state_dir: Path, on_event: Callable[[str, str], None] = lambda name, what: None
) -> Supervisor:
    """A supervisor of the three processes, with this Python and these settings and directories."""
    where = ["--config", str(config_file), "--run-dir", str(run_dir), "--state-dir", str(state_dir)]
    return Supervisor(
        {name: [sys.executable, "-m", "retrowalk", name, *where] for name in ("guard", "voice", "courier")},
        env={**os.environ, "LG_WD": str(run_dir)},  # lgpio leaves a FIFO there
        on_event=on_event,
    )
