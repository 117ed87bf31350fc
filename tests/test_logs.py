"""Lines to the journal: their fields, that none waits, that the same line is not said for ever, and no secret."""

from __future__ import annotations

import ast
import logging
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrowalk import logs
from retrowalk.hub.process import hide_addresses
from retrowalk.hub.settings import Contact, Hub, HubConfig
from retrowalk.logs import Collapse, Journal, Lines, Terminal, about


def fields_of(data: bytes) -> dict[str, str]:
    """A datagram of the journal, read as journald reads it."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            data = rest
        else:
            size = struct.unpack("<Q", rest[:8])[0]
            value, data = rest[8 : 8 + size], rest[9 + size :]
        found[name.decode()] = value.decode()
    return found


class Journald:
    """Stands in for journald: a real datagram socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))

    def take(self) -> list[dict[str, str]]:
        """What has come."""
        found = []
        while True:
            try:
                found.append(fields_of(self.socket.recv(1 << 20)))
            except BlockingIOError:
                return found


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    stand_in = Journald(tmp_path / "journal")
    yield stand_in
    stand_in.socket.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def log(journald: Journald, time: Time) -> Iterator[logging.Logger]:
    """A logger whose lines go to the stand-in alone."""
    logger = logging.getLogger("retrowalk.of-a-test")
    lines = Lines(Journal("retrowalk-guard", str(journald.path)), time)
    logger.addHandler(lines)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(lines)
    lines.close()


def lines_of(logger: logging.Logger) -> Lines:
    return next(handler for handler in logger.handlers if isinstance(handler, Lines))


def test_fields(log: logging.Logger, journald: Journald) -> None:
    """A line carries what somebody looks for in fields of their own."""
    log.warning("rear: lost", extra=about("sensor.lost", part="rear", fault="silent", sensor="rear", session="s1"))
    (fields,) = journald.take()
    assert fields == {
        "SYSLOG_IDENTIFIER": "retrowalk-guard",
        "MESSAGE": "rear: lost",
        "PRIORITY": "4",
        "MESSAGE_ID": logs.MESSAGES["sensor.lost"],
        "RETROWALK_EVENT": "sensor.lost",
        "RETROWALK_PART": "rear",
        "RETROWALK_FAULT": "silent",
        "RETROWALK_SENSOR": "rear",
        "RETROWALK_SESSION": "s1",
        "RETROWALK_LOGGER": "retrowalk.of-a-test",
    }


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        pytest.param(logging.CRITICAL, 2, id="critical"),
        pytest.param(logging.ERROR, 3, id="error"),
        pytest.param(logging.WARNING, 4, id="warning"),
        pytest.param(logging.INFO, 6, id="info"),
        pytest.param(logging.DEBUG, 7, id="debug"),
    ],
)
def test_priority(level: int, expected: int) -> None:
    """Levels are the journal's priorities."""
    assert logs.priority(level) == expected


def test_error_names_its_place(log: logging.Logger, journald: Journald) -> None:
    """An error says where in the program it comes from, and brings its trace in the same entry."""
    try:
        _ = [][1]
    except IndexError:
        log.exception("a turn failed")
    (fields,) = journald.take()
    assert fields["MESSAGE"].startswith("a turn failed\nTraceback")
    assert "IndexError" in fields["MESSAGE"]
    assert fields["CODE_FILE"] == __file__
    assert int(fields["CODE_LINE"]) > 0


def test_every_kind_has_an_id_of_its_own() -> None:
    """A kind of message is found by one number, and by no other kind's."""
    numbers = list(logs.MESSAGES.values())
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in numbers)


def test_unknown_kind_is_refused() -> None:
    """A kind without a number is a mistake in the program that does not wait for a bad day."""
    with pytest.raises(KeyError):
        about("something.else")


def test_kinds_in_source_are_known() -> None:
    """Every kind that the program gives is in the table, and every kind in the table is given somewhere."""
    source = Path(logs.__file__).parent
    text = "".join(file.read_text() for file in source.rglob("*.py"))
    given = set(re.findall(r'about\(\s*"([a-z._]+)"', text))
    by_event = {"sensor.lost", "sensor.restored", "fault.raised", "fault.cleared", "guard.changed", "battery.low"}
    assert given | by_event | {"lines.repeated", "lines.lost"} == set(logs.MESSAGES)


def test_full_journal_does_not_hold_up(log: logging.Logger, journald: Journald, time: Time) -> None:
    """When nobody empties the journal's socket, lines are dropped at once, and their number is told afterwards."""
    for number in range(2000):
        log.error("line %s", "abcdefghij"[number % 10] * (number // 10 + 1))
    sent = len(journald.take())
    assert sent < 2000
    time.now += 60.0
    log.error("later")
    told = [fields for fields in journald.take() if fields.get("RETROWALK_EVENT") == "lines.lost"]
    assert [fields["MESSAGE"] for fields in told] == [f"{2000 - sent} lines could not be written"]


def test_absent_journal(log: logging.Logger, journald: Journald, time: Time) -> None:
    """A journal that is away costs lines; one that is back is told how many."""
    journald.path.unlink()
    log.error("nobody hears this")
    back = Journald(journald.path)
    time.now += 60.0
    log.error("back")
    assert [fields["MESSAGE"] for fields in back.take()] == ["1 lines could not be written", "back"]
    back.socket.close()


def test_long_line_is_cut(log: logging.Logger, journald: Journald) -> None:
    """A message without end does not become a datagram that nobody takes."""
    log.error("%s", "x" * 1_000_000)
    (fields,) = journald.take()
    assert len(fields["MESSAGE"]) <= logs.MESSAGE_MAX_BYTES + 10


def test_line_with_line_feeds_adds_no_field(log: logging.Logger, journald: Journald) -> None:
    """What a device wrote into a message cannot pass for a field of ours."""
    log.error("%s", "first\nPRIORITY=0\nRETROWALK_EVENT=sensor.lost")
    (fields,) = journald.take()
    assert fields["PRIORITY"] == "3"
    assert "RETROWALK_EVENT" not in fields


def test_bad_arguments_end_nothing(log: logging.Logger, journald: Journald, time: Time) -> None:
    """A line that cannot be put into words is counted as lost, and raises nothing."""
    lines_of(log).handle(logging.LogRecord("retrowalk", logging.ERROR, __file__, 1, "%d", ("no number",), None))
    assert lines_of(log).lost == 1


def test_repeated_line_collapses(log: logging.Logger, journald: Journald, time: Time) -> None:
    """The same line, with other numbers in it, comes three times in ten minutes; then how many more there were."""
    for number in range(50):
        log.warning("no answer for %.1f s, try %d", number / 7, number)
        time.now += 2.0
    assert len(journald.take()) == 3
    time.now += 600.0
    lines_of(log).poll()
    (fields,) = journald.take()
    assert fields["RETROWALK_EVENT"] == "lines.repeated"
    assert fields["MESSAGE"] == "47 more like this: no answer for 7.0 s, try 49"
    assert fields["PRIORITY"] == "4"


@pytest.mark.parametrize(
    "form", ["lidar-%d: lost", "home/rw-000%d: out of reach", "GPIO%d: no edge", "I2C 0x1%d: absent"]
)
def test_number_in_a_name_is_a_name(form: str, log: logging.Logger, journald: Journald) -> None:
    """A part that fails again and again hides no other whose name differs by a number."""
    for _ in range(5):
        log.warning(form, 1)
    journald.take()
    log.warning(form, 2)
    assert [fields["MESSAGE"] for fields in journald.take()] == [form % 2]


def test_end_tells_what_was_held_back(journald: Journald, time: Time) -> None:
    """A process that ends takes no count with it."""
    lines = Lines(Journal("retrowalk-guard", str(journald.path)), time)
    for _ in range(5):
        lines.handle(logging.LogRecord("retrowalk", logging.INFO, __file__, 1, "again", (), None))
    lines.close()
    assert journald.take()[-1]["MESSAGE"] == "2 more like this: again"


def test_other_lines_are_not_held_back() -> None:
    """A fault that repeats itself hides no other."""
    collapse = Collapse()
    for _ in range(100):
        collapse.lets("rear", 0.0)
    assert collapse.lets("imu", 0.0)


def test_kinds_of_lines_are_bounded() -> None:
    """A line that differs every time fills no memory."""
    collapse = Collapse(keys_max=20)
    for number in range(1000):
        assert collapse.lets(f"line {number}", 0.0)
    assert len(collapse._lines) == 20


def test_secret_is_blotted_out(log: logging.Logger, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that turns up in a library's words or in a trace is not shown."""
    monkeypatch.setattr(logs, "_secrets", set())
    logs.hide("canary-4711", "")
    try:
        raise OSError("https://canary-4711@broker refused")
    except OSError:
        log.exception("with canary-4711")
    (fields,) = journald.take()
    assert "canary" not in str(fields)
    assert fields["MESSAGE"].startswith("with (not shown)")


def test_nothing_is_formatted_in_vain(log: logging.Logger) -> None:
    """What is not logged is not put into words either."""

    class Costly:
        def __str__(self) -> str:
            raise AssertionError("was put into words")

    log.debug("%s", Costly())


def test_stopped_terminal_does_not_hold_up() -> None:
    """A pipe that nobody reads takes what it has room for; the rest is dropped at once."""
    reader, writer = os.pipe()
    terminal = Terminal("guard", writer)
    taken = [terminal({"MESSAGE": "x" * 400}) for _ in range(1000)]
    assert taken[0]
    assert not taken[-1]
    os.close(reader)
    assert not terminal({"MESSAGE": "nobody is there"})
    os.close(writer)


def test_terminal_lines_are_short() -> None:
    """A person reads the process and the words, a line each."""
    reader, writer = os.pipe()
    assert Terminal("guard", writer)({"MESSAGE": "rear: lost\nand more", "PRIORITY": "4"})
    assert os.read(reader, 1000) == b"guard: rear: lost\nguard: and more\n"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        pytest.param("own", True, id="stderr is the journal's"),
        pytest.param("1:1", False, id="stderr was redirected"),
        pytest.param("", False, id="not started by systemd"),
    ],
)
def test_where_lines_go(named: str, expected: bool, tmp_path: Path) -> None:
    """Only a process whose stderr is the journal writes to the journal."""
    with (tmp_path / "stderr").open("w") as file:
        found = os.fstat(file.fileno())
        value = f"{found.st_dev}:{found.st_ino}" if named == "own" else named
        assert logs.journal_reads_stderr({"JOURNAL_STREAM": value}, file.fileno()) is expected


PROGRAM = """
import sys, threading
from retrowalk import logs
lines = logs.begin("guard", journal=True, address=sys.argv[1])
def work():
    raise ValueError("in a thread")
thread = threading.Thread(target=work, name="rear")
thread.start()
thread.join()
raise RuntimeError("at the end")
"""


@pytest.mark.process
def test_end_by_a_fault_is_one_entry(journald: Journald) -> None:
    """What ends a process, or a thread of it, is one entry with its trace, and nothing on stderr beside it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, journald.path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    thread, main = journald.take()
    assert thread["MESSAGE"].startswith("thread rear ends by a fault in the program: ValueError: in a thread\nTrace")
    assert main["MESSAGE"].startswith("ends by a fault in the program: RuntimeError: at the end\nTraceback")
    assert main["PRIORITY"] == "2"
    assert main["RETROWALK_EVENT"] == "process.failed"


@pytest.mark.process
def test_end_by_a_fault_without_a_journal(tmp_path: Path) -> None:
    """Where the journal is away, what ends a process still stands on stderr."""
    nowhere = tmp_path / "nowhere"
    done = subprocess.run([sys.executable, "-c", PROGRAM, nowhere], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: at the end" in done.stderr


COMMAND = """
import sys
from retrowalk import logs
from retrowalk.cli import cli
logs.begin("courier", journal=True, address=sys.argv[1])
logs.begin = lambda process: None
cli(["hub", "--config", sys.argv[2]], prog_name="retrowalk")
"""


@pytest.mark.process
def test_refused_settings_are_an_error_in_the_journal(journald: Journald, tmp_path: Path) -> None:
    """A process that cannot begin says why as an error, in one entry."""
    settings = tmp_path / "hub.toml"
    settings.write_text("[hub]\nkeep_days = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, journald.path, settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (fields,) = journald.take()
    assert fields["PRIORITY"] == "3"
    assert "hub.keep_days = 1: must be 7 to 3650" in fields["MESSAGE"]


def test_addresses_of_contacts_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an address keeps secret is in no line of the hub, whoever writes it; the rest stays readable."""
    monkeypatch.setattr(logs, "_secrets", set())
    contact = Contact(name="Anna", notify=("ntfys://ntfy.sh/canary-topic", "tgram://4711:canary-token/12345678"))
    hide_addresses(HubConfig(contact=(contact,), hub=Hub(alive_url="https://hc-ping.com/canary-alive")))
    line = logs.hidden("POST ntfy.sh/canary-topic, bot4711:canary-token, https://hc-ping.com/canary-alive: refused")
    assert "canary" not in line
    assert line.startswith("POST ")
    assert line.endswith(": refused")


@pytest.mark.slow
def test_log_calls_put_nothing_into_words_beforehand() -> None:
    """Every call gives a form and its values, so that a line that is not logged costs nothing."""
    found = [
        (file.name, node.lineno, isinstance(node.args[0], ast.Constant))
        for file in Path(logs.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in ("log", "_log")
        and node.func.attr in ("debug", "info", "warning", "error", "exception", "critical")
    ]
    assert len(found) > 60
    assert [(name, line) for name, line, form in found if not form] == []
