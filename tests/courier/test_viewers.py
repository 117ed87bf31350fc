"""Recordings in the hands of others: a reader that did not write them, a schema checker, Foxglove and PlotJuggler."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from pybag.io.raw_reader import BytesReader
from pybag.mcap.chunk import decompress_chunk
from pybag.mcap.crc import McapInvalidCrcError, assert_summary_crc
from pybag.mcap.record_reader import McapChunkedReader
from tests.courier.helpers import session_message

from retrowalk import wire
from retrowalk.core import events as ev
from retrowalk.courier.recording import channel_schema, channel_type, read
from retrowalk.sim.demo import run_fast

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHANNELS = (wire.SESSION_CHANNEL, wire.STATUS_CHANNEL, wire.LABEL_CHANNEL, *wire.CHANNEL_TYPES)


def kind_of(channel: str) -> type:
    kind = channel_type(channel)
    assert kind is not None, f"no recording has a channel {channel}"
    return kind


def schema_of(channel: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(channel_schema(kind_of(channel)))
    return schema


# ---------------------------------------------------------------------------------------------- one message


def example(hint: Any, full: bool) -> Any:
    """A value of this type: with everything it may hold, or with nothing it need not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return example(arguments[0], full) if full else None
    if origin is typing.Literal:
        return arguments[-1 if full else 0]
    if origin is tuple:
        inner = [kind for kind in arguments if kind is not Ellipsis]
        return tuple(example(kind, full) for kind in inner) if Ellipsis not in arguments or full else ()
    if origin is dict:
        return {"name": "value"} if full else {}
    if issubclass(hint, enum.Enum):
        return list(hint)[-1 if full else 0]
    if dataclasses.is_dataclass(hint) or issubclass(hint, msgspec.Struct):
        hints = {name: kind for name, kind in typing.get_type_hints(hint).items() if not name.startswith("_")}
        names = [field.name for field in fields_of(hint)]
        return hint(**{name: example(hints[name], full) for name in names})
    return {float: 1.5, int: 3, str: "words", bool: full}[hint]


def fields_of(kind: Any) -> Any:
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else msgspec.structs.fields(kind)


@pytest.mark.parametrize("full", [pytest.param(True, id="everything known"), pytest.param(False, id="nothing known")])
@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_written_fits_its_schema_and_is_read_back_equal(channel, full):
    """Whether a field that may be missing is there or not, the schema holds, and nothing is lost on the way."""
    schema = schema_of(channel)
    Draft202012Validator.check_schema(schema)
    value = session_message() if channel == wire.SESSION_CHANNEL else example(kind_of(channel), full)
    data = wire.encode_entry(value)
    Draft202012Validator(schema).validate(json.loads(data))
    assert b"null" not in data
    assert wire.decode(data, type(value)) == value


@pytest.mark.parametrize("channel", wire.ITEM_CHANNELS.values())
def test_what_was_written_with_null_is_still_read(channel):
    """Recordings made before fields were left out say null; they read the same."""
    value = example(kind_of(channel), full=False)
    assert wire.decode(wire.encode(value), type(value)) == value


PLAIN = ("string", "number", "integer", "boolean")


def refused(schema: dict[str, Any], path: str) -> list[str]:
    """Fields for which Foxglove would refuse the whole channel: each needs one type, or an enumeration of numbers."""
    found = []
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if "oneOf" in field:
            if not all(isinstance(one.get("const"), int) and one.get("title") for one in field["oneOf"]):
                found.append(here)
        elif field.get("type") == "object":
            found += refused(field, here)
        elif field.get("type") == "array":
            items = field.get("items", {})
            if items.get("type") == "object":
                found += refused(items, here)
            elif items.get("type") not in PLAIN:
                found.append(here)
        elif field.get("type") not in PLAIN:
            found.append(here)
    return found


@pytest.mark.parametrize("channel", CHANNELS)
def test_foxglove_takes_every_field(channel):
    """A channel is an object, and no field of it has two types, none, or a reference."""
    schema = schema_of(channel)
    assert schema["type"] == "object"
    assert refused(schema, channel) == []


@pytest.mark.parametrize(
    "field",
    [
        pytest.param({"anyOf": [{"type": "number"}, {"type": "null"}]}, id="number or null"),
        pytest.param({"type": ["number", "null"]}, id="two types"),
        pytest.param({"enum": ["a", "b"]}, id="words without a type"),
        pytest.param({"$ref": "#/$defs/Other"}, id="reference"),
        pytest.param({"type": "array", "prefixItems": [{"type": "number"}]}, id="array without items"),
        pytest.param({"oneOf": [{"const": "a", "title": "A"}]}, id="enumeration of words"),
    ],
)
def test_the_check_above_can_fail(field):
    """What Foxglove was seen to refuse is refused."""
    assert refused({"properties": {"inner": {"type": "object", "properties": {"odd": field}}}}, "/x") == [
        "/x.inner.odd"
    ]


def test_numbers_that_stand_for_words_are_named():
    """Foxglove shows the word for a level or a state that is recorded as a number."""
    fields = schema_of(wire.STATUS_CHANNEL)["properties"]
    assert {one["title"]: one["const"] for one in fields["hazard_level_code"]["oneOf"]} == {
        level.name: level.value for level in ev.Level
    }
    assert {one["title"] for one in fields["guard_state_code"]["oneOf"]} == {state.name for state in ev.GuardState}


# ------------------------------------------------------------------------------------------ a whole recording


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> Path:
    """The recording of the demo."""
    out: Path = tmp_path_factory.mktemp("demo")
    run_fast(1, out)
    return out / "walk.mcap"


def opened(path: Path) -> McapChunkedReader:
    """As another program reads it: the summary must be there, check sums must be right."""
    return McapChunkedReader.from_file(path, enable_crc_check=True, enable_summary_reconstruction="never")


@pytest.mark.slow
@pytest.mark.peers
def test_another_reader_finds_the_same(walk):
    """A reader that is not the writer's finds every entry, in order, with both its times."""
    ours = read(walk)
    assert ours.complete
    with opened(walk) as reader:
        topics = {number: channel.topic for number, channel in reader.get_channels().items()}
        messages = list(reader.get_messages(in_log_time_order=False))
        assert [m.log_time for m in messages] == sorted(m.log_time for m in messages)
        theirs = [
            (m.sequence, topics[m.channel_id], m.log_time, m.publish_time)
            for m in messages
            if topics[m.channel_id] not in (wire.SESSION_CHANNEL, wire.STATUS_CHANNEL)
        ]
    assert theirs == [(e.sequence, e.channel, e.log_ns, e.publish_ns) for e in ours.entries]
    assert len(theirs) > 10_000


@pytest.mark.slow
@pytest.mark.peers
def test_summary_and_indexes_are_right(walk):
    """What the end of the file tells of it is so: counts, times, check sums, and where each message is."""
    with opened(walk) as reader:
        told = reader.get_statistics()
        messages = list(reader.get_messages())
        assert told.message_count == len(messages)
        assert told.channel_message_counts == Counter(m.channel_id for m in messages)
        assert (told.message_start_time, told.message_end_time) == (messages[0].log_time, messages[-1].log_time)
        chunks = reader.get_chunk_indexes()
        assert told.chunk_count == len(chunks) > 10
        assert {channel.schema_id for channel in reader.get_channels().values()} == set(reader.get_schemas())
        assert (told.channel_count, told.schema_count) == (len(reader.get_channels()), len(reader.get_schemas()))
        indexed: Counter[int] = Counter()
        for chunk in chunks:
            assert chunk.message_index_offsets, "Foxglove opens no file with a chunk that has no message index"
            for number, index in reader.get_message_indexes(chunk).items():
                indexed[number] += len(index.records)
                times = [entry[0] for entry in index.records]
                assert chunk.message_start_time <= min(times) <= max(times) <= chunk.message_end_time
        assert indexed == told.channel_message_counts
        assert all(reader.get_chunk(chunk).uncompressed_crc for chunk in chunks), "zero would mean: not checked"
        assert reader.get_footer().summary_crc
    assert_summary_crc(BytesReader(walk.read_bytes()))


@pytest.mark.slow
@pytest.mark.peers
def test_every_message_fits_the_schema_in_the_file(walk):
    """Each channel's schema is valid JSON Schema, and each of its messages fits it."""
    with opened(walk) as reader:
        channels = reader.get_channels()
        checks = {}
        for number, channel in channels.items():
            schema = reader.get_channel_schema(number)
            assert schema is not None
            assert (channel.message_encoding, schema.encoding) == ("json", "jsonschema")
            Draft202012Validator.check_schema(json.loads(schema.data))
            checks[number] = Draft202012Validator(json.loads(schema.data))
        failed = Counter(
            channels[message.channel_id].topic
            for message in reader.get_messages()
            if not checks[message.channel_id].is_valid(json.loads(message.data))
        )
    assert not failed
    assert len(checks) > 15


@pytest.mark.slow
@pytest.mark.peers
def test_the_other_reader_compares_check_sums(walk, tmp_path):
    """The check sums above are compared and not only there: others than those of the data are found."""
    with opened(walk) as reader:
        chunk = reader.get_chunk_indexes()[3]
    data = bytearray(walk.read_bytes())
    data[chunk.chunk_start_offset + 9 + 3 * 8] ^= 1  # behind opcode, length, two times and the size
    data[-len(b"\x89MCAP0\r\n") - 4] ^= 1  # at the end of the footer
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(data)
    with pytest.raises(McapInvalidCrcError):
        assert_summary_crc(BytesReader(bytes(data)))
    with McapChunkedReader.from_file(damaged) as reader, pytest.raises(McapInvalidCrcError):
        decompress_chunk(reader.get_chunk(chunk), check_crc=True)


@pytest.mark.slow
def test_what_viewers_plot_is_no_part_of_the_order(walk):
    """`/status` comes five times a second, and a replay does not see it."""
    with opened(walk) as reader:
        number = reader.get_channel_id(wire.STATUS_CHANNEL)
        assert number is not None
        shown = list(reader.get_messages(number))
    assert {message.sequence for message in shown} == {0}
    assert len(shown) == pytest.approx(5 * shown[-1].log_time / 1e9, rel=0.05)
    assert wire.STATUS_CHANNEL not in {entry.channel for entry in read(walk).entries}


# ------------------------------------------------------------------------------------------------- layouts


def field_at(channel: str, path: str) -> dict[str, Any]:
    """The schema of a field such as `state.upright[1]` of a channel's messages."""
    schema = schema_of(channel)
    for part in re.findall(r"\w+|\[\d+\]", path):
        if part.startswith("["):
            assert schema["type"] == "array", f"{channel}: {path}: {part} of what is no array"
            assert int(part[1:-1]) < schema.get("maxItems", 1e9), f"{channel}: {path}: it has fewer"
            schema = schema["items"]
        else:
            assert part in schema.get("properties", {}), f"{channel} has no field {path}"
            schema = schema["properties"][part]
    return schema


def is_number(schema: dict[str, Any]) -> bool:
    return "oneOf" in schema or schema.get("type") in {"number", "integer", "boolean"}


def strings(node: Any, key: str) -> list[str]:
    """Every value under this key, anywhere."""
    if isinstance(node, list):
        return [value for item in node for value in strings(item, key)]
    if not isinstance(node, dict):
        return []
    own = [value for name, value in node.items() if name == key and isinstance(value, str)]
    return own + [value for item in node.values() for value in strings(item, key)]


FOXGLOVE = json.loads((DOCS / "foxglove-layout.json").read_text(encoding="utf-8"))
PANELS: dict[str, Any] = FOXGLOVE["configById"]
PATHS = [
    pytest.param(panel, path, id=f"{panel} {path}")
    for panel, config in PANELS.items()
    for path in (*strings(config.get("paths", []), "value"), config.get("path", ""), config.get("topicPath", ""))
    if path
]


@pytest.mark.parametrize(("panel", "path"), PATHS)
def test_every_path_of_the_foxglove_layout_exists(panel, path):
    """A panel shows a field that recordings have; a name with a dot in it is in quotes; a plot shows a number."""
    found = re.fullmatch(r'("[^"]+"|[\w/-]+)((?:\.\w+(?:\[\d+\])?)*)', path)
    assert found, f"{path} is no message path"
    field = field_at(found[1].strip('"'), found[2])
    if panel.startswith("Plot!"):
        assert is_number(field), f"{path} is no number"


def test_the_foxglove_layout_is_in_one_piece():
    """Each panel that is placed is configured, each that is configured is placed, once."""
    placed: list[str] = []

    def place(node: Any) -> None:
        if isinstance(node, str):
            placed.append(node)
            for tab in PANELS[node].get("tabs", ()):
                place(tab["layout"])
        else:
            assert node["direction"] in ("row", "column")
            assert 0 < node["splitPercentage"] < 100
            place(node["first"])
            place(node["second"])

    place(FOXGLOVE["layout"])
    assert sorted(placed) == sorted(PANELS)


@pytest.mark.parametrize(
    ("panel", "values"),
    [
        pytest.param("Indicator!guard", {state.value for state in ev.GuardState}, id="guard"),
        pytest.param("Indicator!hazard", {level.name.lower() for level in ev.Level}, id="hazard"),
    ],
)
def test_indicators_know_every_word(panel, values):
    """No state or level is without a colour and a word of its own."""
    assert {rule["rawValue"] for rule in PANELS[panel]["rules"]} == values


PLOTJUGGLER = ElementTree.parse(DOCS / "plotjuggler-layout.xml").getroot()
CURVES = [curve.attrib["name"] for curve in PLOTJUGGLER.iter("curve")]


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_of_the_plotjuggler_layout_exists(curve):
    """A curve is a channel, a slash and a number of its messages."""
    channel, _, field = curve.rpartition("/")
    assert is_number(field_at(channel, field))


@pytest.mark.slow
def test_every_curve_of_the_plotjuggler_layout_is_in_the_demo(walk):
    """PlotJuggler asks about each curve it does not find; with the default hardware there is none."""
    with opened(walk) as reader:
        topics = {number: channel.topic for number, channel in reader.get_channels().items()}
        seen = {f"{topics[m.channel_id]}/{name}" for m in reader.get_messages() for name in json.loads(m.data)}
    assert {re.sub(r"\[\d+\]$", "", curve) for curve in CURVES} <= seen


def test_the_plotjuggler_layout_is_in_one_piece():
    """It is a state of the main window, whose splitters hold as many plots and sizes as they tell."""
    window = PLOTJUGGLER.find("tabbed_widget")
    assert window is not None
    assert (window.attrib["name"], window.attrib["parent"]) == ("Main Window", "main_window")
    splitters = list(PLOTJUGGLER.iter("DockSplitter"))
    assert len(splitters) == len(window.findall("Tab")) > 0
    for splitter in splitters:
        assert len(splitter) == int(splitter.attrib["count"]) == len(splitter.attrib["sizes"].split(";"))
        assert sum(map(float, splitter.attrib["sizes"].split(";"))) == pytest.approx(1.0)
        assert all(area.find("plot") is not None for area in splitter)


def test_the_page_names_every_channel():
    """Whoever looks at a recording finds each of its channels in the table."""
    text = (DOCS / "recordings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(/[\w./]+)", text))
    # Ranges have a channel for each sensor.
    assert {"/item/range/rear" if channel == "/item/range" else channel for channel in CHANNELS} <= named
