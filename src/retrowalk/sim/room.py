"""The air between the ultrasonic modules of one device: each also hears what comes back of the others' pings.

A module takes the first echo that is loud enough for its own.  One that listens shortly after another has pinged hears
the other's echo early, and reads near; one that pings a little before another hears that one's late, where it would
have heard nothing.  Sound goes on between body and obstacle for a while: an echo field takes about 60 ms to die.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from retrowalk.sim.noise import EchoModel, Scene, detection_probability, margin_db, speed_of_sound_m_s, stream

FADES_S = 0.060
BOUNCES = 4
DEAF_S = 0.0002
"""So long after its own burst a module hears nothing else: the time of 3 cm."""
LISTENS_S = 0.038


class Module(Protocol):
    """An ultrasonic module of the device."""

    model: EchoModel

    def bursts(self, from_s: float, to_s: float) -> Iterable[float]:
        """Session seconds at which it sent one."""

    def overhear(self, arrivals: list[float]) -> None:
        """Somebody else has pinged just now: when its echoes will arrive, in order."""


class Room:
    """Modules that hear each other.  One alone hears itself, and nothing here is drawn."""

    def __init__(self, seed: int) -> None:
        self._modules: list[Module] = []
        self._chance = stream(seed, "room")

    def add(self, module: Module) -> None:
        """One more module is worn."""
        self._modules.append(module)

    def heard_by(self, module: Module, burst_s: float, scene: Scene) -> float | None:
        """When `module`, whose own burst leaves at `burst_s`, first hears another's; None: not while it listens."""
        arrivals = [
            arrival_s
            for other in self._modules
            if other is not module
            for other_s in other.bursts(burst_s - FADES_S, burst_s + LISTENS_S)
            for arrival_s in self._arrivals(other, module, other_s, scene)
            if burst_s + DEAF_S < arrival_s < burst_s + LISTENS_S
        ]
        return min(arrivals, default=None)

    def pinged(self, module: Module, burst_s: float, scene: Scene) -> None:
        """Tells the others of a burst that leaves now."""
        for other in self._modules:
            if other is not module:
                other.overhear(self._arrivals(module, other, burst_s, scene))

    def _arrivals(self, sender: Module, hearer: Module, burst_s: float, scene: Scene) -> list[float]:
        """When the echoes of a burst are heard, in order."""
        if scene.covered:
            return []
        speed_m_s = speed_of_sound_m_s(scene.temperature_c)
        arrivals = []
        for target in scene.targets:
            lost_db = 0.0
            for model in (sender.model, hearer.model):
                at_m, off_deg = target.seen_from(model.bearing_left_deg)
                off_deg = math.hypot(off_deg, scene.nose_down_deg)
                lost_db += 6.0 * (off_deg / model.parameters.half_beam_deg) ** 2
            for bounce in range(1, BOUNCES + 1):
                way_m = at_m * bounce
                margin = margin_db(target.kind, way_m, hearer.model.parameters, temperature_c=scene.temperature_c)
                margin -= lost_db + hearer.model.parameters.bounce_db * (bounce - 1)
                if self._chance.random() < detection_probability(margin, hearer.model.parameters):
                    arrivals.append(burst_s + 2.0 * way_m / speed_m_s)
        return sorted(arrivals)
