"""Synthetic items for the tests of the core: people who walk, fall and stand, walls that near, and a street to run in.

Every generator is seeded and knows its truth.  Body axes are forward, left, up; times are session seconds.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retrowalk.config import Config, HcSr04
from retrowalk.core.companion import Companion
from retrowalk.core.events import Event, Output, Speak, Touch
from retrowalk.core.samples import (
    ButtonEdge,
    CourierHeartbeat,
    ImuSample,
    Item,
    RangeSample,
    RangeStatus,
    Tick,
    VoiceHeartbeat,
    VoicePhase,
    VoiceProgress,
)

ONE_SENSOR = Config(range_sensor=(HcSr04(),))
"""One rear sensor: what is tested of one is not blurred by another."""

G = 9.80665
IMU_HZ = 104.0
RANGE_HZ = 15.0

Array = npt.NDArray[np.float64]

# ------------------------------------------------------------------------------------------------- motion


@dataclass(frozen=True)
class Motion:
    """What a clip would read, row by row, and the truth behind it."""

    t_s: Array
    accel_m_s2: Array
    gyro_rad_s: Array
    pitch_deg: Array
    """True trunk pitch, forward positive."""
    step_times_s: Array

    def samples(self) -> Iterator[ImuSample]:
        """The rows as items, received when measured."""
        for t, a, w in zip(self.t_s.tolist(), self.accel_m_s2.tolist(), self.gyro_rad_s.tolist(), strict=True):
            yield ImuSample(t, t, (a[0], a[1], a[2]), (w[0], w[1], w[2]))

    def shifted(self, by_s: float) -> Motion:
        """The same, later."""
        return Motion(self.t_s + by_s, self.accel_m_s2, self.gyro_rad_s, self.pitch_deg, self.step_times_s + by_s)


def rotation(pitch_deg: float = 0.0, roll_deg: float = 0.0, yaw_deg: float = 0.0) -> Array:
    """Body to world: yaw about up, pitch about left (forward lean positive), roll about forward (right positive)."""
    y, p, r = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_z = np.array([[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    return np.asarray(about_z @ about_y @ about_x)


def motion(
    t_s: Array,
    pitch_deg: Array,
    roll_deg: Array,
    yaw_deg: Array,
    accel_world_m_s2: Array,
    *,
    bias_deg_s: Sequence[float] = (0.0, 0.0, 0.0),
    clip: Array | None = None,
    noise: np.random.Generator | None = None,
    step_times_s: Array | None = None,
) -> Motion:
    """Readings of a clip whose trunk has these angles and this acceleration (world axes that turn with yaw).

    `clip` turns trunk axes into the clip's (a crooked clip).  Rates come from the angles exactly as a rigid body has
    them, so that integrating them gives the angles back.
    """
    p, r, y = np.radians(pitch_deg), np.radians(roll_deg), np.radians(yaw_deg)
    dt = float(t_s[1] - t_s[0])
    dp, dr, dy = (np.gradient(angle, dt) for angle in (p, r, y))
    sp, cp, sr, cr = np.sin(p), np.cos(p), np.sin(r), np.cos(r)
    gyro = np.stack([dr - dy * sp, dp * cr + dy * cp * sr, -dp * sr + dy * cp * cr], axis=1)
    # World to body without yaw: accelerations are given along the heading already.
    ax, ay, az = accel_world_m_s2[:, 0], accel_world_m_s2[:, 1], accel_world_m_s2[:, 2] + G
    fx, fz = cp * ax - sp * az, sp * ax + cp * az
    accel = np.stack([fx, cr * ay + sr * fz, -sr * ay + cr * fz], axis=1)
    if clip is not None:
        accel, gyro = accel @ clip.T, gyro @ clip.T
    gyro = gyro + np.radians(np.asarray(bias_deg_s))
    if noise is not None:
        accel = accel + noise.normal(0.0, 0.03, accel.shape)
        gyro = gyro + noise.normal(0.0, math.radians(0.1), gyro.shape)
    steps = np.array([]) if step_times_s is None else step_times_s
    return Motion(t_s, accel, gyro, pitch_deg, steps)


def _sway(rng: np.random.Generator, t: Array, amplitude: float) -> Array:
    """Slow wandering of a standing person: a few sines between 0.05 and 0.5 Hz."""
    total = np.zeros_like(t)
    for hz in (0.07, 0.13, 0.29, 0.47):
        total += rng.uniform(0.4, 1.0) * np.sin(2 * np.pi * hz * t + rng.uniform(0, 2 * np.pi)) / 2.0
    return amplitude * total


def _smooth(t: Array, on: Array, tau_s: float = 0.4) -> Array:
    width = max(1, int(tau_s / float(t[1] - t[0])))
    kernel = np.hanning(2 * width + 1)
    return np.asarray(np.convolve(on, kernel / kernel.sum(), mode="same"))


def walking(
    seconds: float,
    *,
    step_hz: float = 1.7,
    seed: int = 1,
    bias_deg_s: Sequence[float] = (0.0, 0.0, 0.0),
    clip: Array | None = None,
    lean_deg: float = 0.0,
    bouts: Sequence[tuple[float, float]] | None = None,
    turns: bool = True,
    vertical_m_s2: float = 1.8,
    hz: float = IMU_HZ,
) -> Motion:
    """A person who walks in `bouts` (start and end; default: stands 5 s, then walks with a pause every 40 s).

    1.7 Hz steps, heel strikes that ring at 18 Hz, trunk pitch and roll in step rhythm, starts and stops that rock
    the trunk, half turns, and slow sway all the time.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(0.0, seconds, 1.0 / hz)
    if bouts is None:
        bouts = [(start, min(start + 32.0, seconds - 2.0)) for start in np.arange(5.0, seconds - 10.0, 40.0)]
    on = np.zeros_like(t)
    steps: list[float] = []
    phase = np.zeros_like(t)
    for start, end in bouts:
        rows = (t >= start) & (t < end)
        on[rows] = 1.0
        phase[rows] = 2 * np.pi * step_hz * (t[rows] - start)
        steps.extend(np.arange(start + 0.25 / step_hz, end, 1.0 / step_hz).tolist())
    envelope = _smooth(t, on)
    speed_change = np.gradient(envelope, 1.0 / hz)
    vertical = envelope * vertical_m_s2 * np.sin(phase) + envelope * 0.35 * vertical_m_s2 * np.sin(2 * phase + 0.6)
    ringing = np.zeros_like(t)
    for step in steps:
        first = int(step * hz)
        n = min(len(t) - first, int(0.25 * hz))
        if n > 0:
            late = np.arange(n) / hz
            ringing[first : first + n] += rng.uniform(2.0, 5.0) * np.exp(-late / 0.04) * np.sin(2 * np.pi * 18 * late)
    forward = envelope * 1.2 * np.cos(phase) - 0.7 * speed_change + 0.3 * ringing
    left = envelope * 0.9 * np.sin(phase / 2.0)
    pitch = lean_deg + _sway(rng, t, 0.8) + envelope * 2.5 * np.sin(phase + 1.0) - 3.0 * speed_change
    roll = _sway(rng, t, 0.6) + envelope * 3.0 * np.sin(phase / 2.0 + 0.4)
    yaw = envelope * 4.0 * np.sin(phase / 2.0)
    if turns:
        for start, end in bouts:
            yaw += 180.0 / (1.0 + np.exp(-np.clip((t - 0.5 * (start + end)) * 3.0, -50, 50)))
    world = np.stack([forward, left, vertical + ringing], axis=1)
    return motion(t, pitch, roll, yaw, world, bias_deg_s=bias_deg_s, clip=clip, noise=rng, step_times_s=np.array(steps))


def standing(seconds: float, *, seed: int = 1, bias_deg_s: Sequence[float] = (0.0, 0.0, 0.0)) -> Motion:
    """A person who stands and sways (up to about 1 degree/s)."""
    return walking(seconds, seed=seed, bias_deg_s=bias_deg_s, bouts=(), turns=False)


def upright(seconds: float, start_s: float = 0.0) -> Iterator[ImuSample]:
    """A clip on a stand: for tests in which motion does not matter."""
    for i in range(int(seconds * IMU_HZ)):
        t = start_s + i / IMU_HZ
        yield ImuSample(t, t, (0.0, 0.0, G), (0.0, 0.0, 0.0))


def posed(seconds: float, start_s: float, up: tuple[float, float, float]) -> Iterator[ImuSample]:
    """Lying or standing without a move: `up` is a unit vector in body axes."""
    for i in range(int(seconds * IMU_HZ)):
        t = start_s + i / IMU_HZ
        yield ImuSample(t, t, (G * up[0], G * up[1], G * up[2]), (0.0, 0.0, 0.0))


LYING_ON_BACK = (1.0, 0.0, 0.0)
"""Up in body axes of a person who lies on the back: the front looks up."""


def fall(start_s: float, *, impact_g: float = 4.0, lying_s: float = 5.0) -> list[ImuSample]:
    """Tips over backward in 0.6 s, hits the ground, lies still."""
    items: list[ImuSample] = []
    n = int(0.6 * IMU_HZ)
    for i in range(n):
        t = start_s + i / IMU_HZ
        part = (i / n) ** 2
        angle = math.radians(90.0 * part)
        rate = -math.radians(90.0) * 2.0 * (i / n) / 0.6
        size = G * (1.0 - 0.6 * part)
        items.append(ImuSample(t, t, (size * math.sin(angle), 0.0, size * math.cos(angle)), (0.0, rate, 0.0)))
    t = start_s + n / IMU_HZ
    items.extend(ImuSample(t + i / IMU_HZ, t + i / IMU_HZ, (impact_g * G, 0.0, 2.0), (0.0, 1.0, 0.0)) for i in range(4))
    items.extend(posed(lying_s, t + 4 / IMU_HZ, LYING_ON_BACK))
    return items


# ------------------------------------------------------------------------------------------------- ranges


def ranges(
    profile: Iterable[tuple[float, float | None]],
    *,
    sensor: str = "rear",
    latency_s: float = 0.03,
    sigma_m: float = 0.0,
    outliers: float = 0.0,
    dropouts: float = 0.0,
    rng: random.Random | None = None,
) -> Iterator[RangeSample]:
    """Range samples along (time, true range); None: no target."""
    for t, true_m in profile:
        status, range_m = RangeStatus.VALID, true_m
        if true_m is None:
            status = RangeStatus.NO_TARGET
        elif rng is not None:
            luck = rng.random()
            if luck < dropouts:
                status, range_m = RangeStatus.NO_TARGET, None
            elif luck < dropouts + outliers:
                range_m = 4.0 if rng.random() < 1.0 / 3.0 else rng.uniform(0.05, 4.0)
            else:
                range_m = max(0.03, true_m + rng.gauss(0.0, sigma_m))
        yield RangeSample(t + latency_s, t, sensor, status, range_m)


def times(start_s: float, end_s: float, hz: float = RANGE_HZ) -> list[float]:
    """Sample times."""
    return [start_s + i / hz for i in range(max(0, round((end_s - start_s) * hz)))]


def approach(
    start_s: float, from_m: float, speed_m_s: float, until_m: float = 0.1, hz: float = RANGE_HZ
) -> list[tuple[float, float | None]]:
    """A wall that nears at a steady speed."""
    seconds = (from_m - until_m) / speed_m_s
    return [(t, from_m - speed_m_s * (t - start_s)) for t in times(start_s, start_s + seconds, hz)]


def steady(
    start_s: float, end_s: float, range_m: float | None, hz: float = RANGE_HZ
) -> list[tuple[float, float | None]]:
    """The same range (or nothing) for a while."""
    return [(t, range_m) for t in times(start_s, end_s, hz)]


# ------------------------------------------------------------------------------------------------- the street


def heartbeats(
    start_s: float, end_s: float, *, voice: bool = True, courier: bool = True, proof: str = "heard"
) -> Iterator[Item]:
    """Signs of life of the other two processes.

    `proof` is what a microphone says of the sound: as long as it hears the device, the check needs no press.
    """
    for i in range(int((end_s - start_s) * 10.0)):
        t = start_s + i * 0.1
        if voice:
            yield VoiceHeartbeat(t, "speaker", int(t * 48000), proof=proof)
        if courier and i % 10 == 0:
            yield CourierHeartbeat(t, connected=True, waiting=0, recording=True)


def merged(*streams: Iterable[Item]) -> list[Item]:
    """Streams in the order in which they are received."""
    return list(heapq.merge(*streams, key=lambda item: item.t_received_s))


def press(down_s: float, held_s: float = 0.15, latency_s: float = 0.0) -> list[Item]:
    """One press of the button."""
    up_s = down_s + held_s
    return [ButtonEdge(down_s + latency_s, down_s, True), ButtonEdge(up_s + latency_s, up_s, False)]


class Street:
    """A Companion, fed as the guard feeds it: items in order, and a tick at each deadline.

    `voice` answers requests as the real one does: higher rank cuts, equal or lower waits until its deadline, the
    newest of a rank replaces what waits; words last `words_s`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        voice: bool = False,
        words_s: float = 0.7,
        ticks: bool = True,
        companion: Companion | None = None,
    ) -> None:
        self.companion = companion or Companion(config or ONE_SENSOR)
        self.outputs: list[Output] = []
        self.heard: list[tuple[float, Speak]] = []
        """What began to sound, and when."""
        self._voice = voice
        self._words_s = words_s
        self._ticks = ticks
        self._sounding: Speak | None = None
        self._waiting: list[Speak] = []
        self._answers: list[VoiceProgress] = []
        self.now = -math.inf

    def run(self, items: Iterable[Item], until_s: float | None = None) -> Street:
        """Feeds `items`; then lets time pass until `until_s`."""
        for item in items:
            self._pass(item.t_received_s)
            self._feed(item)
        if until_s is not None:
            self._pass(until_s)
            self._feed(Tick(until_s))
        return self

    def events(self, kind: str = "") -> list[Any]:
        """The events so far, of one dotted type."""
        return [o for o in self.outputs if isinstance(o, Event) and kind in ("", o.type)]

    def spoken(self, phrase: str | None = None) -> list[Speak]:
        """The requests to speak so far."""
        return [o for o in self.outputs if isinstance(o, Speak) and phrase in (None, o.phrase)]

    def touches(self) -> list[Touch]:
        """The requests to touch so far."""
        return [o for o in self.outputs if isinstance(o, Touch)]

    def first(self, kind: str, **fields: object) -> Any:
        """The first event of a type with these fields."""
        for event in self.events(kind):
            if all(getattr(event, name) == value for name, value in fields.items()):
                return event
        return None

    def _pass(self, until_s: float) -> None:
        while True:
            due = self.companion.deadline() if self._ticks else None
            times_s = [until_s]
            if due is not None and self.now > -math.inf:
                times_s.append(max(due, self.now))
            if self._answers:
                times_s.append(self._answers[0].t_received_s)
            now = min(times_s)
            if now >= until_s:
                return
            if self._answers and self._answers[0].t_received_s <= now:
                self._feed(self._answers.pop(0))
            else:
                self._feed(Tick(now))

    def _feed(self, item: Item) -> None:
        self.now = item.t_received_s
        outputs = self.companion.feed(item)
        self.outputs.extend(outputs)
        if self._voice:
            if isinstance(item, VoiceProgress) and item.phase is VoicePhase.FINISHED:
                self._next()
            for output in outputs:
                if isinstance(output, Speak):
                    self._sound(output)

    def _sound(self, speak: Speak) -> None:
        if self._sounding is not None:
            if speak.rank <= self._sounding.rank:
                for other in [w for w in self._waiting if w.rank <= speak.rank]:
                    self._waiting.remove(other)
                    self._answer(self.now, other, VoicePhase.EXPIRED)
                self._waiting.append(speak)
                return
            cut = self._sounding
            self._answers = [a for a in self._answers if a.alert != cut.alert]
            self._answer(self.now, cut, VoicePhase.CUT)
        self._begin(speak)

    def _begin(self, speak: Speak) -> None:
        self._sounding = speak
        self.heard.append((self.now, speak))
        self._answer(self.now + 0.02, speak, VoicePhase.STARTED)
        self._answer(self.now + (self._words_s if speak.phrase else 0.2), speak, VoicePhase.FINISHED)

    def _next(self) -> None:
        self._sounding = None
        for late in [w for w in self._waiting if w.deadline_s < self.now]:
            self._waiting.remove(late)
            self._answer(self.now, late, VoicePhase.EXPIRED)
        if self._waiting:
            self._waiting.sort(key=lambda speak: -speak.rank)
            self._begin(self._waiting.pop(0))

    def _answer(self, at_s: float, speak: Speak, phase: VoicePhase) -> None:
        self._answers.append(VoiceProgress(at_s, at_s, speak.alert, phase, speak.phrase))
        self._answers.sort(key=lambda answer: answer.t_received_s)


def settled(config: Config | None = None, *, seconds: float = 6.0) -> list[Item]:
    """The first seconds of a session in which the check is passed: stands, a hand behind and gone; then guarding.

    A microphone hears the device, so no press is needed.  Ends at `seconds`; sensors and processes have been heard up
    to then.
    """
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, seconds, None)]
    return merged(ranges(hand, latency_s=0.0), upright(seconds), heartbeats(0.0, seconds))
