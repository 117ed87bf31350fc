"""What every benchmark shares: rows, the table for people, and the one JSON object."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


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
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute")
    size.add_argument("--full", action="store_true", help="for a release")
    return parser


def run(name: str, options: argparse.Namespace, measure: Callable[[argparse.Namespace], list[Row]]) -> None:
    """Measures and prints.  Exit status 0 also when a goal is missed: that is a result."""
    started = time.monotonic()
    rows = measure(options)
    seconds = round(time.monotonic() - started, 1)
    if options.json:
        print(
            json.dumps({"benchmark": name, "seed": options.seed, "seconds": seconds, "rows": [_plain(r) for r in rows]})
        )
        return
    print(f"{name}, seed {options.seed}, {seconds} s")
    width = max(len(f"{row.metric} {row.case}") for row in rows)
    for row in rows:
        verdict = "" if row.met is None else ("met" if row.met else "MISSED")
        label = f"{row.metric} {row.case}".ljust(width)
        print(
            f"  {label}  {row.value:>10.4g} {row.unit:<8} n={row.n:<6} {row.goal or '':<10} {verdict:<7} {row.subject}"
        )


def _plain(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value is not None}
