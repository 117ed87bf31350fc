"""Real processes, killed while somebody lies there, and after the limits were accepted; told to a stranger's client."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.walks import Finished

from retrowalk.config import Config
from retrowalk.core import samples as sm
from retrowalk.core.alerts import INTRODUCTION
from retrowalk.courier import recording
from retrowalk.guard.state import StateFile
from retrowalk.replay import replay
from retrowalk.sim.realtime import RealWalk
from retrowalk.voice import bank as banks

pytestmark = [pytest.mark.process, pytest.mark.slow]

SEED = 1


@pytest.fixture(scope="module", autouse=True)
def phrases() -> banks.Bank:
    """The rendered phrases."""
    return banks.build(Config(), banks.default_directory())


class Subscriber:
    """`mosquitto_sub`, which knows nothing of retrowalk but the topic."""

    def __init__(self, port: int) -> None:
        program = shutil.which("mosquitto_sub")
        if program is None:
            pytest.skip("mosquitto_sub is not installed (mosquitto-clients)")
        command = [program, "-h", "127.0.0.1", "-p", str(port), "-V", "5", "-q", "1", "-t", "retrowalk/v1/+/+/event/#"]
        self._process = subprocess.Popen([*command, "-F", "%t %p"], stdout=subprocess.PIPE, text=True)

    def end(self) -> list[tuple[str, dict[str, object]]]:
        """Ends it; type and data of every event it has shown."""
        self._process.terminate()
        output, _ = self._process.communicate(timeout=5.0)
        lines = [line.split(" ", 1) for line in output.splitlines()]
        return [(topic.rpartition("/")[2], json.loads(payload)["data"]) for topic, payload in lines]


@dataclass(frozen=True)
class Lay:
    """A fall nobody gets up from, in which the guard was killed at these seconds."""

    walk: Finished
    killed_s: tuple[float, ...]
    shown: list[tuple[str, dict[str, object]]]


@pytest.fixture(scope="module")
def lay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lay]:
    """Killed in the countdown, while they lie there, and once more just before it is told that they do."""
    out = tmp_path_factory.mktemp("lie")
    killed_s = []
    with RealWalk(SEED, out, scenario="fall", until_s=90.0) as real:
        real.run_until(1.0)
        assert real._broker is not None
        subscriber = Subscriber(real._broker.port)
        try:
            for at_s in (20.0, 45.0, 71.0):
                real.run_until(at_s)
                killed_s.append(real.now())
                real.kill("guard")
            real.run_until(84.0)
            evidence = real.finish()
        finally:
            shown = subscriber.end()
        files = sorted((recording.read(path) for path in real.recordings()), key=lambda made: made.entries[0].log_ns)
        yield Lay(Finished(real.scenario, evidence, real.events, files, real.origin_mono_s), tuple(killed_s), shown)


def test_a_stranger_sees_that_nobody_gets_up(lay: Lay) -> None:
    """mosquitto_sub shows the fall, that it was confirmed once, and once that it goes on, with how long they lay."""
    kinds = [kind for kind, _ in lay.shown]
    assert kinds.count("fall.suspected") == kinds.count("fall.confirmed") == 1
    (lasted,) = [data for kind, data in lay.shown if kind == "fall.lasted"]
    assert lasted["posture"] == "lying"
    assert lasted["since_s"] == pytest.approx(60.0, abs=8.0)
    assert lasted["lain_s"] == pytest.approx(60.0, abs=8.0)


def test_the_report_comes_when_it_is_due_though_the_guard_was_dead(lay: Lay) -> None:
    """A minute after the fall was suspected, or within seconds of the guard's return."""
    (suspected,), (lasted,) = lay.walk.happened("fall.suspected"), lay.walk.happened("fall.lasted")
    assert suspected + 59.9 < lasted < max(suspected + 60.0, lay.killed_s[-1] + 5.0) + 4.0


def test_the_one_who_lies_there_hears_that_help_was_called(lay: Lay) -> None:
    """Words of comfort, and true ones: the broker has taken the call."""
    assert lay.walk.heard("comfort:told", from_s=lay.killed_s[-1])


def test_no_event_of_the_long_lie_is_lost(lay: Lay) -> None:
    """Over three deaths of the guard everything arrives, and each of its lives replays identically."""
    assert lay.walk.missing() == []
    assert len(lay.walk.recordings) == 1 + len(lay.killed_s)
    for recorded in lay.walk.recordings:
        comparison = replay(recorded)
        assert comparison.identical, comparison.difference


def first_uses(recorded: recording.Recording) -> list[bool]:
    return [entry.value.accepted for entry in recorded.entries if isinstance(entry.value, sm.FirstUse)]


def test_what_was_accepted_survives_kills_and_a_power_cut(tmp_path: Path) -> None:
    """Accepted in the street's own way; killed, and killed with everything in memory gone: it is not said again."""
    with RealWalk(SEED, tmp_path, scenario="first use", until_s=90.0) as real:
        real.run_until(real.scenario.duration_s)
        real.kill("guard")
        real.run_until(real.now() + 8.0)
        kept = StateFile(real.run_dir).read()
        assert kept is not None
        assert kept.state is not None
        assert kept.state.accepted
        real.kill("guard")
        for slot in ("state-a", "state-b"):  # what a power cut leaves: the card
            (real.run_dir / slot).unlink()
        cut_s = real.now()
        real.run_until(cut_s + 14.0)
        real.finish()
        files = sorted((recording.read(path) for path in real.recordings()), key=lambda made: made.entries[0].log_ns)
    first, second, third = files
    assert first_uses(first) == [False]
    accepted = [entry for entry in first.entries if entry.channel == "/event/limits.accepted"]
    assert len(accepted) == 1
    spoken = [
        [e.value.value for e in made.entries if e.channel == "/request/speak" and e.value.phrase == "introduction"]
        for made in files
    ]
    assert [list(dict.fromkeys(values)) for values in spoken] == [list(INTRODUCTION), [], []]
    assert first_uses(second) == []
    assert first_uses(third) == []
    assert any(isinstance(entry.value, sm.Restored) and entry.value.state.accepted for entry in third.entries)
