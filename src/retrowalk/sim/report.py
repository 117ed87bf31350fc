"""What a walk leaves for a person to read: its events, a transcript of what was said, and how it was judged."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retrowalk.core import events as ev
from retrowalk.courier.recording import Recording
from retrowalk.sim.outcome import Outcome
from retrowalk.wire import event_line

EVENTS_FILE = "events.jsonl"
TRANSCRIPT_FILE = "transcript.txt"
SOUND_FILE = "walk.wav"
RECORDING_FILE = "walk.mcap"

_HEADER = ("time", "level", "words", "because")


def write_outputs(recording: Recording, out_dir: str | Path, sound_began_s: float = 0.0) -> None:
    """Writes `events.jsonl` (an event a line, in order) and `transcript.txt` into `out_dir`.  Raises `OSError`.

    `sound_began_s`: session second of the first frame of `walk.wav`.
    """
    events = [entry.value for entry in recording.entries if isinstance(entry.value, ev.Event)]
    out = Path(out_dir)
    (out / EVENTS_FILE).write_bytes(b"".join(event_line(event) for event in events))
    spoken = (event for event in events if isinstance(event, ev.AlertSpoken))
    (out / TRANSCRIPT_FILE).write_text(transcript(spoken, sound_began_s), encoding="utf-8")


def transcript(spoken: Iterable[ev.AlertSpoken], sound_began_s: float = 0.0) -> str:
    """A line for everything that was said, in aligned columns, below a line that explains them."""
    rows = [_HEADER]
    rows += [
        (f"{said.played_s - sound_began_s:.3f}", said.level, said.words or f"({said.phrase})", said.because or "-")
        for said in spoken
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        f"# What was said.  time: seconds into {SOUND_FILE} at which it begins; words in brackets are a sound alone;",
        "# because: the numbers that justified it (- where it needs none).",
    ]
    lines += [
        f"{time:>{widths[0]}}  {level:{widths[1]}}  {words:{widths[2]}}  {because}".rstrip()
        for time, level, words, because in rows
    ]
    return "\n".join(lines) + "\n"


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints how the walk was judged, its numbers, and where its files are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "expected", "found"):
        table.add_column(title, overflow="fold")
    for text, met, detail in outcome.expectations:
        table.add_row("[green]met[/green]" if met else "[bold red]NOT MET[/bold red]", text, detail)
    console.print(table)
    for name, value in outcome.summary.items():
        console.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)
    missed = sum(not met for _, met, _ in outcome.expectations)
    count = len(outcome.expectations)
    verdict = f"all {count} expectations met" if outcome.ok else f"{missed} of {count} expectations not met"
    console.print(verdict, style="bold green" if outcome.ok else "bold red", highlight=False)
    files = ", ".join(
        name for name in (SOUND_FILE, RECORDING_FILE, EVENTS_FILE, TRANSCRIPT_FILE) if (outcome.out / name).exists()
    )
    console.print(f"in {outcome.out}: {files}", highlight=False, markup=False, soft_wrap=True)
