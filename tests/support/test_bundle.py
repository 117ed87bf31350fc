"""The file for whoever helps: what is in it on a device in order, on a broken one, and that no secret ever is."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import tarfile
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from retrowalk import wire
from retrowalk.cli import cli
from retrowalk.config import Recording
from retrowalk.courier.outbox import Outbox, Stamp
from retrowalk.courier.recording import Recorder
from retrowalk.doctor.machine import ThisMachine
from retrowalk.support import bundle
from retrowalk.support.bundle import FOLDER, make
from retrowalk.support.pieces import PIECES, Piece, Places, Source
from retrowalk.support.secrets import Hidden

SECRETS = {
    "password file": "Canary-pw-0001",
    "unknown key": "Canary-key-0002",
    "ntfy topic": "canary-topic-0003",
    "mail password": "Canary-mail-0004",
    "alive url": "canary-alive-0005",
    "environment": "Canary-env-0006",
    "network file": "Canary-wifi-0007",
    "contact": "Canaria",
    "walker": "Kanarius",
    "comment": "canary-comment-0008",
    "password without a place": "canary-line-0009",
    "boot file": "Canary-boot-0010",
    "last-good": "Canary-old-0011",
    "free text": "canary-said-0012",
    "network name": "Canary-ssid-0013",
    "mail address": "canary@example.org",
}
"""Everything of which nothing may be found in the file, by where it stands."""

JOURNAL: list[dict[str, object]] = [
    {"MESSAGE": "rear: lost (silent)", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "retrowalk-guard",
     "RETROWALK_EVENT": "sensor.lost", "RETROWALK_PART": "rear", "RETROWALK_FAULT": "silent"},
    {"MESSAGE": f"broker says no to {SECRETS['password file']}", "PRIORITY": "4", "SYSLOG_IDENTIFIER": "x"},
    {"MESSAGE": f"POST https://ntfy.sh/{SECRETS['ntfy topic']} password={SECRETS['password without a place']}"},
    {"MESSAGE": [98, 121, 116, 101, 115, 255], "PRIORITY": "6"},
    {"MESSAGE": f"notice 3 to {SECRETS['contact']} by ntfy: for {SECRETS['walker']}, and more"},
    {"MESSAGE": f"wlan0: joins {SECRETS['network name']} with {SECRETS['network file']}"},
]  # fmt: skip

SETTINGS = f"""
# The password was {SECRETS["comment"]} once.
[broker]
host = "broker.example.org"
pasword = "{SECRETS["unknown key"]}"
password_file = "%s"
[walker]
measured_stop_s = 1.5
"""

HUB_SETTINGS = f"""
[hub]
alive_url = "https://hc-ping.com/{SECRETS["alive url"]}"
[[contact]]
name = "{SECRETS["contact"]}"
notify = ["ntfys://ntfy.sh/{SECRETS["ntfy topic"]}", "mailtos://me:{SECRETS["mail password"]}@example.org"]
[[walker]]
name = "{SECRETS["walker"]}"
"""


def program(folder: Path, name: str, text: str) -> None:
    """A command that this text is."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A device in order, with a secret in every place that can hold one."""
    etc, state, run, hub, boot, networks, bin_ = (
        tmp_path / name for name in ("etc", "state", "run", "hub", "boot", "networks", "bin")
    )
    for folder in (etc, state, run, hub, boot, networks, bin_):
        folder.mkdir()
    (etc / "password").write_text(SECRETS["password file"] + "\n")
    (etc / "retrowalk.toml").write_text(SETTINGS % (etc / "password"))
    (etc / "hub.toml").write_text(HUB_SETTINGS)
    (state / "last-good.toml").write_text(f'[broker]\nport = 1884\nold_password = "{SECRETS["last-good"]}"\n')
    (state / "calibration.json").write_text('{"measurements": [{"stop_s": 1.234}], "gaits": []}')
    (boot / "config.txt").write_text("# comment\ndtparam=i2c_arm=on\n")
    (boot / "retrowalk.toml").write_text(f'[wifi]\npsk = "{SECRETS["boot file"]}"\n')
    (networks / "home.nmconnection").write_text(
        f"[wifi]\nssid={SECRETS['network name']}\n[wifi-security]\npsk={SECRETS['network file']}\n"
    )
    outbox = Outbox(state / "outbox.db", owner="home/rw-0001")
    data = {"name": "say", "what": f"{SECRETS['free text']} {SECRETS['mail address']}"}
    event = wire.EventMessage("s1", 1, "command.received", "low", 1.0, 1.0, None, data)
    outbox.commit(event, Stamp("boot", 0.0, "ntp"), 0.0)
    outbox.close()
    recorder = Recorder(state / "recordings", Recording())
    recorder.begin(wire.Session("s1", wire.SCHEMA_VERSION, "0", "2026-01-01T00:00:00Z", "boot", {}), 0.0)
    recorder.close()
    rows = [{"__REALTIME_TIMESTAMP": "1790000000000000", **row} for row in JOURNAL]
    (tmp_path / "journal").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    program(bin_, "journalctl", f"#!/bin/sh\ncat {tmp_path}/journal\n")
    program(bin_, "systemctl", "#!/bin/sh\necho Id=retrowalk-guard.service\necho ActiveState=active\n")
    report = {"checks": [{"id": "sensors.rear", "state": "bad", "title": "rear", "detail": "silent", "mend": "look"}]}
    program(bin_, "doctor", f"#!/bin/sh\necho '{json.dumps(report | {'ok': False})}'\n")
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    environ = {"BROKER_PASSWORD": SECRETS["environment"], "RETROWALK_DATA": "/data", "LANG": "C"}
    places = Places(
        etc / "retrowalk.toml", etc / "hub.toml", state, hub, run, boot=(boot,), networks=(networks,), etc=etc
    )
    return Source(places, ThisMachine(), Hidden(), doctor=(str(bin_ / "doctor"),), environ=environ)


def unpacked(file: Path) -> Mapping[str, bytes]:
    """Every member by its name."""
    with tarfile.open(file) as tar:
        return {
            member.name.removeprefix(f"{FOLDER}/"): tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar.getmembers()
        }


def all_bytes(data: bytes, depth: int = 0) -> bytes:
    """The bytes, and those of whatever is compressed in them."""
    found = data
    if depth < 3:
        if data[:2] == b"\x1f\x8b":
            found += all_bytes(gzip.decompress(data), depth + 1)
        start = 0
        while (start := data.find(b"\x28\xb5\x2f\xfd", start)) >= 0:  # chunks of a recording
            try:
                found += zstandard.ZstdDecompressor().decompressobj().decompress(data[start:])
            except zstandard.ZstdError:
                pass
            start += 4
    return found


@pytest.fixture
def packed(device: Source, tmp_path: Path) -> Mapping[str, bytes]:
    return unpacked(make(device, tmp_path / "out.tar.gz").file)


def test_contents(packed: Mapping[str, bytes]) -> None:
    """Each piece is there, and the first file says what each is and which could not be had."""
    names = {piece.name for piece in PIECES} - {"hub-store.txt"}
    assert set(packed) == names | {"CONTENTS.txt", "doctor.txt"}
    contents = packed["CONTENTS.txt"].decode()
    assert all(name in contents for name in names)
    assert "hub-store.txt" in contents.partition("Could not be had")[2]


@pytest.mark.parametrize("with_recording", [False, True], ids=["as it is", "with a recording"])
def test_no_secret_is_in_it(device: Source, tmp_path: Path, with_recording: bool) -> None:
    """Not one of the secrets is in any file of it, nor in what is compressed there."""
    out = tmp_path / "out.tar.gz"
    make(device, out, with_recording=with_recording)
    found = all_bytes(out.read_bytes())
    for data in unpacked(out).values():
        found += all_bytes(data)
    assert len(found) > 5000
    assert [where for where, secret in SECRETS.items() if secret.lower().encode() in found.lower()] == []


def test_the_search_finds_what_is_there(device: Source, tmp_path: Path) -> None:
    """The test above would notice: asked for, the messages are in it, and what they say."""
    out = tmp_path / "out.tar.gz"
    make(device, out, with_messages=True)
    assert SECRETS["free text"].encode() in all_bytes(b"".join(unpacked(out).values()))


def test_what_helps_is_in_it(packed: Mapping[str, bytes]) -> None:
    """What is no secret is still there to be read."""
    assert b'host = "broker.example.org"' in packed["settings.toml"]
    assert b"measured_stop_s = 1.5" in packed["settings.toml"]
    assert b"rear: lost (silent)" in packed["journal.txt"]
    assert b"1 rear silent" in packed["faults.txt"]
    assert b"-port = 1884" in packed["last-good.diff"]
    assert b"waiting: 1 low" in packed["outbox.txt"]
    assert b"dtparam=i2c_arm=on" in packed["boot.txt"]
    assert b"ActiveState=active" in packed["units.txt"]
    assert b"Not ready to walk" in packed["doctor.txt"]
    assert b"outbox.db" in packed["files.txt"]
    assert b"measurements: 1" in packed["calibration.txt"]
    assert b"1.234" not in packed["calibration.txt"]


def test_recording_only_when_asked(device: Source, tmp_path: Path) -> None:
    """How the walker moved is theirs: it is in the file only when it is asked for."""
    made = [make(device, tmp_path / f"{number}.tar.gz", with_recording=bool(number)).file for number in (0, 1)]
    recordings = [[name for name in unpacked(file) if name.endswith(".mcap")] for file in made]
    assert recordings == [[], ["recording/000001_s1_1.mcap"]]


def test_file_is_the_owner_s_alone(device: Source, tmp_path: Path) -> None:
    """Nobody else on this computer may read it."""
    made = make(device, tmp_path / "out.tar.gz")
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.tar.gz"]


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        pytest.param("settings", set(), id="settings that are no TOML"),
        pytest.param("binary", set(), id="settings that are no text"),
        pytest.param("no state", {"outbox.txt", "calibration.txt", "last-good.diff"}, id="no state directory"),
        pytest.param("outbox", {"outbox.txt"}, id="an outbox that is no database"),
        pytest.param("no journal", {"journal.txt", "faults.txt", "kernel.txt"}, id="no journal"),
        pytest.param("doctor", {"doctor.json"}, id="a doctor that fails"),
        pytest.param("state", {"state.txt"}, id="a state of another version"),
    ],
)
def test_broken_device(device: Source, tmp_path: Path, broken: str, missing: set[str]) -> None:
    """A broken device gives what it has, and the reason for the rest; no secret even then."""
    places = device.places
    match broken:
        case "settings":
            places.config.write_text(SETTINGS.replace("[walker]", "[walker") % "x")
        case "binary":
            places.config.write_bytes(b"\xff\xfe" * 1000)
        case "no state":
            places.state.rename(tmp_path / "elsewhere")
        case "outbox":
            (places.state / "outbox.db").write_bytes(b"no database" * 100)
        case "no journal":
            program(tmp_path / "bin", "journalctl", "#!/bin/sh\necho no journal >&2\nexit 1\n")
        case "doctor":
            program(tmp_path / "bin", "doctor", "#!/bin/sh\nexit 3\n")
        case "state":
            (places.state / "guard.state").write_bytes(b"{}")
    made = make(device, tmp_path / "out.tar.gz")
    assert set(made.missing) == missing | {"hub-store.txt"}
    assert all(made.missing.values())
    found = all_bytes(b"".join(unpacked(made.file).values()))
    assert [secret for secret in SECRETS.values() if secret.encode() in found] == []


def test_piece_that_hangs_or_raises_is_left_out(device: Source, tmp_path: Path) -> None:
    """Whatever a piece does, it takes its time at most and costs only itself."""

    def hangs(source: Source) -> str:
        time.sleep(60.0)
        return ""

    def raises(source: Source) -> str:
        raise RecursionError

    pieces = (
        Piece("hangs.txt", "hangs", hangs, 0.05),
        Piece("raises.txt", "raises", raises),
        Piece("last.txt", "comes last", lambda source: "here\n"),
    )
    began = time.monotonic()
    made = make(device, tmp_path / "out.tar.gz", pieces=pieces)
    assert time.monotonic() - began < 5.0
    assert made.missing == {"hangs.txt": "it took too long", "raises.txt": "RecursionError"}
    assert unpacked(made.file)["last.txt"] == b"here\n"


@pytest.mark.slow
def test_all_of_it_has_a_limit_of_time(device: Source, tmp_path: Path) -> None:
    """When the time for everything is over, it is packed with what there is."""

    def hangs(source: Source) -> str:
        time.sleep(60.0)
        return ""

    pieces = tuple(Piece(f"{n}.txt", "slow", hangs, 0.2) for n in range(20))
    began = time.monotonic()
    made = make(device, tmp_path / "out.tar.gz", pieces=pieces, total_s=0.5)
    assert time.monotonic() - began < 5.0
    assert len(made.missing) == 20


def test_command_that_hangs_is_ended(device: Source, tmp_path: Path) -> None:
    """A program that does not answer is ended with its children, and named."""
    from retrowalk.support.pieces import command_output

    program(tmp_path / "bin", "hangs", "#!/bin/sh\nsleep 60 & sleep 60\n")
    with pytest.raises(OSError, match=r"hangs did not answer within 0\.1 s"):
        command_output(("hangs",), 0.1)


def test_size_has_a_limit(device: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there is, the file stays small: texts lose their beginning, a recording its first parts."""
    monkeypatch.setattr(bundle, "TEXTS_MAX_BYTES", 300_000)
    monkeypatch.setattr(bundle, "PIECE_MAX_BYTES", 100_000)
    monkeypatch.setattr(bundle, "RECORDING_MAX_BYTES", 50_000)
    folder = device.places.state / "recordings"
    for part in range(2, 6):
        (folder / f"00000{part}_s1_{part}.mcap").write_bytes(os.urandom(20_000))
    pieces = tuple(Piece(f"{n}.txt", "long", lambda source: os.urandom(200_000).hex()) for n in range(5))
    made = make(device, tmp_path / "out.tar.gz", pieces=pieces, with_recording=True)
    names = [name for name in unpacked(made.file) if name.endswith(".mcap")]
    assert names == ["recording/000004_s1_4.mcap", "recording/000005_s1_5.mcap"]
    assert "3 of 5 parts did not fit" in made.missing["recording"]
    assert made.size_bytes < 400_000


def test_limits_fit_together() -> None:
    """Texts and recording together stay below what is promised, were nothing compressed."""
    assert bundle.TEXTS_MAX_BYTES + len(PIECES) * 1000 + bundle.RECORDING_MAX_BYTES < bundle.BUNDLE_MAX_BYTES


def test_outbox_is_only_looked_at(device: Source, tmp_path: Path) -> None:
    """Nothing is made beside the outbox, and nothing in it changes."""
    state = device.places.state
    before = {path.name: path.read_bytes() for path in state.glob("outbox*")}
    make(device, tmp_path / "out.tar.gz")
    assert {path.name: path.read_bytes() for path in state.glob("outbox*")} == before


def test_outbox_in_use_is_read(device: Source, tmp_path: Path) -> None:
    """What the courier has committed a moment ago is counted, while it holds the file."""
    db = sqlite3.connect(device.places.state / "outbox.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("UPDATE outbox SET priority = 'high', rank = 3")
    assert b"waiting: 1 high" in unpacked(make(device, tmp_path / "out.tar.gz").file)["outbox.txt"]
    db.close()


def test_tells_what_it_does(device: Source, tmp_path: Path) -> None:
    """A person sees that something happens."""
    told: list[str] = []
    make(device, tmp_path / "out.tar.gz", tell=told.append)
    assert told[0] == "program, Python, system, board and packages"
    assert told[-1] == "packing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("24h", "-1440min", id="hours"),
        pytest.param("90m", "-90min", id="minutes"),
        pytest.param("7d", "-10080min", id="days"),
        pytest.param("yesterday", None, id="a word"),
        pytest.param("-1h", None, id="negative"),
        pytest.param("h", None, id="no number"),
        pytest.param("", None, id="empty"),
    ],
)
def test_since(text: str, expected: str | None) -> None:
    """How far back is said as people say it; anything else is refused."""
    if expected is None:
        with pytest.raises(ValueError, match="must be a number"):
            bundle.since(text)
    else:
        assert bundle.since(text) == expected


@pytest.mark.process
def test_command(device: Source, tmp_path: Path) -> None:
    """`retrowalk support` packs the file on a computer that is no device, and says what it could not have."""
    (tmp_path / "empty").mkdir()
    options = ["--state-dir", str(tmp_path / "empty"), "--run-dir", str(tmp_path / "run")]
    out = tmp_path / "mine.tar.gz"
    done = CliRunner().invoke(
        cli, ["support", "--out", str(out), "--config", str(device.places.config), *options], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert str(out) in done.output
    assert "could not be had: outbox.txt" in done.output
    assert "settings.toml" in unpacked(out)


def test_folder_that_cannot_be_written_to(device: Source, tmp_path: Path) -> None:
    """That the file can be put nowhere is known at once, and leaves nothing."""
    with pytest.raises(OSError, match="No such file"):
        make(device, tmp_path / "nowhere" / "out.tar.gz")


def test_every_piece_is_documented() -> None:
    """docs/support.md lists each file of it."""
    text = (Path(__file__).parents[2] / "docs" / "support.md").read_text()
    assert [piece.name for piece in PIECES if f"`{piece.name}`" not in text] == []


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_person_without_rights_gets_what_they_may_see(device: Source, tmp_path: Path) -> None:
    """Who may look into nothing still gets a file of their own, and is told what it takes to see more."""
    readable, answered = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests only sleep, and hold nothing
        child = os.fork()
    if child == 0:  # a process of its own: who has given up rights does not get them back
        status = 1
        try:
            os.close(readable)
            here = Path(tempfile.mkdtemp())
            os.chown(here, 65534, 65534)
            for place in (device.places.state, device.places.etc):
                place.chmod(0o700)
            for folder in (*tmp_path.parents, tmp_path):
                if folder.stat().st_uid == 0 and str(folder).startswith(tempfile.gettempdir() + "/"):
                    folder.chmod(0o711)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            made = make(device, here / "out.tar.gz")
            os.write(answered, json.dumps([made.missing, sorted(unpacked(made.file))]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(answered)
    with os.fdopen(readable, "rb") as answer:
        said = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    missing, names = json.loads(said)
    assert {"settings.toml", "outbox.txt", "last-good.diff"} <= set(missing)
    assert "Permission denied" in missing["settings.toml"]
    assert {"CONTENTS.txt", "version.txt", "computer.txt", "units.txt"} <= set(names)
