"""From what the sensors say to a run of the form: counts, shares, medians, spreads.

The items are those of the drivers that a walk uses, whoever reads them: the guard that runs, or a simulated bench.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean, pstdev

import msgspec
from msgspec import Struct

from retrowalk.bench.echo_fit import WINDOW_M
from retrowalk.bench.form import HIT, LONG, NEAR, NOTHING, EchoRun, LidarRun, StillRun, WalkRun, check, packed
from retrowalk.config import A02yyuw, Config, HcSr04, TfLuna
from retrowalk.control import Control
from retrowalk.core.air import speed_of_sound_m_s
from retrowalk.core.samples import ImuSample, Item, RangeSample, RangeStatus
from retrowalk.errors import ConfigError, Finding, SensorError

OUTLIER_M = (0.03, 0.35)
BLOCKED_M = 0.05
FALSE_M = (0.2, 3.0)
GROUND_SHARE = 0.15
CENTIMETRE = 0.01
TRIM_S = 1.5
"""Setting off and stopping are left out of a walk."""
WALKING_RAD_S = math.radians(6.0)
"""A trunk that turns to and fro by more than this (RMS over a second) is walking."""


def samples_of(sensor: str, items: Sequence[Item]) -> list[RangeSample]:
    """What one range sensor said.  Raises `SensorError` when it said nothing."""
    found = [item for item in items if isinstance(item, RangeSample) and item.sensor == sensor]
    if not found:
        raise SensorError("absent", f"nothing came from {sensor}")
    return found


# ------------------------------------------------------------------------------------------------------ ultrasonic


def echo(config: Config, sensor: str, items: Sequence[Item], like: EchoRun) -> EchoRun:
    """One run of an ultrasonic sensor.  `like`: what it was taken at, with the temperature of the air."""
    kind = next(one for one in config.range_sensor if one.name == sensor)
    assert isinstance(kind, HcSr04 | A02yyuw)
    # Drivers compute for cold air; the tape does not.
    computed_c = kind.temperature_c if isinstance(kind, HcSr04) else 0.0
    warmer = speed_of_sound_m_s(like.temperature_c) / speed_of_sound_m_s(computed_c)
    ranges = [
        None if sample.range_m is None else sample.range_m * warmer
        for sample in samples_of(sensor, items)
        if sample.status in (RangeStatus.VALID, RangeStatus.NO_TARGET, RangeStatus.NO_ECHO)
    ]
    answers = [range_m for range_m in ranges if range_m is not None]
    blocked = sum(
        one is not None and one < BLOCKED_M and (before is None or before >= BLOCKED_M)
        for before, one in zip([None, *ranges], ranges, strict=False)
    )
    if like.kind == "target":
        near_m, far_m = like.distance_m - WINDOW_M, like.distance_m + WINDOW_M
    elif like.kind == "ground":
        middle = statistics.median(answers) if answers else like.height_m
        near_m, far_m = middle * (1.0 - GROUND_SHARE), middle * (1.0 + GROUND_SHARE)
    else:
        near_m = far_m = FALSE_M[1]

    def symbol(range_m: float | None) -> str:
        if range_m is None:
            return NOTHING
        return NEAR if range_m < near_m else HIT if range_m <= far_m and like.kind != "empty" else LONG

    said = "".join(map(symbol, ranges))
    hits = [range_m for range_m in answers if near_m <= range_m <= far_m and like.kind != "empty"]
    median_m = statistics.median(hits) if hits else 0.0
    calm = [range_m for range_m in hits if abs(range_m - median_m) < OUTLIER_M[0] or like.kind == "ground"]
    outliers = sum(OUTLIER_M[0] <= abs(range_m - median_m) <= OUTLIER_M[1] for range_m in answers) if hits else 0
    return EchoRun(
        sensor="hc-sr04" if isinstance(kind, HcSr04) else "a02yyuw",
        target=like.target,
        distance_m=like.distance_m,
        off_axis_deg=like.off_axis_deg,
        ground=like.ground,
        height_m=like.height_m,
        temperature_c=like.temperature_c,
        wet=like.wet,
        wind=like.wind,
        switched=like.switched,
        note=like.note,
        pings=len(said),
        hits=said.count(HIT),
        longer=said.count(LONG),
        nearer=said.count(NEAR),
        blocked=blocked,
        sequence=packed(said),
        median_m=round(median_m, 4),
        spread_m=round(pstdev(calm), 5) if len(calm) > 1 else 0.0,
        outliers=outliers if like.kind == "target" else 0,
    )


# ----------------------------------------------------------------------------------------------------------- lidar


def lidar(sensor: str, items: Sequence[Item], like: LidarRun) -> LidarRun:
    """One run of a TF-Luna.  Of many spots each is a run of its own: `joined` makes them one."""
    samples = samples_of(sensor, items)
    ranges = [sample.range_m for sample in samples if sample.range_m is not None]
    strong = [sample.strength for sample in samples if sample.strength is not None and sample.range_m is not None]
    mean_m, spread_m = counted(ranges)
    return LidarRun(
        role=like.role,
        target=like.target,
        distance_m=like.distance_m,
        ground=like.ground,
        height_m=like.height_m,
        down_deg=like.down_deg,
        wet=like.wet,
        rain=like.rain,
        window=like.window,
        sun_deg=like.sun_deg,
        note=like.note,
        frames=len(samples),
        answered=len(ranges),
        blinded=sum(sample.status is RangeStatus.UNTRUSTED for sample in samples),
        rate_hz=100.0,
        amplitude=round(fmean(strong), 2) if strong else 0.0,
        amplitude_spread=round(pstdev(strong), 3) if strong else 0.0,
        mean_m=round(mean_m, 4),
        spread_m=round(spread_m, 5),
    )


def joined(runs: Sequence[LidarRun]) -> LidarRun:
    """Runs on many spots of one ground, as one."""
    seen = [run for run in runs if run.answered]
    frames = sum(run.answered for run in seen)
    within = math.sqrt(sum(run.spread_m**2 * run.answered for run in seen) / frames) if frames else 0.0
    return msgspec.structs.replace(
        runs[0],
        frames=sum(run.frames for run in runs),
        answered=frames,
        blinded=sum(run.blinded for run in runs),
        amplitude=round(fmean(run.amplitude for run in seen), 2) if seen else 0.0,
        amplitude_spread=0.0,
        mean_m=round(fmean(run.mean_m for run in seen), 4) if seen else 0.0,
        spread_m=round(within, 5),
        spots_m=[run.mean_m for run in seen],
    )


def counted(ranges: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of what was rounded to whole centimetres, the rounding taken out.

    A spread below half a centimetre is likelier found from how often each centimetre came.
    """
    if len(ranges) < 2:
        return (ranges[0], 0.0) if ranges else (0.0, 0.0)
    cells: dict[int, int] = {}
    for range_m in ranges:
        cell = round(range_m / CENTIMETRE)
        cells[cell] = cells.get(cell, 0) + 1
    mean, rough = fmean(ranges) / CENTIMETRE, pstdev(ranges) / CENTIMETRE
    if rough > 1.0:
        return mean * CENTIMETRE, math.sqrt(rough**2 - 1.0 / 12.0) * CENTIMETRE

    def cost(middle: float, sigma: float) -> float:
        normal = NormalDist(middle, sigma)
        return -sum(
            count * math.log(max(1e-12, normal.cdf(cell + 0.5) - normal.cdf(cell - 0.5)))
            for cell, count in cells.items()
        )

    best = min(
        (cost(mean + off / 20.0, sigma / 40.0), mean + off / 20.0, sigma / 40.0)
        for off in range(-8, 9)
        for sigma in range(4, 61)
    )
    return best[1] * CENTIMETRE, best[2] * CENTIMETRE


# ------------------------------------------------------------------------------------------------------------ clip


def still(items: Sequence[Item], like: StillRun) -> StillRun:
    """The clip on a table.  Raises `SensorError` when it said nothing."""
    samples = _imu(items)
    accel = list(zip(*(sample.accel_m_s2 for sample in samples), strict=True))
    gyro = list(zip(*(sample.gyro_rad_s for sample in samples), strict=True))
    return StillRun(
        samples=len(samples),
        rate_hz=round(rate_hz(samples), 3),
        nominal_hz=like.nominal_hz,
        note=like.note,
        accel_noise_m_s2=[round(pstdev(axis), 6) for axis in accel],
        gyro_noise_deg_s=[round(math.degrees(pstdev(axis)), 5) for axis in gyro],
        gyro_bias_deg_s=[round(math.degrees(fmean(axis)), 5) for axis in gyro],
    )


def _imu(items: Sequence[Item]) -> list[ImuSample]:
    samples = [item for item in items if isinstance(item, ImuSample)]
    if len(samples) < 200:
        raise SensorError("absent", f"{len(samples)} samples came from the clip: fewer than two seconds of them")
    return samples


def rate_hz(samples: Sequence[ImuSample]) -> float:
    """Samples a second by the computer's clock: as they were received, which a batch more or less does not move."""
    span_s = samples[-1].t_measured_s - samples[0].t_measured_s
    return (len(samples) - 1) / span_s if span_s > 0.0 else 0.0


def walk(items: Sequence[Item], like: WalkRun, sensor: str = "") -> WalkRun:
    """A walk backward over a way of `like.distance_m`: sway, steps, bounce, and what `sensor` heard of nobody.

    The time is from the first step to the last.  Raises `SensorError` when nobody walked for five seconds.
    """
    samples = _imu(items)
    step_s = 1.0 / rate_hz(samples)
    turning = [sample.gyro_rad_s[1] for sample in samples]
    turning = _less(turning, _window(2.0, step_s))
    power = _mean([value * value for value in turning], _window(1.0, step_s))
    busy = [i for i, value in enumerate(power) if value > WALKING_RAD_S**2]
    if not busy or (busy[-1] - busy[0]) * step_s < 5.0:
        raise SensorError("absent", "nobody walked for five seconds")
    seconds = (busy[-1] - busy[0]) * step_s - 1.0  # a mean over a second begins early, and ends late
    trim = int(TRIM_S / step_s)
    first, last = busy[0] + trim, busy[-1] - trim
    # A clip that leans sees some of each turn in another axis.
    forward = fmean(sample.accel_m_s2[0] for sample in samples[first:last])
    up = fmean(sample.accel_m_s2[2] for sample in samples[first:last])
    lean = math.atan2(-forward, up)
    turns = [sample.gyro_rad_s for sample in samples[first:last]]
    hz = _frequency(turning[first:last], step_s)
    step, stride = 1.0 / hz, 2.0 / hz
    roll_s, pitch_s, yaw_s = _euler(turns, lean, stride, step_s)
    swing = _less(_angle(pitch_s, step_s), _window(stride, step_s))
    rise = [
        sample.accel_m_s2[2] * math.cos(lean + p) - sample.accel_m_s2[0] * math.sin(lean + p)
        for sample, p in zip(samples[first:last], swing, strict=True)
    ]
    heard = [
        item
        for item in items
        if isinstance(item, RangeSample)
        and item.sensor == sensor
        and samples[busy[0]].t_measured_s <= item.t_measured_s <= samples[busy[-1]].t_measured_s
    ]
    return WalkRun(
        ground=like.ground,
        distance_m=like.distance_m,
        note=like.note,
        seconds=round(len(pitch_s) * step_s, 2),
        speed_m_s=round(like.distance_m / seconds, 3),
        steps_hz=round(hz, 4),
        pitch_deg=round(math.degrees(_swing(_angle(pitch_s, step_s), stride, step_s, ())), 3),
        roll_deg=round(math.degrees(_swing(_angle(roll_s, step_s), stride, step_s, (stride / 3.0,))), 3),
        yaw_deg=round(math.degrees(_swing(_angle(yaw_s, step_s), stride, step_s, (stride / 3.0,))), 3),
        bounce_m_s2=round(_swing(rise, step, step_s, (step / 2.0, step / 3.0)) / math.sqrt(2.0), 3),
        pings=len(heard),
        false_answers=sum(item.range_m is not None for item in heard),
    )


def _euler(
    turns: Sequence[tuple[float, float, float]], lean: float, stride_s: float, step_s: float
) -> tuple[list[float], list[float], list[float]]:
    """Rates of roll, pitch and yaw of a trunk that leans by `lean` in the mean, from those of the clip's own axes."""
    window = _window(stride_s, step_s)
    roll = _less(_angle([turn[0] for turn in turns], step_s), window)
    pitch = _less(_angle([turn[1] for turn in turns], step_s), window)
    rolls, pitches, yaws = [], [], []
    for (forward, left, up), r, p in zip(turns, roll, pitch, strict=True):
        yaw = (left * math.sin(r) + up * math.cos(r)) / math.cos(lean + p)
        yaws.append(yaw)
        pitches.append(left * math.cos(r) - up * math.sin(r))
        rolls.append(forward + yaw * math.sin(lean + p))
    return rolls, pitches, yaws


def _window(seconds: float, step_s: float) -> int:
    return max(1, round(seconds / step_s))


def _mean(values: Sequence[float], count: int) -> list[float]:
    """Moving mean over so many values around each."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    back, ahead = count // 2, count - count // 2
    found = []
    for i in range(len(values)):
        low, high = max(0, i - back), min(len(values), i + ahead)
        found.append((sums[high] - sums[low]) / (high - low))
    return found


def _less(values: Sequence[float], count: int) -> list[float]:
    return [value - slow for value, slow in zip(values, _mean(values, count), strict=True)]


def _angle(rates: Sequence[float], step_s: float) -> list[float]:
    middle, total, found = fmean(rates), 0.0, []
    for rate in rates:
        total += (rate - middle) * step_s
        found.append(total)
    return found


def _swing(values: Sequence[float], period_s: float, step_s: float, without: Sequence[float]) -> float:
    """Amplitude of what swings with a period: slower things and the harmonics of the periods `without` taken out."""
    fast = _less(values, _window(period_s, step_s))
    kept = 1.0
    for harmonic_s in without:
        count = _window(harmonic_s, step_s)
        fast = _mean(fast, count)
        angle = math.pi * count * step_s / period_s
        kept *= math.sin(angle) / angle
    edge = _window(period_s, step_s)
    inside = fast[edge:-edge]
    return math.sqrt(2.0) * pstdev(inside) / kept


def _frequency(values: Sequence[float], step_s: float) -> float:
    """How often something swings: roughly where it is most like itself, then by counting."""
    lags = range(_window(0.35, step_s), _window(1.3, step_s))

    def alike(lag: int) -> float:
        return sum(a * b for a, b in zip(values, values[lag:], strict=False)) / (len(values) - lag)

    scores = {lag: alike(lag) for lag in lags}
    best = max(scores.values())
    peaks = [
        lag
        for lag in lags
        if scores[lag] > 0.6 * best and scores[lag] >= max(scores.get(lag + d, 0.0) for d in (-1, 1))
    ]
    smooth = _mean(values, _window(peaks[0] * step_s / 2.0, step_s))
    rises = [i for i in range(1, len(smooth)) if smooth[i - 1] < 0.0 <= smooth[i]]
    return (len(rises) - 1) / ((rises[-1] - rises[0]) * step_s)


# -------------------------------------------------------------------------------------------------------- a command

KINDS: dict[str, type[Struct]] = {"echo": EchoRun, "lidar": LidarRun, "walk": WalkRun, "still": StillRun}
"""What can be taken, and the run that comes of it."""
SECONDS = {"echo": 60.0, "lidar": 20.0, "walk": 40.0, "still": 60.0}
"""How long, unless a person says otherwise."""
SAID: dict[str, tuple[str, ...]] = {
    "echo": (
        *("target", "distance_m", "off_axis_deg", "ground", "height_m", "temperature_c"),
        *("wet", "wind", "switched", "note"),
    ),
    "lidar": (
        *("target", "distance_m", "ground", "height_m", "down_deg", "wet", "rain"),
        *("window", "sun_deg", "note"),
    ),
    "walk": ("ground", "distance_m", "note"),
    "still": ("nominal_hz", "note"),
}
"""What a person says of a run; the rest is measured."""


def like(kind: str, given: Mapping[str, str]) -> Struct:
    """What is to be taken, from words such as target=wall.  Raises `ConfigError` that names field, value and rule."""
    rule = f"must be one of {', '.join(SAID[kind])}"
    wrong = [Finding("command line", name, value, rule) for name, value in given.items() if name not in SAID[kind]]
    if wrong:
        raise ConfigError(wrong)
    try:
        found: Struct = msgspec.convert(dict(given), KINDS[kind], strict=False)
    except msgspec.ValidationError as error:
        rule, _, place = str(error).rpartition(" - at `$.")
        name = place.rstrip("`")
        raise ConfigError([Finding("command line", name, given.get(name, ""), rule[:1].lower() + rule[1:])]) from error
    check(found, "command line")
    return found


def sensor_for(config: Config, kind: str, wanted: Struct) -> str:
    """Name of the sensor that such a run is taken with; empty: none is needed.

    Raises `SensorError` when the device has none.
    """
    for sensor in config.range_sensor:
        if kind in ("echo", "walk") and isinstance(sensor, HcSr04 | A02yyuw):
            return sensor.name
        if isinstance(wanted, LidarRun) and isinstance(sensor, TfLuna):
            if (sensor.role == "dropoff") == bool(wanted.ground):
                return sensor.name
    if kind in ("walk", "still"):
        return ""
    raise SensorError("absent", "the settings have no sensor for that")


def run_of(config: Config, kind: str, items: Sequence[Item], wanted: Struct) -> Struct:
    """The run that came of what the sensors said.  Raises `SensorError` when one said nothing."""
    sensor = sensor_for(config, kind, wanted)
    match wanted:
        case EchoRun():
            return echo(config, sensor, items, wanted)
        case LidarRun():
            return lidar(sensor, items, wanted)
        case WalkRun():
            return walk(items, wanted, sensor)
        case StillRun():
            return still(items, wanted)
    raise TypeError(type(wanted).__name__)


def collect(control: Control, seconds: float) -> list[Item]:
    """What a guard is fed for so long."""
    control.wait(0.5)
    control.items()
    until = control.now() + seconds
    items: list[Item] = []
    while (left := until - control.now()) > 0.0:
        control.wait(min(0.2, left))
        items += control.items()
    return items
