"""Either chip of the clip on the same walk, in virtual time: the same posture, the same steps, the same fall."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from retrowalk.config import Config, parse
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

SEED = 1
LISTEN_FROM_S, LISTEN_UNTIL_S = 12.0, 50.0
"""From the first steps to shortly before the fall."""


@pytest.fixture(scope="module")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


@dataclass(frozen=True)
class Walked:
    """What became of a walk with one of the chips."""

    pitch_deg: list[float]
    cadence_spm: list[float | None]
    steps: int
    published: dict[str, list[float]]
    gaps: int
    impact_s: float
    longest_s: float
    busy: float
    """Share of the bus's time that the clip takes."""


def _walk(phrases: banks.Bank, chip: str) -> Walked:
    config = parse(f'[imu]\nchip = "{chip}"\n'.encode(), "a device with that clip")
    walk = VirtualWalk(config, scenarios.demo(SEED), SEED, phrases)
    try:
        pitch: list[float] = []
        cadence: list[float | None] = []
        for tenth in range(1, 900):
            walk.run_until(tenth / 10)
            snapshot = walk.guard.companion.snapshot()
            if LISTEN_FROM_S <= tenth / 10 <= LISTEN_UNTIL_S:
                assert snapshot.trunk_pitch_deg is not None
                pitch.append(snapshot.trunk_pitch_deg)
                cadence.append(snapshot.cadence_spm)
            if tenth == 10 * LISTEN_UNTIL_S:
                steps = walk.guard.companion._body.gait.steps
        published: dict[str, list[float]] = {}
        for message in walk.link.published:
            if "/event/" in message.topic:
                published.setdefault(message.topic.split("/")[-1], []).append(message.t)
        impact_s = walk.world.walker.impact_s
        assert impact_s is not None
        (clip,) = (step for step in walk._guard_steps if step.name == "imu")
        bus, address = walk.hardware.bus, config.imu.bus_address
        return Walked(
            pitch,
            cadence,
            steps,
            published,
            clip.counts["overrun"] + clip.counts["missing"],  # type: ignore[attr-defined]
            impact_s,
            bus.longest_s[address],
            bus.busy_s[address] / 89.9,
        )
    finally:
        walk.close()


@pytest.fixture(scope="module")
def walked(phrases: banks.Bank) -> dict[str, Walked]:
    """The demo's walk with each of the chips."""
    return {chip: _walk(phrases, chip) for chip in ("lsm6dsox", "mpu6050")}


@pytest.mark.parametrize("chip", ["lsm6dsox", "mpu6050"])
@pytest.mark.slow
def test_a_fall_is_asked_about_and_confirmed(walked: dict[str, Walked], chip: str) -> None:
    """Suspected two to four seconds after the impact, confirmed when the countdown is over, each once."""
    result = walked[chip]
    (suspected,), (confirmed,) = result.published["fall.suspected"], result.published["fall.confirmed"]
    assert 1.5 < suspected - result.impact_s < 4.5
    assert confirmed - suspected == pytest.approx(30.0, abs=0.5)


@pytest.mark.slow
def test_posture_and_steps_are_the_same(walked: dict[str, Walked]) -> None:
    """Trunk pitch within 1.5 degrees (RMS 0.5), cadence within 5 %, steps within two of each other."""
    one, other = walked["lsm6dsox"], walked["mpu6050"]
    apart = [a - b for a, b in zip(one.pitch_deg, other.pitch_deg, strict=True)]
    assert max(map(abs, apart)) < 1.5
    assert (sum(a * a for a in apart) / len(apart)) ** 0.5 < 0.5
    assert one.steps > 30
    assert abs(one.steps - other.steps) <= 2
    both = [(a, b) for a, b in zip(one.cadence_spm, other.cadence_spm, strict=True) if a and b]
    assert len(both) > 100
    assert sum(a / b for a, b in both) / len(both) == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["lsm6dsox", "mpu6050"])
def test_the_clip_leaves_the_bus_to_others(walked: dict[str, Walked], chip: str) -> None:
    """No transfer over 5 ms, under 4 % of the bus's time, no sample lost on the whole walk."""
    assert walked[chip].longest_s <= 0.005
    assert walked[chip].busy < 0.04
    assert walked[chip].gaps == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chip", "fault"),
    [
        *(("mpu6050", fault) for fault in ("off", "garbage", "stuck", "slow", "wrong", "delayed")),
        ("lsm6dsox", "delayed"),
    ],
)
def test_a_broken_clip_is_named_aloud(phrases: banks.Bank, chip: str, fault: str) -> None:
    """A clip that breaks is named within 3 s, samples that come late within that as well; the rear sensor goes on."""
    config = parse(f'[imu]\nchip = "{chip}"\n'.encode(), "a device with that clip")
    walk = VirtualWalk(config, scenarios.demo(SEED), SEED, phrases, faults=Faults([Fault("imu", fault, 14.0, 20.0)]))
    try:
        walk.run_until(19.0)
        named = [h.start_s for h in walk.ear.heard if h.key.startswith("sensor_lost:imu")]
        assert named
        assert 14.0 < named[0] <= 17.0
        assert not [h for h in walk.ear.heard if h.key.startswith(("sensor_lost:rear", "not_protecting:rear"))]
    finally:
        walk.close()
