"""A guard that is killed, or stands still, at any moment: real processes, and what leaves the sound device.

The moments and the signals are drawn from a seed (`RETROWALK_TEST_SEED` for others).  Each walk has two deaths: one
while it guards, one while it counts down after a fall.  Fifty of them are a release test; two walks are everyday ones.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.walks import Finished, walk

from retrowalk.config import Config, Voice
from retrowalk.sim.realtime import RealWalk
from retrowalk.sim.scenarios import FALL_COUNTDOWN_S
from retrowalk.supervise import WATCHDOG_S
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.process

SEED = int(os.environ.get("RETROWALK_TEST_SEED", "1"))
TICK_S = 2.0
"""The shortest there is: so short a silence tells most."""
ON_ITS_WAY_S = 0.2
"""A tick that was asked for just before the death may still sound."""
SILENT_S = 1.5
BACK_S = 5.0
"""Of a death.  A process that stands still is dead when the service manager finds out, by its watchdog."""
MOMENTS = ((6.6, 9.0), (16.0, 25.0))


@pytest.fixture(scope="module", autouse=True)
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


@dataclass(frozen=True)
class Death:
    """One death of the guard."""

    t_s: float
    by: signal.Signals
    back_s: float
    """When the next guard decided."""

    @property
    def within_s(self) -> float:
        """So long may it take until the next one."""
        return BACK_S + (WATCHDOG_S["guard"] if self.by is signal.SIGSTOP else 0.0)

    def __str__(self) -> str:
        return f"{self.by.name} at {self.t_s:.2f} s, back after {self.back_s - self.t_s:.2f} s"


def deaths(directory: Path, seed: int) -> tuple[Finished, list[Death]]:
    """A walk with a death in each of the spans."""
    draw = random.Random(f"deaths:{seed}")
    died: list[tuple[float, signal.Signals]] = []

    def happens(real: RealWalk) -> None:
        for from_s, until_s in MOMENTS:
            by = draw.choice((signal.SIGKILL, signal.SIGSTOP))
            real.run_until(draw.uniform(from_s, until_s))
            died.append((real.now(), by))
            real.kill("guard", by)

    config = Config(voice=Voice(tick_s=TICK_S))
    finished = walk(directory, seed, happens, config=config, beyond_s=8.0)
    sessions = [recorded.entries[0].log_ns / 1e9 for recorded in finished.recordings]
    assert len(sessions) == 1 + len(died), "each death has one new life"
    return finished, [Death(t_s, by, back_s) for (t_s, by), back_s in zip(died, sessions[1:], strict=True)]


def judge(finished: Finished, found: list[Death]) -> None:
    """What must be true of each death."""
    assert finished.heard("tick", until_s=found[0].t_s), "it ticked before"
    for death in found:
        late = finished.heard("tick", from_s=death.t_s + ON_ITS_WAY_S, until_s=death.back_s)
        assert not late, f"{death}: ticks at {[h.start_s for h in late]}"
        assert death.back_s - death.t_s <= death.within_s, str(death)
        said = finished.heard("fault", "guard_silent", "warning", from_s=death.t_s, until_s=death.t_s + SILENT_S)
        assert said, f"{death}: nothing is heard of it"
        assert finished.heard("restarted", from_s=death.back_s), f"{death}: the restart is not said"
    suspected, confirmed = finished.happened("fall.suspected"), finished.happened("fall.confirmed")
    assert len(suspected) == len(confirmed) == 1, f"{found[1]}: one fall is counted down, once"
    due_s = max(suspected[0] + FALL_COUNTDOWN_S, found[1].back_s if found[1].t_s > suspected[0] else 0.0)
    assert confirmed[0] == pytest.approx(due_s, abs=0.15), str(found[1])
    assert finished.missing() == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_dead_guard_ticks_no_more_and_comes_back(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tick after its death; its silence is heard, and its return; the countdown ends when it would have."""
    finished, found = deaths(tmp_path, SEED + number)
    with capsys.disabled():
        print("\n  " + "; ".join(map(str, found)))
    judge(finished, found)


@pytest.mark.release
def test_fifty_deaths_at_any_moment(
    tmp_path: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise 17 of the reference: 50 of 50, half of them while somebody waits for an answer."""
    failed: list[str] = []
    every: list[Death] = []
    for number in range(25):
        finished, found = deaths(tmp_path / str(number), SEED + 100 + number)
        every += found
        try:
            judge(finished, found)
        except AssertionError as error:
            failed.append(f"walk {SEED + 100 + number}: {error}")
    for by in (signal.SIGKILL, signal.SIGSTOP):
        took_s = sorted(death.back_s - death.t_s for death in every if death.by is by)
        with capsys.disabled():
            print(
                f"\n  {by.name}: {len(took_s)}, back after {took_s[len(took_s) // 2]:.2f}, at most {took_s[-1]:.2f} s"
            )
        record_property(f"{by.name}_back_s", took_s)
    assert not failed, "\n".join(failed)
