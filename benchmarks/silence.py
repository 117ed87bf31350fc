"""How soon a device that falls silent is noticed, and that one which does not is never called silent.

Real couriers (a benchmark in the guard's place says that the walker walks), a line to the broker for each, a real
mosquitto and the hub as its service starts it.  What happens to them, all in one run, at moments drawn by chance:

- `radio`: the line swallows all that is sent, either way, and nobody hears a FIN: a device that is out of reach
- `stopped`: the courier process gets SIGSTOP: its connection stands, and nothing comes
- `killed`: the courier process gets SIGKILL, and is not started again
- `switched off`: it is ended cleanly, as at the end of a walk
- `broker restarted`: the broker is ended and started again, and everybody finds it again: nothing happens to them
  otherwise

`noticed_s`: from that moment until the hub has it in its store that the device is lost (goal 15 s; nothing for
`switched off`); `will_s`: until a client of the broker hears it.  `paged_late_s`: from the deadline, which is so long
after the last message that the hub had of the device as its settings say, until somebody is to be told (goal: within
1 s, and not before).  `false_alerts`: alerts, of whatever stage, of devices that were switched off or stay in reach.

Settings of the hub: 30 s to a notice and 60 s to a page, the shortest there are, by default; none is waited for with
`--quick`; the hub's own defaults, 60 s and 180 s, with `--full`.  The device's keepalive is its default.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from caregiver import SITE, Hub, Ntfy, hub, hub_settings  # noqa: E402  # the path first
from common import Row, arguments, run  # noqa: E402
from device import READY_S, Came, Client, Hands, Place, courier, place  # noqa: E402
from line import Line  # noqa: E402
from tests.broker import Mosquitto  # noqa: E402

OURS = "retrowalk"
FATES = ("radio", "stopped", "killed", "switched off", "broker restarted")
LOST = ("radio", "stopped", "killed")
NOTICED_GOAL = "<= 15"
WITHIN_S = 12.0
"""What happens to the devices happens at moments so far apart at most: more than one keepalive."""
NOTICE_LIMIT_S = 18.0
NEVER_S = 600.0
"""What was not noticed counts as long as this."""
STARTS_AT_A_TIME = 4
ALIVE_S = 1.0


@dataclass
class Worn:
    """A device, and what happens to it."""

    fate: str
    where: Place
    hands: Hands
    line: Line
    process: subprocess.Popen[bytes]
    broken_mono_s: float = 0.0
    broken_wall_s: float = 0.0

    @property
    def name(self) -> str:
        """As the hub calls it."""
        return f"{SITE}/{self.where.config.device.name}"

    def befalls(self) -> None:
        """It happens."""
        match self.fate:
            case "radio":
                self.line.set("swallowing")
            case "stopped":
                self.process.send_signal(signal.SIGSTOP)
            case "killed":
                self.process.kill()
            case "switched off":
                self.hands.give("walk.ended", "low")
                self.hands.until(lambda each: each.delivered >= each.number, READY_S)
                self.process.send_signal(signal.SIGTERM)
        self.broken_mono_s, self.broken_wall_s = time.monotonic(), time.time()


@dataclass
class Found:
    """What was seen, by fate."""

    will_s: dict[str, list[float]] = field(default_factory=dict)
    noticed_s: dict[str, list[float]] = field(default_factory=dict)
    paged_late_s: dict[str, list[float]] = field(default_factory=dict)
    false_alerts: dict[str, list[int]] = field(default_factory=dict)


def measured(
    seed: int, folder: Path, counts: Sequence[int], settings: tuple[float, float] | None, *, dead_line: bool = False
) -> Found:
    """One run.  `settings`: seconds to notice and page of the hub; None: its shortest, and nobody waits for them.

    `dead_line`: hub and client are cut off, too: how a miss looks.
    """
    draw = random.Random(f"silence:{seed}")
    notice_s, page_s = settings or (30.0, 60.0)
    found = Found()
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        states: dict[str, list[tuple[float, str]]] = {}

        def heard(came: Came) -> None:
            word = str(json.loads(came.payload or b"{}").get("state", ""))
            states.setdefault(came.topic, []).append((came.mono_s, word))

        ntfy = stack.enter_context(Ntfy())
        beyond = stack.enter_context(Line(broker.port))
        client = Client(beyond.port, "retrowalk/v1/+/+/state", on_message=heard)
        stack.callback(client.close)
        knobs = f"[silence]\nnotice_after_s = {notice_s}\npage_after_s = {page_s}\n"
        watching = stack.enter_context(
            hub(folder / "hub", hub_settings(folder / "hub", beyond.port, ntfy.port, extra=knobs))
        )
        fates = [fate for fate, count in zip(FATES, counts, strict=True) for _ in range(count)]
        devices = [_worn(stack, folder, broker, index, fate) for index, fate in enumerate(fates)]
        _begin(devices, watching)
        broker.stop()
        broker.start()
        if not _alive(devices, READY_S, lambda: all(each.hands.connected for each in devices)):
            raise RuntimeError("not every courier has found the broker again")
        _alive(devices, 8.0 if settings is None else 18.0)  # every device has been heard by the hub since
        if dead_line:
            beyond.set("swallowing")
        moments = sorted((draw.uniform(0.0, WITHIN_S), index) for index in range(len(devices)))
        began_s = time.monotonic()
        for at_s, index in moments:
            _alive(devices, began_s + at_s - time.monotonic())
            devices[index].befalls()
        after_s = NOTICE_LIMIT_S if settings is None else page_s + 25.0
        _alive([each for each in devices if each.fate in ("radio", "broker restarted")], after_s)
        for each in devices:
            _judge(each, states.get(f"{each.where.root}/state", []), watching, settings, found)
    return found


def _worn(stack: contextlib.ExitStack, folder: Path, broker: Mosquitto, index: int, fate: str) -> Worn:
    line = stack.enter_context(Line(broker.port))
    where = place(folder / f"device{index}", line.port, f"rw-{index:04d}", hub="required")
    hands = Hands(where)
    stack.callback(hands.close)
    worn = Worn(fate, where, hands, line, stack.enter_context(courier(where)))
    if index % STARTS_AT_A_TIME == STARTS_AT_A_TIME - 1:
        hands.until(lambda each: each.beat is not None, READY_S)
    return worn


def _begin(devices: Sequence[Worn], watching: Hub) -> None:
    """Everybody walks, and the hub has heard of it."""
    for each in devices:
        each.hands.give("walk.started", "low")
    if not _alive(devices, 30.0, lambda: all(each.hands.connected for each in devices)):
        raise RuntimeError("not every courier has found the broker")

    def walking() -> bool:
        try:
            found = watching.rows("SELECT count(*) FROM device WHERE state = 'walking'")
        except Exception:  # no store yet
            return False
        return int(found[0][0]) == len(devices)

    if not _alive(devices, 30.0, walking):
        raise RuntimeError(f"the hub does not know every device: {watching.log.read_text()[-1500:]}")


def _alive(devices: Sequence[Worn], seconds: float, holds: object = None) -> bool:
    """Time passes, in which guards give signs of life; whether that held in the meantime."""
    end_s = time.monotonic() + seconds
    next_s = 0.0
    while time.monotonic() < end_s:
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + ALIVE_S
            for each in devices:
                each.hands.alive()
                each.hands.read()
        if callable(holds) and holds():
            return True
        time.sleep(0.05)
    return False


def _judge(
    each: Worn, states: Sequence[tuple[float, str]], watching: Hub, settings: tuple[float, float] | None, found: Found
) -> None:
    alerts = watching.rows("SELECT number, stage FROM alert WHERE device = ?", each.name)
    if each.fate not in LOST:
        found.false_alerts.setdefault(each.fate, []).append(len(alerts))
        return
    will_s = next((at_s for at_s, word in states if word == "lost" and at_s >= each.broken_mono_s), None)
    found.will_s.setdefault(each.fate, []).append(NEVER_S if will_s is None else will_s - each.broken_mono_s)
    rows = watching.rows("SELECT state, state_wall_s, heard_wall_s FROM device WHERE device = ?", each.name)
    state, state_wall_s, heard_wall_s = rows[0]
    noticed = state == "lost" and state_wall_s >= each.broken_wall_s
    found.noticed_s.setdefault(each.fate, []).append(state_wall_s - each.broken_wall_s if noticed else NEVER_S)
    if settings is None:
        return
    paged = watching.rows(
        "SELECT min(notice.wall_s) FROM notice JOIN alert ON alert.number = notice.alert"
        " WHERE alert.device = ? AND notice.why = 'alarm'",
        each.name,
    )[0][0]
    late_s = NEVER_S if paged is None else float(paged) - float(heard_wall_s) - settings[1]
    found.paged_late_s.setdefault(each.fate, []).append(late_s)


# --------------------------------------------------------------------------------------------------------- the rows


def rows_of(found: Found) -> list[Row]:
    """The table."""
    rows: list[Row] = []
    for metric, by_fate, goal in (
        ("noticed_s", found.noticed_s, NOTICED_GOAL),
        ("will_s", found.will_s, None),
        ("paged_late_s", found.paged_late_s, "<= 1"),
    ):
        for fate, values in by_fate.items():
            n = len(values)
            rows.append(Row(metric, OURS, f"max {fate}", round(max(values), 2), "s", n, goal=goal))
            early = ">= 0" if metric == "paged_late_s" else None
            rows.append(Row(metric, OURS, f"min {fate}", round(min(values), 2), "s", n, goal=early))
            rows.append(Row(metric, OURS, f"mean {fate}", round(sum(values) / n, 2), "s", n))
    for fate, counts in found.false_alerts.items():
        rows.append(Row("false_alerts", OURS, fate, sum(counts), "alerts", len(counts), goal="<= 0"))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """One run."""
    counts, settings = ((10, 3, 3, 3, 3), (30.0, 60.0))
    if options.quick:
        counts, settings = (3, 1, 1, 1, 1), None
    elif options.full:
        counts, settings = (10, 5, 5, 5, 5), (60.0, 180.0)
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        found = measured(options.seed, Path(temporary), counts, settings, dead_line=options.dead_line)
    return rows_of(found)


if __name__ == "__main__":
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--dead-line", action="store_true", help="to the hub, too: how a miss looks")
    run("silence", parser.parse_args(), measure)
