"""What came out of each sensor in a few seconds, judged as a person would: is it there, is it plausible, what to do.

The items are those of the very drivers a walk uses, read by ourselves or copied by the running guard.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from retrowalk.config import A02yyuw, Config, HcSr04, RangeSensor, TfLuna, Vl53l1x, axis_matrix
from retrowalk.core.samples import (
    AirSample,
    BatterySample,
    ButtonEdge,
    HealthReport,
    ImuSample,
    Item,
    RangeSample,
    RangeStatus,
)
from retrowalk.doctor.bus import Scan
from retrowalk.doctor.computer import CONFIG_TXT, configured_chips
from retrowalk.doctor.report import Check, State

OK, LOOK, BAD = State.OK, State.LOOK, State.BAD

G_M_S2 = 9.80665
G_TOLERANCE = 0.15
STILL_RAD_S = math.radians(10.0)
TURNING_RAD_S = math.radians(60.0)
NEAR_M = 0.15
REJECTED_SHARE = 0.15
USEFUL_SHARE = 0.7
RATE_SHARE = 0.5
"""Fewer answers than this share of what the sensor should give is worth a look."""
CELL_V = (2.8, 4.4)
FACTORY = 0x10
"""Address of a TF-Luna as it comes."""

_KIND = {HcSr04: "HC-SR04", TfLuna: "TF-Luna", Vl53l1x: "VL53L1X", A02yyuw: "A02YYUW"}
_RATE_HZ = {HcSr04: 15.0, TfLuna: 20.0, Vl53l1x: 10.0, A02yyuw: 7.0}
_AXES = ("forward", "left", "up")
NO_PINS = "Not its wires: the pins cannot be opened. See permissions, lgpio, levels; who holds them: sudo gpioinfo"
NO_BUS = "Not its wires: the bus cannot be used. See I2C bus"


@dataclass(slots=True)
class Observation:
    """What has been seen of the parts so far."""

    items: list[Item] = field(default_factory=list)
    faults: dict[tuple[str, str], str] = field(default_factory=dict)
    """What is said of a fault that holds now, by part and name."""
    pressed: bool = False
    """What the button was last."""
    through_guard: bool = False
    """Whether a guard that runs tells of it, since long before."""
    seconds: float = 0.0

    def take(self, items: Iterable[Item]) -> None:
        """Adds items, in order."""
        for item in items:
            self.items.append(item)
            if isinstance(item, HealthReport):
                if item.active:
                    self.faults[item.part, item.fault] = item.detail
                else:
                    self.faults.pop((item.part, item.fault), None)
            elif isinstance(item, ButtonEdge):
                self.pressed = item.pressed

    def failed(self, part: str, fault: str, detail: str) -> None:
        """A driver raised."""
        for key in [key for key in self.faults if key[0] == part]:
            del self.faults[key]
        self.faults[part, fault] = detail

    def works(self, part: str) -> None:
        """A driver that had raised gives items again."""
        for key in [key for key in self.faults if key[0] == part]:
            del self.faults[key]

    def of(self, part: str) -> tuple[str, str] | None:
        """Fault and detail of a part; None: none is known."""
        return next(((fault, detail) for (name, fault), detail in self.faults.items() if name == part), None)


def look_at_sensors(config: Config, seen: Observation, scan: Scan | None) -> Iterator[Check]:
    """A line for every configured sensor, the battery, the button and the Pi's own complaints."""
    for index, sensor in enumerate(config.range_sensor):
        yield _range(sensor, f"range_sensor[{index}].address", config, seen, scan)
    yield from _overheard(config)
    yield _imu(config, seen, scan)
    if config.battery.chip != "none":
        yield _battery(config, seen, scan)
    if config.air.thermometer != "none":
        yield _thermometer(seen)
    yield _button(config, seen)
    yield from _touch(config, seen)
    yield from _pi(seen)


# ------------------------------------------------------------------------------------------------------- range


def _range(sensor: RangeSensor, key: str, config: Config, seen: Observation, scan: Scan | None) -> Check:
    kind = _KIND[type(sensor)]
    check_id, title = f"sensors.{sensor.name}", f"{sensor.name} ({kind})"
    samples = [item for item in seen.items if isinstance(item, RangeSample) and item.sensor == sensor.name]
    trouble = seen.of(sensor.name)
    if trouble is not None:
        mend = NO_PINS if _unopened(trouble) else _range_mend(sensor, key, trouble[0], config, scan)
        return Check(check_id, BAD, title, _sentence(trouble), mend)
    if not samples:
        detail = f"Nothing came from it in {seen.seconds:.0f} s."
        return Check(check_id, BAD, title, detail, _range_mend(sensor, key, "absent", config, scan))
    counts = {status: sum(sample.status is status for sample in samples) for status in RangeStatus}
    useful = counts[RangeStatus.VALID] + counts[RangeStatus.NO_TARGET]
    rate_hz = _rate_hz([sample.t_received_s for sample in samples])
    share = f"{useful} of {len(samples)} answers useful, {rate_hz:.0f} a second"
    if not useful:
        worst = max(counts, key=lambda status: counts[status])
        detail = f"No useful answer: {worst.value.replace('_', ' ')} ({len(samples)} times)."
        fault = "stuck" if worst is RangeStatus.STUCK else "garbage" if worst is RangeStatus.REJECTED else "absent"
        mend = _range_mend(sensor, key, fault, config, scan)
        if worst is RangeStatus.UNTRUSTED:
            mend = "Turn it out of the sun, clean its window, and see that nothing of the case is in its beam"
        return Check(check_id, BAD, title, detail, mend)
    if counts[RangeStatus.REJECTED] > REJECTED_SHARE * len(samples):
        mend = _range_mend(sensor, key, "garbage", config, scan)
        detail = f"{counts[RangeStatus.REJECTED]} of {len(samples)} answers are ones that no target can give."
        return Check(check_id, LOOK, title, detail, mend)
    if useful < USEFUL_SHARE * len(samples) or rate_hz < RATE_SHARE * _expected_hz(sensor, config):
        mend = _range_mend(sensor, key, "slow", config, scan)
        return Check(check_id, LOOK, title, f"It answers too seldom: {share}.", mend)
    ranges = [sample.range_m for sample in samples if sample.range_m is not None]
    if not ranges:
        detail = f"It works and sees nothing within {sensor.range_max_m:g} m ({share})."
        return Check(check_id, OK, title, detail)
    median_m = statistics.median(ranges)
    spread = f"{min(ranges):.2f} to {max(ranges):.2f} m" if max(ranges) - min(ranges) > 0.05 else f"{median_m:.2f} m"
    if median_m < NEAR_M:
        mend = "Take strap, cloth or case out of its way; clean it"
        return Check(check_id, LOOK, title, f"Something is right before it: {spread} ({share}).", mend)
    return Check(check_id, OK, title, f"Sees something at {spread} ({share}).")


def _overheard(config: Config) -> Iterator[Check]:
    """A sealed sensor pings when it likes, and so cannot take turns with another ultrasonic one."""
    names = [sensor.name for sensor in config.range_sensor if isinstance(sensor, HcSr04 | A02yyuw)]
    if len(names) > 1 and any(isinstance(sensor, A02yyuw) for sensor in config.range_sensor):
        detail = f"{' and '.join(names)} hear each other's pings: now and then something seems nearer than it is."
        yield Check("sensors.overheard", LOOK, "ultrasonic", detail, "Wear one of them, beside a lidar")


def _expected_hz(sensor: RangeSensor, config: Config) -> float:
    """How often it should answer; ultrasonic ones on pins take turns."""
    kind = type(sensor)
    turns = sum(isinstance(other, HcSr04) for other in config.range_sensor) if kind is HcSr04 else 1
    return _RATE_HZ[kind] / turns


def _range_mend(sensor: RangeSensor, key: str, fault: str, config: Config, scan: Scan | None) -> str:
    match sensor:
        case HcSr04():
            trigger, echo = f"GPIO{sensor.trigger_pin}", f"GPIO{sensor.echo_pin}"
            return {
                "stuck": f"Take its power away for a moment; if {echo} stays high, the echo wire touches 3.3 or 5 V",
                "garbage": f"Shorten the echo wire to {echo}; give motor and amplifier a ground return of their own",
                "slow": "Clear its view, check its 5 V under load, and that its plug sits tight",
            }.get(
                fault, f"Check 5 V, ground, the wire from Trig to {trigger}, and from Echo over its divider to {echo}"
            )
        case A02yyuw():
            if fault == "slow":
                return "Its RX must be at ground: left open, it filters"
            # Never 5 V: its TX may then carry as much, which the Pi's pins do not bear.
            if "USB" in sensor.port:
                return (
                    f"Check its 3.3 V, ground, the wire from its TX to the adapter's RX, and the plug of {sensor.port}"
                )
            return (
                f"Check its 3.3 V, ground, and the wire from its TX to RXD (GPIO15) of {sensor.port}; "
                "sudo raspi-config, Interface, Serial Port: no login shell, port on"
            )
        case TfLuna():
            new = f". A new one answers at 0x{FACTORY:02X}: connect it alone and give it 0x{sensor.address:02X}"
            return _chip_mend(
                *(sensor.name, key, fault, config, scan),
                wires="5 V, ground, SDA, SCL, and pin 5 on ground when it is switched on",
                also=new if sensor.address != FACTORY else "",
            )
        case Vl53l1x():
            return _chip_mend(sensor.name, key, fault, config, scan)


# --------------------------------------------------------------------------------------------- motion, battery


def _imu(config: Config, seen: Observation, scan: Scan | None) -> Check:
    chip = config.imu.chip.upper()
    check_id, title = "sensors.imu", f"imu ({chip})"
    samples = [item for item in seen.items if isinstance(item, ImuSample)]
    trouble = seen.of("imu")
    if trouble is not None:
        mend = _chip_mend("imu", "imu.address", trouble[0], config, scan)
        return Check(check_id, BAD, title, _sentence(trouble), mend)
    if not samples:
        mend = _chip_mend("imu", "imu.address", "absent", config, scan)
        return Check(check_id, BAD, title, f"Nothing came from it in {seen.seconds:.0f} s.", mend)
    rate_hz = _rate_hz([sample.t_measured_s for sample in samples])
    mean = [statistics.fmean(sample.accel_m_s2[axis] for sample in samples) for axis in range(3)]
    size_g = statistics.fmean(math.hypot(*sample.accel_m_s2) for sample in samples) / G_M_S2
    turning = statistics.fmean(math.hypot(*sample.gyro_rad_s) for sample in samples)
    gaps = sum(sample.gap for sample in samples)
    shown = f"{rate_hz:.0f} samples a second, {size_g:.2f} g"
    if abs(size_g - 1.0) > G_TOLERANCE:
        if turning > TURNING_RAD_S:
            return Check(check_id, LOOK, title, f"It is being moved ({shown}).", "Hold it still and ask again")
        mend = "Hold it still and ask again; if it stays so, the chip is broken: exchange the clip"
        return Check(check_id, BAD, title, f"At rest it must read 1 g: {shown}.", mend)
    if gaps > 2:
        mend = "Shorten the cable to 30 cm at most, keep it away from the motor's, check bus speed"
        return Check(check_id, LOOK, title, f"Samples were lost {gaps} times ({shown}).", mend)
    if turning > STILL_RAD_S and turning <= TURNING_RAD_S and _quiet(samples):
        mend = "Hold it still and ask again; if it stays so, exchange the clip"
        return Check(check_id, LOOK, title, f"It says it turns at {math.degrees(turning):.0f} °/s ({shown}).", mend)
    strongest = max(range(3), key=lambda axis: abs(mean[axis]))
    if strongest != 2 or mean[2] < 0.0:
        sign = "" if mean[strongest] > 0.0 else "minus "
        mend = f"If it is worn upright now, set imu.axes so that its third is {_chip_axis(config, strongest, mean)}"
        detail = f"Works, but up is along its {sign}{_AXES[strongest]} axis ({shown})."
        return Check(check_id, LOOK, title, detail, mend)
    tilt_deg = math.degrees(math.acos(max(-1.0, min(1.0, mean[2] / (size_g * G_M_S2)))))
    return Check(check_id, OK, title, f"{shown}, tilted by {tilt_deg:.0f}°.")


def _quiet(samples: Sequence[ImuSample]) -> bool:
    """Whether the acceleration does not change, so that a turning is not believed."""
    return all(statistics.pstdev(sample.accel_m_s2[axis] for sample in samples) < 0.3 for axis in range(3))


def _chip_axis(config: Config, strongest: int, mean: Sequence[float]) -> str:
    """The chip's axis that points up now, as `imu.axes` writes it."""
    matrix = axis_matrix(config.imu.axes)
    assert matrix is not None  # the settings were checked
    index, sign = matrix[strongest]
    return f"{'+' if mean[strongest] * sign > 0.0 else '-'}{'xyz'[index]}"


def _battery(config: Config, seen: Observation, scan: Scan | None) -> Check:
    chip = config.battery.chip.upper()
    check_id, title = "sensors.battery", f"battery ({chip})"
    trouble = seen.of("battery")
    if trouble is not None:
        mend = _chip_mend("battery", "battery.address", trouble[0], config, scan)
        return Check(check_id, LOOK, title, _sentence(trouble), mend)
    samples = [item for item in seen.items if isinstance(item, BatterySample)]
    if not samples:
        mend = _chip_mend("battery", "battery.address", "absent", config, scan)
        return Check(check_id, LOOK, title, f"Nothing came from it in {seen.seconds:.0f} s.", mend)
    latest = samples[-1]
    cell_v = latest.voltage_v / (config.battery.cells if config.battery.chip == "ina219" else 1)
    shown = f"{latest.charge_percent:.0f} %, {latest.voltage_v:.2f} V"
    if not (0.0 <= latest.charge_percent <= 100.0 and CELL_V[0] <= cell_v <= CELL_V[1]):
        mend = "Check battery.cells, and that the chip sits at the cell and not at the 5 V"
        return Check(check_id, LOOK, title, f"Not plausible for a lithium cell: {shown}.", mend)
    if latest.charge_percent <= 20.0:
        return Check(check_id, LOOK, title, f"{shown} left.", "Charge it before the walk")
    return Check(check_id, OK, title, f"{shown} left.")


def _thermometer(seen: Observation) -> Check:
    title = "thermometer (DS18B20)"
    mend = (
        "Check 3.3 V, ground, its DQ to GPIO4, 4.7 kΩ from DQ to 3.3 V, "
        f"and the line dtoverlay=w1-gpio in {CONFIG_TXT} (then restart the Pi)"
    )
    trouble = seen.of("thermometer")
    if trouble is not None:
        return Check("sensors.thermometer", LOOK, title, _sentence(trouble), mend)
    latest = next((item for item in reversed(seen.items) if isinstance(item, AirSample)), None)
    if latest is not None:
        return Check("sensors.thermometer", OK, title, f"The air has {latest.temperature_c:.1f} °C.")
    if seen.through_guard:
        return Check("sensors.thermometer", OK, title, "The guard reads it twice a minute, and has nothing to report.")
    detail = f"Nothing came from it in {seen.seconds:.0f} s: ranges are computed for cold air, and read near."
    return Check("sensors.thermometer", LOOK, title, detail, mend)


# ------------------------------------------------------------------------------------------- button, outputs, Pi


def _button(config: Config, seen: Observation) -> Check:
    pin = f"GPIO{config.button.pin}"
    trouble = seen.of("button")
    if trouble is not None:
        mend = f"Check the wires of the button to {pin} and ground; keep them away from the motor's"
        mend = NO_PINS if _unopened(trouble) else mend
        return Check("sensors.button", BAD, "button", _sentence(trouble), mend)
    if seen.pressed:
        detail = f"It is held down, or {pin} is short to ground."
        return Check("sensors.button", BAD, "button", detail, f"Let it go; else look for a short from {pin} to ground")
    return Check("sensors.button", OK, "button", f"{pin} is high: not pressed.")


def _touch(config: Config, seen: Observation) -> Iterator[Check]:
    vibration = config.vibration
    for part, pin in (
        ("buzzer", config.buzzer.pin),
        ("vibration", vibration.pin),
        ("vibration-right", vibration.right_pin),
        ("led", config.led.pin),
    ):
        trouble = seen.of(part)
        if trouble is not None:
            yield Check(f"sensors.{part}", BAD, f"{part} (GPIO{pin})", _sentence(trouble), NO_PINS)


_PI_MEND = {
    "power": "Use a supply of 5 V and 2.5 A with a short, thick cable; charge the battery",
    "heat": "Let it cool; give the case air",
}


def _pi(seen: Observation) -> Iterator[Check]:
    for part, mend in _PI_MEND.items():
        trouble = seen.of(part)
        if trouble is not None:
            yield Check(f"computer.{part}", LOOK, part, _sentence(trouble), mend)


# ------------------------------------------------------------------------------------------------------- words


def _unopened(trouble: tuple[str, str]) -> bool:
    """Whether a driver on pins did not even get its line."""
    return "cannot be opened" in trouble[1]


def _sentence(trouble: tuple[str, str]) -> str:
    fault, detail = trouble
    words = detail or fault.replace("_", " ")
    # A driver begins with the name of its part, which stands before the line already.
    return f"{words[0].upper()}{words[1:]}."


def _rate_hz(times_s: Sequence[float]) -> float:
    span_s = times_s[-1] - times_s[0]
    return (len(times_s) - 1) / span_s if span_s > 0.0 else 0.0


def _chip_mend(
    name: str,
    key: str,
    fault: str,
    config: Config,
    scan: Scan | None,
    *,
    wires: str = "3.3 V, ground, SDA, SCL, and its address pin",
    also: str = "",
) -> str:
    """What to do about a chip on the bus, by what else answers there."""
    _, address, kind, _ = next(entry for entry in configured_chips(config) if entry[0] == name)
    mine = {entry[1] for entry in configured_chips(config)}
    if fault in ("wrong_chip", "wrong"):
        found = scan.at(address) if scan is not None else None
        what = f" ({found})" if found is not None else ""
        chip = f"{key.rpartition('.')[0]}.chip"
        return f"Another part sits at 0x{address:02X}{what}: exchange it, or set {chip} to what it is"
    if scan is not None and scan.stuck:
        return "The bus is stuck: see there"
    if fault == "absent" and scan is not None and scan.problem and not scan.answers:
        return NO_BUS
    if fault == "absent" and scan is not None:
        same = [a for a in scan.answers if a.name == kind and a.address != address and a.address not in mine]
        if same:
            where = f"0x{same[0].address:02X}"
            return f"A {kind} answers at {where}: set {key} = {where}, or wire its address pin for 0x{address:02X}"
        if not scan.answers:
            return "Nothing answers on the bus: check 3.3 V, ground, SDA to GPIO2 (pin 3), SCL to GPIO3 (pin 5)"
        others = ", ".join(str(answer) for answer in scan.answers)
        return f"Check its {wires}{also}. On the bus: {others}"
    if fault == "absent":
        return f"Check its {wires}{also}"
    if fault == "slow":
        return "Take its power away for a moment; see bus speed"
    return "Shorten its cable, keep it away from the motor's; take its power away for a moment; else exchange it"
