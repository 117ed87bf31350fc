"""Recordings: readable by others, readable after any cut, bounded, and no trouble to anybody."""

from __future__ import annotations

import json
import random
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from tests.courier.helpers import records, session_message

from retrowalk import wire
from retrowalk.config import Recording as Limits
from retrowalk.courier.recording import CHUNK_S, Recorder, channel_schema, channel_type, read
from retrowalk.errors import RecordingError

COUNT = 2400


def record(directory: Path, entries: list[wire.Record], *, limits: Limits | None = None) -> Path:
    """Records entries as the guard sends them, ten times a second; returns the last file."""
    recorder = Recorder(directory, limits or Limits())
    recorder.begin(session_message(), 0.0)
    for start in range(0, len(entries), 12):
        recorder.write(wire.RecordsMessage("s1", entries[start : start + 12]), entries[start].log_ns / 1e9)
    path = recorder.path
    assert path is not None
    assert (recorder.fault, recorder.lost) == ("", 0)
    recorder.close()
    return path


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> tuple[bytes, list[tuple[int, str]]]:
    """A finished recording of 20 s, and what it holds."""
    path = record(tmp_path_factory.mktemp("walk"), records(COUNT))
    return path.read_bytes(), [(entry.sequence, entry.channel) for entry in read(path).entries]


def test_what_was_recorded_is_read_back_equal(tmp_path):
    """Every entry comes back in order, as the very item it was, with both its times."""
    entries = records(500)
    found = read(record(tmp_path, entries))
    assert (found.complete, found.problem, found.intact) == (True, "", 500)
    assert found.session == session_message()
    for entry, original in zip(found.entries, entries, strict=True):
        kind = channel_type(original.channel)
        assert kind is not None
        assert entry.value == wire.decode(bytes(original.data), kind)
        assert (entry.sequence, entry.channel) == (original.sequence, original.channel)
        assert (entry.log_ns, entry.publish_ns) == (original.log_ns, original.publish_ns)


def test_other_programs_can_read_it(tmp_path):
    """The MCAP project's own reader finds the same messages, and a JSON schema for each channel."""
    path = record(tmp_path, records(500))
    with path.open("rb") as file:
        found = list(make_reader(file, validate_crcs=True).iter_messages())
    assert len(found) == 501
    schema, channel, message = found[0]
    assert (channel.topic, json.loads(message.data)["kind"]) == ("/session", "session")
    assert {channel.topic for _, channel, _ in found} == {"/session", "/item/imu", "/item/range/rear"}
    for schema, channel, message in found:
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
        assert set(json.loads(schema.data)["required"]) <= set(json.loads(message.data))


@pytest.mark.slow
def test_an_hour_of_recording_grows_by_little(tmp_path):
    """What mcap remembers of each chunk until the file ends is a few hundred bytes, and its index the same as ever."""
    recorder = Recorder(tmp_path, Limits(), sync=lambda _: None)
    recorder.begin(session_message(), 0.0)
    channels = [f"/item/range/sensor-{number}" for number in range(20)]

    def chunks(first: int, last: int) -> None:
        for number in range(first, last):
            t_s = number * (CHUNK_S + 0.01)
            entries = [
                wire.Record(number * 20 + at, channel, round(t_s * 1e9) + at, round(t_s * 1e9), msgspec.Raw(b"{}"))
                for at, channel in enumerate(channels)
            ]
            recorder.write(wire.RecordsMessage("s1", entries), t_s)

    chunks(0, 20)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        chunks(20, 220)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / 200 < 600.0  # bytes a chunk; 1450 as objects
    path = recorder.path
    assert path is not None
    recorder.close()
    with path.open("rb") as file:
        summary = make_reader(file, validate_crcs=True).get_summary()
    assert summary is not None
    assert len(summary.chunk_indexes) == 221
    assert set(summary.chunk_indexes[-1].message_index_offsets) == {c for c in summary.channels if c > 1}


@pytest.mark.parametrize("channel", ["/session", *wire.CHANNEL_TYPES])
def test_each_channel_has_a_schema_in_one_piece(channel):
    """Viewers follow no references, and want an object at the top."""
    kind = channel_type(channel)
    assert kind is not None
    schema = json.loads(channel_schema(kind))
    assert schema["type"] == "object"
    assert "$ref" not in json.dumps(schema)


def test_a_sensor_name_in_the_channel_is_understood():
    """`/item/range/rear` holds what `/item/range` holds."""
    assert channel_type("/item/range/rear") is channel_type("/item/range") is not None
    assert channel_type("/item/nothing") is None
    assert channel_type("rear") is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))])
def test_any_cut_leaves_what_came_before(walk, tmp_path, seed):
    """Cut anywhere, 1000 places: all but the last chunk is read, and the problem names the byte."""
    data, entries = walk
    rng = random.Random(seed)
    path = tmp_path / "cut.mcap"
    least = -1
    for cut in sorted(rng.randrange(len(data)) for _ in range(100)):
        path.write_bytes(data[:cut])
        try:
            found = read(path)
        except RecordingError:
            assert cut < 3000, "only within the first chunk is there nothing to read"
            with pytest.raises(RecordingError, match="at byte"):
                read(path)
            continue
        got = [(entry.sequence, entry.channel) for entry in found.entries]
        assert got == entries[: len(got)]
        assert len(got) >= least, "a longer file never holds less"
        least = len(got)
        assert not found.complete
        assert found.intact == len(got)
        assert "byte" in found.problem


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_are_found(walk, tmp_path, seed):
    """Damage anywhere never raises anything but RecordingError; what stands before the problem is what was recorded."""
    data, entries = walk
    rng = random.Random(seed)
    path = tmp_path / "flipped.mcap"
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 5])):
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except RecordingError:
            continue
        got = [(entry.sequence, entry.channel) for entry in found.entries[: found.intact]]
        assert got == entries[: len(got)]
        assert found.complete == (found.problem == "")
        if found.complete:
            assert len(got) == COUNT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_damaged_heads_of_records_are_found(walk, tmp_path, seed):
    """The same with every record's opcode and length, where a reader is led astray."""
    data, entries = walk
    heads, position = [], 8
    while position + 9 <= len(data) - 8:
        heads.append(position)
        position += 9 + int.from_bytes(data[position + 1 : position + 9], "little")
    rng = random.Random(seed)
    path = tmp_path / "astray.mcap"
    for head in heads:
        damaged = bytearray(data)
        damaged[head + rng.randrange(9)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except RecordingError:
            continue
        got = [(entry.sequence, entry.channel) for entry in found.entries[: found.intact]]
        assert got == entries[: len(got)]
        if found.complete:
            assert len(got) == COUNT


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is no MCAP file (at byte 0)", id="empty"),
        pytest.param(b"RIFF....WAVEfmt ", "is no MCAP file (at byte 0)", id="a sound file"),
        pytest.param(b"\x89MCAP", "ends within its first 8 bytes (at byte 5)", id="cut in the magic"),
        pytest.param(b"\x89MCAP0\r\n", "truncated: ends without its summary", id="magic alone"),
        pytest.param(b"\x89MCAP0\r\n" + bytes(5000), "damaged: an empty record", id="zeros follow"),
    ],
)
def test_a_foreign_file_is_refused_with_its_position(tmp_path, content, says):
    """What is no recording raises, and says what and where."""
    path = tmp_path / "foreign.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read(path)
    assert says in str(caught.value)


def foreign(path: Path, *messages: tuple[str, int, bytes]) -> Path:
    """An MCAP file that some other program wrote."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channels = {topic: writer.register_channel(topic, "json", 0) for topic, _, _ in messages}
        for topic, sequence, data in messages:
            writer.add_message(channels[topic], sequence * 10**9, data, sequence * 10**9, sequence)
        writer.finish()
    return path


SESSION = ("/session", 0, wire.encode(session_message()))
TICK = wire.encode({"t_received_s": 1.0})


def test_an_mcap_of_somebody_else_is_refused(tmp_path):
    """Without `/session` first it is no recording of ours."""
    with pytest.raises(RecordingError, match="begins with '/imu/data', not with /session"):
        read(foreign(tmp_path / "robot.mcap", ("/imu/data", 1, b"{}")))
    with pytest.raises(RecordingError, match="no /session message"):
        read(foreign(tmp_path / "empty.mcap"))
    with pytest.raises(RecordingError, match="session cannot be decoded"):
        read(foreign(tmp_path / "odd.mcap", ("/session", 0, b"{}")))


def test_a_newer_recording_is_refused(tmp_path):
    """A schema this program does not know is named, not guessed at."""
    newer = msgspec.structs.replace(session_message(), schema_version=99)
    with pytest.raises(RecordingError, match="schema_version = 99"):
        read(foreign(tmp_path / "newer.mcap", ("/session", 0, wire.encode(newer))))


@pytest.mark.parametrize(
    ("odd", "problem", "count"),
    [
        pytest.param(("/item/tock", 2, TICK), "unknown channel '/item/tock'", 1, id="unknown channel"),
        pytest.param(("/item/tick", 2, b"{"), "message 2 on /item/tick cannot be decoded", 1, id="undecodable"),
        pytest.param(("/item/tick", 5, TICK), "3 entries missing after number 1: next is 5, at 5.000 s", 2, id="gap"),
        pytest.param(("/item/tick", 1, TICK), "order broken after number 1", 2, id="twice"),
    ],
)
def test_problems_are_named(tmp_path, odd, problem, count):
    """What is wrong within a readable file is said; the rest is given."""
    found = read(foreign(tmp_path / "odd.mcap", SESSION, ("/item/tick", 1, TICK), odd))
    assert problem in found.problem
    assert (found.intact, len(found.entries), found.complete) == (1, count, False)


@pytest.mark.slow
def test_a_kill_costs_at_most_ten_seconds(tmp_path):
    """A recording whose process was killed at any moment holds all but the last chunk."""
    recorder = Recorder(tmp_path, Limits())
    recorder.begin(session_message(), 0.0)
    entries = records(119 * 60)
    for start in range(0, len(entries), 12):
        now = entries[start].log_ns / 1e9
        recorder.write(wire.RecordsMessage("s1", entries[start : start + 12]), now)
        if start % 600 == 0 and start:
            assert recorder.path is not None
            last = read(recorder.path).entries[-1:]
            assert now - (last[0].log_ns / 1e9 if last else 0.0) <= CHUNK_S + 0.2
    recorder.close()


def test_data_that_stops_is_on_disk_after_five_seconds(tmp_path):
    """A chunk is closed by time, too: the last entries before a silence are not held back."""
    recorder = Recorder(tmp_path, Limits())
    recorder.begin(session_message(), 0.0)
    recorder.write(wire.RecordsMessage("s1", records(10)), 1.0)
    assert recorder.poll(2.0) == 1.0 + CHUNK_S
    recorder.poll(6.0)
    assert recorder.path is not None
    assert len(read(recorder.path).entries) == 10
    recorder.close()


@pytest.mark.slow
def test_parts_are_bounded_and_read_as_one(tmp_path):
    """A file that is full is finished and a new one begun; together they are the recording."""
    entries = records(40_000)
    record(tmp_path, entries, limits=Limits(file_max_mb=1, total_max_mb=1000))
    parts = sorted(tmp_path.glob("*.mcap"))
    assert len(parts) >= 3
    assert all(part.stat().st_size < 1_300_000 for part in parts)
    found = read(tmp_path)
    assert found.problem == ""
    assert len(found.entries) == 40_000
    assert read(parts).entries == found.entries
    assert read(parts[1]).complete, "each part stands on its own"
    missing = read([parts[0], parts[2]])
    assert "entries missing after number" in missing.problem


@pytest.mark.slow
def test_the_oldest_recordings_make_room(tmp_path):
    """Beyond the total the oldest files go, never the current one, and nothing that is not a recording."""
    (tmp_path / "holiday.mcap").write_bytes(b"x" * 5_000_000)
    limits = Limits(file_max_mb=1, total_max_mb=2)
    last = record(tmp_path, records(60_000), limits=limits)
    ours = sorted(path for path in tmp_path.glob("0*.mcap"))
    assert last in ours
    assert 1_000_000 < sum(path.stat().st_size for path in ours) <= 3_300_000
    assert not list(tmp_path.glob("000001_*"))
    assert (tmp_path / "holiday.mcap").exists()


def test_two_sessions_are_not_read_as_one(tmp_path):
    """Parts of different walks are refused together."""
    recorder = Recorder(tmp_path, Limits())
    for name in ("s1", "s2"):
        recorder.begin(session_message(name), 0.0)
        recorder.write(wire.RecordsMessage(name, records(5)), 0.0)
    recorder.close()
    with pytest.raises(RecordingError, match="is of session s2, not s1"):
        read(tmp_path)


def test_a_directory_without_recordings_says_so(tmp_path):
    """An empty directory is no recording."""
    with pytest.raises(RecordingError, match=r"holds no \.mcap file"):
        read(tmp_path)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The disk is full: no file of this process may grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_fault_and_recovers(tmp_path):
    """Nothing is raised; the fault is told, the loss counted; with room again a new part goes on."""
    recorder = Recorder(tmp_path, Limits())
    recorder.begin(session_message(), 0.0)
    recorder.write(wire.RecordsMessage("s1", records(100)), 1.0)
    with files_limited_to(4096):
        for now in range(2, 40, 6):
            recorder.write(wire.RecordsMessage("s1", records(100, first=1 + now * 100)), float(now))
            recorder.poll(now + 5.0)
        assert (recorder.fault, recorder.active) == ("recording", False)
        assert recorder.lost > 0
    recorder.write(wire.RecordsMessage("s1", records(100, first=9001)), 60.0)
    assert (recorder.fault, recorder.active) == ("", True)
    recorder.close()
    found = read(tmp_path)
    assert found.entries[-1].sequence == 9100
    assert found.problem


def test_a_directory_that_cannot_be_made_is_a_fault(tmp_path):
    """A recorder without a place to write says so and tries again every 10 s."""
    (tmp_path / "recordings").write_text("in the way")
    recorder = Recorder(tmp_path / "recordings", Limits())
    recorder.begin(session_message(), 0.0)
    assert (recorder.fault, recorder.active) == ("recording", False)
    (tmp_path / "recordings").unlink()
    recorder.write(wire.RecordsMessage("s1", records(5)), 9.0)
    assert recorder.fault == "recording"
    recorder.write(wire.RecordsMessage("s1", records(5)), 10.0)
    assert (recorder.fault, recorder.active) == ("", True)
    recorder.close()


def test_switched_off_nothing_is_written(tmp_path):
    """`recording.enabled = false` leaves no file and is no fault."""
    recorder = Recorder(tmp_path / "recordings", Limits(enabled=False))
    recorder.begin(session_message(), 0.0)
    recorder.write(wire.RecordsMessage("s1", records(5)), 1.0)
    recorder.close()
    assert not (tmp_path / "recordings").exists()
    assert recorder.fault == ""
