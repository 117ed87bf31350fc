"""What every benchmark shares: rows, the table for people, and the one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrowalk.errors import RetrowalkError
from retrowalk.sim import estimates


@dataclass
class Row:
    """One measured number.  `goal` such as "<= 25"; a goal that is missed is reported as missed."""

    metric: str
    subject: str
    case: str
    value: float
    unit: str
    n: int
    ci95: tuple[float, float] | None = None
    goal: str | None = None
    met: bool | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.goal is not None:
            sign, limit = self.goal.split()
            self.met = self.value <= float(limit) if sign == "<=" else self.value >= float(limit)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default 1)")
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object instead of a table")
    parser.add_argument(
        "--world",
        type=_world,
        metavar="FILE",
        help="measured numbers for whatever is simulated (retrowalk bench import); also the variable RETROWALK_WORLD",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute")
    size.add_argument("--full", action="store_true", help="for a release")
    return parser


def _world(name: str) -> Path:
    """The file that every world is made with from now on, also in processes begun later."""
    file = Path(name).absolute()
    try:
        estimates.read(file)
    except (RetrowalkError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    os.environ[estimates.VARIABLE] = str(file)
    return file


def run(name: str, options: argparse.Namespace, measure: Callable[[argparse.Namespace], list[Row]]) -> None:
    """Measures and prints.  Exit status 0 also when a goal is missed: that is a result."""
    world = os.environ.get(estimates.VARIABLE, "")
    started = time.monotonic()
    rows = measure(options)
    seconds = round(time.monotonic() - started, 1)
    if options.json:
        found = {"benchmark": name, "seed": options.seed, "seconds": seconds} | ({"world": world} if world else {})
        print(json.dumps({**found, "rows": [_plain(row) for row in rows]}))
        return
    print(f"{name}, seed {options.seed}, {seconds} s" + (f", world of {world}" if world else ""))
    width = max(len(f"{row.metric} {row.case}") for row in rows)
    for row in rows:
        verdict = "" if row.met is None else ("met" if row.met else "MISSED")
        label = f"{row.metric} {row.case}".ljust(width)
        print(
            f"  {label}  {row.value:>10.4g} {row.unit:<8} n={row.n:<6} {row.goal or '':<10} {verdict:<7} {row.subject}"
        )


def _plain(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value is not None}
