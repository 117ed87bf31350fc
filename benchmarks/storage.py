"""What an hour of walking leaves on the card: files by kind, bytes really written, lines of the log, years of the card.

The walk is that of `commit.py` (in virtual time: things stand and step in the way, the walker stops, turns back, and
falls once at the end), twice: with walks recorded, as by default, and without.  The courier writes to the disk of this
machine as it does on a device, every sync included.

- `mb_per_h`: what is there afterwards, by kind of file, scaled to an hour
- `written_mb_per_h`: what the courier made the kernel write (`write_bytes` of /proc/self/io), scaled to an hour
- `card_mb_per_h`: what came to the card with all that the file system adds (its log, its tables), on an ext4 of its own
  in a file, by the kernel's count of sectors; `amplification` is that over what is there afterwards.  Needs root and a
  loop device; without them `written_mb_per_h` stands in, and says so
- `log_lines`, `log_kb`: lines of all three processes that reach the journal, by `retrowalk.logs`, and the size of their
  datagrams; of an hour with `--full`.  The walk has no fault in it: what comes is what starting takes and what changes
- `card_mb_per_h` of `journal`: what a real journald, with our settings, brings to such a card for 20 lines, each in a
  turn of writing of its own (it writes each minute that has a line); with root and journald only
- `recording_h`: hours of walking that fit into `recording.total_max_mb`
- `card_years`: until a card is worn out that has two hours of such walking a day, under an assumption: a card of 16 GB
  whose cells bear 1000 writes, and which itself writes four times what it is given: 4 TB.  Cheap cards bear less, cards
  for video recorders ten times more; what the system itself writes is not in it
- `limit_mb`: what each kind may grow to at most, as the program is set up by default

An hour is scaled from the minutes that were walked; the fall at the end is in it once in these minutes, so there is
more of it than in life.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from commit import Meter, walk
from common import Row, arguments, run
from msgspec import structs

from retrowalk import calibration, logs
from retrowalk.config import FILE_MAX_BYTES, Config, Recording
from retrowalk.courier import outbox, salvage
from retrowalk.hub.settings import Hub
from retrowalk.logs import Lines
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

SUBJECT = "retrowalk"
MB = 1_000_000.0
CARD_BYTES, CARD_WRITES, CARD_FACTOR = 16e9, 1000.0, 4.0
WALKED_H_A_DAY = 2.0
IMAGE_BYTES = 400_000_000
KINDS = {".mcap": "recording", ".db": "outbox", "/state": "state"}
"""By the end of a file's path."""
SECTOR_BYTES = 512
"""The unit of /sys/block/*/stat, whatever the device's own."""


@dataclass
class Kept:
    """What a walk left."""

    hours: float
    bytes_by_kind: Counter[str] = field(default_factory=Counter)
    written_bytes: int = 0
    card_bytes: int = 0
    """0: not measured."""
    lines: int = 0
    line_bytes: int = 0


class Counted:
    """Counts lines instead of sending them."""

    def __init__(self) -> None:
        self.lines = self.bytes = 0

    def __call__(self, fields: Mapping[str, str]) -> bool:
        self.lines += 1
        self.bytes += len(logs.datagram({"SYSLOG_IDENTIFIER": "retrowalk-guard", **fields}))
        return True

    def close(self) -> None:
        """Nothing to let go of."""


class Card:
    """An ext4 of its own in a file, as a card has it; `bytes` counts what came to it."""

    def __init__(self, folder: Path, loop: str) -> None:
        self.folder = folder
        self.stat = Path(f"/sys/block/{Path(loop).name}/stat")

    def bytes(self) -> int:
        """Written since it was made."""
        os.sync()
        return int(self.stat.read_text().split()[6]) * SECTOR_BYTES


@contextlib.contextmanager
def card() -> Iterator[Card | None]:
    """A card to write to; None where this machine lets nobody make one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        image = folder / "image"
        try:
            with image.open("wb") as file:
                file.truncate(IMAGE_BYTES)
            run_quietly("mkfs.ext4", "-q", "-F", str(image))
            loop = run_quietly("losetup", "--find", "--show", str(image)).strip()
            stack.callback(run_quietly, "losetup", "--detach", loop)
            (folder / "card").mkdir()
            run_quietly("mount", "-o", "noatime", loop, str(folder / "card"))
            stack.callback(run_quietly, "umount", str(folder / "card"))
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        yield Card(folder / "card", loop)


def run_quietly(*command: str) -> str:
    """What a command prints.  Raises `OSError`, `CalledProcessError`."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def walked(seed: int, minutes: int, *, recorded: bool) -> Kept:
    """One walk, with a courier that writes as it does on a device."""
    scenario = walk(seed, minutes)
    config = structs.replace(scenario.config, recording=Recording(enabled=recorded))
    bank = banks.build(config, banks.default_directory())
    counted = Counted()
    kept = Kept(scenario.duration_s / 3600.0)
    with card() as own:
        before, tempfile.tempdir = tempfile.gettempdir(), str(own.folder) if own else None
        try:
            device = VirtualWalk(config, scenario, seed, bank)
        finally:
            tempfile.tempdir = before
        device.recorder._sync = os.fdatasync  # in virtual time nobody waits for a disk; here it is what is measured
        handler = Lines(counted, device.clock.now)
        logger = logging.getLogger("retrowalk")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        meter = Meter()
        card_before = own.bytes() if own else 0
        try:
            device.run_until(scenario.duration_s)
            device.recorder.close()
            os.sync()
            kept.written_bytes = meter.look()
            kept.card_bytes = own.bytes() - card_before if own else 0
            with contextlib.closing(sqlite3.connect(device.outbox.path)) as db:  # what is in the log belongs to it
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for file in Path(device.outbox.path).parent.rglob("*"):
                kind = next((kind for end, kind in KINDS.items() if str(file).endswith(end)), "")
                if kind and file.is_file():
                    kept.bytes_by_kind[kind] += file.stat().st_size
        finally:
            logger.removeHandler(handler)
            handler.close()
            device.close()
    kept.lines, kept.line_bytes = counted.lines, counted.bytes
    return kept


JOURNAL = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d {card}/journal
mount --bind {card} /var/log
cp {root}/systemd/journald.conf.d/50-retrowalk.conf /run/systemd/journald.conf.d/
/lib/systemd/systemd-journald 2>/dev/null &
journald=$!
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.05; done
line() {{ {python} -c "
from retrowalk import logs
fields = {{'MESSAGE': '$1: lost (silent): does not answer', 'PRIORITY': '4', 'RETROWALK_PART': '$1'}}
logs.Journal('retrowalk-guard')(fields)"; }}
line first
kill -USR1 $journald; sleep 0.3; kill -RTMIN+1 $journald; sleep 0.3
sync; cp /sys/block/{loop}/stat {card}/../before
for turn in $(seq {turns}); do
  line rear; [ $turn -gt {more} ] || line lidar
  kill -RTMIN+1 $journald; sleep 0.1; sync
done
cp /sys/block/{loop}/stat {card}/../after
kill $journald; wait $journald || true
"""
JOURNAL_LINES, JOURNAL_TURNS = 20, 20


def journal_bytes() -> int | None:
    """What journald brings to a card for an hour of a walk; None where it cannot be started."""
    with card() as own:
        if own is None or not Path("/lib/systemd/systemd-journald").exists():
            return None
        script = JOURNAL.format(
            card=own.folder,
            root=Path(__file__).parents[1],
            python=sys.executable,
            loop=own.stat.parent.name,
            turns=JOURNAL_TURNS,
            more=JOURNAL_LINES - JOURNAL_TURNS,
        )
        try:
            run_quietly("unshare", "--mount", "bash", "-c", script)
            found = [(own.folder.parent / name).read_text().split()[6] for name in ("before", "after")]
        except (OSError, subprocess.CalledProcessError):
            return None
        return (int(found[1]) - int(found[0])) * SECTOR_BYTES


def card_years(bytes_per_h: float) -> float:
    """Until the assumed card is worn out."""
    return CARD_BYTES * CARD_WRITES / CARD_FACTOR / (bytes_per_h * WALKED_H_A_DAY * 365.0)


def rows_of(kept: Kept, case: str) -> Iterator[Row]:
    """The numbers of one walk."""
    hours, n = kept.hours, round(kept.hours * 60.0)
    for kind, size in sorted(kept.bytes_by_kind.items()):
        if kind in ("recording", "outbox"):
            yield Row("mb_per_h", SUBJECT, f"{kind}, {case}", size / MB / hours, "MB/h", n)
        else:
            yield Row("mb", SUBJECT, f"{kind}, {case}, does not grow", size / MB, "MB", 1)
    yield Row("written_mb_per_h", SUBJECT, case, kept.written_bytes / MB / hours, "MB/h", n)
    worn = kept.card_bytes or kept.written_bytes
    if kept.card_bytes:
        there = kept.bytes_by_kind["recording"] + kept.bytes_by_kind["outbox"]
        yield Row("card_mb_per_h", SUBJECT, case, worn / MB / hours, "MB/h", n)
        if kept.bytes_by_kind["recording"]:
            yield Row("amplification", SUBJECT, case, worn / there, "1", n)
    what = "all that came to the card" if kept.card_bytes else "without what the file system adds"
    yield Row("card_years", SUBJECT, f"{case}, {what}", card_years(worn / hours), "years", 1, goal=">= 10")


def limits(config: Config) -> dict[str, float]:
    """What each kind may grow to, in MB."""
    outbox_bytes = inspect.signature(outbox.Outbox.__init__).parameters["max_bytes"].default
    last = outbox.DROPPABLE[-1][1]
    return {
        "recordings": float(config.recording.total_max_mb),
        "outbox, waiting, were all of it falls": outbox_bytes * last / MB,
        "outbox, waiting, usually": outbox_bytes / MB,
        "outbox, copies of a week": outbox.COPY_MAX_BYTES / MB,
        "outbox, its log": outbox.LOG_BYTES / MB,
        "outbox, files moved aside, of each kind": salvage.KEPT_BYTES / MB,
        "measurements of the walker": calibration.FILE_MAX_BYTES / MB,
        "last good settings": FILE_MAX_BYTES / MB,
        "journal": 32.0 * 1024 * 1024 / MB,
        "hub's store, of what may go": float(Hub().keep_mb),
    }


def measure(options: argparse.Namespace) -> list[Row]:
    """Walks twice and takes the numbers."""
    minutes = 2 if options.quick else 60 if options.full else 10
    rows: list[Row] = []
    for recorded in (True, False):
        kept = walked(options.seed, minutes, recorded=recorded)
        case = "recorded" if recorded else "not recorded"
        rows += rows_of(kept, case)
        if recorded:
            per_h = kept.bytes_by_kind["recording"] / kept.hours
            hours = Config().recording.total_max_mb * MB / per_h
            rows.append(Row("recording_h", SUBJECT, "that are kept", hours, "h", minutes))
            lines = kept.lines / kept.hours if minutes >= 60 else kept.lines
            unit = "1/h" if minutes >= 60 else "1"
            goal = "<= 20" if minutes >= 60 else None
            rows.append(Row("log_lines", SUBJECT, f"of {minutes} minutes", lines, unit, minutes, goal=goal))
            rows.append(Row("log_kb", SUBJECT, f"of {minutes} minutes", kept.line_bytes / 1000.0, "kB", minutes))
    journal = journal_bytes()
    if journal is not None:
        case = f"journal, {JOURNAL_LINES} lines in {JOURNAL_TURNS} turns"
        rows.append(Row("card_mb_per_h", SUBJECT, case, journal / MB, "MB/h", JOURNAL_LINES))
    rows += [Row("limit_mb", SUBJECT, kind, limit, "MB", 1) for kind, limit in limits(Config()).items()]
    return rows


if __name__ == "__main__":
    run("storage", arguments(__doc__.splitlines()[0]).parse_args(), measure)
