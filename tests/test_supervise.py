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
    RESTART_MAX_S,
    RESTART_S,
    START_S,
    WATCHDOG_S,
    YOUNG_S,
    Supervisor,
    in_words,
)

PATIENCE_S = 10.0
LIMIT_S = 5.0
"""Of the watchdog in these tests, on their own clock."""
FEEDS = (
    sys.executable,
    "-c",
    "import time\nfrom retrowalk.platform import notify\nwhile True:\n notify('WATCHDOG=1')\n time.sleep(0.02)",
)
"""A process that says all the time that all is well."""

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

    def __init__(self, commands, notify_at=None):
        self.told: list[tuple[str, str]] = []
        self.now = 100.0
        self.supervisor = Supervisor(
            commands,
            on_event=lambda name, what: self.told.append((name, what)),
            notify_at=notify_at,
            watchdog_s={"voice": LIMIT_S},
        )

    def pass_time(self, seconds):
        self.now += seconds
        self.supervisor.poll(self.now)

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

    def make(notify_at=None, **commands):
        made.append(Watched(commands, notify_at))
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
    """Dying within 5 s again and again doubles the pause, up to 2 s: it serves again within 5 s of each death"""
    it = watched(guard=STAYS, voice=FAILS)
    pauses = []
    for count in range(1, 7):
        it.until(lambda count=count: sum("ended with status 3" in what for _, what in it.told) == count)
        pauses.append(float(it.told[-1][1].split(" in ")[1].removesuffix(" s")))
        it.pass_time(pauses[-1] + 0.01)
    assert pauses == [1.0, 2.0, *[RESTART_MAX_S] * 4]
    assert RESTART_MAX_S <= 2.0


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


@pytest.mark.process
def test_who_hangs_is_killed_and_started_again(watched, tmp_path):
    """A process that was well and is stopped dead is ended by its number, without waiting for it"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=FEEDS)
    child = device.supervisor._children[1]
    device.until(lambda: child.fed_s is not None)
    os.kill(device.supervisor.pid("voice"), signal.SIGSTOP)
    time.sleep(0.1)
    device.pass_time(0.1)  # what was said before it was stopped
    device.pass_time(LIMIT_S + 0.1)
    assert device.has_told("voice", "hangs")()
    device.until(device.has_told("voice", "SIGKILL"))
    device.pass_time(RESTART_S)
    device.until(lambda: child.fed_s is not None)
    assert [what for name, what in device.told if name == "guard"] == ["started"]


@pytest.mark.process
def test_who_feeds_the_watchdog_lives(watched, tmp_path):
    """Signs of life that go on keep a process, for however long"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=FEEDS)
    child = device.supervisor._children[1]
    for _ in range(5):
        child.fed_s = None
        device.until(lambda: child.fed_s is not None)
        device.pass_time(LIMIT_S - 0.1)
    assert not device.has_told("voice", "hangs")()


@pytest.mark.process
def test_nobody_is_well_in_the_name_of_another(watched, tmp_path):
    """The kernel tells who speaks: a stranger cannot keep a hung process alive"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=STAYS)
    stranger = subprocess.Popen(FEEDS, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "signs")})
    try:
        time.sleep(0.3)
        device.pass_time(0.1)
        assert device.supervisor._children[1].fed_s is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.process
def test_signs_of_life_are_for_this_user_alone(watched, tmp_path):
    """Nobody else may write to the socket"""
    watched(tmp_path / "signs", guard=STAYS)
    assert (tmp_path / "signs").stat().st_mode & 0o777 == 0o600


# ------------------------------------------------------------------------------------- the other ways to hang

ROOT = Path(__file__).resolve().parent.parent
READY = "import os, signal, time\nfrom retrowalk.platform import notify\n"


def program(text):
    return (sys.executable, "-c", READY + text)


def told_by(device, name):
    return [what for who, what in device.told if who == name]


def has_said(device, index, what="fed_s"):
    """Waits until the supervisor has taken in that a process is ready, or (`ending_s`) that it ends."""
    child = device.supervisor._children[index]
    device.until(lambda: getattr(child, what) is not None)


@pytest.mark.parametrize("name", ["guard", "voice", "courier"])
def test_limits_are_those_of_the_service_files(name):
    """In the foreground a process may take as long as under systemd"""
    unit = (ROOT / "systemd" / f"retrowalk-{name}.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^TimeoutStartSec=(\d+)$", unit, re.MULTILINE)
    (watchdog,) = re.findall(r"^WatchdogSec=(\d+)$", unit, re.MULTILINE)
    assert (START_S[name], WATCHDOG_S[name]) == (float(start), float(watchdog))


@pytest.mark.process
def test_who_does_not_become_ready_is_started_again(watched, tmp_path):
    """Deadlocked while it starts: killed when the time for that is over, not sooner"""
    device = watched(tmp_path / "signs", guard=FEEDS, voice=STAYS)
    device.pass_time(START_S["voice"] - 0.1)
    assert told_by(device, "voice") == ["started"]
    device.pass_time(0.2)
    assert told_by(device, "voice")[-1] == "was not ready within 30 s, and is killed"
    device.until(device.has_told("voice", "was killed (SIGKILL); starting it again in 1 s"))


@pytest.mark.process
def test_who_was_ready_and_then_says_nothing_hangs(watched, tmp_path):
    """As under systemd, time runs from being ready; and SIGTERM, which it would not hear, is not tried first"""
    deaf = program("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nnotify('READY=1')\nwhile True: time.sleep(60)")
    device = watched(tmp_path / "signs", guard=STAYS, voice=deaf)
    has_said(device, 1)
    device.pass_time(LIMIT_S - 0.1)
    assert told_by(device, "voice") == ["started"]
    device.pass_time(0.2)
    device.until(device.has_told("voice", "was killed (SIGKILL); starting it again"))


@pytest.mark.process
def test_hung_guard_is_started_again_and_nobody_else_ends(watched, tmp_path):
    """The guard leads, but its death by the supervisor's hand is no wish to end"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=FEEDS)
    voice = device.supervisor.pid("voice")
    has_said(device, 1)
    time.sleep(0.1)  # the voice goes on telling
    device.pass_time(START_S["guard"] + 0.1)
    device.until(device.has_told("guard", "was killed (SIGKILL); starting it again"))
    device.pass_time(RESTART_S)
    assert told_by(device, "guard")[-1] == "started"
    assert not device.supervisor.finished
    assert device.supervisor.pid("voice") == voice


@pytest.mark.process
def test_child_of_a_process_does_not_live_for_it(watched, tmp_path):
    """Only the process itself can say that all is well: an `aplay` of the voice knows nothing of it"""
    parent = program(
        "notify('READY=1')\n"
        "if os.fork() == 0:\n"
        "  while True:\n    notify('WATCHDOG=1')\n    time.sleep(0.01)\n"
        "while True: time.sleep(60)"
    )
    device = watched(tmp_path / "signs", guard=STAYS, voice=parent)
    has_said(device, 1)
    group = device.supervisor.pid("voice")
    try:
        for _ in range(6):
            time.sleep(0.02)
            device.pass_time(LIMIT_S / 5)
        device.until(device.has_told("voice", "hangs, and is killed"))
    finally:
        os.killpg(group, signal.SIGKILL)


@pytest.mark.process
def test_who_says_that_it_ends_and_does_not_is_killed(watched, tmp_path):
    """It may take its time to end, but not for ever, whatever else it says"""
    ends = program("notify('READY=1')\nnotify('STOPPING=1')\nwhile True:\n notify('WATCHDOG=1')\n time.sleep(0.02)")
    device = watched(tmp_path / "signs", guard=STAYS, voice=ends)
    has_said(device, 1, "ending_s")
    device.pass_time(GOODBYE_S - 0.1)
    assert told_by(device, "voice") == ["started"]
    device.pass_time(0.2)
    assert told_by(device, "voice")[-1] == "said that it ends and has not for 5 s, and is killed"


@pytest.mark.process
def test_supervisor_that_stood_still_blames_nobody(watched, tmp_path):
    """Stopped at the terminal (Ctrl-Z) for a minute, it finds the signs of life of everybody, and kills nobody"""
    device = watched(tmp_path / "signs", guard=FEEDS, voice=FEEDS)
    has_said(device, 0)
    has_said(device, 1)
    time.sleep(0.3)  # the socket is full
    device.pass_time(60.0)
    assert told_by(device, "voice") == told_by(device, "guard") == ["started"]


@pytest.mark.process
def test_who_cannot_be_reaped_is_not_waited_for(watched, tmp_path):
    """One that is killed and does not go (a driver that hangs in the kernel) gets a successor, and holds up nobody

    A debugger keeps it here: until that lets go, a killed process is not gone for its parent.
    """
    device = watched(tmp_path / "signs", guard=STAYS, voice=program("notify('READY=1')\nwhile True: time.sleep(60)"))
    has_said(device, 1)
    voice = device.supervisor.pid("voice")
    seize = "import ctypes, time; ctypes.CDLL(None).ptrace(0x4206, %d, None, None); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-S", "-c", seize % voice], stdout=subprocess.PIPE) as debugger:
        try:
            assert debugger.stdout is not None
            debugger.stdout.readline()
            if f"TracerPid:\t{debugger.pid}\n" not in Path(f"/proc/{voice}/status").read_text():
                pytest.skip("this system lets nobody hold another process (ptrace)")
            began = time.monotonic()
            device.pass_time(LIMIT_S + 0.1)
            device.pass_time(GONE_S + 0.1)
            assert told_by(device, "voice")[-1] == "was killed, and hangs in the kernel; starting it again in 1 s"
            device.pass_time(RESTART_S)
            assert told_by(device, "voice")[-1] == "started"
            assert device.supervisor.pid("voice") != voice
            assert time.monotonic() - began < GONE_S / 2
        finally:
            debugger.kill()


@pytest.mark.process
def test_socket_of_a_killed_supervisor_is_replaced_and_ours_goes_with_us(watched, tmp_path):
    """Nothing is in the way, and nothing stays behind"""
    path = tmp_path / "signs"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(path))
    device = watched(path, guard=STAYS, voice=FEEDS)
    has_said(device, 1)
    device.supervisor.stop()
    device.until(lambda: device.supervisor.finished)
    assert not path.exists()


def test_too_long_a_path_is_named(tmp_path):
    """A socket's path has a limit, and the message names the directory that is to blame"""
    with pytest.raises(DeviceError, match=r"long: its path is too long for a socket \(100 bytes at most\)"):
        Supervisor({"guard": STAYS}, notify_at=tmp_path / ("long" * 30) / "signs")


# ------------------------------------------------------------------------------------------- the real voice


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a socket's may not be longer than 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rw-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def with_voice(run_dir, tmp_path, monkeypatch, watched):
    """Gives a supervisor of the real voice on a pretend card, along real time; `extra`: more for ALSA's settings."""

    def begin(extra=""):
        folder = tmp_path / "card"
        folder.mkdir()
        card = paced.PretendCard(folder, paced.build(folder))
        card.config.write_text(card.config.read_text() + extra)
        monkeypatch.setenv("ALSA_CONFIG_PATH", str(card.config))
        bank = write_bank(Config(), tmp_path / "bank").directory
        main = Path(__file__).with_name("voice") / "voice_main.py"
        voice = (sys.executable, str(main), str(run_dir), str(bank))
        device = watched(run_dir / "supervisor.sock", guard=STAYS, voice=voice)
        has_said(device, 1)
        return device

    return begin


def in_real_time(device, condition):
    limit = time.monotonic() + LIMIT_S + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, device.told
        device.pass_time(0.05)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.process
def test_frozen_voice_is_replaced(with_voice):
    """A voice in good health is left alone; one that is stopped (SIGSTOP) is alive for the kernel only, and replaced"""
    device = with_voice()
    well_s = time.monotonic() + LIMIT_S + 1.0
    in_real_time(device, lambda: time.monotonic() > well_s)
    assert told_by(device, "voice") == ["started"]
    voice = device.supervisor.pid("voice")
    os.kill(voice, signal.SIGSTOP)
    in_real_time(device, device.has_told("voice", "hangs, and is killed"))
    in_real_time(device, lambda: device.supervisor.pid("voice") not in (None, voice))
    has_said(device, 1)


@pytest.mark.slow
@pytest.mark.process
def test_voice_that_is_blocked_in_a_write_is_replaced(with_voice, tmp_path):
    """A driver that does not return from a write keeps the voice for ever: it is killed and started again

    What is played goes to a file here as well, which is a pipe that nobody empties.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        device = with_voice(f'pcm.!default {{ type file slave.pcm card0 file "{pipe}" format raw }}\n')
        voice = device.supervisor.pid("voice")
        in_real_time(device, device.has_told("voice", "hangs, and is killed"))
        in_real_time(device, lambda: device.supervisor.pid("voice") not in (None, voice))
    finally:
        os.close(held)
