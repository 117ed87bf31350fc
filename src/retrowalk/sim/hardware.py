"""The simulated hardware of one device in its world: what the configuration asks for, as twins.

The counterpart of `guard.process.build_steps`: one twin for each driver, chosen by the configuration alone.
"""

from __future__ import annotations

from retrowalk.config import A02yyuw, Battery, Config, HcSr04, RangeSensor, TfLuna, Vl53l1x
from retrowalk.sim import pins
from retrowalk.sim.battery import SimBattery
from retrowalk.sim.chips.a02yyuw import A02yyuwTwin
from retrowalk.sim.chips.ds18b20 import Ds18b20Twin
from retrowalk.sim.chips.ina219 import Ina219Twin
from retrowalk.sim.chips.lsm6dsox import Lsm6dsoxTwin
from retrowalk.sim.chips.max17048 import Max17048Twin
from retrowalk.sim.chips.mpu6050 import Mpu6050Twin
from retrowalk.sim.chips.tfluna import TfLunaTwin
from retrowalk.sim.chips.vl53l1x import WIRED_AT as VL53L1X_AT
from retrowalk.sim.chips.vl53l1x import Vl53l1xTwin
from retrowalk.sim.faults import KINDS, Faults
from retrowalk.sim.host import SimHost
from retrowalk.sim.i2c import Chip, SimBus
from retrowalk.sim.light import DROPOFF_UP_DEG, Beam
from retrowalk.sim.noise import EchoModel
from retrowalk.sim.room import Room
from retrowalk.sim.scheduler import Scheduler
from retrowalk.sim.serial import SerialTwin, SimSerialPorts
from retrowalk.sim.tof import TofModel
from retrowalk.sim.tof import sight as tof_sight
from retrowalk.sim.world import World


def parts(config: Config) -> list[str]:
    """Names of the parts that such a device has, in the order of `faults.KINDS`."""
    found = {"imu", "bus", "pi", "voice", "button"}
    if config.battery.chip != "none":
        found.add("battery")
    if config.air.thermometer != "none":
        found.add("thermometer")
    for sensor in config.range_sensor:
        match sensor:
            case TfLuna():
                found.add(_lidar(sensor))
            case Vl53l1x():
                found.add("tof")
            case HcSr04() | A02yyuw():
                found.add(sensor.name)
    return [name for name in KINDS if name in found]


def _lidar(sensor: TfLuna) -> str:
    return "drop" if sensor.role == "dropoff" else "lidar"


class Hardware:
    """Pins, bus, serial ports and the computer's own files, and the modules at them."""

    def __init__(
        self,
        config: Config,
        scheduler: Scheduler,
        world: World,
        faults: Faults,
    ) -> None:
        self._scheduler = scheduler
        self._world = world
        self._faults = faults
        clock = scheduler.clock
        self.board = pins.Board()
        self.pin_factory = pins.SimPinFactory(self.board, clock)
        self.chips: dict[int, Chip] = {}
        """By the address at which each is wired."""
        self._ports: dict[str, SerialTwin] = {}
        self.button = pins.ButtonTwin(self.board, scheduler, world, line=config.button.pin, faults=faults)
        self.vibration = pins.TouchTwin(self.board, world, line=config.vibration.pin, what="vibration")
        self.vibration_right: pins.TouchTwin | None = None
        if config.vibration.right_pin >= 0:
            line = config.vibration.right_pin
            self.vibration_right = pins.TouchTwin(self.board, world, line=line, what="vibration-right")
        self.buzzer = pins.TouchTwin(self.board, world, line=config.buzzer.pin, what="buzzer")
        self.led = pins.LedTwin(self.board, line=config.led.pin) if config.led.pin >= 0 else None
        self.rear: list[pins.HcSr04Twin] = []
        self._room = Room(world.seed)
        for sensor in config.range_sensor:
            self._add_range_sensor(sensor)
        self.imu = self._imu(config)
        self.chips[config.imu.bus_address] = self.imu
        if config.battery.chip != "none":
            self.chips[config.battery.bus_address] = self._battery(config.battery)
        self.bus = SimBus(clock, self.chips, faults)
        self.serial = SimSerialPorts(clock, self._ports)
        thermometer = Ds18b20Twin(lambda: world.temperature_c, faults) if config.air.thermometer == "ds18b20" else None
        self.host = SimHost(clock, faults, thermometer)

    def _add_range_sensor(self, sensor: RangeSensor) -> None:
        match sensor:
            case HcSr04():
                self.rear.append(
                    pins.HcSr04Twin(
                        self.board,
                        self._scheduler,
                        self._world,
                        trigger_line=sensor.trigger_pin,
                        echo_line=sensor.echo_pin,
                        power_line=sensor.power_pin,
                        name=sensor.name,
                        model=EchoModel(
                            self._world.seed,
                            sensor.name,
                            self._world.estimates.echo,
                            bearing_left_deg=sensor.bearing_left_deg,
                        ),
                        faults=self._faults,
                        room=self._room,
                    )
                )
            case A02yyuw():
                self._ports[sensor.port] = A02yyuwTwin(
                    self._world,
                    name=sensor.name,
                    faults=self._faults,
                    bearing_left_deg=sensor.bearing_left_deg,
                    room=self._room,
                )
            case TfLuna():
                beam = Beam(
                    self._world,
                    sensor.name,
                    up_deg=DROPOFF_UP_DEG if sensor.role == "dropoff" else None,
                    bearing_left_deg=sensor.bearing_left_deg,
                )
                self.chips[sensor.address] = TfLunaTwin(
                    beam.look,
                    self._world.seed,
                    part=_lidar(sensor),
                    at=sensor.address,
                    faults=self._faults,
                    parameters=self._world.estimates.light,
                )
            case Vl53l1x():
                # At power-on it is where its maker put it, whatever the settings say; there is one at most.
                self.chips[VL53L1X_AT] = Vl53l1xTwin(
                    lambda t_s: tof_sight(self._world, t_s, sensor.bearing_left_deg),
                    self._world.seed,
                    faults=self._faults,
                    model=TofModel(self._world.seed, parameters=self._world.estimates.light),
                )

    def _imu(self, config: Config) -> Lsm6dsoxTwin | Mpu6050Twin:
        twin = Lsm6dsoxTwin if config.imu.chip == "lsm6dsox" else Mpu6050Twin
        world = self._world
        parameters = world.estimates.imu
        return twin(world.imu, world.seed, axes=config.imu.axes, faults=self._faults, parameters=parameters)

    def _battery(self, battery: Battery) -> Chip:
        cells = SimBattery(cells=battery.cells if battery.chip == "ina219" else 1, faults=self._faults)
        if battery.chip == "ina219":
            return Ina219Twin(cells, shunt_ohm=battery.shunt_ohm, faults=self._faults)
        return Max17048Twin(cells, faults=self._faults)
