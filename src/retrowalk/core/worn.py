"""Is the clip worn?  Put on, taken off, laid down, carried; and whether a fall was only its being handled.

What tells a thing from a person is that a thing lies dead still.  A body breathes, sways and trembles: in quarters of a
second, the turning rate of 20 recorded people who sit, stand and lie (900 falls among them, told to lie still
afterwards) varies by 0.06 degrees/s at the very least over some seconds, and by 0.10 in the two seconds after a shock;
a chip on a table by its own noise, 0.01 (LSM6DSOX) to 0.034 (0.1 degrees/s a sample, as simulated).  Seen with the
gyroscope, because the same breath moves the accelerometer by less than its noise.

Taken off is what no trunk does: it turns by 220 degrees in 3 s without a step or a shock, hangs upside
down, is shaken at 4 Hz and more, falls freely for 0.3 s (recorded jumps have 0.20 s below a quarter of g, falls 0.13).
A clip that is taken off slowly is known by lying dead still.  One that is carried upright and quietly cannot be told
from one that is worn.
"""

from __future__ import annotations

import math
from collections import deque

from retrowalk.core.falls import tilt_deg
from retrowalk.core.posture import Vector
from retrowalk.core.slip import in_trunk

G_M_S2 = 9.80665
BLOCK_S = 0.25
"""Rates and accelerations are averaged over so long: breathing stays, the chip's noise goes."""
GAP_S = 0.1

DEAD_DEG_S = 0.045
"""Standard deviation of those means, of all three axes together, that only a thing stays below for `LYING_S`."""
LYING_S = 20.0
LYING_AFTER_SHOCK_S = 60.0
"""The same for somebody who has had a shock in the last ten minutes: the longer, the surer."""
SHOCK_G = 2.0
SHOCK_KEPT_S = 600.0
SOFT_G = 1.6
"""Of a soft fall, which turns a trunk as far as a hand turns the clip."""

TURNED_DEG = 220.0
TURNED_S = 3.0
"""No trunk turns so far in so short a time without a step or a shock: recorded people reach 198 degrees, 245 when they
get into a car."""
TURNED_TILT_DEG = 50.0
"""... and is then not upright: who dances on the spot is."""
NO_STEP_S = 4.0
INVERTED_DEG = 150.0
INVERTED_S = 1.0
"""Upside down for so long, at rest, and no shock for `AFTER_SHOCK_S` (who has fallen may lie at 142 degrees)."""
AFTER_SHOCK_S = 15.0
SHAKEN = 15
SHAKEN_S = 2.0
SHAKEN_G = 2.5
SHAKEN_APART_S = 0.08
"""So many shocks in so short a time: jogging and stairs have 12."""
FREE_G = 0.25
FREE_S = 0.3
"""A thing that is dropped by half a metre falls freely for so long."""
OFF_S = 3.0
"""Taken off is told when it has not been upright again for so long."""

LAY_S = 1.25
LAY_DEG = 55.0
LAY_FORWARD = 0.64
LAY_G = (0.75, 2.0)
"""What has been lying on its side or back, calmly, for so long before a shock was in a hand or in a bag: who falls is
upright, or bends forward, less than a second before."""

JUDGED_FROM_S = 1.0
JUDGED_S = 2.0
"""After a shock the stillness of a fall is judged over so long, from the first second on."""
STILL_DEG_S = 0.06
"""What is as still as this then lies on a table, unless it was walking or upright just before: whoever collapses may
lie as still as a thing, and must be asked after."""
STOOD_S = (1.0, 2.5)
"""Upright at any time so long before a shock: worn.  A body is on the ground within a second of standing."""
DROPPED_DEG_S = 0.09
"""What has fallen freely before need not be as still, and may have been walked with."""
FRESH_S = 6.0
"""A shock longer ago says nothing of what looks like a fall now."""
PERHAPS = 1.6
"""With so many times that much in what is seen so far, judging waits for the rest."""

PUT_ON_S = 2.0
UPRIGHT_DEG = 35.0
"""Upright within this, alive and calm for so long: it is worn."""
ALIVE_DEG_S = 0.08
CALM_DEG_S = 60.0
CARRIED_STEPS = 6
"""So many steps of a clip that is not worn: it is being carried."""


class Block:
    """A quarter of a second of the clip."""

    __slots__ = ("max_g", "rate_deg_s", "t_s", "turned_deg", "up")

    def __init__(self, t_s: float, up: Vector, rate_deg_s: Vector, turned_deg: float, max_g: float) -> None:
        self.t_s = t_s
        self.up = up
        self.rate_deg_s = rate_deg_s
        self.turned_deg = turned_deg
        self.max_g = max_g


class WornWatch:
    """Feeds on the samples of the clip; times are measured times, session seconds.

    `worn` is what is believed, `reason` why not: `taken_off`, `lying` or `carried`.
    """

    def __init__(self) -> None:
        self.worn = True
        self.reason = ""
        self._upright: Vector = (0.0, 0.0, 1.0)
        self._blocks: deque[Block] = deque(maxlen=int(LYING_AFTER_SHOCK_S / BLOCK_S) + 1)
        self._from_s = -math.inf
        self._last_s = self._blind_s = -math.inf
        self._sum = [0.0] * 6
        self._count = 0
        self._max2 = 0.0
        self._free_from_s: float | None = None
        self._free_s = -math.inf
        """When it last ended a free fall."""
        self._shock_s = -math.inf
        self._first_shock_s = -math.inf
        """Of the shocks that follow each other within a second, the first."""
        self._shocks: deque[float] = deque(maxlen=SHAKEN)
        self._step_s = -math.inf
        self._lay = False
        """Whether it was lying on its side or back for a while before that shock."""
        self._stepped_before_s = -math.inf
        """The last step before that shock."""
        self._stood = False
        """Whether it was upright shortly before that shock."""
        self._steps = 0
        self._off_s: float | None = None
        """Since when it is certainly not worn."""
        self._upright_blocks = 0
        self._inverted_blocks = 0

    def update(
        self,
        t_s: float,
        accel: Vector,
        gyro: Vector,
        upright: Vector | None,
        *,
        stepped: bool,
        repeats: bool,
        may_leave: bool,
    ) -> bool:
        """Feeds one sample (m/s2, rad/s); returns whether `worn` or `reason` has just changed.

        `upright`: the wearer's own, None while unknown.  `repeats`: the clip hangs, and tells nothing.
        `may_leave`: not while a fall may have happened in the last ten minutes.
        """
        if stepped:
            self._step_s = t_s
            self._steps += 1
        if repeats or not 0.0 < t_s - self._last_s < GAP_S:
            self._begin(t_s)
            self._blocks.clear()
            self._free_from_s = None
            self._last_s = self._blind_s = t_s
            return False
        self._last_s = t_s
        total = self._sum
        ax, ay, az = accel
        total[0] += ax
        total[1] += ay
        total[2] += az
        total[3] += gyro[0]
        total[4] += gyro[1]
        total[5] += gyro[2]
        self._count += 1
        size2 = ax * ax + ay * ay + az * az
        if size2 > self._max2:
            self._max2 = size2
        if size2 < _FREE2:
            if self._free_from_s is None:
                self._free_from_s = t_s
        else:
            if self._free_from_s is not None:
                if t_s - self._free_from_s >= FREE_S:
                    self._free_s = t_s
                self._free_from_s = None
            if size2 > _SHOCK2:
                self._shock(t_s, size2)
        if t_s - self._from_s < BLOCK_S:
            return False
        self._close(t_s)
        return self._judge(t_s, upright, may_leave)

    def handled(self, now_s: float) -> bool:
        """Whether what looks like a fall at `now_s` (measured time) is the clip being handled."""
        if not self.worn or self._off_s is not None:
            return True
        return now_s - self._shock_s <= FRESH_S and (self._lay or self._lies_dead() is True)

    def undecided(self, now_s: float) -> bool:
        """Whether `handled` may still come to be true of a shock of the last seconds: a question waits for it.

        For at most 3.3 s after the last shock, and only where the clip is all but dead still already.
        """
        if self.handled(now_s) or now_s - self._shock_s > JUDGED_FROM_S + JUDGED_S + 1.2 * BLOCK_S:
            return False
        return self._lies_dead() is None

    def rest(self) -> None:
        """It was not worn when an earlier life ended."""
        self.worn, self.reason = False, "lying"

    # -- evidence -------------------------------------------------------------------------------------------

    def _shock(self, t_s: float, size2: float) -> None:
        if t_s - self._shock_s > 1.0:
            self._first_shock_s = t_s
            # Who has lain there since the shock before is knocked, or rolls: what counts is how they came to lie.
            if not self._has_lain(t_s):
                self._stepped_before_s = self._step_s
                self._lay = self._lies_before()
                self._stood = self._stands_before(t_s)
        if size2 > _SHAKEN2:
            if not self._shocks or t_s - self._shocks[-1] >= SHAKEN_APART_S:
                self._shocks.append(t_s)
        self._shock_s = t_s

    def _has_lain(self, t_s: float) -> bool:
        """Whether it has been lying ever since the shock before, which was not long ago."""
        if t_s - self._shock_s > FRESH_S:
            return False
        since = [block for block in self._latest(FRESH_S) if block.t_s - BLOCK_S > self._shock_s + JUDGED_FROM_S]
        return all(tilt_deg(block.up, self._upright) > LAY_DEG for block in since)

    def _lies_before(self) -> bool:
        blocks = self._latest(LAY_S)
        up = self._upright
        if len(blocks) < int(LAY_S / BLOCK_S):
            return False
        for block in blocks:
            x, y, z = block.up
            size = math.sqrt(x * x + y * y + z * z) / G_M_S2
            bends = -in_trunk(block.up, up)[0] > LAY_FORWARD * size * G_M_S2
            lies = tilt_deg(block.up, up) > LAY_DEG and not bends
            if not lies or not LAY_G[0] < size or block.max_g > LAY_G[1]:
                return False
        return True

    def _stands_before(self, t_s: float) -> bool:
        latest_s, from_s = t_s - STOOD_S[0], t_s - STOOD_S[1]
        return any(
            from_s <= block.t_s <= latest_s and tilt_deg(block.up, self._upright) < UPRIGHT_DEG
            for block in self._latest(STOOD_S[1] + BLOCK_S)
        )

    def _lies_dead(self) -> bool | None:
        """Whether it lay as dead as a thing after the last shock; None: it may, and not enough has been seen."""
        from_s = self._shock_s + JUDGED_FROM_S
        blocks = [block for block in self._blocks if block.t_s - BLOCK_S >= from_s]
        if not self._may_be_thing() or self._blind_s > self._shock_s:
            return False
        blocks = blocks[: int(JUDGED_S / BLOCK_S)]
        limit = DROPPED_DEG_S if self._dropped else STILL_DEG_S
        if len(blocks) < int(JUDGED_S / BLOCK_S):
            return None if len(blocks) < 3 or spread_deg_s(blocks) < PERHAPS * limit else False
        return spread_deg_s(blocks) < limit

    @property
    def _dropped(self) -> bool:
        return 0.0 <= self._first_shock_s - self._free_s < 1.0

    def _may_be_thing(self) -> bool:
        """Whether the last shock may have been that of a thing: not of somebody who was walking or standing."""
        stepped = self._first_shock_s - self._stepped_before_s <= NO_STEP_S
        return self._dropped or not (stepped or self._stood)

    def _close(self, t_s: float) -> None:
        total, count = self._sum, self._count
        rate = (
            math.degrees(total[3] / count),
            math.degrees(total[4] / count),
            math.degrees(total[5] / count),
        )
        turned_deg = math.sqrt(rate[0] ** 2 + rate[1] ** 2 + rate[2] ** 2) * (t_s - self._from_s)
        up = (total[0] / count, total[1] / count, total[2] / count)
        self._blocks.append(Block(t_s, up, rate, turned_deg, math.sqrt(self._max2) / G_M_S2))
        self._begin(t_s)

    def _begin(self, t_s: float) -> None:
        self._sum = [0.0] * 6
        self._count = 0
        self._max2 = 0.0
        self._from_s = t_s

    # -- what follows ---------------------------------------------------------------------------------------

    def _judge(self, t_s: float, upright: Vector | None, may_leave: bool) -> bool:
        block = self._blocks[-1]
        if upright is not None:
            self._upright = upright
        # A clip that is put on anew need not sit as it did.
        worn_up = upright if self.worn and upright is not None else (0.0, 0.0, 1.0)
        tilt = tilt_deg(block.up, worn_up)
        self._follow_upright(block, tilt)
        if self._off_s is None and self._taken(t_s, block, tilt):
            self._off_s = t_s
            self._upright_blocks = 0
        dead = self._dead(t_s)
        if not self.worn:
            return self._not_worn(t_s, dead)
        if not may_leave:
            return False
        if dead:
            return self._leave("lying")
        if self._off_s is not None and t_s - self._off_s >= OFF_S:
            return self._leave("taken_off")
        return False

    def _follow_upright(self, block: Block, tilt: float) -> None:
        x, y, z = block.rate_deg_s
        calm = x * x + y * y + z * z < CALM_DEG_S * CALM_DEG_S and block.max_g < SHOCK_G
        self._upright_blocks = self._upright_blocks + 1 if calm and tilt < UPRIGHT_DEG else 0
        if self._upright_blocks * BLOCK_S >= PUT_ON_S and spread_deg_s(self._latest(PUT_ON_S)) > ALIVE_DEG_S:
            self._off_s = None

    def _taken(self, t_s: float, block: Block, tilt: float) -> bool:
        """Whether it has just done what no trunk does."""
        x, y, z = block.up
        at_rest = 0.85 < math.sqrt(x * x + y * y + z * z) / G_M_S2 < 1.15 and block.max_g < 1.5
        self._inverted_blocks = self._inverted_blocks + 1 if at_rest and tilt > INVERTED_DEG else 0
        if self._inverted_blocks * BLOCK_S >= INVERTED_S and t_s - self._shock_s > AFTER_SHOCK_S:
            return True
        if len(self._shocks) == SHAKEN and t_s - self._shocks[0] <= SHAKEN_S + BLOCK_S:
            if self._shocks[-1] - self._shocks[0] <= SHAKEN_S:
                return True
        if tilt < TURNED_TILT_DEG or t_s - self._step_s < NO_STEP_S:
            return False
        latest = self._latest(TURNED_S)
        return sum(b.turned_deg for b in latest) >= TURNED_DEG and max(b.max_g for b in latest) < SOFT_G

    def _dead(self, t_s: float) -> bool:
        """Whether it has been dead still for as long as no body is."""
        shaken = t_s - self._shock_s < SHOCK_KEPT_S and self._off_s is None and self.worn
        seconds = LYING_AFTER_SHOCK_S if shaken else LYING_S
        # The newest tell most often that it is not: the rest need not be looked at.
        if len(self._blocks) < int(seconds / BLOCK_S) or spread_deg_s(self._latest(PUT_ON_S)) > 2.0 * DEAD_DEG_S:
            return False
        return spread_deg_s(self._latest(seconds)) < DEAD_DEG_S

    def _not_worn(self, t_s: float, dead: bool) -> bool:
        if self._off_s is None and self._upright_blocks * BLOCK_S >= PUT_ON_S:
            if spread_deg_s(self._latest(PUT_ON_S)) > ALIVE_DEG_S:
                self.worn, self.reason = True, ""
                self._shocks.clear()
                return True
        if dead:
            return self._leave("lying")
        if self._steps >= CARRIED_STEPS and self._blocks[-1].t_s - self._step_s < 1.0:
            return self._leave("carried")
        return False

    def _leave(self, reason: str) -> bool:
        if not self.worn and reason == self.reason:
            return False
        self.worn, self.reason = False, reason
        self._steps = 0
        return True

    def _latest(self, seconds: float) -> list[Block]:
        count = int(seconds / BLOCK_S)
        blocks = self._blocks
        return [blocks[i] for i in range(max(0, len(blocks) - count), len(blocks))]


def spread_deg_s(blocks: list[Block]) -> float:
    """Standard deviation of the mean rates, the three axes together; infinite for less than two."""
    n = len(blocks)
    if n < 2:
        return math.inf
    total = 0.0
    for axis in (0, 1, 2):
        mean = sum(block.rate_deg_s[axis] for block in blocks) / n
        total += sum((block.rate_deg_s[axis] - mean) ** 2 for block in blocks)
    return math.sqrt(total / (n - 1))


_FREE2 = (FREE_G * G_M_S2) ** 2
_SHOCK2 = (SHOCK_G * G_M_S2) ** 2
_SHAKEN2 = (SHAKEN_G * G_M_S2) ** 2
