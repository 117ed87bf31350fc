"""What the choice of sensors costs: up to which speed each set protects, and who is touched at that speed.

The sets are those that hardware/bom.csv offers: both builds, and what is left when a part is replaced or left out.  The
speed is worked out from the settings, as the device does it (`core.reach`, `core.governor`, `core.dropoff`); the
contacts are those of the encounters of `approach.py`, each set at the speed that it protects.  Of a set whose promise
holds at most five in a hundred touch at it, whatever that speed is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import encounters
from approach import contacts, done_all
from common import Row, arguments, run
from encounters import AGES, Assumed, Encounter, Outcome

from retrowalk.config import Config, Walker
from retrowalk.core.dropoff import protected_drop_speed_m_s

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
from hardware.draw import bom  # noqa: E402  (the folder of the hardware is no package that is installed)

SETS = {choice.name: choice.config.range_sensor for choice in bom.sensor_sets(ROOT / "hardware")}
# Here, so that processes started for it know them, too.
encounters.DEVICES.update({name: Config(range_sensor=sensors) for name, sensors in SETS.items()})
WALKS = {"quick": 14, "default": 140, "full": 700}


def kerbs(name: str, seed: int, count: int) -> list[Encounter]:
    """Kerbs, each met at the speed up to which this set is said to warn of them."""
    config = encounters.DEVICES[name]
    speeds = [protected_drop_speed_m_s(Config(walker=Walker(profile=age), mount=config.mount)) for age in AGES]  # type: ignore[arg-type]
    return [encounters.draw(seed, f"kerb {speeds[index % len(AGES)]:.3f} m/s", index) for index in range(count)]


def measure(options: argparse.Namespace) -> list[Row]:
    """The table."""
    walks = options.walks or WALKS["quick" if options.quick else "full" if options.full else "default"]
    drawn = [encounters.draw(options.seed, "pooled", index) for index in range(walks)]
    jobs: list[Any] = [(encounter, name, Assumed()) for name in SETS for encounter in drawn]
    for name, sensors in SETS.items():
        if any(sensor.role == "dropoff" for sensor in sensors):
            jobs += [(encounter, name, Assumed()) for encounter in kerbs(name, options.seed, max(2, walks // 5))]
    outcomes: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for result in done_all(jobs, options.jobs, "parts"):
        assert isinstance(result, Outcome)
        of = "kerb" if result.encounter.kind == "kerb" else "pooled"
        outcomes[result.subject, of].append(result)
        outcomes[result.subject, f"{of} {result.encounter.age}"].append(result)
    table: list[Row] = []
    for name, sensors in SETS.items():
        for age in AGES:
            speed_m_s = encounters.protected_m_s(age, name)
            table.append(Row("protected_speed_m_s", name, age, int(speed_m_s * 100) / 100, "m/s", 1))
        table += contacts("contacts_per_100", name, "pooled", outcomes[name, "pooled"])
        for age in AGES:
            table += contacts("contacts_per_100", name, age, outcomes[name, f"pooled {age}"], "<= 5")
        if any(sensor.role == "dropoff" for sensor in sensors):
            for age in AGES:
                config = Config(walker=Walker(profile=age))  # type: ignore[arg-type]
                speed_m_s = int(protected_drop_speed_m_s(config) * 100) / 100
                table.append(Row("protected_speed_m_s", name, f"{age} kerb", speed_m_s, "m/s", 1))
                table += contacts("contacts_per_100", name, f"{age} kerb", outcomes[name, f"kerb {age}"], "<= 5")
    return table


def main() -> None:
    """The program."""
    parser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--walks", type=int, default=0, help="encounters of each set (default 140, quick 14, full 700)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    run("parts", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
