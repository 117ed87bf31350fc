"""The live view of a simulated walk in the terminal, and its plain fallback where there is no terminal.

`render` is pure: a `Frame` in, a picture out that fits 80 columns and 24 lines and uses more where there is more.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from retrowalk import wire
from retrowalk.config import Config, from_table
from retrowalk.core import events as ev
from retrowalk.core.companion import Companion
from retrowalk.core.events import Level
from retrowalk.core.hazards import needed_m
from retrowalk.courier.recording import Recording
from retrowalk.sim.outcome import Frame, Message, Spoken
from retrowalk.voice.texts import why

COLUMNS, LINES = 80, 24
"""The terminal everybody has."""
LINE_S = 1.0
"""Without a terminal, a line about the walk comes at most this often."""
FIXED_LINES = 16
"""Lines taken by all but what was heard and sent, and by the notes."""
BAR_M = 4.0
"""Right end of the bar of the path behind."""

LEVEL_STYLE = {"warning": "bold white on red3", "caution": "bold black on gold1", "advisory": "bold black on sky_blue1"}
LEVEL_COLOUR = {"warning": "red1", "caution": "gold1", "advisory": "sky_blue1", "none": "green3"}
STATE_STYLE = {
    "guarding": "bold green3",
    "checking": "bold sky_blue1",
    "limited": "bold gold1",
    "not_protecting": "bold white on red3",
    "not_worn": "bold",
    "stopping": "bold",
}
HEALTH_STYLE = {"ok": "green3", "degraded": "gold1", "starting": "sky_blue1", "lost": "bold white on red3"}


@contextmanager
def show(console: Console, config: Config | None = None) -> Iterator[Callable[[Frame], None]]:
    """Shows the frames it is given: live on a terminal, otherwise as lines.  `config` tells the room needed."""
    settings = config or Config()
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console).frame
        return
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield lambda frame: live.update(render(frame, settings, console.size), refresh=True)


def picture(frame: Frame, file: Path, config: Config | None = None) -> None:
    """Writes a frame as an SVG, as it looks on a terminal of 80 columns and 24 lines."""
    size = ConsoleDimensions(COLUMNS, LINES)
    console = Console(
        file=io.StringIO(),
        width=size.width,
        height=size.height,
        record=True,
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(render(frame, config or Config(), size), end="")
    svg = console.export_svg(title="retrowalk demo", unique_id="retrowalk")
    # rich fetches its font from the network; a picture in a README must not.
    while "@font-face" in svg:
        begin = svg.index("@font-face")
        svg = svg[:begin] + svg[svg.index("}", begin) + 1 :]
    svg = svg.replace("<text ", '<text xml:space="preserve" ')  # some viewers drop blanks, and with them the columns
    file.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


def frame_at(recording: Recording, t_s: float, title: str, duration_s: float) -> Frame:
    """The frame that a recorded walk showed at session second `t_s`, for `picture`."""
    companion = Companion(from_table(recording.session.config))
    heard: list[Spoken] = []
    published: list[Message] = []
    last: list[str] = []
    for entry in recording.entries:
        value = entry.value
        if entry.log_ns / 1e9 > t_s:
            break
        if isinstance(value, ev.AlertSpoken):
            heard.append(Spoken(value.played_s, value.level, value.words or f"({value.phrase})"))
        if isinstance(value, ev.Event):
            published.append(Message(value.t_s, f"event/{value.type}", in_short(value.type, wire.event_data(value))))
            last.append(value.type)
        elif type(value) in wire.ITEM_CHANNELS:
            companion.feed(value)
    seen = dataclasses.asdict(companion.snapshot())
    status = msgspec.convert({"kind": "status", "t_s": t_s, "last_events": last[-8:], **seen}, wire.Status)
    return Frame(t_s, title, status, heard, published, (), "", duration_s)


def in_short(event_type: str, data: Mapping[str, Any]) -> str:
    """What an event says, in a few words."""
    range_m = data.get("range_m")
    if event_type.startswith("hazard."):
        return f"{data['level']}{f' {range_m:.2f} m' if range_m is not None else ''} {data['hazard']}"
    for name in ("words", "state", "sensor", "part", "phrase", "name"):
        if data.get(name):
            return str(data[name]).replace("_", " ") + (f" {data['fault']}" if "fault" in data else "")
    return ", ".join(f"{name} {value}" for name, value in data.items())


# ---------------------------------------------------------------------------------------------------- the picture


def render(frame: Frame, config: Config, size: ConsoleDimensions) -> RenderableType:
    """One picture that fills `size`."""
    width = max(60, size.width)
    rows = max(2, size.height - FIXED_LINES - min(2, len(frame.notes)))
    pieces: list[RenderableType] = [_header(frame, width), _path(frame.status, config, width)]
    middle = Table.grid(expand=True)
    middle.add_column(ratio=1)
    middle.add_column(ratio=1)
    middle.add_row(_walker(frame.status), _guard(frame.status, width // 2 - 4))
    pieces += [middle, _saying(frame, width)]
    lists = Table.grid(expand=True)
    lists.add_column(ratio=1)
    lists.add_column(ratio=1)
    lists.add_row(_heard(frame.heard[-rows:], rows), _published(frame.published[-rows:], rows))
    pieces.append(lists)
    pieces += [Text(f" {note}", style="italic gold1", no_wrap=True, overflow="ellipsis") for note in frame.notes[-2:]]
    return Group(*pieces)


def _header(frame: Frame, width: int) -> RenderableType:
    total = f" of {frame.duration_s:.0f}" if frame.duration_s else ""
    left = f" {frame.title}"
    right = f"simulated walk, {frame.t_s:.1f}{total} s "
    gap = max(1, width - len(left) - len(right))
    line = (left + " " * gap + right)[:width]
    done = round(width * min(1.0, frame.t_s / frame.duration_s)) if frame.duration_s else width
    text = Text(no_wrap=True)
    text.append(line[:done], style="bold white on dodger_blue3")
    text.append(line[done:], style="bold white on grey30")
    return text


def _path(status: wire.Status | None, config: Config, width: int) -> RenderableType:
    """The path behind as a bar: the walker at the left, what is behind at its end, the room needed as marks."""
    if status is None:
        return _panel("path behind", Text("\nthe guard does not answer\n", style="bold red3", justify="center"))
    speed = max(0.0, status.closing_speed_m_s or 0.0)
    room = {level: needed_m(level, speed, config.walker, config.collision) for level in (Level.WARNING, Level.CAUTION)}
    cells = width - 17  # " starting" is the longest that stands behind the bar
    scale = cells / BAR_M
    colour = LEVEL_COLOUR.get(status.hazard_level, "green3")
    filled = round(min(status.range_m, BAR_M) * scale) if status.range_m is not None else 0
    marks = {round(min(room[Level.WARNING], BAR_M) * scale): "red3", round(min(room[Level.CAUTION], BAR_M) * scale): ""}
    bar = Text("you ", style="bold", no_wrap=True)
    for cell in range(cells):
        if cell in marks and speed >= config.collision.moving_m_s:
            bar.append("|", style="bold red1" if marks[cell] else "bold gold1")
        elif status.range_m is None:
            bar.append("·", style="grey50")
        else:
            bar.append("█" if cell < filled else "·", style=colour if cell < filled else "grey37")
    bar.append(f" {status.range_m:.2f} m" if status.range_m is not None else f" {status.path}"[:9], style="bold")
    need = Text("    room needed: ", no_wrap=True)
    if speed >= config.collision.moving_m_s:
        need.append(f"{room[Level.WARNING]:.2f} m to stop", style="red1")
        need.append(", ")
        need.append(f"caution from {room[Level.CAUTION]:.2f} m", style="gold1")
    else:
        need.append("standing, or walking away", style="grey62")
    numbers = Table.grid(padding=(0, 3))
    numbers.add_row(
        _number("    closing speed", status.closing_speed_m_s, "{:+.2f} m/s"),
        _number("time to collision", status.time_to_collision_s, "{:.1f} s"),
        Text.assemble("path ", (status.path, "bold")),
    )
    return _panel("path behind", Group(bar, need, numbers))


def _walker(status: wire.Status | None) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    pitch = status.trunk_pitch_deg if status else None
    lean = "" if pitch is None else "forward" if pitch >= 0.5 else "backward" if pitch <= -0.5 else "upright"
    table.add_row("trunk pitch", Text.assemble(_value(pitch, "{:+.1f}°"), f" {lean}"))
    table.add_row("cadence", Text.assemble(_value(status.cadence_spm if status else None, "{:.0f} steps/min")))
    table.add_row("steps", Text.assemble(_value(status.steps if status else None, "{:d}"), _speed(status)))
    return _panel("walker", table)


def _speed(status: wire.Status | None) -> str:
    """How fast the walker is, and up to where that is protected."""
    if status is None or status.own_speed_m_s is None or status.protected_speed_m_s is None:
        return ""
    return f" {status.own_speed_m_s:.2f} of {status.protected_speed_m_s:.2f} m/s"


def _guard(status: wire.Status | None, width: int) -> RenderableType:
    if status is None:
        return _panel("guard", Text("no answer\n\n", style="bold red3"))
    state = Text(no_wrap=True, overflow="ellipsis")
    state.append(f"{status.guard_state.replace('_', ' ')}", style=STATE_STYLE.get(status.guard_state, "bold"))
    if status.reasons:
        state.append(f": {why(status.reasons)}")
    if status.countdown_s is not None:
        state = Text.assemble(("fall? ", "bold red1"), (f"calling for help in {status.countdown_s:.0f} s", "bold red1"))
    return _panel("guard", Group(state, *_health(status.health, width)))


def _health(health: Mapping[str, str], width: int) -> list[RenderableType]:
    """Two lines, so that a long list of parts does not push the rest about; the second begins when the first is full.

    What all the same has no room is last, and well: the parts that fail come first then.
    """
    parts = list(health.items())
    if sum(len(f"{name} {state}  ") for name, state in parts) > 2 * width:
        parts.sort(key=lambda part: part[1] == "ok")
    lines = [Text(no_wrap=True, overflow="ellipsis"), Text(no_wrap=True, overflow="ellipsis")]
    half = (len(parts) + 1) // 2
    on = 0
    for index, (name, state) in enumerate(parts):
        gap = "  " if lines[on] else ""
        if on == 0 and (index == half or lines[0].cell_len + len(f"{gap}{name} {state}") > width):
            on, gap = 1, ""
        lines[on].append(f"{gap}{name} ", style="default")
        lines[on].append(state, style=HEALTH_STYLE.get(state, "bold"))
    return list(lines)


def _saying(frame: Frame, width: int) -> RenderableType:
    """What is being said, big: over the whole width, in the colour of its level."""
    words = frame.status.saying if frame.status is not None else ""
    if not words or words == "tick":
        tick = "tick" if words else ""
        return _panel("saying", Text(tick, justify="center", style="grey50"), style="grey50")
    level = next((said.level for said in reversed(frame.heard) if said.words == words), "advisory")
    spaced = " ".join(words.upper()) if 2 * len(words) + 6 <= width else words.upper()
    style = LEVEL_STYLE.get(level, "bold")
    return Panel(Text(spaced, justify="center"), title="saying", title_align="left", style=style, box=box.HEAVY)


def _heard(said: Sequence[Spoken], rows: int) -> RenderableType:
    lines = [
        Text.assemble(f"{t_s:5.1f}  ", (f"{level:8}", LEVEL_COLOUR.get(level, "")), f"  {words}")
        for t_s, level, words in said
    ]
    return _list("heard (s)", lines, rows)


def _published(messages: Sequence[Message], rows: int) -> RenderableType:
    lines = [
        Text.assemble(f"{t_s:5.1f}  ", (f"{topic.rpartition('event/')[2]:14}", "sky_blue1"), f" {summary}")
        for t_s, topic, summary in messages
    ]
    return _list("sent to the caregiver (s)", lines, rows)


def _list(title: str, lines: Sequence[Text], rows: int) -> RenderableType:
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return _panel(title, Group(*lines), height=rows + 2)


def _panel(title: str, content: RenderableType, *, style: str = "none", height: int | None = None) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="grey50", style=style, height=height)


def _number(name: str, value: float | None, pattern: str) -> Text:
    return Text.assemble(f"{name} ", _value(value, pattern))


def _value(value: float | None, pattern: str) -> tuple[str, str]:
    return (pattern.format(value), "bold") if value is not None else ("not known", "grey50")


# ---------------------------------------------------------------------------------------------- without a terminal


class _Lines:
    """At most a line a second, and one for everything that is said, sent or noted."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._notes: set[str] = set()
        self._heard = 0
        self._published = 0
        self._due_s = 0.0

    def frame(self, frame: Frame) -> None:
        if frame.title != self._title:
            self._title = frame.title
            self._print(f"{frame.t_s:6.1f} s  -- {frame.title}")
        for note in frame.notes:
            if note not in self._notes:
                self._notes.add(note)
                self._print(note)
        for said in frame.heard[self._heard :]:
            self._print(f"{said.t_s:6.1f} s  says  {said.level:8}  {said.words}")
        for sent in frame.published[self._published :]:
            self._print(f"{sent.t_s:6.1f} s  sent  {sent.topic}  {sent.summary}")
        self._heard, self._published = len(frame.heard), len(frame.published)
        if frame.t_s >= self._due_s:
            self._due_s = frame.t_s + LINE_S
            self._print(f"{frame.t_s:6.1f} s  {status_line(frame.status)}")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def status_line(status: wire.Status | None) -> str:
    """What a display shows, in one line."""
    if status is None:
        return "the guard does not answer"
    parts = [status.guard_state.replace("_", " ") + (f" ({why(status.reasons)})" if status.reasons else "")]
    parts.append(f"behind {status.range_m:.2f} m" if status.range_m is not None else f"path {status.path}")
    if status.closing_speed_m_s is not None:
        parts.append(f"closing {status.closing_speed_m_s:+.2f} m/s")
    if status.time_to_collision_s is not None:
        parts.append(f"collision in {status.time_to_collision_s:.1f} s")
    if status.trunk_pitch_deg is not None:
        parts.append(f"pitch {status.trunk_pitch_deg:+.1f} deg")
    if status.cadence_spm is not None:
        parts.append(f"{status.cadence_spm:.0f} steps/min")
    if status.own_speed_m_s is not None:
        parts.append(f"walking {status.own_speed_m_s:.2f} m/s")
    if status.protected_speed_m_s is not None:
        parts.append(f"protected to {status.protected_speed_m_s:.2f} m/s")
    if status.countdown_s is not None:
        parts.append(f"calling for help in {status.countdown_s:.0f} s")
    parts += [f"{name} {state}" for name, state in status.health.items() if state != "ok"]
    return ", ".join(parts)
