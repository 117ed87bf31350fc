"""Real processes in which one part never returns: who notices, within how long, and what goes on.

A stopped process (SIGSTOP) shows little: in a process that hangs everything else runs on.  The supervisor stands for
the service manager here, with the same limits for guard and voice, and 3 s for the others (30 s on the street).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrowalk import supervise, wire
from retrowalk.platform import SocketMailbox
from retrowalk.supervise import Supervisor

pytestmark = pytest.mark.process

LIMIT_S = {"guard": supervise.WATCHDOG_S["guard"], "voice": supervise.WATCHDOG_S["voice"], "courier": 3.0, "hub": 3.0}
PATIENCE_S = 20.0
BACK_S = 5.0


@dataclass(frozen=True)
class Told:
    t_s: float
    what: str


class Watched:
    """One process in which something will hang, under a supervisor."""

    def __init__(self, name: str, what: str, directory: Path) -> None:
        self.name = name
        self.file = directory / "hangs-now"
        self.run_dir = directory / "run"
        state_dir = directory / "state"
        for folder in (self.run_dir, state_dir):
            folder.mkdir()
        program = Path(__file__).with_name("hanging.py")
        command = [sys.executable, str(program), what, str(self.run_dir), str(state_dir), str(self.file)]
        self.told: list[Told] = []
        self.supervisor = Supervisor(
            {name: command},
            on_event=lambda _, what: self.told.append(Told(time.monotonic(), what)),
            notify_at=directory / "signs",
            watchdog_s=LIMIT_S,
        )

    @property
    def ready(self) -> bool:
        """Whether the process has said that it is ready."""
        return self.supervisor._children[0].fed_s is not None

    def until(self, condition: Callable[[], object]) -> float:
        """Waits for something; returns when it was so."""
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, self.told
            self.supervisor.poll(time.monotonic())
            time.sleep(0.02)
        return time.monotonic()

    def last(self, part: str) -> Told | None:
        """What was told last that has these words in it."""
        return next((told for told in reversed(self.told) if part in told.what), None)

    def hang(self) -> float:
        """From now on it hangs."""
        self.file.touch()
        return time.monotonic()


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Watched]]:
    made: list[Watched] = []

    def make(name: str, what: str) -> Watched:
        made.append(Watched(name, what, tmp_path_factory.mktemp("h")))
        return made[-1]

    yield make
    for one in made:
        one.supervisor.kill()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param("guard", "decision", id="guard: the loop that decides"),
        pytest.param("voice", "mixer", id="voice: the loop that mixes"),
        pytest.param("voice", "device", id="voice: a write to the sound device"),
        pytest.param("courier", "outbox", id="courier: SQLite"),
        pytest.param("courier", "link", id="courier: the thread of the broker link"),
        pytest.param("hub", "store", id="hub: SQLite"),
        pytest.param("hub", "sender", id="hub: the thread that tells people"),
    ],
)
def test_what_hangs_ends_with_its_process(watched, name, what):
    """The process lives as long as its parts answer; when one does not, it is killed and started again."""
    it = watched(name, what)
    it.until(lambda: it.ready)
    well_s = time.monotonic() + (1.0 if what in ("outbox", "store") else 0.0)
    it.until(lambda: time.monotonic() > well_s)
    assert [told.what for told in it.told] == ["started"]
    hung_s = it.hang()
    it.until(lambda: it.last("hangs, and is killed"))
    killed = it.last("hangs, and is killed")
    assert killed.t_s - hung_s < 12.0
    it.file.unlink()
    assert it.until(lambda: it.told[-1].what == "started" and it.ready) - killed.t_s < BACK_S


def test_a_transfer_that_never_returns_costs_one_restart_and_that_part(watched):
    """Within 3 s the guard ends by itself; the next one, whose bus hangs as well, names the part and stays."""
    it = watched("guard", "bus")
    it.until(lambda: it.ready)
    hung_s = it.hang()
    it.until(lambda: it.last("ended with status 1"))
    ended_s = it.last("ended with status 1").t_s
    assert ended_s - hung_s < 4.5  # 2 s late, two looks, one second for its threads to end
    it.until(lambda: it.ready)
    view = SocketMailbox(it.run_dir, "view")
    try:
        status = _status(it, view)
        assert status.health["imu"] != "ok", status.health
        stays_s = time.monotonic() + LIMIT_S["guard"] + 1.0
        it.until(lambda: time.monotonic() > stays_s)
    finally:
        view.close()
    assert [told.what.partition(";")[0] for told in it.told] == ["started", "ended with status 1", "started"]


def _status(it: Watched, view: SocketMailbox) -> wire.Status:
    """What the guard shows of itself."""
    found: list[wire.Status] = []

    def shown() -> bool:
        view.send("guard", wire.encode(wire.Watch("view")))
        data = view.receive()
        message = wire.decode_local(data) if data is not None else None
        if isinstance(message, wire.Status):
            found.append(message)
        return bool(found)

    it.until(shown)
    return found[-1]


def test_a_guard_without_buzzer_and_motor_does_not_live_on(watched):
    """When the last that can tell the walker anything hangs, the guard ends each time, and is not called ready."""
    it = watched("guard", "touch")
    it.until(lambda: it.ready)
    it.hang()
    it.until(lambda: sum(told.what.startswith("ended with status 1") for told in it.told) == 2)
    assert not it.ready
