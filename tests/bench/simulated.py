"""A simulated bench: the real drivers on simulated modules, in a world whose numbers are known, fill in a form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from msgspec import structs

from retrowalk.bench import take
from retrowalk.bench.form import EchoRun, Form, LidarRun, Module, StillRun, WalkRun
from retrowalk.config import Config, HcSr04, TfLuna
from retrowalk.core.samples import Item
from retrowalk.guard.process import build_steps
from retrowalk.platform import Platform
from retrowalk.sim.chips.tfluna import TfLunaTwin
from retrowalk.sim.estimates import ESTIMATED, TARGET_LOSS_DB, Estimates
from retrowalk.sim.faults import Faults
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.light import DROPOFF_UP_DEG
from retrowalk.sim.scheduler import MemoryMail, Scheduler, VirtualClock
from retrowalk.sim.world import Mount, Obstacle, Walk, World

CONFIG = Config()
SETTLED_S = 2.0

TRUE = dataclasses.replace(
    ESTIMATED,
    echo=dataclasses.replace(
        ESTIMATED.echo,
        wall_margin_db=34.0,
        slope_db=2.5,
        half_beam_deg=13.0,
        sigma_m=0.006,
        stamp_outlier_p=0.004,
        missed_silent_p=0.7,
        false_near_p=0.004,
        false_near_wind_p=0.03,
        ground_spread=0.08,
        rain_db=9.0,
        droplet_p=0.001,
        bad_p=0.03,
        good_p=0.15,
        bad_db=12.0,
        target_loss_db={**TARGET_LOSS_DB, "person_fleece": 18.0, "rod_25mm": 25.0, "pole_90mm": 12.0},
        ground_clutter={"asphalt": 0.10, "gravel": 0.45, "grass": 0.20, "leaves": 0.75},
    ),
    module=dataclasses.replace(ESTIMATED.module, no_target_s=0.060),
    light=dataclasses.replace(
        ESTIMATED.light,
        sigma_scale=1.5,
        sun_within_deg=7.0,
        wet=0.45,
        rain_passes=0.65,
        amplitude_noise=4.0,
        amplitude_noise_share=0.03,
        reflectance={**ESTIMATED.light.reflectance, "wall": 0.65, "person_fleece": 0.20, "rod_25mm": 0.40},
        ground_reflectance={"asphalt": 0.14, "gravel": 0.20, "grass": 0.50, "leaves": 0.30},
    ),
    ground=dataclasses.replace(
        ESTIMATED.ground, rough_m={"asphalt": 0.006, "gravel": 0.018, "grass": 0.030, "leaves": 0.012}
    ),
    body=dataclasses.replace(ESTIMATED.body, sway=1.6, step_rate=0.9, bounce=1.3, roll=1.4, yaw=0.7),
    imu=dataclasses.replace(
        ESTIMATED.imu, accel_noise_m_s2=0.05, gyro_noise_rad_s=math.radians(0.2), clock_error=-0.02
    ),
)
"""A world in which nearly nothing is as it is estimated."""


class Bench:
    """A device on a tripod, in a world of known numbers."""

    def __init__(self, true: Estimates, seed: int) -> None:
        self.true = true
        self.seed = seed
        self._taken = 0

    def items(self, seconds: float, config: Config, prepare: Sequence[Obstacle] = (), **world: object) -> list[Item]:
        """What the drivers give for so long; each time is another time, with other chances."""
        self._taken += 1
        return run(self.world(self.seed * 1000 + self._taken, prepare, **world), config, seconds)

    def world(self, seed: int, prepare: Sequence[Obstacle] = (), **options: object) -> World:
        """Nobody sways on a tripod, and whoever aims a beam looks for the strongest answer."""
        body = dataclasses.replace(self.true.body, idle_sway=0.0)
        still = dataclasses.replace(self.true, body=body, light=dataclasses.replace(self.true.light, aim_deg=0.0))
        usual = {"upright_deg": 0.0, "mount": Mount(1.5, 0.0), "estimates": still, "temperature_c": 20.0}
        made = World(seed, **(usual | options))  # type: ignore[arg-type]
        for obstacle in prepare:
            made.place(obstacle)
        return made

    def echo(self, seconds: float, wanted: EchoRun) -> EchoRun:
        sensor = HcSr04(bearing_left_deg=wanted.off_axis_deg)
        config = structs.replace(CONFIG, range_sensor=[sensor])
        there = [Obstacle("thing", wanted.target, wanted.distance_m)] if wanted.target else []
        mount = Mount(wanted.height_m or 1.5, 0.0)
        items = self.items(
            seconds,
            config,
            there,
            mount=mount,
            ground=wanted.ground or "asphalt",
            temperature_c=wanted.temperature_c,
            rain=wanted.wet,
            wind_m_s=10.0 if wanted.wind else 1.0,
        )
        return take.echo(config, sensor.name, items, wanted)

    def lidar(self, seconds: float, wanted: LidarRun, spots: int = 0) -> LidarRun:
        down = bool(wanted.ground)
        sensor = TfLuna(role="dropoff" if down else "rear", name="drop" if down else "lidar")
        config = structs.replace(CONFIG, range_sensor=[sensor])
        there = [Obstacle("thing", wanted.target, wanted.distance_m)] if wanted.target else []
        options = {
            "ground": wanted.ground or "asphalt",
            "rain": wanted.rain,
            "sun_deg": wanted.sun_deg,
            "mount": Mount(wanted.height_m or 1.5, 0.0),
        }
        assert wanted.down_deg == -DROPOFF_UP_DEG
        runs = []
        for number in range(spots or 1):
            self._taken += 1
            made = self.world(self.seed, there, **options)  # one and the same lidar
            made.walker.position_m = 0.5 * number
            runs.append(take.lidar(sensor.name, run(made, config, seconds, f"{self.seed}:{self._taken}"), wanted))
        return take.joined(runs) if spots else runs[0]

    def still(self, seconds: float) -> StillRun:
        config = structs.replace(CONFIG, range_sensor=[HcSr04()])
        return take.still(self.items(seconds, config), StillRun())

    def walk(self, speed_m_s: float, distance_m: float) -> WalkRun:
        """Somebody of usual bounce walks a measured way; time by the clip, so the speed is the way's."""
        self._taken += 1
        made = World(self.seed * 1000 + self._taken, estimates=self.true)
        made.walker.bounciness = 1.0
        made.run([(3.0, Walk(speed_m_s)), (3.0 + distance_m / speed_m_s, Walk(0.0))])
        config = structs.replace(CONFIG, range_sensor=[HcSr04()])
        items = run(made, config, 3.0 + distance_m / speed_m_s + 3.0)
        return take.walk(items, WalkRun(distance_m=made.walker.position_m), "rear")


def run(world: World, config: Config, seconds: float, moment: str = "") -> list[Item]:
    """What the drivers of a device give in this world; a lidar's noise is another one at every `moment`."""
    clock = VirtualClock()
    errors: list[object] = []
    scheduler = Scheduler(clock, lambda step, error: errors.append(error))
    hardware = Hardware(config, scheduler, world, Faults())
    for chip in hardware.chips.values():
        if isinstance(chip, TfLunaTwin) and moment:
            chip._noise = moment
    platform = Platform(
        clock,
        MemoryMail().open("guard"),
        pin_factory=hardware.pin_factory,
        bus=hardware.bus,
        bus_lines=hardware.bus,
        serial=hardware.serial,
        host=hardware.host,
    )
    steps, _ = build_steps(config, platform)
    items: list[Item] = []
    for step in steps:
        scheduler.add(step, items.extend)
    scheduler.run_until(SETTLED_S + seconds)
    for step in steps:
        step.close()
    return [item for item in items if item.t_received_s > SETTLED_S]


def filled(true: Estimates, seed: int, *, minutes: float = 1.0) -> Form:
    """A whole form, taken in this world."""
    bench = Bench(true, seed)
    long_s = 60.0 * minutes
    places = [
        *(("wall", distance_m, 0.0) for distance_m in (1.0, 2.0, 3.0, 3.7)),
        *((kind, distance_m, 0.0) for kind in ("person_fleece", "rod_25mm") for distance_m in (1.0, 2.0, 3.0)),
        *(("pole_90mm", 2.0, angle) for angle in (0.0, 10.0, 15.0, 20.0)),
    ]
    echo = [EchoRun(target=kind, distance_m=at_m, off_axis_deg=angle) for kind, at_m, angle in places]
    echo += [
        EchoRun(target="person_fleece", distance_m=1.0, wet=True),
        EchoRun(target="wall", distance_m=2.0, wet=True),
    ]
    echo += [EchoRun(), EchoRun(wind=True)]
    echo += [EchoRun(ground=ground, height_m=0.8) for ground in true.echo.ground_clutter]
    looks = [
        LidarRun(target=kind, distance_m=at_m)
        for kind in ("wall", "person_fleece", "rod_25mm")
        for at_m in (0.8, 1.6, 3.0)
        if kind != "rod_25mm" or at_m < 2.0
    ]
    looks += [LidarRun(target="wall", distance_m=1.6, rain=True), LidarRun(sun_deg=6.0), LidarRun(sun_deg=8.0)]
    lidar = [bench.lidar(20.0, wanted) for wanted in looks]
    grounds = [LidarRun(ground=ground, height_m=0.9) for ground in true.light.ground_reflectance]
    grounds.append(LidarRun(ground="grass", height_m=0.9, wet=True, rain=True))
    lidar += [bench.lidar(1.0, wanted, spots=20) for wanted in grounds]
    return Form(
        module=Module(no_target_ms=1000.0 * float(true.module.no_target_s)),
        echo=[bench.echo(long_s, wanted) for wanted in echo],
        lidar=lidar,
        still=[bench.still(60.0)],
        walk=[bench.walk(speed_m_s, 20.0) for speed_m_s in (0.6, 0.8, 0.8, 1.0)],
    )
