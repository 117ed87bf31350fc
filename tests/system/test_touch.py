"""The walker who hears badly: told by touch alone, on a device whose voice is lost, in virtual time."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

import pytest

from retrowalk import wire
from retrowalk.config import Config, parse
from retrowalk.core import events as ev
from retrowalk.core.alerts import KINDS
from retrowalk.guard.state import accepted_before
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.world import Action, HandBehind, Place, Press, Walk, World
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.slow

BY_TOUCH = parse(b'[walker]\nhearing = "touch"\n[fall]\ncountdown_s = 30.0\n', "by touch")
NO_SOUND = "voice:off"
PRESS_S, WALK_S = 6.5, 16.0
WALL: tuple[tuple[float, Action], ...] = (
    (3.5, HandBehind(for_s=1.2)),
    (PRESS_S, Press(0.2)),
    (WALK_S, Place("wall", 4.0)),
    (WALK_S, Walk(0.5)),
)


@dataclass(frozen=True)
class Walked:
    """What a walk has left behind: requests and facts in their order, what the motor did, when the light changed."""

    outputs: tuple[ev.Output, ...]
    strengths: tuple[tuple[float, float], ...]
    light: tuple[tuple[float, bool], ...]
    heard: tuple[str, ...]
    contacts: int

    def events(self, kind: type[ev.Event]) -> list[ev.Event]:
        return [output for output in self.outputs if isinstance(output, kind)]

    def touches(self, *patterns: str) -> list[ev.Touch]:
        found = [output for output in self.outputs if isinstance(output, ev.Touch)]
        return [touch for touch in found if touch.pattern in patterns] if patterns else found

    def states(self) -> list[str]:
        return [event.state.value for event in self.outputs if isinstance(event, ev.GuardChanged)]


def walked(config: Config, script: tuple[tuple[float, Action], ...], until_s: float, *faults: str) -> Walked:
    world = World(1, profile=dataclasses.replace(scenarios.WALKER, stops_for=frozenset({"stop", "warning"})))
    world.run(script)
    phrases = banks.build(Config(), banks.default_directory())
    walk = WornAlone(
        config,
        world,
        phrases,
        accepted_before("simulated"),
        keep_records=True,
        faults=Faults(Fault.parse(text) for text in faults),
    )
    strengths: list[tuple[float, float]] = []
    walk.hardware.board.watch(config.vibration.pin, lambda value, t_s: strengths.append((t_s, value)))
    light: list[tuple[float, bool]] = []
    try:
        walk.run_until(until_s)
        if walk.hardware.led is not None:
            light = list(walk.hardware.led.changes)
        walk.run_until(until_s + 1.0)  # what was written down last is handed over with the next batch
        walk.take_events()
    finally:
        walk.close()
    kinds = {channel: kind for kind, channel in wire.OUTPUT_CHANNELS.items()}
    outputs = [
        wire.decode(bytes(record.data), kinds[record.channel]) for record in walk.records if record.channel in kinds
    ]
    return Walked(
        tuple(outputs),
        tuple(strengths),
        tuple(light),
        tuple(heard.key for heard in walk.ear.heard),
        len(world.contacts),
    )


def felt_at_once(walk: Walked, decided_s: float) -> bool:
    """Whether the motor began at full strength within 20 ms; events carry whole milliseconds, edges all digits."""
    return any(-0.001 < t_s - decided_s <= 0.020 and value == 1.0 for t_s, value in walk.strengths)


@functools.cache
def silent_walk() -> Walked:
    """Towards a wall without any sound device, told by touch."""
    return walked(BY_TOUCH, WALL, 29.0, NO_SOUND)


@pytest.mark.slow
def test_without_sound_the_check_can_be_passed() -> None:
    """The question is felt, a press answers it, and the device guards: a lost voice limits nobody who does not hear."""
    walk = silent_walk()
    assert walk.states()[-1] == "guarding"
    assert "limited" not in walk.states()
    assert "not_protecting" not in walk.states()
    assert walk.heard == ()


@pytest.mark.slow
def test_without_sound_the_guarding_tick_is_felt() -> None:
    """While the path is known and nothing else is felt, one soft tap says that it watches."""
    walk = silent_walk()
    ticks = [touch.t_s for touch in walk.touches("tick")]
    assert ticks
    assert all(not touch.buzzer for touch in walk.touches("tick"))


def test_without_sound_every_warning_is_felt_at_once() -> None:
    """The motor's first edge comes within 20 ms of the decision, at full strength, and the walker stops in time."""
    walk = silent_walk()
    raised = [event for event in walk.outputs if isinstance(event, ev.HazardRaised) and event.level == "warning"]
    assert raised
    for event in raised:
        asked = next(touch for touch in walk.touches("warning") if touch.t_s >= event.t_s)
        assert asked.t_s == event.t_s
        assert felt_at_once(walk, event.t_s)
    assert walk.contacts == 0


@pytest.mark.slow
def test_without_sound_a_caution_comes_before_the_warning() -> None:
    """What is heard on the way to a wall is felt on the way to a wall, in the same order, each pattern its own kind."""
    walk = silent_walk()
    near = [touch.pattern for touch in walk.touches() if touch.t_s > WALK_S and touch.pattern != "tick"]
    kinds = [next(kind for kind, names in KINDS.items() if pattern in names) for pattern in near]
    order = [kind for kind, _ in itertools.groupby(kinds)]
    assert order.index("firm") < order.index("quick")


def test_the_lost_voice_is_told_by_touch() -> None:
    """That nothing can be heard is told, though it limits nothing."""
    walk = silent_walk()
    assert any(isinstance(event, ev.FaultRaised) and event.part == "voice" for event in walk.outputs)
    assert walk.touches("fault")


@pytest.mark.slow
def test_the_light_is_steady_while_it_guards() -> None:
    """Slow blinking through the check, then on, though nothing can be heard: this walker needs no voice."""
    walk = silent_walk()
    guarding = [e for e in walk.outputs if isinstance(e, ev.GuardChanged) and e.state is ev.GuardState.GUARDING]
    since_s = guarding[-1].t_s
    before = [t_s for t_s, on in walk.light if on and t_s < since_s]
    assert min(b - a for a, b in itertools.pairwise(before)) == pytest.approx(1.0, abs=0.02)
    last_s, last_on = walk.light[-1]
    assert last_on
    assert last_s <= since_s + 0.5


@pytest.mark.slow
def test_who_hears_is_shown_a_lost_voice_by_a_fast_light() -> None:
    """A walker who is told by sound is unprotected in silence: five flashes a second within half a second."""
    walk = walked(Config(), WALL, 8.0, "voice:off@5")
    flashes = [t_s for t_s, on in walk.light if on and t_s > 5.5]
    assert flashes[0] < 6.0
    assert max(b - a for a, b in itertools.pairwise(flashes)) == pytest.approx(0.2, abs=0.02)


@pytest.mark.slow
def test_everything_is_told_by_both_with_a_voice() -> None:
    """With a voice that works, the walker who is told by touch hears it all as well."""
    walk = walked(BY_TOUCH, WALL, 27.0)
    assert {"tick", "warning", "stop"} <= set(walk.heard)
    spoken = [output for output in walk.outputs if isinstance(output, ev.Speak)]
    touched = [touch.t_s for touch in walk.touches()]
    urgent = [speak.t_s for speak in spoken if speak.level in ("warning", "caution")]
    assert urgent
    assert set(urgent) <= set(touched)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.repeats) for seed in (2, 3))])
def test_the_whole_demo_is_walked_by_touch(seed: int) -> None:
    """Wall, person, lean and fall without a sound: each warning felt at once, nothing touched, the fall's countdown
    felt growing stronger, and the caregiver called.
    """
    demo = scenarios.demo(seed)
    script = (*demo.script, (demo.marks["hand"] + 2.6, Press(0.2)))
    walk = walked(BY_TOUCH, script, demo.duration_s, NO_SOUND)
    raised = [event for event in walk.outputs if isinstance(event, ev.HazardRaised) and event.level == "warning"]
    assert len(raised) >= 2
    for event in raised:
        assert felt_at_once(walk, event.t_s), event
    assert walk.contacts == 0
    assert walk.touches("nudge", "caution")
    grown = [touch.pattern for touch in walk.touches(*KINDS["growing"]) if touch.t_s > demo.marks["fall"]]
    stages = [KINDS["growing"].index(pattern) for pattern in grown]
    assert set(stages) == set(range(5))
    assert stages[: stages.index(4)] == sorted(stages[: stages.index(4)])
    assert walk.events(ev.FallConfirmed)
