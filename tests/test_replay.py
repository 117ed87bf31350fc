"""Replay: the same walk gives the same outputs, a change is named, and what a recording lacks is told."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from click.testing import CliRunner
from tests.core import synth

from retrowalk import wire
from retrowalk.cli import cli
from retrowalk.config import Collision, Config, to_table
from retrowalk.config import Recording as RecordingLimits
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.courier.recording import Entry, Recorder, Recording, read
from retrowalk.errors import ConfigError
from retrowalk.replay import is_output, replay, with_other

WALL_S = (6.0, 10.0)


class RecordedStreet(synth.Street):
    """A street that keeps everything in the order in which the guard would record it."""

    def __init__(self, config=None):
        super().__init__(config, voice=True)
        self.log = []

    def _feed(self, item):
        before = len(self.outputs)
        super()._feed(item)
        self._keep(channel_of(item), item, item.t_received_s)
        for output in self.outputs[before:]:
            self._keep(wire.OUTPUT_CHANNELS[type(output)], output, item.t_received_s)

    def _keep(self, channel, value, t_s):
        self.log.append(Entry(len(self.log) + 1, channel, round(t_s * 1e9), round(t_s * 1e9), value))


def channel_of(item):
    channel = wire.ITEM_CHANNELS[type(item)]
    return f"{channel}/{item.sensor}" if isinstance(item, sm.RangeSample) else channel


def session(config):
    return wire.Session("walk", wire.SCHEMA_VERSION, "0.1.0", "2027-01-15T08:00:00Z", "boot", to_table(config))


def recording(entries, config=None, problem="", intact=None):
    entries = tuple(entries)
    return Recording(
        session(config or synth.ONE_SENSOR), entries, not problem, problem, len(entries) if intact is None else intact
    )


def wall_walk(config=None):
    """Stands, passes the check, then a wall nears at 0.6 m/s down to 1 m; a battery is low on the way."""
    start, end = WALL_S
    wall = [(t, 3.4 - 0.6 * (t - start)) for t in synth.times(start, end)]
    items = synth.merged(
        synth.settled(seconds=start),
        synth.ranges(wall, latency_s=0.0),
        synth.upright(end - start, start),
        synth.heartbeats(start, end),
        [sm.BatterySample(7.05, 7.0, 19.6, 3.6)],
    )
    street = RecordedStreet(config)
    street.run(items, end + 0.5)
    return tuple(street.log)


@pytest.fixture(scope="module")
def walk():
    return wall_walk()


def file_of(entries, directory, config=None):
    """The recording as the courier writes it."""
    recorder = Recorder(directory, RecordingLimits(), sync=lambda descriptor: None)
    recorder.begin(session(config or synth.ONE_SENSOR), 0.0)
    for first in range(0, len(entries), 100):
        batch = [
            wire.Record(e.sequence, e.channel, e.log_ns, e.publish_ns, msgspec.Raw(wire.encode(e.value)))
            for e in entries[first : first + 100]
        ]
        recorder.write(wire.RecordsMessage("walk", batch), entries[first].log_ns / 1e9)
    path = recorder.path
    recorder.close()
    assert path is not None
    return path


def position(entries, kind):
    return next(place for place, entry in enumerate(entries) if isinstance(entry.value, kind))


def changed(entries, place, **fields):
    entries = list(entries)
    entries[place] = dataclasses.replace(entries[place], value=dataclasses.replace(entries[place].value, **fields))
    return entries


# ------------------------------------------------------------------------------------------------ the same again


def test_walk_holds_what_the_tests_are_about(walk):
    """The walk has every kind of output that matters here: the tests below would prove nothing without them"""
    kinds = {type(entry.value) for entry in walk if is_output(entry)}
    assert {ev.Speak, ev.Touch, ev.StateSaved, ev.HazardRaised, ev.AlertSpoken, ev.BatteryLow} <= kinds


def test_recorded_walk_says_the_same_again(walk, tmp_path):
    """Through the file and back, every output is the same, byte for byte"""
    found = replay(read(file_of(walk, tmp_path)))
    assert found.identical
    assert found.outputs == sum(is_output(entry) for entry in walk)
    assert found.items == len(walk) - found.outputs
    assert not found.notes
    assert not found.lost


def test_altered_item_is_named_by_the_first_output_it_changes(walk):
    """A range that was another gives another output: the first one is shown, with the second before it"""
    place = position(walk, ev.HazardRaised)
    item = max(i for i in range(place) if isinstance(walk[i].value, sm.RangeSample))
    found = replay(recording(changed(walk, item, range_m=0.30))).difference
    assert found is not None
    assert found.t_s == walk[item].log_ns / 1e9
    assert found.index > sum(is_output(entry) for entry in walk[:item])
    assert "imu" in found.before[0]
    assert float(found.before[0].split()[0]) >= found.t_s - 1.0 - 1e-9
    assert any("-> /item/range/rear" in line and '"range_m":0.3' in line for line in found.before)


@pytest.mark.parametrize(
    ("kind", "fields", "line"),
    [
        pytest.param(ev.HazardRaised, {"range_m": 1.234}, "-  range_m = 1.234", id="a number of an event"),
        pytest.param(ev.Speak, {"rank": 1}, "-  rank = 1", id="a request to speak"),
        pytest.param(ev.Touch, {"pattern": "good"}, '-  pattern = "good"', id="a request to touch"),
        pytest.param(ev.BatteryLow, {"charge_percent": 21.0}, "-  charge_percent = 21.0", id="a whole number"),
    ],
)
def test_altered_output_is_the_difference(walk, kind, fields, line):
    """An output that was recorded differently is found at its place, and only what differs is marked"""
    place = position(walk, kind)
    found = replay(recording(changed(walk, place, **fields))).difference
    assert found is not None
    assert found.index == sum(is_output(entry) for entry in walk[:place]) + 1
    marked = [text for text in found.unified.splitlines() if text[0] in "+-"]
    assert line in marked
    assert len(marked) == 2


def test_output_that_was_not_recorded_is_a_difference(walk):
    """An output the program makes now and did not make then"""
    place = position(walk, ev.HazardRaised)
    kept = [entry for i, entry in enumerate(walk) if i != place]
    found = replay(recording([dataclasses.replace(e, sequence=i + 1) for i, e in enumerate(kept)])).difference
    assert found is not None
    assert "/event/hazard.raised" in found.got


def test_output_that_is_not_made_any_more_is_a_difference(walk):
    """An output of the recording that nothing leads to now"""
    place = max(i for i, entry in enumerate(walk[:-50]) if isinstance(entry.value, sm.ImuSample)) + 1
    extra = Entry(0, "/event/walk.started", walk[place - 1].log_ns, 0, ev.WalkStarted(t_s=1.0))
    entries = [*walk[:place], extra, *walk[place:]]
    found = replay(recording([dataclasses.replace(e, sequence=i + 1) for i, e in enumerate(entries)])).difference
    assert found is not None
    assert found.expected.startswith("/event/walk.started")
    assert found.got == ""


# ------------------------------------------------------------------------------------------ what a recording lacks


@pytest.mark.slow
def test_end_in_the_middle_of_an_items_outputs_is_no_difference(walk):
    """Wherever a recording ends, what it still holds is the same"""
    several = [i for i in range(1, len(walk)) if is_output(walk[i]) and is_output(walk[i - 1])]
    ends = sorted({*several, *(i + 1 for i in several)})
    assert len(ends) > 10
    for end in ends:
        assert replay(recording(walk[:end])).identical, end


def test_hole_is_told_with_what_was_lost_and_when(walk):
    """Entries are missing: their numbers and times are told, and up to there the rest is compared"""
    first, last = 400, 420
    entries = [*walk[: first - 1], *walk[last:]]
    found = replay(recording(entries, problem="21 entries missing", intact=first - 1))
    assert found.identical
    assert found.items + found.outputs == first - 1
    (lost,) = found.lost
    assert (lost.first, lost.last) == (first, last)
    assert (lost.from_s, lost.to_s) == (walk[first - 2].log_ns / 1e9, walk[last].log_ns / 1e9)
    assert str(lost).startswith("21 entries (400 to 420), from ")


def test_recording_without_its_beginning_is_not_compared(walk):
    """Nobody knows the state at its first entry: nothing is called identical"""
    found = replay(recording(walk[100:]))
    assert found.items == 0
    assert "the beginning is missing" in found.notes[-1]
    assert found.lost[0].first == 1


def test_cut_file_is_compared_as_far_as_it_goes(walk, tmp_path):
    """A file cut in the middle: what could be read is the same, and it is told from when on all is lost"""
    path = file_of(walk, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = replay(read(path))
    assert found.identical
    assert 0 < found.until_s < walk[-1].log_ns / 1e9
    assert found.lost[-1].last is None
    assert found.lost[-1].from_s == pytest.approx(found.until_s)


def test_configuration_of_another_program_is_refused(walk):
    """A recording with settings this program does not know cannot be replayed, and says which"""
    table = to_table(Config()) | {"radar": {"range_m": 9.0}}
    entries = recording(walk)
    foreign = dataclasses.replace(entries, session=msgspec.structs.replace(entries.session, config=table))
    with pytest.raises(ConfigError, match="radar"):
        replay(foreign)


# ------------------------------------------------------------------------------------------- with other thresholds


def test_same_thresholds_say_the_same(walk):
    """With the recorded configuration both columns are one"""
    other = with_other(recording(walk), synth.ONE_SENSOR)
    assert other.recorded == other.other
    assert all(left == right for left, right in other.rows())
    assert other.counts()["caution"][0] > 0


def test_earlier_caution_is_said_earlier(walk):
    """A caution that comes earlier by the settings comes earlier on the recorded walk"""
    other = with_other(
        recording(walk), Config(range_sensor=synth.ONE_SENSOR.range_sensor, collision=Collision(caution_ahead_s=3.0))
    )

    def first(alerts):
        return next(alert.t_s for alert in alerts if alert.words.startswith("Object"))

    assert first(other.other) < first(other.recorded)
    assert any(left is None or right is None for left, right in other.rows())
    times = [min(alert.t_s for alert in row if alert) for row in other.rows()]
    assert times == sorted(times)


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def command():
    return lambda *arguments: CliRunner().invoke(cli, ["replay", *map(str, arguments)])


def test_command_says_identical(command, walk, tmp_path):
    """The same: status 0"""
    found = command(file_of(walk, tmp_path))
    assert found.exit_code == 0, found.output
    assert found.output.startswith("identical: ")


def test_command_names_the_first_difference(command, walk, tmp_path):
    """Different: status 1, both sides, and the second before"""
    place = position(walk, ev.HazardRaised)
    found = command(file_of(changed(walk, place, range_m=1.234), tmp_path))
    assert found.exit_code == 1
    assert "different: output" in found.output
    assert "-  range_m = 1.234" in found.output
    assert "the second before it" in found.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "is no MCAP file", id="empty"),
        pytest.param(b"not a recording at all", "at byte 0", id="foreign"),
        pytest.param(b"\x89MCAP0\r\n\x01", "truncated", id="nothing but a beginning"),
        pytest.param(None, "No such file", id="not there"),
    ],
)
def test_command_says_what_is_wrong_with_the_file(command, tmp_path, content, words):
    """Not a recording: status 2, one line with the position, no traceback"""
    path = tmp_path / "walk.mcap"
    if content is not None:
        path.write_bytes(content)
    found = command(path)
    assert found.exit_code == 2
    assert words in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_command_shows_what_others_would_have_said(command, walk, tmp_path):
    """--with prints both columns and the counts"""
    other = tmp_path / "other.toml"
    other.write_text("[collision]\ncaution_ahead_s = 3.0\n")
    found = command(file_of(walk, tmp_path), "--with", other)
    assert found.exit_code == 0, found.output
    assert "with other.toml" in found.output
    assert "alerts, recorded | other: warning" in found.output


def test_command_lists_every_finding_of_the_other_settings(command, walk, tmp_path):
    """Bad settings to try: status 2 and every finding"""
    other = tmp_path / "other.toml"
    other.write_text("[collision]\ncaution_ahead_s = 99.0\nwarning_floor = 1\n")
    found = command(file_of(walk, tmp_path), "--with", other)
    assert found.exit_code == 2
    assert "collision.caution_ahead_s = 99.0" in found.stderr
    assert "collision.warning_floor" in found.stderr
