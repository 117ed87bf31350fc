"""From a filled-in form to the numbers of the simulated world: each with its interval and from how much it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import msgspec

from retrowalk.bench import echo_fit, stats
from retrowalk.bench.form import EchoRun, Form, LidarRun, nested
from retrowalk.sim import light
from retrowalk.sim.estimates import ESTIMATED, Estimates, Value, each, from_table
from retrowalk.sim.noise import WIDTH_M

METHOD = 0.05
"""How sure the size of a movement is at best: filters and the clip's seat."""
PLACING = 0.03
"""How sure an amplitude is at best: tape, aim and cloth."""
STEADY_NEAR_M = 1.5
"""A board nearer than this answers every ping alike: what its range varies is noise."""
SPEED_M_S = 331.3 / 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A number of the model, measured."""

    parameter: str
    value: float | str | list[float]
    low: float | None
    high: float | None
    n: int
    how: str

    @property
    def estimate(self) -> Value:
        """What was assumed."""
        return dict(each(ESTIMATED))[self.parameter]

    @property
    def agrees(self) -> bool | None:
        """Whether the estimate lies in the interval; None: there is none."""
        estimate = self.estimate
        if self.low is None or self.high is None or not isinstance(estimate, float | int):
            return None
        return self.low <= estimate <= self.high


STAYS: dict[str, str] = {
    "echo.hedge_spread_db": "from ping to ping; shares of hits do not tell it from the hedge's loss",
    "echo.cycle_s": "one period of 40 kHz",
    "echo.slip_below_db": "late by 4 to 13 mm where an echo is weak; nothing is decided by so little",
    "echo.stamp_jitter_s": "in the spread of a board's range, and counted there",
    "echo.stamp_outlier_s": "seen once in a thousand pings; their share is measured",
    "echo.second_echo": "depends on what else stands around; their share is measured",
    "echo.second_echo_min_db": "too weak to be seen",
    "echo.windy_m_s": "a definition of the scenarios",
    "echo.false_near_m": "a bench sees too few to know from where to where",
    "echo.reach_m": "the driver believes nothing beyond range_max_m",
    "echo.droplet_s": "a bench sees too few to know how long they last",
    "echo.droplet_range_m": "the module's own ringing",
    "echo.bounce_db": "two ultrasonic modules are in neither build",
    "sealed.answer_s": "needs an oscilloscope",
    "sealed.sound_m_s": "compare median and tape at two temperatures, and write it as [[other]]",
    "light.hedge_fill": "leaves move",
    "light.hedge_depth_m": "differs from hedge to hedge",
    "light.mesh_fill": "differs from fence to fence",
    "light.mesh_knot_fill": "differs from fence to fence",
    "light.glass_passes": "differs from pane to pane",
    "light.reflectance.hedge": "fills the spot in part, and moves",
    "light.reflectance.chain_link": "fills the spot in part",
    "light.reflectance.glass": "a mirror: by angle, not by distance",
    "light.aim_deg": "how well it was mounted; the assembly guide has the check",
    "light.covered_m": "the driver believes nothing below 20 cm",
    "light.clock_error": "range is by time of flight; only the rate of frames follows",
    "body.idle_sway": "a person who stands differs from day to day; nothing is decided by it",
}
"""Numbers that no bench test measures, and why.  `[[other]]` of the form takes each of them all the same."""


def measured(form: Form) -> list[Measured]:
    """Every number that the form tells, in the order of the model."""
    found = {one.parameter: one for one in _measured(form)}
    return [found[name] for name, _ in each(ESTIMATED) if name in found]


def table(found: Sequence[Measured]) -> Estimates:
    """The estimates with what was measured in their place.  Raises `ConfigError` for what the model cannot have."""
    return from_table(nested({one.parameter: one.value for one in found}), "what was measured")


def _measured(form: Form) -> Iterator[Measured]:
    for part, sensor in (("echo", "hc-sr04"), ("sealed_echo", "a02yyuw")):
        yield from _echoes([run for run in form.echo if run.sensor == sensor and run.pings], part)
    if form.module.hangs or form.module.no_pulse:
        yield Measured("module.no_target_s", "stuck" if form.module.hangs else "none", None, None, 1, "seen")
    elif form.module.no_target_ms is not None:
        value = form.module.no_target_ms / 1000.0
        yield Measured("module.no_target_s", value, 0.99 * value, 1.01 * value, 1, "length of the pulse")
    yield from _lidar([run for run in form.lidar if run.frames])
    yield from _body(form)
    yield from _still(form)
    for other in form.other:
        yield Measured(other.parameter, other.value, other.low, other.high, other.n, other.how or "by hand")


def _one(parameter: str, interval: tuple[float, float, float], n: int, how: str) -> Measured:
    return Measured(parameter, *interval, n, how)


def _echoes(runs: Sequence[EchoRun], part: str) -> Iterator[Measured]:
    parameters = getattr(ESTIMATED, part)
    for name, told in echo_fit.fit(runs, parameters).items():
        yield Measured(f"{part}.{name}", told.value, told.low, told.high, told.n, "likelihood of hits and misses")
    near = [
        run
        for run in runs
        if run.target == "wall"
        and run.distance_m <= STEADY_NEAR_M
        and not (run.off_axis_deg or run.wet or run.switched)
    ]
    steady = [run for run in near if run.hits > 10 and run.spread_m > 0.0]
    if steady:
        hits = sum(run.hits for run in steady)
        variance = sum(run.spread_m**2 * run.hits for run in steady) / hits
        stamps = parameters.stamp_jitter_s * SPEED_M_S / math.sqrt(6.0)
        ends = [math.sqrt(max(0.0, value**2 - stamps**2)) for value in stats.spread(math.sqrt(variance), hits - 1)]
        yield _one(f"{part}.sigma_m", (ends[0], ends[1], ends[2]), hits, "spread at the board, less the stamps'")
    if near:
        pings = sum(run.pings for run in near)
        yield _one(f"{part}.stamp_outlier_p", stats.share(sum(run.outliers for run in near), pings), pings, "outliers")
    empty = [run for run in runs if run.kind == "empty" and not run.switched and not run.wet]
    for name, windy in (("false_near_p", False), ("false_near_wind_p", True)):
        pings = sum(run.pings for run in empty if run.wind == windy)
        if pings:
            near_ones = sum(run.nearer for run in empty if run.wind == windy)
            yield _one(f"{part}.{name}", stats.share(near_ones, pings), pings, "answers with nothing behind")
    wet = [run for run in runs if run.wet]
    if wet:
        pings = sum(run.pings for run in wet)
        yield _one(f"{part}.droplet_p", stats.share(sum(run.blocked for run in wet), pings), pings, "times blocked")
    grounds = [run for run in runs if run.kind == "ground"]
    for ground in dict.fromkeys(run.ground for run in grounds):
        here = [run for run in grounds if run.ground == ground]
        pings = sum(run.pings for run in here)
        yield _one(
            f"{part}.ground_clutter.{ground}", stats.share(sum(run.hits for run in here), pings), pings, "answers"
        )
    spread = [run for run in grounds if run.hits >= 20 and run.median_m > 0.0 and run.spread_m > 0.0]
    if spread:
        hits = sum(run.hits for run in spread)
        value = math.sqrt(3.0) * sum(run.spread_m / run.median_m * run.hits for run in spread) / hits
        half = value * stats.Z95 * 0.447 / math.sqrt(hits)  # the spread of something even is known better
        yield _one(f"{part}.ground_spread", (value, value - half, value + half), hits, "spread of the ground's answers")


# ------------------------------------------------------------------------------------------------------- the lidar

MIXED = ("hedge", "chain_link", "glass")
"""Targets whose amplitude is not that of one surface."""


def _lidar(runs: Sequence[LidarRun]) -> Iterator[Measured]:
    seen = [run for run in runs if light.AMPLITUDE_MIN <= run.amplitude < 0.99 * light.AMPLITUDE_MAX]
    clear = [run for run in seen if run.target and run.target not in MIXED and not run.rain and not run.window]
    reflectances: dict[str, list[float]] = {}
    for run in clear:
        fill = light.fill(WIDTH_M[run.target], run.distance_m, 0.0) if run.target in WIDTH_M else 1.0
        scale = light.amplitude(1.0, 1.0) * fill / run.distance_m**2
        reflectances.setdefault(run.target, []).append((run.amplitude + 0.5) / scale)
    for kind, values in reflectances.items():
        interval = stats.mean(values, PLACING)
        yield _one(f"light.reflectance.{kind}", interval, len(values), "amplitude over distance")
    sure = [run for run in clear if run.spread_m > 0.0 and run.answered > 20]
    if sure:
        frames = sum(run.answered for run in sure)
        ratios = [
            run.spread_m / (light.sigma_m(run.amplitude) * math.sqrt(0.01 * (run.rate_hz or 100.0))) for run in sure
        ]
        value = math.exp(sum(math.log(ratio) * run.answered for ratio, run in zip(ratios, sure, strict=True)) / frames)
        half = 1.2 * stats.Z95 / math.sqrt(2.0 * frames)
        interval = (value, value * math.exp(-half), value * math.exp(half))
        yield _one("light.sigma_scale", interval, frames, "spread over the maker's")
    yield from _amplitude_noise([run for run in clear if run.amplitude_spread > 0.0 and run.answered > 20])
    passes = [
        wet.amplitude / dry.amplitude
        for wet in seen
        for dry in clear
        if wet.rain and wet.target == dry.target and abs(wet.distance_m - dry.distance_m) < 0.02
    ]
    if passes:
        yield _one("light.rain_passes", stats.mean(passes, PLACING), len(passes), "amplitude in rain over dry")
    yield from _grounds([run for run in seen if run.ground], fmean(passes) if passes else ESTIMATED.light.rain_passes)
    suns = [run for run in runs if run.kind == "sun"]
    blind = [run.sun_deg for run in suns if 2 * run.blinded > run.frames]
    clear_of = [run.sun_deg for run in suns if 2 * run.blinded <= run.frames]
    if blind and clear_of and max(blind) < min(clear_of):
        low, high = max(blind), min(clear_of)
        yield _one("light.sun_within_deg", ((low + high) / 2.0, low, high), len(suns), "blinded at one, not the other")


def _amplitude_noise(runs: Sequence[LidarRun]) -> Iterator[Measured]:
    """Spread of the amplitude = noise + share of amplitude: two numbers, so a weak and a strong target."""
    if not runs or max(run.amplitude for run in runs) < 4.0 * min(run.amplitude for run in runs):
        return
    matrix, side, frames = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0], sum(run.answered for run in runs)
    for run in runs:
        spread = math.sqrt(max(1e-6, run.amplitude_spread**2 - 1.0 / 12.0))
        weight = 2.0 * run.answered / spread**2
        for i, a in enumerate((1.0, run.amplitude)):
            side[i] += weight * a * spread
            for j, b in enumerate((1.0, run.amplitude)):
                matrix[i][j] += weight * a * b
    spread_of = stats.inverted(matrix)
    for i, name in enumerate(("amplitude_noise", "amplitude_noise_share")):
        value = spread_of[i][0] * side[0] + spread_of[i][1] * side[1]
        half = stats.Z95 * math.sqrt(spread_of[i][i])
        yield _one(f"light.{name}", (max(0.0, value), value - half, value + half), frames, "spread of the amplitude")


def _grounds(runs: Sequence[LidarRun], rain: float) -> Iterator[Measured]:
    """`rain` is the share of light that it leaves."""
    dry: dict[str, list[float]] = {}
    for run in runs:
        if not run.wet and not run.rain:
            slant_m = light.slant_m(run.height_m, run.down_deg)
            dry.setdefault(run.ground, []).append((run.amplitude + 0.5) / light.amplitude(1.0, slant_m))
    for ground, values in dry.items():
        yield _one(
            f"light.ground_reflectance.{ground}", stats.mean(values, PLACING), len(values), "amplitude over distance"
        )
    factors = [
        (run.amplitude + 0.5)
        / light.amplitude(fmean(dry[run.ground]), light.slant_m(run.height_m, run.down_deg))
        / (rain if run.rain else 1.0)
        for run in runs
        if run.wet and run.ground in dry
    ]
    if factors:
        yield _one("light.wet", stats.mean(factors, 2.0 * PLACING), len(factors), "amplitude wet over dry")
    for ground in dict.fromkeys(run.ground for run in runs):
        spots = [run for run in runs if run.ground == ground and len(run.spots_m) >= 8 and not run.rain]
        if spots:
            freedom = sum(len(run.spots_m) - 1 for run in spots)
            squares = 0.0
            for run in spots:
                middle = fmean(run.spots_m)
                down = math.sin(math.radians(run.down_deg))
                noise = run.spread_m**2 * len(run.spots_m) / max(1, run.answered)  # of each spot's mean
                squares += sum(max(0.0, (spot - middle) ** 2 - noise) for spot in run.spots_m) * down**2
            interval = stats.spread(math.sqrt(squares / freedom), freedom)
            yield _one(f"ground.rough_m.{ground}", interval, freedom + len(spots), "spread from spot to spot")


# -------------------------------------------------------------------------------------------------- body and clip


def usual_bounce_m_s2(speed_m_s: float) -> float:
    """RMS of vertical acceleration at step rate of the simulated walker, who bounces as people do in the mean."""
    return 1.27 * min(1.0, speed_m_s / 0.3) * (0.2 + speed_m_s * (0.5 + 0.55 * speed_m_s)) / math.sqrt(2.0)


def _heels_m_s2(speed_m_s: float, steps_hz: float) -> float:
    """What the ringing of each heel (18 Hz, gone within 35 ms, an eighth of a step early) adds to that: amplitude."""
    turns = 2.0 * math.pi * 18.0
    push_m_s = 5.0 * min(speed_m_s, 1.2) * turns / (0.035**-2 + turns**2)
    return 2.0 * steps_hz * push_m_s * math.cos(2.0 * math.pi * 0.12)


def usual_turning(speed_m_s: float) -> float:
    """How much of its roll and yaw the simulated walker shows at a speed."""
    return min(1.0, speed_m_s / 0.3) * (0.7 + 0.3 * min(1.0, speed_m_s))


def _body(form: Form) -> Iterator[Measured]:
    walks = form.walk
    ratios = {
        "body.sway": [w.pitch_deg / (3.0 * min(1.0, w.speed_m_s / 0.6)) for w in walks if w.pitch_deg],
        "body.step_rate": [w.steps_hz / (1.25 + 0.75 * min(w.speed_m_s, 1.5)) for w in walks if w.steps_hz],
        "body.bounce": [
            (w.bounce_m_s2 - _heels_m_s2(w.speed_m_s, w.steps_hz) / math.sqrt(2.0)) / usual_bounce_m_s2(w.speed_m_s)
            for w in walks
            if w.bounce_m_s2
        ],
        "body.roll": [w.roll_deg / (2.2 * usual_turning(w.speed_m_s)) for w in walks if w.roll_deg],
        "body.yaw": [w.yaw_deg / (3.0 * usual_turning(w.speed_m_s)) for w in walks if w.yaw_deg],
        "light.yaw_sway_deg": [w.yaw_deg for w in walks if w.yaw_deg and w.speed_m_s >= 0.6],
        "light.yaw_sway_hz": [w.steps_hz / 2.0 for w in walks if w.steps_hz and w.speed_m_s >= 0.6],
    }
    for name, values in ratios.items():
        if values:
            yield _one(name, stats.mean(values, METHOD), len(values), "walks")


def _still(form: Form) -> Iterator[Measured]:
    runs = [run for run in form.still if run.samples > 100]
    samples = 3 * sum(run.samples for run in runs)
    for name, values, scale in (
        ("accel_noise_m_s2", [run.accel_noise_m_s2 for run in runs if run.accel_noise_m_s2], 1.0),
        ("gyro_noise_rad_s", [run.gyro_noise_deg_s for run in runs if run.gyro_noise_deg_s], math.radians(1.0)),
    ):
        axes = [scale * value for run in values for value in run]
        if axes:
            low, high = stats.spread(1.0, samples)[1:]
            value = math.sqrt(fmean(axis**2 for axis in axes))
            yield _one(f"imu.{name}", (value, low * value, high * value), samples, "spread on a table")
    biases = [abs(value) for run in runs for value in run.gyro_bias_deg_s or ()]
    if biases:
        most, count = math.radians(max(biases)), len(biases)
        interval = (most * (count + 1.0) / count, most, most / 0.025 ** (1.0 / count))
        yield _one("imu.gyro_bias_rad_s", interval, count, "largest of the axes")
    rates = [run.rate_hz / run.nominal_hz - 1.0 for run in runs if run.rate_hz]
    if rates:
        value = fmean(rates)
        half = 3.0 / min(run.samples for run in runs)
        yield _one("imu.clock_error", (value, value - half, value + half), len(rates), "samples a second")


def text(found: Sequence[Measured], source: str) -> str:
    """The file of measured numbers: what `retrowalk demo --world` reads, and how each was measured."""
    lines = [
        "# Measured numbers of the simulated world (`retrowalk bench import`); what is not here stays an estimate.",
        f"# From {source}.",
    ]
    tables: dict[str, list[Measured]] = {}
    for one in found:
        tables.setdefault(one.parameter.rpartition(".")[0], []).append(one)
    for name, members in tables.items():
        lines += ["", f"[{name}]"]
        for one in members:
            lines.append(f"{one.parameter.rpartition('.')[2]} = {shown(one.value)}")
    for one in found:
        lines += ["", "[[measured]]", f"parameter = {shown(one.parameter)}", f"value = {shown(one.value)}"]
        if one.low is not None and one.high is not None:
            lines.append(f"interval = [{shown(one.low)}, {shown(one.high)}]")
        lines += [f"n = {one.n}", f"how = {shown(one.how)}", f"estimate = {shown(plain(one.estimate))}"]
    return "\n".join(lines) + "\n"


def why_it_stays(name: str) -> str:
    """Why no bench test measures a number; empty: one does."""
    return STAYS.get(name.replace("sealed_echo.", "echo.", 1), "")


def plain(value: Value) -> float | str | list[float]:
    """As a form writes it."""
    return list(value) if isinstance(value, tuple) else value


def shown(value: float | str | list[float], digits: int = 5) -> str:
    """As TOML writes it, to so many digits."""
    if isinstance(value, list):
        return f"[{', '.join(shown(number, digits) for number in value)}]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return repr(float(f"{value:.{digits}g}"))
