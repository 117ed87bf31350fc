"""Replays a recording: the items go through a new `Companion`, and what it says is held against what was recorded.

Equal items give equal outputs, so a replay that differs shows a change of the program (or of the recording).  With
another configuration it shows what other thresholds would have said on the same walk.
"""

from __future__ import annotations

import bisect
import difflib
import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from retrowalk import wire
from retrowalk.config import Config, from_table
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.companion import Companion
from retrowalk.core.samples import Item
from retrowalk.courier.recording import Entry, Recording
from retrowalk.voice.texts import Texts

BEFORE_S = 1.0
"""How much of the recording is shown before a difference."""
SAME_S = 0.25
"""Two alerts with equal words and no more than this apart are one alert, said earlier or later."""
ANSWER_S = 0.025
"""What was not said in the recorded walk is taken as heard this long after it was asked for ..."""
SPOKEN_S = 1.0
"""... and as finished after this."""

_OUTPUTS: dict[str, type] = {channel: kind for kind, channel in wire.OUTPUT_CHANNELS.items()}


def config_of(recording: Recording) -> Config:
    """The configuration the walk was recorded with.  Raises `ConfigError` when this program does not know it."""
    return from_table(recording.session.config, "the recording's configuration")


def is_output(entry: Entry) -> bool:
    """Whether an entry is something the Companion said, and not something it was told."""
    return entry.channel in _OUTPUTS


# ------------------------------------------------------------------------------------------------ the same again


@dataclass(frozen=True, slots=True)
class Lost:
    """Entries that are missing in a recording."""

    first: int
    last: int | None
    """Numbers of the first and the last missing entry; None: nobody knows how many."""
    from_s: float
    to_s: float | None
    """Session seconds of the entries before and after the hole; None: there is nothing after it."""

    def __str__(self) -> str:
        if self.last is None or self.to_s is None:
            return f"everything from number {self.first} on, after {self.from_s:.3f} s"
        if self.last == self.first:
            return f"entry {self.first}, between {self.from_s:.3f} s and {self.to_s:.3f} s"
        count = self.last - self.first + 1
        return f"{count} entries ({self.first} to {self.last}), from {self.from_s:.3f} s to {self.to_s:.3f} s"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where replay and recording part."""

    index: int
    """Number of the output, counting from 1."""
    t_s: float
    """When the item was received that led to it."""
    expected: str
    """Channel and JSON as recorded; empty: nothing was recorded here."""
    got: str
    """Channel and JSON of the replay; empty: nothing was said."""
    unified: str
    """Both, laid over each other."""
    before: tuple[str, ...]
    """The second before it, a line each: outputs, and what came in between them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a replay compares."""

    items: int
    """Items fed."""
    outputs: int
    """Outputs found equal."""
    until_s: float
    """Session second up to which was compared."""
    difference: Difference | None
    lost: tuple[Lost, ...]
    """What is missing in the recording."""
    notes: tuple[str, ...]
    """What else is wrong with it, in plain words."""

    @property
    def identical(self) -> bool:
        """Whether nothing differs, as far as could be compared."""
        return self.difference is None


def replay(recording: Recording, config: Config | None = None) -> Comparison:
    """Feeds the items in order and compares every output, up to the first difference or hole.

    `config` None: the recorded one.  Raises `ConfigError` when that cannot be used any more.
    """
    entries = recording.entries
    lost = tuple(holes(recording))
    notes = [recording.problem] if recording.problem else []
    intact = recording.intact
    if entries and entries[0].sequence > 1:
        intact = 0  # without its beginning nobody knows in what state the Companion was
        notes.append(f"the beginning is missing: the first entry has number {entries[0].sequence}, not 1")
    companion = Companion(config if config is not None else config_of(recording))
    items = outputs = 0
    until_s = 0.0
    position = 0
    while position < intact:
        item_at = position
        entry = entries[position]
        if is_output(entry):
            # Only at the very beginning: every other output was taken with the item before it.
            return Comparison(
                items, outputs, until_s, _difference(entries, item_at, position, outputs, entry, None), lost, (*notes,)
            )
        position += 1
        items += 1
        until_s = entry.log_ns / 1e9
        got = companion.feed(entry.value)
        end = position
        while end < intact and is_output(entries[end]):
            end += 1
        recorded = entries[position:end]
        for place in range(max(len(recorded), len(got))):
            if place >= len(recorded) and end == intact:
                # The recording ends here: what it did not hold any more is no difference.
                notes.append("the recording ends within what followed from its last item")
                break
            expected = recorded[place] if place < len(recorded) else None
            output = got[place] if place < len(got) else None
            if not _same(expected, output):
                found = _difference(entries, item_at, position + place, outputs, expected, output)
                return Comparison(items, outputs, until_s, found, lost, (*notes,))
            outputs += 1
        position = end
    return Comparison(items, outputs, until_s, None, lost, (*notes,))


def holes(recording: Recording) -> Iterator[Lost]:
    """What is missing, by the numbers of the entries; a recording that was cut lacks its end."""
    before_s, number = 0.0, 0
    for entry in recording.entries:
        if entry.sequence > number + 1:
            yield Lost(number + 1, entry.sequence - 1, before_s, entry.log_ns / 1e9)
        before_s, number = entry.log_ns / 1e9, max(number, entry.sequence)
    cut = "truncated" in recording.problem or "damaged" in recording.problem
    if cut and recording.intact == len(recording.entries):  # else a later part of the recording goes on
        yield Lost(number + 1, None, before_s, None)


def _same(expected: Entry | None, output: ev.Output | None) -> bool:
    if expected is None or output is None:
        return False
    return expected.channel == wire.OUTPUT_CHANNELS[type(output)] and _json(expected.value) == _json(output)


def _json(output: Any) -> bytes:
    """JSON after a turn through the reader, so that 20 and 20.0, which JSON does not tell apart, are equal."""
    return wire.encode(wire.decode(wire.encode(output), type(output)))


# ------------------------------------------------------------------------------------------------ what differs


def _difference(
    entries: Sequence[Entry], item_at: int, place: int, outputs: int, expected: Entry | None, output: ev.Output | None
) -> Difference:
    item = entries[item_at]
    old = _lines(expected.channel, expected.value) if expected is not None else []
    new = _lines(wire.OUTPUT_CHANNELS[type(output)], output) if output is not None else []
    unified = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    until = place if is_output(item) else max(place, item_at + 1)
    return Difference(
        index=outputs + 1,
        t_s=item.log_ns / 1e9,
        expected=_line(expected.channel, expected.value) if expected is not None else "",
        got=_line(wire.OUTPUT_CHANNELS[type(output)], output) if output is not None else "",
        unified="\n".join(line for line in unified if not line.startswith("@@")),
        before=tuple(_told(_second_before(entries, until, item.log_ns))),
    )


def _second_before(entries: Sequence[Entry], until: int, log_ns: int) -> Sequence[Entry]:
    first = until
    while first > 0 and entries[first - 1].log_ns >= log_ns - BEFORE_S * 1e9:
        first -= 1
    return entries[first:until]


def _told(entries: Sequence[Entry]) -> Iterator[str]:
    """Outputs a line each; the items between them in one line, by kind; the last item, which led to it, in full."""
    between: list[Entry] = []
    last_item = max((place for place, entry in enumerate(entries) if not is_output(entry)), default=-1)
    for place, entry in enumerate(entries):
        if is_output(entry) or place == last_item:
            if between:
                yield _summary(between)
                between = []
            sign = "<-" if is_output(entry) else "->"
            yield f"{entry.log_ns / 1e9:9.3f} s  {sign} {_line(entry.channel, entry.value)}"
        else:
            between.append(entry)
    if between:
        yield _summary(between)


def _summary(entries: Sequence[Entry]) -> str:
    by_channel: dict[str, list[Entry]] = {}
    for entry in entries:
        by_channel.setdefault(entry.channel.removeprefix("/item/"), []).append(entry)
    parts = [f"{len(found)} {channel}{_detail(found)}" for channel, found in by_channel.items()]
    return f"{entries[0].log_ns / 1e9:9.3f} s  -> {', '.join(parts)}"


def _detail(entries: Sequence[Entry]) -> str:
    values = [entry.value for entry in entries]
    if isinstance(values[0], sm.RangeSample):
        ranges = [value.range_m for value in values if value.range_m is not None]
        seen = f" {ranges[0]:.3f} to {ranges[-1]:.3f} m" if ranges else ""
        without = len(values) - len(ranges)
        return f" ({seen.strip()}{', ' if seen and without else ''}{f'{without} without a range' if without else ''})"
    if isinstance(values[0], sm.ImuSample):
        sizes = [sum(a * a for a in value.accel_m_s2) ** 0.5 for value in values]
        return f" ({min(sizes):.1f} to {max(sizes):.1f} m/s2)"
    if isinstance(values[0], sm.VoiceProgress):
        return f" ({', '.join(f'{value.alert} {value.phase.value}' for value in values)})"
    return ""


def _line(channel: str, value: Any) -> str:
    return f"{channel} {wire.encode(value).decode()}"


def _lines(channel: str, value: Any) -> list[str]:
    """Channel and fields, a line each, as a difference is read."""
    fields = msgspec.json.decode(wire.encode(value))
    return [channel, *(f"  {name} = {wire.encode(content).decode()}" for name, content in fields.items())]


# ------------------------------------------------------------------------------------------- with other thresholds


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that was asked to be said."""

    t_s: float
    level: str
    words: str


@dataclass(frozen=True, slots=True)
class Other:
    """What was said, and what would have been said with another configuration."""

    recorded: tuple[Alert, ...]
    other: tuple[Alert, ...]
    until_s: float

    def rows(self) -> Iterator[tuple[Alert | None, Alert | None]]:
        """Both side by side in the order of time: equal words at nearly the same moment share a row."""
        left, right = list(self.recorded), list(self.other)
        while left or right:
            if left and right and left[0].words == right[0].words and abs(left[0].t_s - right[0].t_s) <= SAME_S:
                yield left.pop(0), right.pop(0)
            elif not right or (left and left[0].t_s <= right[0].t_s):
                yield left.pop(0), None
            else:
                yield None, right.pop(0)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Alerts by level: recorded, and with the other configuration."""
        return {
            level: (
                sum(alert.level == level for alert in self.recorded),
                sum(alert.level == level for alert in self.other),
            )
            for level in ("warning", "caution", "advisory")
        }


def with_other(recording: Recording, config: Config) -> Other:
    """What other thresholds would have said on the same walk, up to the first hole in the recording.

    The walker's answer to another warning is not known: the walk stays as it was.  The voice's is taken from the
    recording where the same was said at the same moment; what is new is taken as heard at once.
    """
    texts = Texts.load(config.device.language)
    entries = recording.entries[: recording.intact]
    recorded = [entry.value for entry in entries if isinstance(entry.value, ev.Speak)]
    companion = Companion(config)
    answers = _Answers([entry.value for entry in entries if is_output(entry)])
    asked: list[ev.Speak] = []
    until_s = 0.0
    for entry in entries:
        if is_output(entry):
            continue
        until_s = entry.log_ns / 1e9
        for item in answers.before(entry.value):
            for output in companion.feed(item):
                answers.take(output)
                if isinstance(output, ev.Speak):
                    asked.append(output)
    return Other(tuple(_alerts(recorded, texts)), tuple(_alerts(asked, texts)), until_s)


class _Answers:
    """What voice and courier answer on a walk that was not: as recorded, with the new numbers; else made up."""

    def __init__(self, recorded: Sequence[ev.Output]) -> None:
        self._recorded = [output for output in recorded if isinstance(output, ev.Speak)]
        self._recorded_events_s = [output.t_s for output in recorded if isinstance(output, ev.Event)]
        self._events_s: list[float] = []
        self._new_number: dict[int, int] = {}
        self._made_up: list[tuple[float, int, sm.VoiceProgress]] = []
        self._count = 0

    def take(self, output: ev.Output) -> None:
        """Something that may be answered."""
        if isinstance(output, ev.Event):
            self._events_s.append(output.t_s)
        if not isinstance(output, ev.Speak):
            return
        for place, old in enumerate(self._recorded):
            if old.t_s > output.t_s + SAME_S:
                break
            if old.t_s >= output.t_s and _content(old) == _content(output):
                self._new_number[old.alert] = output.alert
                del self._recorded[place]
                return
        for after_s, phase in ((ANSWER_S, sm.VoicePhase.STARTED), (SPOKEN_S, sm.VoicePhase.FINISHED)):
            at_s = output.t_s + after_s
            self._count += 1
            heapq.heappush(self._made_up, (at_s, self._count, sm.VoiceProgress(at_s, at_s, output.alert, phase)))

    def before(self, item: Item) -> Iterator[Item]:
        """The recorded item, in its place among the answers."""
        while self._made_up and self._made_up[0][0] <= item.t_received_s:
            yield heapq.heappop(self._made_up)[2]
        if isinstance(item, sm.EventDelivered):
            # Up to the same moment: other events came before it, so it has another number.
            told_s = max(self._recorded_events_s[: item.number], default=-math.inf)
            yield sm.EventDelivered(item.t_received_s, bisect.bisect_right(self._events_s, told_s))
        elif not isinstance(item, sm.VoiceProgress):
            yield item
        elif item.alert in self._new_number:
            number = self._new_number[item.alert]
            yield sm.VoiceProgress(item.t_received_s, item.t_measured_s, number, item.phase, item.words)


def _content(request: ev.Speak) -> tuple[str, str, str]:
    return request.phrase, request.value, request.earcon


def _alerts(requests: Iterable[ev.Speak], texts: Texts) -> Iterator[Alert]:
    for request in requests:
        if request.phrase:
            yield Alert(request.t_s, request.level, texts.words(request.phrase, request.value))
        elif request.earcon != "tick":
            yield Alert(request.t_s, request.level, f"({request.earcon})")
