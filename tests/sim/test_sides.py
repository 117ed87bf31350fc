"""Things beside the path, and sensors that look to the sides: who sees what, from where, and who is met."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import A02yyuw, Config, HcSr04, TfLuna, Vibration, Vl53l1x
from retrowalk.sim.chips.a02yyuw import A02yyuwTwin
from retrowalk.sim.estimates import EchoParameters
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.light import Beam
from retrowalk.sim.noise import EchoModel, Scene, Target, speed_of_sound_m_s
from retrowalk.sim.pins import HcSr04Twin
from retrowalk.sim.room import Room
from retrowalk.sim.tof import Sight, TofModel
from retrowalk.sim.world import Place, Walk, World

CALM = EchoParameters(
    bad_p=0.0, false_near_p=0.0, false_near_wind_p=0.0, missed_silent_p=1.0, stamp_jitter_s=0.0, stamp_outlier_p=0.0
)


@pytest.mark.parametrize(
    ("target", "bearing_deg", "expected"),
    [
        pytest.param(Target("wall", 2.0), 0.0, (2.0, 0.0), id="wall, straight"),
        pytest.param(Target("wall", 2.0), 15.0, (2.0, -15.0), id="wall, from a sensor that looks left"),
        pytest.param(Target("wall", 2.0, left_m=1.5), 0.0, (2.0, 0.0), id="wall that goes on to the right"),
        pytest.param(Target("rod_25mm", 2.0, left_m=2.0125), 45.0, (math.sqrt(8), 0.0), id="rod, looked at"),
        pytest.param(Target("rod_25mm", 2.0, left_m=-2.0125), 45.0, (math.sqrt(8), -90.0), id="rod on the other side"),
        pytest.param(Target("person_jacket", 1.0, left_m=0.2), 0.0, (1.0, 0.0), id="person in the way"),
    ],
)
def test_where_a_target_is_seen(target, bearing_deg, expected):
    """Its nearest point counts: the distance to it, and how far it is off the sensor's axis, left positive."""
    assert target.seen_from(bearing_deg) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("left_m", "met"), [(0.0, True), (0.45, True), (-0.45, True), (0.5, False), (-1.5, False)])
def test_what_is_beside_the_path_is_walked_past(left_m, met):
    """A person 0.45 m wide is met by a body 0.5 m wide if their middles are less than 0.475 m apart."""
    world = World(1)
    world.run([(0.0, Place("person_jacket", 1.5, left_m=left_m)), (0.0, Walk(0.8))])
    world.advance(5.0)
    assert bool(world.contacts) is met


def heard_share(scene: Scene, bearing_deg: float) -> float:
    """Share of pings that hear something, and what they hear is where it is."""
    model = EchoModel(5, "rear", CALM, bearing_left_deg=bearing_deg)
    speed_m_s = speed_of_sound_m_s(scene.temperature_c)
    expected_m, _ = scene.targets[0].seen_from(0.0)
    heard = 0
    for ping in range(400):
        flight_s = model.ping(0.065 * ping, scene).flight_s
        if flight_s is not None:
            heard += 1
            assert flight_s * speed_m_s / 2.0 == pytest.approx(expected_m, abs=0.04)
    return heard / 400


def test_each_module_hears_its_own_side():
    """A pole 0.4 m to the left at 1.4 m: heard by who looks there, less by who looks straight, not by the other."""
    scene = Scene([Target("pole_90mm", 1.4, left_m=0.4)], nose_down_deg=-10.0)
    left, straight, right = (heard_share(scene, bearing_deg) for bearing_deg in (20.0, 0.0, -20.0))
    assert left > 0.85
    assert right == 0.0
    assert right < straight < left


def test_a_lidar_sees_what_its_spot_meets():
    """The very same pole: seen by the lidar that points at it, missed by one that looks past it."""
    at_deg = math.degrees(math.atan2(0.6, 1.5))
    seen = {}
    for bearing_deg in (at_deg, 0.0, -at_deg):
        world = World(1)
        world.run([(0.0, Place("pole_90mm", 1.5, left_m=0.6))])
        world.advance(0.1)
        beam = Beam(world, "lidar", bearing_left_deg=bearing_deg)
        beam._aim_deg = 0.0  # mounted exactly
        seen[bearing_deg] = beam.look(0.1)
    assert seen[at_deg].range_m == pytest.approx(math.hypot(1.5, 0.6), abs=0.05)
    assert seen[0.0].amplitude == seen[-at_deg].amplitude == 0.0


def test_a_lidar_that_looks_to_the_side_sees_a_wall_further_off():
    """Along its beam, which meets the wall aslant."""
    world = World(1)
    world.run([(0.0, Place("wall", 2.0))])
    world.advance(0.1)
    assert Beam(world, "lidar", bearing_left_deg=30.0).look(0.1).range_m == pytest.approx(
        2.0 / math.cos(math.radians(30.0)), abs=0.03
    )


@pytest.mark.parametrize(("bearing_deg", "seen"), [(20.0, True), (-20.0, False)])
def test_a_cone_sees_its_own_side(bearing_deg, seen):
    """A person to the left is in the cone of a VL53L1X that looks left, and in no other."""
    scene = Scene([Target("person_jacket", 1.0, left_m=0.5)], nose_down_deg=-20.0)
    shots = [TofModel(1).shot(Sight(scene, 0.5, bearing_deg), "short") for _ in range(50)]
    assert any(shot.status == 9 for shot in shots) is seen


def test_the_device_puts_each_sensor_where_it_is_set():
    """Every kind of range sensor gets its bearing, a second motor its twin."""
    config = Config(
        range_sensor=(
            HcSr04(bearing_left_deg=12.0),
            A02yyuw(name="sealed", bearing_left_deg=-12.0),
            TfLuna(bearing_left_deg=20.0),
            Vl53l1x(bearing_left_deg=-20.0),
        ),
        vibration=Vibration(right_pin=26),
    )
    rig = Rig()
    hardware = Hardware(config, rig.scheduler, rig.world, rig.faults)
    assert hardware.rear[0].model.bearing_left_deg == 12.0
    sealed = hardware.serial._twins["/dev/serial0"]
    assert isinstance(sealed, A02yyuwTwin)
    assert sealed.model.bearing_left_deg == -12.0
    rig.world.run([(0.0, Place("wall", 1.0))])
    rig.world.advance(0.2)
    tof = hardware.chips[0x29]._look(0.1)  # type: ignore[attr-defined]
    assert tof.bearing_left_deg == -20.0
    rig.board = hardware.board
    hardware.board.output(26, 1.0, 0.1)
    hardware.board.output(26, 0.0, 0.2)
    assert rig.world.felt == [(0.1, "vibration-right")]


@pytest.mark.parametrize("what", ["vibration", "vibration-right"])
def test_a_warning_on_either_side_is_felt(what):
    """Two short pulses of one motor stop the walker; one of each do not."""
    for motors, stops in (((what, what), True), (("vibration", "vibration-right"), False)):
        world = World(1)
        world.run([(0.0, Walk(0.6))])
        world.advance(2.0)
        for number, motor in enumerate(motors):
            world.feel(motor, True, 2.0 + 0.18 * number)
            world.feel(motor, False, 2.12 + 0.18 * number)
        world.advance(6.0)
        assert (world.walker.moment(6.0, 0.005).speed_m_s < 0.05) is stops


# ------------------------------------------------------------------------------------------------- one room


def pair(wall_m: float | None) -> tuple[Rig, list[HcSr04Twin]]:
    """Two modules in one room, and a wall that nobody misses."""
    rig, room = Rig(), Room(2)
    if wall_m is not None:
        rig.world.at(0.0, Place("wall", wall_m))
    twins = [
        HcSr04Twin(
            *(rig.board, rig.scheduler, rig.world),
            trigger_line=line,
            echo_line=line + 1,
            name=name,
            model=EchoModel(1, name, replace(CALM, wall_margin_db=68.0)),
            room=room,
        )
        for name, line in (("a", 5), ("b", 12))
    ]
    rig.world.advance(0.05)
    rig.scheduler.run_until(0.05)
    return rig, twins


def widths(rig: Rig, pings: list[tuple[int, float]]) -> list[float]:
    """Width of each module's pulse after pings at (trigger line, second), in order of the second module's, then."""
    edges: dict[int, list[float]] = {6: [], 13: []}
    for line in edges:
        rig.board.listen(line, lambda level, t_s, told, line=line: edges[line].append(t_s))  # type: ignore[misc]
    for line, at_s in pings:
        rig.scheduler.run_until(at_s)
        rig.board.output(line, 1.0, at_s)
        rig.board.output(line, 0.0, at_s + 12e-6)
    rig.scheduler.run_until(pings[-1][1] + 0.2)
    return [edges[line][1] - edges[line][0] for line in (6, 13)]


WALL_S = 2.0 * 3.0 / speed_of_sound_m_s(15.0)
"""Flight to a wall at 3 m and back."""


@pytest.mark.parametrize(
    ("later_s", "a_s", "b_s"),
    [
        pytest.param(0.065, WALL_S, WALL_S, id="in turn: both right"),
        pytest.param(0.012, WALL_S, WALL_S - 0.012, id="12 ms later: it hears the first one's echo"),
        pytest.param(0.0, WALL_S, WALL_S, id="together: alike"),
    ],
)
def test_a_module_hears_what_comes_first(later_s, a_s, b_s):
    """The pulse ends with the first echo, whoever pinged for it."""
    rig, _ = pair(3.0)
    assert widths(rig, [(5, 0.1), (12, 0.1 + later_s)]) == pytest.approx([a_s, b_s], abs=1e-4)


def test_a_module_that_hears_nothing_of_its_own_hears_a_later_ping():
    """What looks past the wall has no echo of its own; the other, 10 ms later, gives it one that is too far."""
    rig, twins = pair(3.0)
    twins[0].model.bearing_left_deg = 34.0
    a_s, _ = widths(rig, [(5, 0.1), (12, 0.11)])
    assert a_s == pytest.approx(WALL_S + 0.010, abs=1e-4)


def test_nothing_is_overheard_in_the_open():
    """Without anything to send sound back, no module hears another."""
    rig, _ = pair(None)
    assert widths(rig, [(5, 0.1), (12, 0.105)]) == pytest.approx([0.038, 0.038], abs=1e-4)
