"""The supervisor: what it starts again and when, who is asked to end first, and that nobody is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.paced_card import card as paced
from tests.voice.helpers import write_bank

from retrowalk.config import Config
from retrowalk.errors import DeviceError
from retrowalk.supervise import (
    END_S,
    GONE_S,
    GOODBYE_S,
    LOOKED_AWAY_S,
    PATIENCE,
    RESTART_MAX_S,
    RESTART_S,
    YOUNG_S,
    Patience,
    Supervisor,
    in_words,
)

PATIENCE_S = 10.0

STAYS = ("sleep", "60")
FAILS = ("sh", "-c", "exit 3")
FOREVER = "while :; do sleep 0.02; done"


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        pytest.param(0, "ended with status 0", id="by itself"),
        pytest.param(3, "ended with status 3", id="with a status"),
        pytest.param(-signal.SIGKILL, "was killed (SIGKILL)", id="kill -9"),
        pytest.param(-signal.SIGSEGV, "crashed (SIGSEGV)", id="crash"),
        pytest.param(-signal.SIGTERM, "was asked to end (SIGTERM)", id="asked"),
        pytest.param(-signal.SIGUSR1, "was ended (SIGUSR1)", id="another signal"),
        pytest.param(-200, "was ended by signal 200", id="a signal nobody knows"),
    ],
)
def test_endings_are_told_in_plain_words(returncode, words):
    """How a process ended is told with the name of the signal"""
    assert in_words(returncode) == words


class Watched:
    """A supervisor under a clock of the test's own, and what it told."""

    def __init__(self, run_dir=None, patience=PATIENCE, **commands):
        self.told: list[tuple[str, str]] = []
        self.now = 100.0
        self.supervisor = Supervisor(
            commands,
            on_event=lambda name, what: self.told.append((name, what)),
            run_dir=run_dir,
            patience=patience,
        )

    def pass_time(self, seconds):
        self.now += seconds
        self.supervisor.poll(self.now)

    def let_pass(self, seconds):
        """Polls as often as an owner does, while its time goes on faster than the real one."""
        end = self.now + seconds
        while self.now < end:
            self.pass_time(min(0.25, end - self.now))

    def until(self, condition):
        """Polls, without letting the supervisor's time pass, until something real has happened."""
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, self.told
            self.supervisor.poll(self.now)
            time.sleep(0.005)

    def has_told(self, name, what):
        return lambda: any(who == name and what in text for who, text in self.told)


@pytest.fixture
def watched():
    made = []

    def make(**arguments):
        made.append(Watched(**arguments))
        made[-1].supervisor.poll(made[-1].now)
        return made[-1]

    yield make
    for one in made:
        one.supervisor.kill()


@pytest.mark.process
def test_dead_process_is_started_again_after_a_second(watched):
    """A killed voice is back after one second, not sooner, and the others do not notice"""
    it = watched(guard=STAYS, voice=STAYS)
    guard, voice = it.supervisor.pid("guard"), it.supervisor.pid("voice")
    os.kill(voice, signal.SIGKILL)
    it.until(it.has_told("voice", "was killed (SIGKILL)"))
    it.pass_time(RESTART_S - 0.01)
    assert it.supervisor.pid("voice") is None
    it.pass_time(0.02)
    assert it.supervisor.pid("voice") not in (None, voice)
    assert it.supervisor.pid("guard") == guard


@pytest.mark.process
def test_process_that_dies_young_is_started_ever_more_rarely(watched):
    """Dying within 5 s again and again doubles the pause, up to 10 s"""
    it = watched(guard=STAYS, voice=FAILS)
    pauses = []
    for count in range(1, 7):
        it.until(lambda count=count: sum("ended with status 3" in what for _, what in it.told) == count)
        pauses.append(float(it.told[-1][1].split(" in ")[1].removesuffix(" s")))
        it.pass_time(pauses[-1] + 0.01)
    assert pauses == [1.0, 2.0, 4.0, 8.0, RESTART_MAX_S, RESTART_MAX_S]


@pytest.mark.process
def test_long_life_makes_the_pause_short_again(watched):
    """A process that has lived for 5 s is started again after one second, however often it died before"""
    it = watched(guard=STAYS, voice=STAYS)
    for _ in range(3):
        os.kill(it.supervisor.pid("voice"), signal.SIGKILL)
        it.until(lambda: it.supervisor.pid("voice") is None)
        it.pass_time(RESTART_MAX_S)
    it.pass_time(YOUNG_S)
    os.kill(it.supervisor.pid("voice"), signal.SIGKILL)
    it.until(lambda: it.supervisor.pid("voice") is None)
    assert it.told[-1] == ("voice", "was killed (SIGKILL); starting it again in 1 s")


@pytest.mark.process
def test_voice_that_ends_by_itself_is_started_again(watched):
    """Nobody but the guard may end the whole: a voice that ends with status 0 comes back"""
    it = watched(guard=STAYS, voice=("true",))
    it.until(it.has_told("voice", "ended with status 0; starting it again in 1 s"))
    assert not it.supervisor.finished


@pytest.mark.process
def test_guard_says_goodbye_while_the_others_still_serve_it(watched, tmp_path):
    """Asked to stop, the guard ends first; only then are voice and courier asked"""
    log = tmp_path / "log"
    gate = tmp_path / "gate"
    log.touch()
    guard = f"trap 'while [ ! -e {gate} ]; do sleep 0.01; done; echo guard >>{log}; exit 0' TERM; "
    other = f"trap 'echo other >>{log}; exit 0' TERM; "
    ready = f"touch {tmp_path}/ready-$$; {FOREVER}"
    serving = ("sh", "-c", other + ready)
    it = watched(guard=("sh", "-c", guard + ready), voice=serving, courier=serving)
    it.until(lambda: len(list(tmp_path.glob("ready-*"))) == 3)
    it.supervisor.stop()
    for _ in range(20):
        it.pass_time(0.01)
        time.sleep(0.01)
    assert log.read_text() == ""
    gate.touch()
    it.until(lambda: it.supervisor.finished)
    assert log.read_text().split() == ["guard", "other", "other"]
    assert it.supervisor.status == 0


@pytest.mark.process
def test_hung_guard_is_killed_and_the_others_end(watched, tmp_path):
    """A guard that does not answer is killed after 5 s, a voice after 3 s more; the status tells of it"""
    deaf = ("sh", "-c", f"trap '' TERM; touch {tmp_path}/ready-$$; {FOREVER}")
    it = watched(guard=deaf, voice=deaf)
    it.until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    it.supervisor.stop()
    it.pass_time(0.0)
    it.pass_time(GOODBYE_S - 0.01)
    assert it.supervisor.pid("guard") is not None
    it.pass_time(0.02)
    assert it.supervisor.pid("guard") is None
    assert not it.supervisor.finished
    it.pass_time(END_S + 0.01)
    assert it.supervisor.finished
    assert it.supervisor.status == 1
    assert ("guard", "did not end within 5 s and was killed") in it.told


@pytest.mark.process
def test_everything_ends_with_the_guard(watched):
    """A guard that ends with status 0 (the walker switched it off) takes the others along"""
    it = watched(guard=("sh", "-c", "exit 0"), voice=STAYS, courier=STAYS)
    it.until(lambda: it.supervisor.finished)
    assert it.supervisor.status == 0
    assert ("guard", "ended by itself") in it.told


@pytest.mark.process
def test_program_that_is_not_there_is_told_and_tried_again(watched):
    """A command that cannot be started is a failure like any other"""
    it = watched(guard=STAYS, voice=("/nowhere/retrowalk",))
    assert ("voice", "cannot be started: No such file or directory; starting it again in 1 s") in it.told
    it.pass_time(RESTART_S)
    assert it.told[-1][1].endswith("in 2 s")


@pytest.mark.process
def test_ctrl_c_does_not_reach_the_processes(watched):
    """Each process has a group of its own, so that a terminal's Ctrl-C cannot silence the voice before the goodbye"""
    it = watched(guard=STAYS, voice=STAYS)
    groups = {os.getpgid(it.supervisor.pid(name)) for name in ("guard", "voice")}
    assert groups == {it.supervisor.pid("guard"), it.supervisor.pid("voice")}


SUPERVISE = """
import sys
from retrowalk.supervise import Supervisor
command = [sys.executable, "-c", "import os, time; os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(60)"]
Supervisor({"guard": command, "voice": command, "courier": command}).run()
"""


@pytest.mark.process
def test_nobody_is_left_behind_when_the_supervisor_is_killed():
    """kill -9 of the supervisor ends its processes, too"""
    with subprocess.Popen([sys.executable, "-c", SUPERVISE], stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            assert supervisor.stdout is not None
            pids = [int(supervisor.stdout.readline()) for _ in range(3)]
        finally:
            supervisor.kill()
    limit = time.monotonic() + PATIENCE_S
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < limit, "a process outlived its supervisor"
        time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # whoever adopted it has not looked yet
    except FileNotFoundError:
        return False


# ------------------------------------------------------------------------------------------- who hangs

TELLS = """
import os, signal, socket, sys, time
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
"""
"""How a process tells its supervisor, in a program of a test."""

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a socket's may not be longer than 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rw-"))
    yield folder
    shutil.rmtree(folder)


def program(text):
    return (sys.executable, "-S", "-c", TELLS + text)


def told_by(it, name):
    return [what for who, what in it.told if who == name]


def has_said(it, name):
    """Waits until the supervisor has taken in a sign of life."""
    (child,) = [child for child in it.supervisor._children if child.name == name]
    it.until(lambda: child.missed.startswith("gave no sign"))


@pytest.mark.parametrize("name", sorted(PATIENCE))
def test_patience_is_that_of_the_service_files(name):
    """In the foreground a process may take as long as under systemd"""
    unit = (ROOT / "systemd" / f"retrowalk-{name}.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^TimeoutStartSec=(\d+)$", unit, re.MULTILINE)
    (sign,) = re.findall(r"^WatchdogSec=(\d+)$", unit, re.MULTILINE)
    assert PATIENCE[name] == Patience(float(start), float(sign))


@pytest.mark.process
def test_process_whose_signs_of_life_cease_is_killed_and_started_again(watched, run_dir):
    """A frozen voice is killed when its patience is over, not sooner; the guard that tells nothing yet stays"""
    lives = program("tell('READY=1')\nwhile True: time.sleep(60)")
    it = watched(run_dir=run_dir, guard=STAYS, voice=lives)
    has_said(it, "voice")
    guard, voice = it.supervisor.pid("guard"), it.supervisor.pid("voice")
    os.kill(voice, signal.SIGSTOP)
    it.let_pass(PATIENCE["voice"].sign_s - 0.01)
    assert it.supervisor.pid("voice") == voice
    it.pass_time(0.02)
    it.until(lambda: it.supervisor.pid("voice") is None)
    assert told_by(it, "voice")[-1] == "gave no sign of life for 5 s and was killed; starting it again in 1 s"
    it.pass_time(RESTART_S)
    assert it.supervisor.pid("voice") not in (None, voice)
    assert it.supervisor.pid("guard") == guard


@pytest.mark.process
def test_signs_of_life_keep_a_process(watched, run_dir, tmp_path):
    """Whoever tells in time stays, however long it runs"""
    asks = tmp_path / "ask"
    os.mkfifo(asks)
    lives = program(f"tell('READY=1')\nfor _ in open({str(asks)!r}): tell('WATCHDOG=1')")
    it = watched(run_dir=run_dir, guard=STAYS, voice=lives)
    has_said(it, "voice")
    voice = it.supervisor.pid("voice")
    (child,) = [child for child in it.supervisor._children if child.name == "voice"]
    with asks.open("w", buffering=1) as ask:
        for _ in range(5):
            it.let_pass(PATIENCE["voice"].sign_s - 1.0)
            due_s = child.sign_due_s
            ask.write("tell\n")
            it.until(lambda due_s=due_s: child.sign_due_s > due_s)
        assert it.supervisor.pid("voice") == voice
    assert told_by(it, "voice") == ["started"]


@pytest.mark.process
def test_process_that_does_not_become_ready_is_started_again(watched, run_dir):
    """Deadlocked while it starts: killed when the time for that is over"""
    it = watched(run_dir=run_dir, guard=STAYS, voice=STAYS)
    it.let_pass(PATIENCE["voice"].start_s - 0.01)
    assert told_by(it, "voice") == ["started"]
    it.pass_time(0.02)
    it.until(it.has_told("voice", "was not ready within 30 s and was killed; starting it again in 1 s"))


@pytest.mark.process
def test_deaf_process_that_hangs_is_killed_all_the_same(watched, run_dir):
    """Nobody asks it politely first: what hangs may not hear SIGTERM"""
    deaf = program("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell('WATCHDOG=1')\nwhile True: time.sleep(60)")
    it = watched(run_dir=run_dir, guard=STAYS, voice=deaf)
    has_said(it, "voice")
    it.let_pass(PATIENCE["voice"].sign_s + 0.01)
    it.until(it.has_told("voice", "was killed; starting it again"))


@pytest.mark.process
def test_hung_guard_is_started_again_and_nobody_else_ends(watched, run_dir):
    """The guard leads, but its death by the supervisor's hand is no wish to end"""
    lives = program("tell('READY=1')\nwhile True: time.sleep(60)")
    it = watched(run_dir=run_dir, guard=lives, voice=STAYS)
    has_said(it, "guard")
    voice = it.supervisor.pid("voice")
    it.let_pass(PATIENCE["guard"].sign_s + 0.01)
    it.until(it.has_told("guard", "gave no sign of life for 3 s and was killed"))
    assert not it.supervisor.finished
    assert it.supervisor.pid("voice") == voice


@pytest.mark.process
def test_nobody_else_tells_for_a_process(watched, run_dir):
    """Only the process itself can say that it lives: what a child of it sends, or a stranger, does not count"""
    child = program(
        "tell('READY=1')\nif os.fork() == 0:\n  while True:\n    tell('WATCHDOG=1')\n    time.sleep(0.02)\n"
        "while True: time.sleep(60)"
    )
    it = watched(run_dir=run_dir, guard=STAYS, voice=child)
    has_said(it, "voice")
    group = it.supervisor.pid("voice")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"WATCHDOG=1", str(run_dir / "notify.sock"))
        it.let_pass(PATIENCE["voice"].sign_s + 0.01)
        it.until(it.has_told("voice", "gave no sign of life for 5 s and was killed"))
    finally:
        os.killpg(group, signal.SIGKILL)


@pytest.mark.process
def test_process_that_says_it_ends_and_does_not_is_killed(watched, run_dir):
    """It may take its time to end, but not for ever"""
    ends = program("tell('READY=1')\ntell('STOPPING=1')\nwhile True:\n  tell('WATCHDOG=1')\n  time.sleep(0.02)")
    it = watched(run_dir=run_dir, guard=STAYS, voice=ends)
    (child,) = [child for child in it.supervisor._children if child.name == "voice"]
    it.until(lambda: child.ending)
    it.let_pass(GOODBYE_S - 0.01)
    assert told_by(it, "voice") == ["started"]
    it.pass_time(0.02)
    it.until(it.has_told("voice", "said it ends, did not within 5 s and was killed"))


@pytest.mark.process
def test_supervisor_that_stood_still_blames_nobody(watched, run_dir):
    """Stopped at the terminal (Ctrl-Z) for a minute, it cannot know who hangs: all get their time anew"""
    lives = program("tell('READY=1')\nwhile True: time.sleep(60)")
    it = watched(run_dir=run_dir, guard=STAYS, voice=lives)
    has_said(it, "voice")
    it.pass_time(60.0)
    it.let_pass(PATIENCE["voice"].sign_s - LOOKED_AWAY_S)
    assert told_by(it, "voice") == ["started"]
    it.let_pass(LOOKED_AWAY_S + 0.01)
    it.until(it.has_told("voice", "was killed"))


@pytest.mark.process
def test_process_that_cannot_be_reaped_is_not_waited_for(watched, run_dir):
    """One that is killed and does not go (a driver that hangs in the kernel) gets a successor, and blocks no poll

    A debugger keeps it here: until it lets go, a killed process is not gone.
    """
    lives = program("tell('READY=1')\nwhile True: time.sleep(60)")
    it = watched(run_dir=run_dir, guard=STAYS, voice=lives)
    has_said(it, "voice")
    voice = it.supervisor.pid("voice")
    seize = "import ctypes, time; ctypes.CDLL(None).ptrace(0x4206, %d, None, None); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-S", "-c", seize % voice], stdout=subprocess.PIPE) as debugger:
        try:
            assert debugger.stdout is not None
            debugger.stdout.readline()
            if f"TracerPid:\t{debugger.pid}\n" not in Path(f"/proc/{voice}/status").read_text():
                pytest.skip("this system lets nobody hold another process (ptrace)")
            it.let_pass(PATIENCE["voice"].sign_s + 0.01)
            began = time.monotonic()
            it.let_pass(GONE_S + RESTART_S + 0.25)
            assert time.monotonic() - began < GONE_S / 2
            hung = "gave no sign of life for 5 s, was killed, and hangs in the kernel; starting it again in 1 s"
            assert told_by(it, "voice")[-2:] == [hung, "started"]
            assert it.supervisor.pid("voice") not in (None, voice)
        finally:
            debugger.kill()


@pytest.mark.process
def test_only_the_owner_can_tell_and_nothing_stays_behind(watched, run_dir):
    """The socket is the owner's alone, and gone when everything has ended"""
    it = watched(run_dir=run_dir, guard=STAYS)
    path = run_dir / "notify.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    it.supervisor.stop()
    it.until(lambda: it.supervisor.finished)
    assert not path.exists()


@pytest.mark.process
def test_socket_of_a_killed_supervisor_is_no_obstacle(watched, run_dir):
    """What a supervisor left that could not clean up is replaced"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(run_dir / "notify.sock"))
    it = watched(run_dir=run_dir, guard=program("tell('READY=1')\nwhile True: time.sleep(60)"))
    has_said(it, "guard")


def test_too_long_a_path_is_named(tmp_path):
    """A socket's path has a limit, and the message says whose fault it is"""
    run_dir = tmp_path / ("long" * 30)
    with pytest.raises(DeviceError, match=r"long: its path is too long for a socket \(100 bytes at most\)"):
        Supervisor({"guard": STAYS}, run_dir=run_dir)


# ------------------------------------------------------------------------------------- the real voice

QUICK = {"voice": Patience(PATIENCE_S, 1.5)}
"""A voice tells twice a second."""


@pytest.fixture
def voice(run_dir, tmp_path, monkeypatch, watched):
    """Gives a supervisor, along real time, of the real voice on a pretend card; `extra`: more for ALSA's settings."""

    def begin(extra=""):
        folder = tmp_path / "card"
        folder.mkdir()
        card = paced.PretendCard(folder, paced.build(folder))
        card.config.write_text(card.config.read_text() + extra)
        monkeypatch.setenv("ALSA_CONFIG_PATH", str(card.config))
        bank = write_bank(Config(), tmp_path / "bank").directory
        main = Path(__file__).with_name("voice") / "voice_main.py"
        it = watched(
            run_dir=run_dir,
            patience=QUICK,
            guard=STAYS,
            voice=(sys.executable, str(main), str(run_dir), str(bank)),
        )
        has_said(it, "voice")
        return it

    return begin


def in_real_time(it, condition):
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, it.told
        it.pass_time(0.02)
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.process
def test_frozen_voice_is_replaced(voice):
    """SIGSTOP: the voice is alive for the kernel, dead for the walker, and started again"""
    it = voice()
    for _ in range(100):  # 2 s, longer than its patience: a voice in good health is left alone
        it.pass_time(0.02)
        time.sleep(0.02)
    assert told_by(it, "voice") == ["started"]
    pid = it.supervisor.pid("voice")
    os.kill(pid, signal.SIGSTOP)
    in_real_time(it, it.has_told("voice", "gave no sign of life for 1.5 s and was killed"))
    in_real_time(it, lambda: it.supervisor.pid("voice") not in (None, pid))
    has_said(it, "voice")


@pytest.mark.slow
@pytest.mark.process
def test_voice_that_is_blocked_in_a_write_is_replaced(voice, tmp_path):
    """A driver that does not return from a write keeps the voice for ever: it is killed and started again

    Played here to a file as well, which is a pipe that nobody empties.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        it = voice(f'pcm.!default {{ type file slave.pcm card0 file "{pipe}" format raw }}\n')
        in_real_time(it, it.has_told("voice", "gave no sign of life for 1.5 s and was killed"))
    finally:
        os.close(held)
