"""What a walk leaves for a person: events in order, and a transcript whose times lie in the sound file."""

from __future__ import annotations

import json

from retrowalk import wire
from retrowalk.config import Config, to_table
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.courier.recording import Entry, Recording
from retrowalk.sim.report import write_outputs

CHANGED = ev.GuardChanged(t_s=0.5, state=ev.GuardState.GUARDING, previous=ev.GuardState.CHECKING)
STOP = ev.AlertSpoken(
    t_s=12.31,
    alert=7,
    phrase="stop",
    words="Stop",
    level="warning",
    played_s=12.304,
    delay_s=0.02,
    because="1.20 m behind, closing 0.50 m/s",
)
CHIME = ev.AlertSpoken(t_s=3.0, alert=2, phrase="chime", words="", level="advisory", played_s=2.98, delay_s=0.02)


def written(directory, *values, began_s=0.0):
    channels = {**wire.OUTPUT_CHANNELS, **wire.ITEM_CHANNELS}
    entries = tuple(Entry(i + 1, channels[type(value)], 0, 0, value) for i, value in enumerate(values))
    session = wire.Session("walk", 1, "0.1.0", "2027-01-15T08:00:00Z", "boot", to_table(Config()))
    write_outputs(Recording(session, entries, True, "", len(entries)), directory, began_s)
    return (directory / "events.jsonl").read_bytes(), (directory / "transcript.txt").read_text().splitlines()


def test_events_are_the_recorded_ones_in_order(tmp_path):
    """One line an event, as wire.py writes it; items and requests are no events"""
    speak = ev.Speak(t_s=1.0, alert=1, phrase="clear", value="", earcon="", level="advisory", rank=1, deadline_s=2.0)
    events, _ = written(tmp_path, sm.Tick(0.0), CHANGED, speak, CHIME, STOP)
    assert events == b"".join(wire.event_line(event) for event in (CHANGED, CHIME, STOP))
    assert [json.loads(line)["type"] for line in events.splitlines()] == [
        "guard.changed",
        "alert.spoken",
        "alert.spoken",
    ]


def test_transcript_has_time_level_words_and_numbers(tmp_path):
    """A line for each sound in aligned columns, below a line that says what they are; a sound alone in brackets"""
    _, lines = written(tmp_path, CHANGED, CHIME, STOP)
    assert lines[0].startswith("# ")
    header, chime, stop = lines[2:]
    assert header.split() == ["time", "level", "words", "because"]
    assert chime.split() == ["2.980", "advisory", "(chime)", "-"]
    assert stop.split(maxsplit=3) == ["12.304", "warning", "Stop", "1.20 m behind, closing 0.50 m/s"]
    assert len({line.index(word) for line, word in ((header, "because"), (chime, "-"), (stop, "1.20"))}) == 1


def test_transcript_times_are_of_the_sound_file(tmp_path):
    """A sound file that began later than the session: the times are into the file"""
    _, lines = written(tmp_path, STOP, began_s=2.3)
    assert lines[-1].split()[0] == "10.004"
