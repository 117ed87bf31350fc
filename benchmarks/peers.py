"""What people build or buy today, as fast models in virtual time, each on the same simulated HC-SR04.

A peer pings the echo model that our own driver's module has, drawn from the same streams, and answers one question:
when is a sound understood that makes the walker stop?  What is assumed of each, always in its favour:

`tutorial`: gpiozero's `DistanceSensor` as it behaves (a ping 60 ms after the last was done, median of nine, "nothing"
    counted as `max_distance`, no pulse dropped, 343.26 m/s), `when_in_range`, and pyttsx3 on the spot.  It runs on a
    machine of its own as fast as the one the speech was measured on (the engine starts in 22 to 60 ms, the first sound
    comes 20 ms after, 38 ms at p95); it says "Stop", in the clip that our own voice says, and nothing else before it.
    It has been running and its queue is full when the walk begins.  `threshold_m` and `max_m` are `threshold_distance`
    and `max_distance`: 0.3 and 1 m as shipped; `tutorial 1.0 m` has 1.0 and 4 m.
`parking beeper`: a parking aid on a belt: a ping every 60 ms, median of three, bands from 1.5 m (first beep) by 1.0,
    0.7 to 0.3 m (continuous), silent again after 3 s at one distance.  Its user stops at the beat that says "arm's
    length", 0.7 m, once one whole beat of it has been heard (0.12 s): who waited for the continuous tone, as drivers
    do, would have the obstacle at the foot already.  `parking beeper first beep` has a user who stops at the first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from retrowalk.sim.noise import EchoModel, stream
from retrowalk.sim.pins import DELIVERY_S, RISE_AFTER_S
from retrowalk.sim.world import World

NO_TARGET_S = 0.038
TRIGGER_S = 10e-6
PING_GAP_S = 0.060
NO_ECHO_S = 0.1

GPIOZERO_M_S = 343.26
ENGINE_S = (0.022, 0.060)
"""Import and start of pyttsx3's engine."""
ONSET_MEDIAN_S, ONSET_SIGMA = 0.0204, 0.375
"""From `say` to the first sound: 20.4 ms, 37.8 ms at p95."""
SAYS_FOR_S = 0.764
"""`runAndWait` blocks for so long for one word."""
FILL_S = 1.0

BANDS_M = (1.5, 1.0, 0.7, 0.3)
BEAT_S = (0.6, 0.3, 0.12, 0.0)
BEEPER_SOUND_S = 0.02
BEEPER_QUIET_S = 3.0


class Module:
    """The HC-SR04 at a pin, as `sim.pins.HcSr04Twin` answers: what a driver sees of a ping."""

    def __init__(self, world: World, *, no_target: float | None = NO_TARGET_S):
        self._world = world
        self._model = EchoModel(world.seed, "rear", world.estimates.echo)
        self._deliveries = stream(world.seed, "rear.module")
        self._no_target = no_target
        self._stamped_s = self._delivered_s = -math.inf

    def ping(self, t_s: float) -> tuple[float | None, float]:
        """A trigger that ends at `t_s`: the width of the pulse by its stamps, and when its end is told.

        Without a pulse None, and `t_s`.
        """
        echo = self._model.ping(t_s, self._world.scene(t_s))
        width_s = echo.flight_s if echo.flight_s is not None else self._no_target
        if width_s is None:
            return None, t_s
        rise_s = t_s + RISE_AFTER_S
        risen_s, _ = self._edge(rise_s, rise_s + echo.rise_late_s)
        fallen_s, told_s = self._edge(rise_s + width_s, rise_s + width_s + echo.fall_late_s)
        return fallen_s - risen_s, told_s

    def _edge(self, at_s: float, stamp_s: float) -> tuple[float, float]:
        stamp_s = self._stamped_s = max(stamp_s, self._stamped_s + 1e-6)
        told_s = max(at_s, stamp_s) + self._deliveries.uniform(*DELIVERY_S)
        self._delivered_s = max(told_s, self._delivered_s)
        return stamp_s, self._delivered_s


class DistanceSensor:
    """gpiozero's, of `queue_len` 9: `sample()` takes the next reading; `value` is the median, None until it is full."""

    def __init__(self, module: Module, now: float, *, max_m: float = 1.0, queue_len: int = 9):
        self._module = module
        self._max_m = max_m
        self._queue: deque[float] = deque(maxlen=queue_len)
        self.next_s = now + PING_GAP_S
        """When it pings next."""

    def sample(self) -> float:
        """Pings; returns when the reading has been taken in."""
        sent_s = self.next_s + TRIGGER_S
        width_s, told_s = self._module.ping(sent_s)
        if width_s is None:
            told_s = sent_s + NO_ECHO_S
        else:
            self._queue.append(min(1.0, width_s * GPIOZERO_M_S / 2.0 / self._max_m))
        self.next_s = told_s + PING_GAP_S
        return told_s

    @property
    def value(self) -> float | None:
        """Share of `max_distance`."""
        return median(self._queue) if len(self._queue) == self._queue.maxlen else None


@dataclass(frozen=True)
class Cue:
    """A sound that makes the walker stop: when it was decided, begins, and is understood."""

    decided_s: float
    sound_s: float
    understood_s: float


class Tutorial:
    """`when_in_range` says "Stop"."""

    def __init__(self, world: World, word_s: float, *, threshold_m: float, max_m: float) -> None:
        self._sensor = DistanceSensor(Module(world), 0.0, max_m=max_m)
        self._threshold = threshold_m / max_m
        self._word_s = word_s
        self._speech = stream(world.seed, "tutorial.speech")
        self._far: bool | None = None
        self._free_s = 0.0

    def run_until(self, t_s: float) -> list[Cue]:
        """What is said because of pings up to `t_s`."""
        cues = []
        while self._sensor.next_s < t_s:
            told_s = self._sensor.sample()
            value = self._sensor.value
            if value is None:
                continue
            far = value > self._threshold
            if self._far and not far:
                engine_s = self._speech.uniform(*ENGINE_S)
                onset_s = self._speech.lognormvariate(math.log(ONSET_MEDIAN_S), ONSET_SIGMA)
                sound_s = max(told_s, self._free_s) + engine_s + onset_s
                self._free_s = sound_s + SAYS_FOR_S
                # The handler runs in the sampling thread: no ping while it speaks.
                self._sensor.next_s = max(self._sensor.next_s, self._free_s + PING_GAP_S)
                cues.append(Cue(told_s, sound_s, sound_s + self._word_s))
            self._far = far
        return cues


class ParkingBeeper:
    """Beeps by bands; its user stops at the band `stops_at` (0: the first)."""

    def __init__(self, world: World, *, stops_at: int) -> None:
        self._module = Module(world)
        self._stops_at = stops_at
        self._ranges: deque[float] = deque(maxlen=3)
        self._next_s = PING_GAP_S
        self._since: tuple[float, float] | None = None
        self._in = False

    def run_until(self, t_s: float) -> list[Cue]:
        """Cues by pings up to `t_s`."""
        cues = []
        while self._next_s < t_s:
            width_s, told_s = self._module.ping(self._next_s)
            self._next_s = told_s + PING_GAP_S
            self._ranges.append(width_s * GPIOZERO_M_S / 2.0 if width_s is not None else math.inf)
            if len(self._ranges) < 3:
                continue
            range_m = median(self._ranges)
            if self._since is None or abs(range_m - self._since[1]) > 0.05:
                self._since = (told_s, range_m)
            quiet = told_s - self._since[0] > BEEPER_QUIET_S
            inside = range_m <= BANDS_M[self._stops_at] and not quiet
            if inside and not self._in:
                sound_s = told_s + BEEPER_SOUND_S
                beat_s = 0.0 if self._stops_at == 0 else BEAT_S[self._stops_at]
                cues.append(Cue(told_s, sound_s, sound_s + beat_s + 0.05))
            self._in = inside
        return cues


Peer = Tutorial | ParkingBeeper
Build = Callable[[World, float], Peer]

PEERS: dict[str, Build] = {
    "tutorial": lambda world, word_s: Tutorial(world, word_s, threshold_m=0.3, max_m=1.0),
    "tutorial 1.0 m": lambda world, word_s: Tutorial(world, word_s, threshold_m=1.0, max_m=4.0),
    "parking beeper": lambda world, word_s: ParkingBeeper(world, stops_at=2),
    "parking beeper first beep": lambda world, word_s: ParkingBeeper(world, stops_at=0),
}
"""Builders by name: (world, time after which the word is understood)."""
