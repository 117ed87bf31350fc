"""What a walk leaves for a person to read: its events, a transcript of what was said, and how it was judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.courier.recording import Recording
from retrowalk.sim.outcome import Outcome
from retrowalk.voice import earcons
from retrowalk.voice.mixer import GAP_FRAMES, RATE_HZ, SAMPLE_BYTES
from retrowalk.wire import event_line

EVENTS_FILE = "events.jsonl"
TRANSCRIPT_FILE = "transcript.txt"
SOUND_FILE = "walk.wav"
RECORDING_FILE = "walk.mcap"

_HEADER = ("time", "level", "words", "because")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the transcript: when the words begin (of a sound alone: when that begins), and what they are."""

    t_s: float
    level: str
    words: str
    because: str


def write_outputs(recording: Recording, out_dir: str | Path, sound_began_s: float = 0.0) -> None:
    """Writes `events.jsonl` (an event a line, in order) and `transcript.txt` into `out_dir`.  Raises `OSError`.

    `sound_began_s`: session second of the first frame of `walk.wav`.
    """
    events = [entry.value for entry in recording.entries if isinstance(entry.value, ev.Event)]
    out = Path(out_dir)
    (out / EVENTS_FILE).write_bytes(b"".join(event_line(event) for event in events))
    (out / TRANSCRIPT_FILE).write_text(transcript(said(recording), sound_began_s), encoding="utf-8")


def said(recording: Recording) -> list[Line]:
    """What left the sound device, from the recording: words with the second at which they themselves begin.

    An alert begins with its earcon; its words follow.  One that was cut before its words, or in the middle of them,
    is told as what was heard of it.
    """
    sounds = earcons.synthesise(1.0)
    asked: dict[int, ev.Speak] = {}
    ended: dict[int, float] = {}
    for entry in recording.entries:
        value = entry.value
        if isinstance(value, ev.Speak):
            asked[value.alert] = value
        elif isinstance(value, sm.VoiceProgress) and value.phase is sm.VoicePhase.CUT:
            ended[value.alert] = value.t_measured_s
    lines = []
    for entry in recording.entries:
        alert = entry.value
        if not isinstance(alert, ev.AlertSpoken):
            continue
        number = alert.alert if alert.alert is not None else 0
        request = asked.get(number)
        earcon = sounds.get(request.earcon, b"") if request is not None else b""
        words_s = alert.played_s
        if earcon:
            words_s += len(earcon.lstrip(b"\0")) / SAMPLE_BYTES / RATE_HZ + GAP_FRAMES / RATE_HZ
        cut_s = ended.get(number)
        if not alert.words or (cut_s is not None and cut_s < words_s + 0.05):
            name = request.earcon if request is not None and request.earcon else alert.phrase
            lines.append(Line(alert.played_s, alert.level, f"({name})", alert.because))
        else:
            cut = f" [cut after {cut_s - words_s:.1f} s]" if cut_s is not None else ""
            lines.append(Line(words_s, alert.level, alert.words + cut, alert.because))
    return lines


def transcript(lines: Iterable[Line], sound_began_s: float = 0.0) -> str:
    """A line for everything that was said, in aligned columns, below a line that explains them."""
    rows = [_HEADER]
    rows += [(f"{line.t_s - sound_began_s:.3f}", line.level, line.words, line.because or "-") for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    text = [
        f"# What was said.  time: seconds into {SOUND_FILE} at which the words begin (of a sound alone, in round",
        "# brackets: at which it begins); because: the numbers that justified it (- where it needs none).",
    ]
    text += [
        f"{time:>{widths[0]}}  {level:{widths[1]}}  {words:{widths[2]}}  {because}".rstrip()
        for time, level, words, because in rows
    ]
    return "\n".join(text) + "\n"


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints what was said and sent, how the walk was judged, its numbers, and where its files are."""
    for title, told in (("said:", outcome.heard), ("sent to the caregiver:", outcome.published)):
        lines = [f"{t_s:8.1f} s  {what:16} {words}".rstrip() for t_s, what, words in told]
        for line in [title, *lines] if lines else []:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
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
    well = "the expectation is met" if count == 1 else f"all {count} expectations met"
    verdict = well if outcome.ok else f"{missed} of {count} expectations not met"
    console.print(verdict, style="bold green" if outcome.ok else "bold red", highlight=False)
    files = ", ".join(
        name for name in (SOUND_FILE, RECORDING_FILE, EVENTS_FILE, TRANSCRIPT_FILE) if (outcome.out / name).exists()
    )
    console.print(f"in {outcome.out}: {files}", highlight=False, markup=False, soft_wrap=True)
