"""Whose ping it is: the ultrasonic sensors of one device take turns, because each hears the echoes of every other.

An echo field takes about 60 ms to die.  Two modules that ping together, or 12 ms apart as under gpiozero's lock, take
each other's echoes for their own and read metres too near.  So no ping of a device follows another within 60 ms.
"""

from __future__ import annotations

import math

PING_PERIOD_S = 0.060
"""A far wall's echo can return after 38 ms; the next ping waits at least this long for the room to fall silent."""

# Two walkers' modules hear each other.  Were both periods equal, a false near echo would stand still and look like a
# wall.  Powers of 2 modulo 13 are a Welch-Costas sequence: whatever the shift of one walker's against the other's, no
# difference comes twice, so a false echo jumps and the tracker's gate rejects it.  0 to 10 ms on top of the period.
JITTER_S = tuple((pow(2, i, 13) - 1) * 0.010 / 11 for i in range(12))

YIELD_S = 0.005
"""A sensor whose turn it is may ping so much later than the next one could before that does in its place.  Shorter than
the slack of the thread that polls them, so that yielding costs no waking up."""


class Turns:
    """Takes turns among sensors that have a name each.  Times are session seconds.

    Who asks is told when; who may ping now says so with `began`.  Who does not ask has no turn: a sensor that is stuck,
    absent or slow holds nobody up, and one alone pings every 60 to 70 ms.  Of several that ask it is the one's that
    pinged longest ago.  Its users share one thread (`Step.shares`), so there is no lock.
    """

    def __init__(self, origin_mono_s: float) -> None:
        self._free_s = -math.inf
        """When the room is silent again."""
        # Where in the sequence a device begins must differ between devices that were switched on together.
        self._jitter = int(origin_mono_s * 1e3)
        self._asking: set[str] = set()
        self._began_s: dict[str, float] = {}
        self._yields_until_s: dict[str, float] = {}

    def due_s(self, name: str, now: float) -> float:
        """When `name` may ping: not after `now` means now.  It keeps asking until it has begun, or leaves."""
        self._asking.add(name)
        if now < self._free_s:
            return self._free_s
        mine_s = self._began_s.get(name, -math.inf)
        if all(other == name or self._began_s.get(other, -math.inf) >= mine_s for other in self._asking):
            return now
        # Counted from when it could have begun: on a busy processor all are late alike.
        return self._yields_until_s.setdefault(name, now + YIELD_S)

    def began(self, name: str, now: float) -> float:
        """`name` pings now; returns when the room will be silent again, 60 to 70 ms later."""
        self._asking.discard(name)
        self._yields_until_s.clear()
        self._began_s[name] = now
        self._jitter = (self._jitter + 1) % len(JITTER_S)
        self._free_s = now + PING_PERIOD_S + JITTER_S[self._jitter]
        return self._free_s

    def leave(self, name: str) -> None:
        """`name` cannot ping now: its turn is anybody's."""
        self._asking.discard(name)

    def alone(self, name: str) -> bool:
        """Whether nobody but `name` has ever pinged."""
        return all(other == name for other in self._began_s)
