"""The whole device on a scripted walk in virtual time: what is heard, felt and published, and what must not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.sound import match, read_wav

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.courier import recording
from retrowalk.replay import replay
from retrowalk.sim import scenarios
from retrowalk.sim.broker import Outage
from retrowalk.sim.demo import run_fast
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.report import said
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import GetUp, Press, Walk
from retrowalk.voice import bank as banks


@pytest.fixture(scope="session")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


@pytest.fixture
def walk(phrases: banks.Bank, request: pytest.FixtureRequest) -> Iterator[VirtualWalk]:
    """The demo's walk, with the faults that the test asks for."""
    texts = getattr(request, "param", ())
    faults = Faults([Fault.parse(text) for text in texts])
    made = VirtualWalk(Config(), scenarios.demo(1), 1, phrases, faults=faults)
    yield made
    made.close()


def heard(walk: VirtualWalk, *starts: str) -> list[float]:
    """When clips whose key begins so were heard."""
    return [h.start_s for h in walk.ear.heard if h.key.startswith(starts)]


@pytest.mark.parametrize(
    "seed",
    [
        1,
        pytest.param(2, marks=pytest.mark.slow),
        *(pytest.param(seed, marks=pytest.mark.repeats) for seed in range(3, 14)),
    ],
)
def test_the_walk_goes_as_it_should(phrases: banks.Bank, tmp_path: Path, seed: int) -> None:
    """Whatever the seed, every expectation of the scenario is met; and who falls is not told to slow down."""
    outcome = run_fast(seed, tmp_path)
    assert [e for e in outcome.expectations if not e.met] == []
    assert outcome.ok
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    falls_s = [event["t"] for event in events if event["type"] == "balance.lost"]
    fast_s = [event["t"] for event in events if event["data"].get("hazard") == "too_fast"]
    assert falls_s
    assert not [t_s for t_s in fast_s if t_s > falls_s[0]]


@pytest.mark.slow
def test_a_seed_gives_one_result(phrases: banks.Bank, tmp_path: Path) -> None:
    """Two runs with one seed leave the same events and the same sound, byte for byte; another seed does not."""
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run_fast(seed, tmp_path / name)
    for file in ("events.jsonl", "walk.wav", "transcript.txt"):
        first, second, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == second, file
        assert first != other, file


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "rear:off",
        pytest.param("voice:muted", marks=pytest.mark.slow),
        pytest.param("voice:off", marks=pytest.mark.repeats),
        pytest.param("imu:off", marks=pytest.mark.repeats),
    ],
)
def test_the_demo_fails_when_the_device_does(phrases: banks.Bank, tmp_path: Path, fault: str) -> None:
    """A silenced sensor or a mute voice cannot pass for a good walk."""
    assert not run_fast(1, tmp_path, [fault]).ok


@pytest.fixture(scope="session")
def recorded(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one demo."""
    directory = tmp_path_factory.mktemp("demo")
    run_fast(1, directory)
    return directory


@pytest.mark.slow
def test_the_recording_replays_identically(recorded: Path) -> None:
    """The items alone give the same events, byte for byte."""
    assert replay(recording.read(recorded / "walk.mcap")).identical


@pytest.mark.slow
def test_events_file_has_what_the_companion_said(recorded: Path) -> None:
    """Each line of events.jsonl is t, type, alert number and data, in order of time."""
    lines = [json.loads(line) for line in (recorded / "events.jsonl").read_bytes().splitlines()]
    assert {"guard.changed", "hazard.raised", "alert.spoken", "fall.suspected", "fall.confirmed"} <= {
        line["type"] for line in lines
    }
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert all(set(line) == {"t", "type", "alert", "data"} for line in lines)


@pytest.mark.slow
def test_every_spoken_line_is_in_the_sound(recorded: Path, phrases: banks.Bank) -> None:
    """What the transcript says was said is in walk.wav at that time, within 30 ms: it correlates with the clip."""
    sound = read_wav(recorded / "walk.wav")
    bank_words = {phrases.words(phrase, value): (phrase, value) for phrase, value in alerts.clips(Config())}
    lines = [line for line in said(recording.read(recorded / "walk.mcap")) if "[cut" not in line.words]
    spoken = [line for line in lines if not line.words.startswith("(")]
    assert len(spoken) >= 15
    for line in spoken:
        assert match(sound, phrases.clip(*bank_words[line.words]) or b"", line.t_s, 0.03) > 0.95, line


# --------------------------------------------------------------------------------------------------- faults

NAMED = [
    # fault, what is heard, limit from the fault's begin to the sound
    pytest.param("rear:off@14-20", ("sensor_lost:rear", "not_protecting:rear"), 1.0, id="rear unplugged"),
    pytest.param("rear:stuck@14-20", ("sensor_lost:rear", "not_protecting:rear"), 1.0, id="echo line stuck high"),
    pytest.param("rear:garbage@14-20", ("sensor_lost:rear", "not_protecting:rear"), 1.0, id="rear garbage"),
    pytest.param("rear:slow@14-20", ("sensor_lost:rear", "not_protecting:rear"), 2.0, id="rear slow"),
    pytest.param("rear:off", ("sensor_lost:rear", "not_protecting:rear"), 1.0, id="rear absent at start"),
    pytest.param("imu:off@14-20", ("sensor_lost:imu",), 1.0, id="clip unplugged"),
    pytest.param("imu:garbage@14-20", ("sensor_lost:imu",), 1.0, id="clip garbage"),
    pytest.param("imu:stuck@14-20", ("sensor_lost:imu",), 3.0, id="clip frozen"),
    pytest.param("imu:slow@14-20", ("sensor_lost:imu",), 2.0, id="clip slow"),
    pytest.param("imu:wrong", ("sensor_lost:imu",), 1.0, id="another chip at the clip's address"),
    pytest.param("imu:off", ("sensor_lost:imu",), 1.0, id="clip absent at start"),
    pytest.param("button:garbage@14-20", ("fault:button",), 2.0, id="button line chatters"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "keys", "limit_s"), NAMED)
def test_a_broken_sensor_is_named_aloud(phrases: banks.Bank, fault: str, keys: tuple[str, ...], limit_s: float) -> None:
    """Absent, unplugged, stuck, slow or talking nonsense: the walker hears which one, in time."""
    parsed = Fault.parse(fault)
    walk = VirtualWalk(Config(), scenarios.demo(1), 1, phrases, faults=Faults([parsed]))
    try:
        walk.run_until(parsed.start_s + limit_s + 1.5)
        times = [t for t in heard(walk, *keys) if t >= parsed.start_s]
        # A key is recognised from its words, which follow a fault tone of half a second: the tone counts.
        tones = [t for t in heard(walk, "fault") if parsed.start_s <= t <= parsed.start_s + limit_s]
        assert tones, walk.ear.heard
        assert times, walk.ear.heard
        assert min(times) <= parsed.start_s + limit_s + 1.0
    finally:
        walk.close()


@pytest.mark.slow
@pytest.mark.parametrize("walk", [("imu:off@8",)], indirect=True)
def test_without_the_clip_the_rear_still_warns(walk: VirtualWalk) -> None:
    """One sensor lost, the other goes on: the wall is warned of."""
    walk.run_until(27.0)
    assert heard(walk, "stop")
    assert not walk.world.contacts


@pytest.mark.parametrize("walk", [("rear:off@8", "lidar:off@8")], indirect=True)
@pytest.mark.slow
def test_without_the_rear_a_fall_is_still_reported(walk: VirtualWalk) -> None:
    """The clip goes on when both rear sensors are gone, and the walker has been told to stop."""
    walk.run_until(90.0)
    assert heard(walk, "not_protecting:rear")
    assert [m.topic for m in walk.link.published if m.topic.endswith("event/fall.confirmed")]


@pytest.mark.slow
@pytest.mark.parametrize("walk", [("voice:off@14",)], indirect=True)
def test_a_dead_voice_is_felt_at_once(walk: VirtualWalk) -> None:
    """Within half a second of the sound device's death buzzer and vibration take over, and warn of the wall."""
    walk.run_until(14.6)
    assert [t for t, what in walk.world.felt if what == "buzzer" and 14.0 <= t <= 14.5]
    walk.run_until(27.0)
    assert [t for t, what in walk.world.felt if what == "vibration" and t > 18.0]
    assert not walk.world.contacts


# ---------------------------------------------------------------------------------- deaths, in virtual time


@pytest.mark.slow
def test_a_killed_guard_goes_on_counting(walk: VirtualWalk) -> None:
    """The guard dies in the middle of a countdown: it is heard, and the countdown ends when it should."""
    walk.run_until(62.0)
    assert heard(walk, "countdown:25")
    walk.kill_guard()
    walk.run_until(64.0)
    assert [t for t in heard(walk, "guard_silent") if t > 62.0], "the voice says by itself that nobody guards"
    walk.start_guard()
    walk.run_until(90.0)
    assert heard(walk, "restarted")
    impact_s = walk.world.walker.impact_s
    assert impact_s is not None
    confirmed = [m.t for m in walk.link.published if m.topic.endswith("event/fall.confirmed")]
    assert len(confirmed) == 1
    assert 30.0 < confirmed[0] - impact_s < 34.0


@pytest.mark.slow
def test_a_countdown_that_ended_while_dead_is_confirmed(walk: VirtualWalk) -> None:
    """A guard that comes back late raises the alarm at once."""
    walk.run_until(62.0)
    walk.kill_guard()
    walk.run_until(100.0)
    walk.start_guard()
    walk.run_until(101.5)
    assert [m for m in walk.link.published if m.topic.endswith("event/fall.confirmed")]


@pytest.mark.slow
def test_a_killed_guard_resumes_without_the_hand_check(walk: VirtualWalk) -> None:
    """Back within ten minutes of guarding, it guards again within a second and warns of the wall."""
    walk.run_until(14.0)
    walk.kill_guard()
    walk.run_until(16.0)
    walk.start_guard()
    walk.run_until(17.5)
    assert walk.guard.companion.snapshot().guard_state == "guarding"
    assert heard(walk, "guard_silent"), "said to its end, though the guard is back: the walker stops"
    walk.world.at(18.0, Walk(0.45))
    walk.run_until(30.0)
    assert heard(walk, "stop")
    assert not walk.world.contacts


@pytest.mark.slow
def test_a_killed_voice_comes_back_and_says_so(walk: VirtualWalk) -> None:
    """While the voice is dead buzzer and vibration speak; when it is back the walker is told."""
    walk.run_until(14.0)
    walk.kill_voice()
    walk.run_until(16.0)
    assert [t for t, what in walk.world.felt if what == "buzzer" and 14.0 <= t <= 14.5]
    walk.start_voice()
    walk.run_until(20.0)
    assert heard(walk, "fault_over:voice")


@pytest.mark.slow
def test_a_killed_courier_loses_no_event(walk: VirtualWalk) -> None:
    """The courier dies while a fall is suspected; the walker hears it, and every event arrives all the same."""
    walk.run_until(55.5)
    walk.kill_courier()
    walk.run_until(62.0)
    assert heard(walk, "fault:courier")
    walk.start_courier()
    walk.run_until(90.0)
    assert heard(walk, "fault_over:courier")
    types = [m.topic.split("/")[-1] for m in walk.link.published if "/event/" in m.topic]
    assert {"fall.suspected", "fall.confirmed", "guard.changed", "walk.started"} <= set(types)


# -------------------------------------------------------------------------------------------- the button, the net


@pytest.mark.slow
def test_a_press_cancels_the_countdown(walk: VirtualWalk) -> None:
    """A press and release begun after the countdown started: the alarm is off, and the caregiver is told so."""
    walk.world.at(58.0, Press())
    walk.run_until(90.0)
    assert heard(walk, "fall_cancelled")
    types = [m.topic.split("/")[-1] for m in walk.link.published if "/event/" in m.topic]
    assert "fall.cancelled" in types
    assert "fall.confirmed" not in types


@pytest.mark.slow
def test_getting_up_and_walking_cancels_the_countdown(walk: VirtualWalk) -> None:
    """Nobody who walks on is reported as lying."""
    walk.world.at(57.0, GetUp())
    walk.world.at(64.0, Walk(0.6))
    walk.run_until(90.0)
    assert heard(walk, "fall_cancelled")
    types = [m.topic.split("/")[-1] for m in walk.link.published if "/event/" in m.topic]
    assert "fall.confirmed" not in types


def test_holding_the_button_calls_for_help(walk: VirtualWalk) -> None:
    """Three seconds: SOS is out within a second, and the walker hears both stages."""
    walk.world.at(13.0, Press(hold_s=3.5))
    walk.run_until(20.0)
    assert heard(walk, "sos_hold")
    assert heard(walk, "sos_raised", "fall_confirmed")  # both are "Calling for help."
    sos = [m.t for m in walk.link.published if m.topic.endswith("event/sos.raised")]
    assert len(sos) == 1
    assert sos[0] - 16.0 < 1.0


@pytest.mark.slow
def test_an_alarm_waits_for_the_broker(phrases: banks.Bank) -> None:
    """With the broker away the walker is told that nobody was reached; when it is back the alarm arrives once."""
    walk = VirtualWalk(Config(), scenarios.demo(1), 1, phrases, outages=[Outage(50.0, 130.0)])
    try:
        walk.run_until(125.0)
        assert heard(walk, "caregiver_not_reached")
        assert not [m for m in walk.link.published if m.topic.endswith("event/fall.confirmed")]
        walk.run_until(150.0)
        assert len([m for m in walk.link.published if m.topic.endswith("event/fall.confirmed")]) == 1
        assert heard(walk, "caregiver_told")
    finally:
        walk.close()
