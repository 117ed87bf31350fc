"""Every fault of every part, on the whole device in virtual time: what is heard, within how long; the others go on.

One walk for all: the device is checked by hand, a wall is approached, warned of and left.  Meanwhile a part breaks.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from retrowalk.config import A02yyuw, Air, Battery, Config, HcSr04, Imu, TfLuna, Vl53l1x
from retrowalk.core.samples import ImuSample
from retrowalk.courier import recording
from retrowalk.sim import world
from retrowalk.sim.faults import KINDS, Fault, Faults
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Place, Press, Stand, Walk
from retrowalk.voice import bank as banks

LIDAR, DROP = TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)

DEVICES = {
    "default": Config(),
    "sealed": Config(range_sensor=(A02yyuw(), LIDAR, DROP)),
    "tof": Config(range_sensor=(HcSr04(), Vl53l1x(), DROP)),
    "mpu6050": Config(imu=Imu(chip="mpu6050")),
    "ina219": Config(battery=Battery(chip="ina219")),
    "warm": Config(air=Air(thermometer="ds18b20")),
    "pair": Config(range_sensor=(HcSr04(), HcSr04(name="other", trigger_pin=5, echo_pin=6), LIDAR)),
}
"""The default device, and those that have something else in one place, or one thing more."""

HAND_S, WALK_S, SPEED_M_S, WALL_M, LEAVE_S, END_S = 3.2, 9.0, 0.45, 3.4, 15.0, 17.5
SCRIPT: tuple[tuple[float, Action], ...] = (
    (HAND_S, HandBehind(for_s=1.0)),
    (WALK_S, Place("wall", WALL_M)),
    (WALK_S, Walk(SPEED_M_S)),
    (LEAVE_S, Walk(-0.6)),
)
WARNED_FROM_S, WARNED_BY_S = 12.9, 14.4
""""Stop" for the wall: not while it is still over 1.8 m away, and with 1.1 m left at the latest."""

ORDINARY = (
    *("self_test", "checking", "heard", "good", "guarding", "tick", "clear"),
    *("chime", "caution", "object:", "warning", "stop", "touching", "drop_speed:"),
)
"""What is heard on a good walk."""

FALL_SCRIPT: tuple[tuple[float, Action], ...] = (
    (HAND_S, HandBehind(for_s=1.0)),
    (WALK_S, Walk(SPEED_M_S)),
    (12.0, Stand()),
    (13.0, world.Fall()),
)


EVERYDAY = ("off", "undervoltage")


@dataclass(frozen=True)
class Row:
    """What must be heard of a fault.  Times in seconds from its beginning."""

    fault: str
    heard: str = ""
    """Key of the words that name it; empty: nothing is said, it is ridden out."""
    sound_s: float = 1.0
    """The first frame of its sound is heard within this; its words begin 0.36 s later."""
    device: str = "default"
    back_s: float = 3.2
    """So long after the fault is over it is heard that the part is back (there is other news to be said first)."""
    back: str = ""
    """Key of those words, if not the usual ones."""
    also: tuple[str, ...] = ()
    """Keys that may be heard as well."""
    fall: bool = False
    """Whether the fall is tried in the quick tests, too."""
    slow: bool = False
    """Whether it is left out of the quick tests: the same driver has its row elsewhere."""

    @property
    def everyday(self) -> bool:
        """Whether it belongs to the quick tests: the fault that every part has, of the default set, for a while."""
        return (
            not self.slow
            and self.device == "default"
            and Fault.parse(self.fault).kind in EVERYDAY
            and ("@" in self.fault or self.fault.startswith("pi"))
        )

    @property
    def begins_s(self) -> float:
        return Fault.parse(self.fault).start_s

    @property
    def ends_s(self) -> float:
        return Fault.parse(self.fault).end_s

    @property
    def until_s(self) -> float:
        """So long is walked."""
        if not self.begins_s:
            return LEAVE_S
        over_s = self.ends_s + self.back_s + 0.6
        return max(END_S, over_s) if self.heard and over_s < math.inf else END_S

    def __str__(self) -> str:
        return f"{self.device} {self.fault}" if self.device != "default" else self.fault


def lost(part: str, kinds: str, sound_s: float = 1.0, *, fall: str = "", **more: object) -> Iterator[Row]:
    """Rows of a sensor that is named: `kinds` break it for six seconds in the middle of the walk."""
    name = "rear" if part == "rear" else part
    for kind in kinds.split():
        yield Row(f"{part}:{kind}@10-16", f"sensor_lost:{name}", sound_s, fall=kind == fall, **more)  # type: ignore[arg-type]


def absent(part: str, kinds: str, sound_s: float = 1.0, **more: object) -> Iterator[Row]:
    """Rows of a sensor that is not there from the start, or is another."""
    for kind in kinds.split():
        yield Row(f"{part}:{kind}", f"sensor_lost:{part}", sound_s, **more)  # type: ignore[arg-type]


def ridden_out(part: str, kinds: str, **more: object) -> Iterator[Row]:
    """Rows of what the walker need not know."""
    for kind in kinds.split():
        yield Row(f"{part}:{kind}@10-16", **more)  # type: ignore[arg-type]


PROOF_S = 5.2
"""A part that talked nonsense must make sense for two seconds before it is believed, and that it is back comes after
"Guarding"."""
CALLED = ("sos_hold", "sos_raised", "fall_confirmed", "caregiver_told", "countdown")
"""A call for help; its words are the same as those of a confirmed fall."""
UNHEARD = "limited:unheard"
"""Nobody has pressed to say that the device is heard."""
NO_CLIP = ("warning", "stop")
"""Without the clip nobody knows that the walker stands: the hand held behind for the check is a hazard, too."""

TABLE: tuple[Row, ...] = (
    # HC-SR04.  A module that always says 1.00 m is known by that: nothing stands still behind one who steps.
    *absent("rear", "off stuck"),
    *lost("rear", "off stuck delayed intermittent", fall="off"),
    *lost("rear", "garbage", back_s=PROOF_S),
    *lost("rear", "slow", 2.0),
    *lost("rear", "wrong", 3.0),
    *ridden_out("rear", "bursts"),
    # One of two that take turns.
    *absent("rear", "off stuck", device="pair", slow=True),
    *lost("rear", "off stuck slow intermittent", device="pair", slow=True),
    *lost("rear", "garbage", device="pair", back_s=PROOF_S, slow=True),
    # TF-Luna, as rear and as drop-off sensor.
    *absent("lidar", "off wrong"),
    *absent("lidar", "garbage sun", slow=True),
    *lost("lidar", "off garbage stuck delayed sun reboot", fall="garbage"),
    *lost("lidar", "intermittent wrong", slow=True),
    *lost("lidar", "zero", back_s=PROOF_S),
    *lost("lidar", "ffff", back_s=PROOF_S, slow=True),
    *lost("lidar", "slow", 2.0),
    *ridden_out("lidar", "nack torn weak"),
    *absent("drop", "off"),
    *absent("drop", "wrong garbage sun", slow=True),
    *lost("drop", "off stuck", fall="off"),
    *lost("drop", "sun intermittent garbage wrong delayed zero ffff reboot", slow=True),
    *lost("drop", "slow", 2.0, slow=True),
    *ridden_out("drop", "nack torn", slow=True),
    # Ground that answers too weakly is not seen, and that is said.
    *ridden_out("drop", "weak", also=("ground_lost",), slow=True),
    # VL53L1X, with every group of statuses.
    *absent("tof", "off", device="tof"),
    *absent("tof", "wrong garbage", device="tof", slow=True),
    *lost("tof", "off wrong stuck sun broken", device="tof", fall="stuck"),
    *lost("tof", "garbage intermittent wrap phase idle", device="tof", slow=True),
    *lost("tof", "underflow", device="tof", back_s=PROOF_S),
    *lost("tof", "slow", 2.0, device="tof"),
    *lost("tof", "delayed", 2.0, device="tof", slow=True),
    *ridden_out("tof", "nack weak reboot", device="tof"),
    # A02YYUW on a serial port.
    *absent("rear", "off", device="sealed"),
    *absent("rear", "unplugged", device="sealed", slow=True),
    *lost("rear", "off unplugged", device="sealed", fall="unplugged"),
    *lost("rear", "intermittent", device="sealed", slow=True),
    *lost("rear", "garbage", device="sealed", back_s=PROOF_S),
    *lost("rear", "slow", 2.0, device="sealed"),
    *lost("rear", "framing", 2.0, device="sealed", back_s=PROOF_S),
    # When it lets go the walker stands before the wall: nothing moves that could prove it, so it is not called back.
    *lost("rear", "stuck", 3.0, device="sealed", back="sensor_lost:rear"),
    *lost("rear", "wrong", 3.0, device="sealed"),
    *ridden_out("rear", "checksum delayed", device="sealed"),
    # The clip.
    *absent("imu", "off wrong", also=NO_CLIP),
    *absent("imu", "garbage", also=NO_CLIP, slow=True),
    *lost("imu", "off garbage"),
    *lost("imu", "wrong intermittent", slow=True),
    *lost("imu", "slow", 2.0),
    *lost("imu", "delayed", 2.0, back_s=PROOF_S),
    *lost("imu", "stuck", 3.0),
    *ridden_out("imu", "nack fast overflow"),
    *absent("imu", "off wrong garbage", device="mpu6050", also=NO_CLIP, slow=True),
    *lost("imu", "off", device="mpu6050"),
    *lost("imu", "garbage wrong intermittent", device="mpu6050", slow=True),
    *lost("imu", "slow", 2.0, device="mpu6050"),
    *lost("imu", "delayed", 2.0, device="mpu6050", back_s=PROOF_S, slow=True),
    *lost("imu", "stuck", 3.0, device="mpu6050"),
    *ridden_out("imu", "overflow", device="mpu6050"),
    *ridden_out("imu", "nack fast", device="mpu6050", slow=True),
    # The battery's chip is read every five seconds, and asked three times.
    Row("battery:off", "fault:battery", 3.0),
    Row("battery:wrong", "fault:battery", 1.0, slow=True),
    Row("battery:garbage", "fault:battery", 1.0),
    Row("battery:off@4-12", "fault:battery", 8.0, back="fault_over:battery", back_s=6.0, fall=True),
    Row("battery:nack"),
    Row("battery:reboot@10", slow=True),
    Row("battery:off", "fault:battery", 3.0, device="ina219", slow=True),
    Row("battery:wrong", "fault:battery", 1.0, device="ina219"),
    Row("battery:garbage", "fault:battery", 1.0, device="ina219", slow=True),
    Row("battery:off@4-12", "fault:battery", 8.0, device="ina219", back="fault_over:battery", back_s=6.0, slow=True),
    Row("battery:nack", device="ina219", slow=True),
    Row("battery:reboot@10", device="ina219"),
    # The Pi itself.
    Row("pi:undervoltage@3-5", "fault:power", 2.5, fall=True, back_s=math.inf),
    Row("pi:hot@2", "fault:heat", 9.0),
    Row("pi:memory@3-9", "fault:memory", 7.0, back="fault_over:memory", slow=True),
    Row("pi:garbage", slow=True),
    Row("pi:off"),
    # The thermometer: without it ranges read near, which is no news for somebody who walks.
    *ridden_out("thermometer", "off", device="warm"),
    *ridden_out("thermometer", "intermittent garbage reboot stuck sun slow", device="warm", slow=True),
    # The button.  One that hangs looks like a call for help until it has hung for ten seconds.
    Row("button:garbage@10-16", "fault:button", 2.0, back="fault_over:button", fall=True),
    # It cannot answer at the start either, and that is said before it is said to work again.
    Row("button:stuck@1-16", "fault:button", 10.5, back="fault_over:button", back_s=6.0, also=(*CALLED, UNHEARD)),
    Row("button:bursts"),
    Row("button:off", also=(UNHEARD,), slow=True),
    # The bus.
    *ridden_out("bus", "nack noise", fall=True),
    # Nine clocks free it before any sensor is lost.
    *ridden_out("bus", "held"),
)
"""The table.  Not in it, because nobody can know: a lidar whose returns are too weak looks at nothing, and is believed
(the hand at the start shows it); a serial sensor that is late by a constant time is late by it; a button whose wire
is broken is never pressed (at the start that is noticed: it cannot answer); a battery's charge that stands still does
so on every good walk."""


class Walked:
    """A finished walk."""

    def __init__(self, walk: VirtualWalk) -> None:
        self.heard = [(h.start_s, h.key) for h in walk.ear.heard]
        self.contacts = list(walk.world.contacts)
        self.impact_s = walk.world.walker.impact_s
        self.step_times_s = list(walk.world.walker.step_times_s)
        self.published = [(p.t, p.topic.rsplit("/", 1)[-1]) for p in walk.link.published if "/event/" in p.topic]
        self.steps = walk.guard.companion.snapshot().steps
        self.items: list[object] = []

    def times(self, *starts: str, from_s: float = 0.0) -> list[float]:
        """When clips whose key begins so were heard."""
        return [t for t, key in self.heard if key.startswith(starts) and t >= from_s]


@cache
def _bank(device: str) -> banks.Bank:
    return banks.build(DEVICES[device], banks.default_directory())


def walked(
    faults: Sequence[str],
    script: Sequence[tuple[float, Action]] = SCRIPT,
    until_s: float = END_S,
    device: str = "default",
    *,
    recorded: bool = False,
) -> Walked:
    """Walks with these faults.  `recorded`: with the items of the recording."""
    scenario = Scenario("faults", until_s, tuple(script), WALKER, (), {})
    broken = Faults(map(Fault.parse, faults))
    walk = VirtualWalk(DEVICES[device], scenario, 1, _bank(device), faults=broken)
    try:
        walk.run_until(until_s)
        done = Walked(walk)
        if recorded:
            walk.recorder.close()
            done.items = [entry.value for path in walk.recordings() for entry in recording.read([path]).entries]
        return done
    finally:
        walk.close()


def wrong_with(row: Row, walk: Walked) -> Iterator[str]:
    """What a walk shows that the row does not want."""
    if row.heard:
        tones = walk.times("fault", from_s=row.begins_s)
        named = walk.times(row.heard, from_s=row.begins_s)
        if not tones or tones[0] > row.begins_s + row.sound_s:
            yield f"its sound is heard at {tones[:1]}"
        # "Stop" may cut its words; they are said again when that is over.
        cut = tones and any(tones[0] < t < tones[0] + 1.8 for t in walk.times("warning", from_s=row.begins_s))
        if not named or named[0] > row.begins_s + row.sound_s + (0.5 if not cut else 4.5):
            yield f"it is named at {named[:1]}"
    back = row.back or row.heard.replace("sensor_lost", "sensor_back")
    if row.heard and row.ends_s + row.back_s < math.inf and back != row.heard:
        again = walk.times(back, from_s=row.ends_s)
        if not again or again[0] > row.ends_s + row.back_s:
            yield f"that it is back is heard at {again[:1]}"
    expected = (*ORDINARY, *row.also, *(("fault", row.heard, back) if row.heard else ()))
    for t_s, key in walk.heard:
        known = key in expected or any(key.startswith(start) for start in expected if start.endswith(":"))
        if not known or (key == "fault" and not row.heard):
            yield f"{key} is heard at {t_s:.2f}"
    stops = [t for t in walk.times("stop", "warning", "touching") if row.also != NO_CLIP or t > WALK_S]
    if stops and stops[0] < WARNED_FROM_S:
        yield f"out of nothing: stop at {stops[0]:.2f}"
    if not stops or stops[0] > WARNED_BY_S or walk.contacts:
        yield f"of the wall: warned at {stops[:1]}, touched {walk.contacts}"


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=str(row), marks=() if row.everyday else pytest.mark.slow) for row in TABLE]
)
def test_a_fault_is_named_and_the_others_go_on(row: Row) -> None:
    """It is heard in time, by its name and no other; "Stop" comes for the wall only, and in time; it comes back."""
    walk = walked([row.fault], until_s=row.until_s, device=row.device)
    assert list(wrong_with(row, walk)) == [], walk.heard


def _fall_rows() -> Iterator[object]:
    for row in TABLE:
        if not row.fault.startswith("imu"):
            yield pytest.param(row, id=str(row), marks=() if row.fall else pytest.mark.repeats)


@pytest.mark.slow
@pytest.mark.parametrize("row", list(_fall_rows()))
def test_a_fall_is_asked_about_whatever_else_is_broken(row: Row) -> None:
    """Within 5 s of the impact the walker is asked, and the caregiver's side knows."""
    fault = Fault.parse(row.fault)
    for_good = str(dataclasses.replace(fault, end_s=float("inf")))
    walk = walked([for_good], FALL_SCRIPT, 20.5, row.device)
    assert walk.impact_s is not None
    asked = walk.times("fall_question", from_s=walk.impact_s)
    assert asked, walk.heard
    assert asked[0] <= walk.impact_s + 5.0
    assert [t for t, kind in walk.published if kind == "fall.suspected" and t <= walk.impact_s + 5.0]


def test_the_table_has_every_fault_there_is() -> None:
    """Whatever the twins can break has a row; what breaks the sound has tests of its own."""
    apart = ("voice", "microphone")
    has = {row.fault.split("@")[0] for row in TABLE}
    there = {f"{part}:{kind}" for part, kinds in KINDS.items() if part not in apart for kind in kinds}
    elsewhere = {"bus:stuck", "battery:low", "battery:empty", "battery:intermittent"}
    assert there - has - elsewhere == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "device"),
    [("lidar:weak", "default"), ("tof:weak", "tof"), ("rear:wrong", "default"), ("rear:stuck", "sealed")],
)
def test_a_sensor_that_cannot_see_the_hand_passes_no_check(fault: str, device: str) -> None:
    """What nothing else shows, the hand held behind at the start does: no "Guarding", and after 30 s it is said."""
    walk = walked([fault], SCRIPT[:1], 34.0, device)
    assert not walk.times("guarding")
    assert [t for t in walk.times("limited:unchecked", "sensor_lost:") if t <= 33.0]


@pytest.mark.slow
def test_a_button_that_never_closes_answers_nothing() -> None:
    """Nobody can confirm that the device is heard: "Guarding" is not said, and that the sound is not confirmed is."""
    walk = walked(["button:off"], SCRIPT[:1], 19.5)
    assert not walk.times("guarding")
    assert walk.times(UNHEARD)


@pytest.mark.slow
def test_a_press_whose_edges_are_lost_is_answered() -> None:
    """The level tells what the edges do not: within half a second and the time that tells one press from two."""
    script: list[tuple[float, Action]] = [SCRIPT[0], (12.0, Press(hold_s=0.5))]
    usual, deaf = (walked(faults, script, 15.0).times("guarding", from_s=12.0) for faults in ((), ("button:bursts",)))
    assert usual
    assert deaf
    assert deaf[0] <= usual[0] + 0.5


# ------------------------------------------------------------------------------------- several parts at once

NEWS_S = 2.6
"""A fault's tone and words and the pause after them: the next one is named so much later."""


@pytest.mark.slow
def test_a_stuck_bus_is_named_part_by_part_and_the_rest_goes_on() -> None:
    """The clip within a second, all within 8 s, the gauge last; ultrasonic and button go on, a press tells of it."""
    script = [*SCRIPT[:1], (WALK_S, Walk(SPEED_M_S)), (25.0, Press()), (27.0, Place("wall", 3.0)), (33.0, Walk(-0.6))]
    walk = walked(["bus:stuck@10-34"], script, 44.0)
    parts = ("sensor_lost:drop", "sensor_lost:imu", "sensor_lost:lidar", "fault:battery")
    named = [walk.times(part, from_s=10.0)[0] for part in parts]
    assert walk.times("fault", from_s=10.0)[0] <= 11.0
    assert min(named) == named[1] <= 11.0
    assert max(named) == named[3] <= 18.0
    assert walk.times("limited", from_s=25.0)[0] <= 27.0
    assert walk.times("stop", from_s=27.0)[0] <= 31.0
    assert walk.contacts == []
    assert not walk.times("sensor_lost:rear", "not_protecting", "fault:button")
    back = {key for t, key in walk.heard if t > 34.0 and key.startswith("sensor_back")}
    assert back == {"sensor_back:drop", "sensor_back:imu", "sensor_back:lidar"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "first", "second"),
    [
        pytest.param(("rear:off@10", "lidar:off@10"), "not_protecting:rear", "sensor_lost:", id="both rear sensors"),
        pytest.param(("rear:off@10", "imu:off@10"), "sensor_lost:rear", "sensor_lost:imu", id="rear and clip"),
        pytest.param(("drop:stuck@10", "lidar:sun@10"), "sensor_lost:drop", "sensor_lost:lidar", id="two lidars"),
        pytest.param(("imu:off@10", "battery:garbage@8"), "sensor_lost:imu", "fault:battery", id="clip and battery"),
    ],
)
def test_two_faults_at_once_are_both_named(faults: Sequence[str], first: str, second: str) -> None:
    """The first within a second, the other as soon as its words are said; if none looks back, that comes first."""
    walk = walked(faults, [SCRIPT[0], (WALK_S, Walk(SPEED_M_S))], 17.0)
    assert walk.times("fault", from_s=10.0)[0] <= 11.0
    assert walk.times(first, from_s=10.0)[0] <= 11.5
    named = walk.times(second, from_s=10.0)
    assert named, walk.heard
    assert named[0] <= 11.5 + NEWS_S


@pytest.mark.slow
def test_a_guard_that_stood_still_blames_nobody() -> None:
    """Stopped for three seconds: the voice says so at once; when it goes on no sensor is called lost."""
    scenario = Scenario("pause", 20.0, SCRIPT[:1], WALKER, (), {})
    walk = VirtualWalk(DEVICES["default"], scenario, 1, _bank("default"))
    try:
        walk.run_until(10.0)
        stopped: tuple[Any, ...] = (walk.guard, *walk.steps())
        for step in stopped:
            walk.scheduler.remove(step)
        walk.run_until(13.0)
        for step in walk.steps():
            walk.scheduler.add(step, walk._sink(step))
        walk.scheduler.add(walk.guard)
        walk.run_until(20.0)
        heard = [(h.start_s, h.key) for h in walk.ear.heard if h.start_s > 10.0]
        assert heard[0][1] == "fault"
        assert heard[0][0] <= 11.0
        assert "guard_silent" in [key for _, key in heard]
        assert [key for _, key in heard if key.startswith(("sensor_lost", "not_protecting", "fault:"))] == []
        assert "fault_over:guard" in [key for _, key in heard]
        assert walk.guard.companion.snapshot().guard_state == "guarding"
    finally:
        walk.close()


@pytest.mark.slow
def test_a_sensor_that_breaks_while_the_guard_stands_still_is_named() -> None:
    """A pause excuses nobody for longer than half a second."""
    scenario = Scenario("pause", 20.0, SCRIPT[:1], WALKER, (), {})
    walk = VirtualWalk(DEVICES["default"], scenario, 1, _bank("default"), faults=Faults([Fault.parse("lidar:off@11")]))
    try:
        walk.run_until(10.0)
        walk.scheduler.remove(walk.guard)
        for step in walk.steps():
            walk.scheduler.remove(step)
        walk.run_until(13.0)
        for step in walk.steps():
            walk.scheduler.add(step, walk._sink(step))
        walk.scheduler.add(walk.guard)
        walk.run_until(20.0)
        named = [h.start_s for h in walk.ear.heard if h.key == "sensor_lost:lidar"]
        assert named
        assert named[0] <= 17.0, "after what the voice says of the guard itself"
    finally:
        walk.close()


# ------------------------------------------------------------------------------------------ time of the clip


def _telling_time(t_s: float) -> tuple[float, float, float, float, float, float]:
    """Whoever stands on a turntable that tells the time by how fast it turns, anew every four seconds."""
    return 0.0, 0.0, 9.80665, 0.0, 0.0, 1.5 * (t_s % 4.0 - 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["default", "mpu6050"])
@pytest.mark.parametrize("fault", ["overflow", "fast", "nack"])
def test_a_gap_is_a_gap_and_time_is_never_stretched(device: str, fault: str) -> None:
    """Whatever the FIFO loses and however its clock runs: each sample has the time at which it was felt."""
    walk = walked([f"imu:{fault}@4-11"], [(0.0, world.Wear(_telling_time))], 13.0, device, recorded=True)
    samples = [item for item in walk.items if isinstance(item, ImuSample)]
    assert len(samples) > 1000
    times = [sample.t_measured_s for sample in samples]
    assert times == sorted(times)
    late = [
        (sample.t_measured_s - (sample.gyro_rad_s[2] / 1.5 + 2.0) + 2.0) % 4.0 - 2.0
        for sample in samples
        if abs(sample.gyro_rad_s[2]) < 2.9
    ]
    usual = sorted(late)[len(late) // 2]  # the gyroscope's bias, as time
    assert max(abs(one - usual) for one in late) < 0.015
    gaps = [b.t_measured_s - a.t_measured_s for a, b in itertools.pairwise(samples) if b.gap]
    holes = [b.t_measured_s - a.t_measured_s for a, b in itertools.pairwise(samples) if not b.gap]
    assert max(holes) < 0.021, "what is missing is told"
    assert bool(gaps) == (fault == "overflow")


@pytest.mark.slow
@pytest.mark.parametrize("device", ["default", "mpu6050"])
def test_steps_are_right_with_a_clock_three_percent_off(device: str) -> None:
    """Steps and the time they take are those of the walker, and no fault is said."""
    script: list[tuple[float, Action]] = [(3.0, Walk(0.5)), (18.0, Stand())]
    right, fast = (walked(faults, script, 21.0, device) for faults in ((), ("imu:fast",)))
    assert abs(fast.steps - right.steps) <= 1
    assert abs(fast.steps - len(fast.step_times_s)) <= 2
    assert not fast.times("fault", "sensor_lost")


# --------------------------------------------------------------------------------------------- a real guard


@pytest.mark.process
def test_a_guard_without_a_place_for_lgpios_fifo_says_what_to_do(tmp_path: Path) -> None:
    """It goes on without its pins, and names the directory that must be writable and how to choose another."""
    for name in ("run", "state"):
        (tmp_path / name).mkdir()
    nowhere = tmp_path / "file"
    nowhere.touch()
    guard = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "retrowalk",
            "guard",
            "--run-dir",
            "run",
            "--state-dir",
            "state",
            "--config",
            "none.toml",
        ],
        cwd=tmp_path,
        env={**os.environ, "LG_WD": str(nowhere / "here")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert guard.stderr is not None
    limit = threading.Timer(20.0, guard.kill)
    limit.start()
    line = ""
    try:
        for line in guard.stderr:
            if "lgpio" in line and "rear" in line:
                break
        assert f"cannot write to {nowhere}/here" in line
        assert "set LG_WD" in line
        assert guard.poll() is None
    finally:
        limit.cancel()
        guard.terminate()
        guard.wait(10.0)
        guard.stderr.close()
