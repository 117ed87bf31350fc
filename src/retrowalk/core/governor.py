"""The governor: whether the walker is faster than the working sensors can protect."""

from __future__ import annotations

from retrowalk.config import Collision, Walker
from retrowalk.core.hazards import human_stop_s


def protected_speed_m_s(reach_m: float, walker: Walker, collision: Collision) -> float:
    """Fastest backward speed at which this walker stops short of what is seen `reach_m` away; 0 when it never is so.

    The stopping-distance rule (`hazards.needed_m`) turned round: (R - foot reach - clearance) / (t_system + t_human).
    """
    room_m = reach_m - walker.reach_m - walker.clearance_m
    return max(0.0, room_m / (collision.system_delay_s + human_stop_s(walker)))
