"""A guard that is killed, or stands still, at any moment: real processes, and what leaves the sound device.

The moments are drawn from a seed (`RETROWALK_TEST_SEED` for others): while it guards and ticks, or while it counts
down after a fall.  Fifty deaths are a release test; two are everyday ones.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
TOGETHER = 3
"""Walks at a time: each computes a fifth of what it waits."""
SAID_S = 5.0
"""That it was restarted is said so soon, where no alarm speaks."""
BACK_S = 5.0
"""Of a death.  A process that stands still is dead when the service manager finds out, by its watchdog."""
AT = {"hours": (15.8, 29.0, 44.0), "fall": (16.0, 25.0, None)}
"""By scenario: the span in which it dies, and when the walk ends (None: with the scenario).  In the first it guards and
ticks, in the second it counts down."""


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


def died(directory: Path, seed: int, scenario: str, by: signal.Signals) -> tuple[Finished, Death]:
    """A walk in which the guard dies."""
    draw = random.Random(f"death:{scenario}:{seed}")
    from_s, until_s, end_s = AT[scenario]
    at_s: list[float] = []

    def happens(real: RealWalk) -> None:
        real.run_until(draw.uniform(from_s, until_s))
        at_s.append(real.now())
        real.kill("guard", by)

    config = Config(voice=Voice(tick_s=TICK_S))
    finished = walk(directory, seed, happens, scenario=scenario, config=config, beyond_s=8.0, until_s=end_s)
    sessions = [recorded.entries[0].log_ns / 1e9 for recorded in finished.recordings]
    assert len(sessions) == 2, "a death has one new life"
    return finished, Death(at_s[0], by, sessions[1])


def judge(finished: Finished, death: Death) -> None:
    """What must be true of each death."""
    ticks = [h.start_s for h in finished.heard("tick")]
    late = [t_s for t_s in ticks if death.t_s + ON_ITS_WAY_S < t_s < death.back_s]
    assert not late, f"{death}: ticks at {late}"
    assert death.back_s - death.t_s <= death.within_s, str(death)
    said = finished.heard("fault", "guard_silent", "warning", from_s=death.t_s, until_s=death.t_s + SILENT_S)
    assert said, f"{death}: nothing is heard of it"
    again = finished.heard("restarted", from_s=death.back_s)
    assert again, f"{death}: the restart is not said"
    assert finished.missing() == []
    suspected, confirmed = finished.happened("fall.suspected"), finished.happened("fall.confirmed")
    if finished.scenario.name == "hours":
        assert min(ticks) < death.t_s, "it ticked before"
        assert max(ticks) > death.back_s, f"{death}: it never ticked again"
        assert not suspected
        assert again[0].start_s < death.back_s + SAID_S, f"{death}: the restart is said at {again[0].start_s:.2f} s"
        return
    assert len(suspected) == len(confirmed) == 1, f"{death}: one fall is counted down, once"
    due_s = max(suspected[0] + FALL_COUNTDOWN_S, death.back_s if death.t_s > suspected[0] else 0.0)
    assert confirmed[0] == pytest.approx(due_s, abs=0.15), str(death)


@pytest.mark.parametrize(
    ("scenario", "by"), [("hours", signal.SIGKILL), ("hours", signal.SIGSTOP), ("fall", signal.SIGSTOP)]
)
def test_a_dead_guard_ticks_no_more_and_comes_back(
    scenario: str, by: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No tick after its death; its silence is heard, and its return; a countdown ends when it would have."""
    finished, death = died(tmp_path, SEED, scenario, by)
    with capsys.disabled():
        print(f"\n  {scenario}, seed {SEED}: {death}")
    judge(finished, death)


@pytest.mark.release
def test_fifty_deaths_at_any_moment(
    tmp_path: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise 17 of the reference: 50 of 50, half of them while somebody waits for an answer."""
    jobs = [
        (
            tmp_path / str(number),
            SEED + 100 + number,
            tuple(AT)[number % 2],
            (signal.SIGKILL, signal.SIGSTOP)[number // 2 % 2],
        )
        for number in range(50)
    ]
    for directory, *_ in jobs:
        directory.mkdir()
    failed: list[str] = []
    took_s: dict[str, list[float]] = {}
    with ThreadPoolExecutor(TOGETHER) as pool:
        for job, answer in [(job, pool.submit(died, *job)) for job in jobs]:
            finished, death = answer.result()
            took_s.setdefault(death.by.name, []).append(round(death.back_s - death.t_s, 2))
            try:
                judge(finished, death)
            except AssertionError as error:
                failed.append(f"{job[2]}, seed {job[1]}: {error}")
    for name, every in sorted(took_s.items()):
        every.sort()
        with capsys.disabled():
            print(f"\n  {name}: {len(every)}, back after {every[len(every) // 2]:.2f} s, at most {every[-1]:.2f} s")
        record_property(f"{name}_back_s", every)
    assert not failed, "\n".join(failed)
