"""The benchmarks of messages: what they call a miss, how their line is bad, and that they run."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks.program import FOLDER, load
from tests.broker import need_mosquitto


def module(name: str):
    """A program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        return load(FOLDER / f"{name}.py")
    finally:
        sys.path[:] = path


def by_name(rows) -> dict[tuple[str, str], Any]:
    """Rows by metric and case."""
    return {(row.metric, row.case): row for row in rows}


# ------------------------------------------------------------------------------------------------------- judgements


@pytest.fixture(scope="module")
def delivery():
    return module("delivery")


@pytest.fixture(scope="module")
def trouble():
    return module("broker_trouble")


@pytest.fixture(scope="module")
def silence():
    return module("silence")


@pytest.fixture(scope="module")
def commit():
    return module("commit")


@pytest.mark.slow
def test_two_late_of_a_hundred_miss_the_goal(delivery):
    """The 99th percentile is judged, of ours alone; one that never came is as late as can be"""
    found = delivery.Found(
        event_ms={"retrowalk": [3.0] * 98 + [251.0, delivery.LOST_MS], "paho publish": [900.0] * 100}
    )
    rows = {(row.metric, row.subject, row.case): row for row in delivery.rows_of(found)}
    assert rows["event_ms", "retrowalk", "p99"].met is False
    assert rows["event_ms", "retrowalk", "p50"].met is None
    assert rows["event_ms", "paho publish", "p99"].met is None


@pytest.mark.slow
def test_a_notification_that_never_came_is_lost(delivery):
    """It misses a goal of its own, however few they are"""
    rows = by_name(delivery.rows_of(delivery.Found(notify_ms=[40.0] * 500 + [delivery.LOST_MS])))
    assert rows["notify_ms", "p99"].met is True
    assert (rows["notify_lost", "all"].value, rows["notify_lost", "all"].met) == (1, False)


@pytest.mark.slow
def test_a_return_is_judged_by_its_worst(delivery):
    """One return that takes too long, or one event that never came, is a miss"""
    good = delivery.Backlog(1.0, 1.1, 9.0)
    bad = delivery.Backlog(11.0, 11.1, 61.0, missing=1)
    rows = by_name(delivery.rows_of(delivery.Found(backlogs={"puback": [good], "hub-ack": [good, bad]})))
    for metric, case in (("first_high_s", "max"), ("drained_s", "max")):
        assert rows[metric, f"{case} puback"].met is True
        assert rows[metric, f"{case} hub-ack"].met is False
    assert rows["missing", "hub-ack"].met is False


@pytest.mark.slow
def test_a_change_is_told_from_noise(trouble):
    """A case 50 ms later than the healthy ones misses, one that is as they are does not"""
    found = trouble.Found(
        {"healthy": [1.0] * 100, "healthy again": [1.2] * 100, "absent": [51.0] * 100, "slow": [1.1] * 100}
    )
    found.blocks = [trouble.Block(case, 0.0, 10.0, 5) for case in found.warnings_ms]
    rows = by_name(trouble.rows_of(found))
    assert rows["change_ms", "p99 absent"].value == pytest.approx(49.8)
    assert rows["change_ms", "p99 absent"].met is False
    assert rows["change_ms", "p99 slow"].met is True
    assert rows["reached_hz", "slow"].value == 0.5


@pytest.mark.slow
def test_silence_is_judged_both_ways(silence):
    """Noticed too late, paged too late or too early, or called silent without being so: each is a miss"""
    found = silence.Found(
        will_s={"radio": [14.0]},
        noticed_s={"radio": [14.0], "killed": [15.2]},
        paged_late_s={"radio": [0.2], "killed": [-0.1], "stopped": [1.4]},
        false_alerts={"switched off": [0, 0], "broker restarted": [0, 1]},
    )
    rows = by_name(silence.rows_of(found))
    assert [rows["noticed_s", f"max {fate}"].met for fate in ("radio", "killed")] == [True, False]
    assert [rows["paged_late_s", f"max {fate}"].met for fate in ("radio", "stopped")] == [True, False]
    assert rows["paged_late_s", "min killed"].met is False
    assert [rows["false_alerts", fate].met for fate in ("switched off", "broker restarted")] == [True, False]


@pytest.mark.slow
def test_every_way_to_keep_an_event_keeps_it(commit, pytestconfig):
    """The same events are in the product's file and in each peer's, and each has its times and bytes"""
    events = commit.numbered(commit.walked(1, 1).events, 20)
    # Beside the checkout: files for tests may be in memory, where nothing is ever written to a disk.
    with tempfile.TemporaryDirectory(dir=pytestconfig.cache.mkdir("commit")) as folder:
        costs = commit.measured(events, Path(folder))
        kept = (Path(folder) / "events.jsonl").read_text().splitlines()
    assert [len(cost.commit_ms) for cost in costs.values()] == [20] * 4
    assert len(kept) == 20
    if not any(cost.commit_bytes for cost in costs.values()):
        pytest.skip("nothing written here reaches a disk: the checkout is in memory")
    assert costs["sqlite DELETE, FULL"].commit_bytes > costs["sqlite WAL, NORMAL"].commit_bytes


# -------------------------------------------------------------------------------------------------------- the line


@pytest.fixture
def far():
    """A program at the far end of a line: sends back what it gets."""
    code = (
        "import socket, threading\n"
        "server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True)\n"
        "def echo(c):\n"
        "    while data := c.recv(4096): c.sendall(data)\n"
        "while True: threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def answered(port: int, limit_s: float) -> str:
    """What becomes of one that connects and says something."""
    try:
        with socket.create_connection(("127.0.0.1", port), limit_s) as connection:
            connection.settimeout(limit_s)
            connection.sendall(b"hello")
            return connection.recv(100).decode() or "closed"
    except TimeoutError:
        return "nothing"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionError:
        return "reset"


@pytest.mark.slow
@pytest.mark.process
def test_a_line_is_bad_in_the_way_it_is_told_to_be(far):
    """Each kind of trouble is what it is called, one after the other, and it passes"""
    with module("line").Line(far) as line:
        for mode, expected in [
            ("healthy", "hello"),
            ("absent", "refused"),
            ("swallowing", "nothing"),
            ("unanswered", "nothing"),
            ("refusing", "reset"),
            ("slow", "h"),
            ("healthy", "hello"),
        ]:
            line.set(mode)
            assert answered(line.port, 0.5) == expected, mode


@pytest.mark.slow
@pytest.mark.process
def test_a_line_delays_each_way(far):
    """What is sent over a line of 100 ms is answered after 200"""
    with module("line").Line(far) as line:
        line.set("healthy", delay_ms=100.0)
        began_s = time.monotonic()
        assert answered(line.port, 2.0) == "hello"
        assert 0.2 <= time.monotonic() - began_s < 1.0


# -------------------------------------------------------------------------------------------------------- the programs


def ran(program: str, *options: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of a quick run, by metric, subject and case."""
    need_mosquitto()
    command = [sys.executable, str(FOLDER / program), "--quick", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240.0)
    assert done.returncode == 0, done.stderr[-2000:]
    return {(row["metric"], row["subject"], row["case"]): row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.process
@pytest.mark.parametrize(
    ("delay_ms", "met"), [pytest.param(0, True, id="a good line"), pytest.param(300, False, id="300 ms each way")]
)
def test_a_slow_line_misses_the_goal_of_delivery(delay_ms, met):
    """The delay is seen, and reported as missed, with exit status 0"""
    row = ran("delivery.py", "--parts", "events", "--delay-ms", str(delay_ms))["event_ms", "retrowalk", "p99"]
    assert row["met"] is met
    assert row["value"] >= delay_ms


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.process
@pytest.mark.parametrize(
    ("waits_ms", "met"), [pytest.param(0, True, id="as it is"), pytest.param(50, False, id="a guard that waits")]
)
def test_a_guard_that_waits_for_the_broker_is_seen(waits_ms, met):
    """A guard that waits 50 ms for a courier without a broker misses the goal; ours does not"""
    rows = ran("broker_trouble.py", "--cases", "absent", "--waits-ms", str(waits_ms))
    assert rows["change_ms", "retrowalk", "p99 absent"]["met"] is met
    assert rows["reached_hz", "retrowalk", "absent"]["value"] == 0.0
    assert rows["lost", "retrowalk", "all"]["value"] == 0


@pytest.mark.slow
@pytest.mark.process
def test_the_cost_of_a_commit_is_told_beside_others():
    """Rows for ours and each peer, and what an hour of walk comes to"""
    rows = ran("commit.py")
    for subject in ("retrowalk", "sqlite DELETE, FULL", "sqlite WAL, NORMAL", "JSON lines, fsync"):
        assert rows["commit_ms", subject, "p99"]["value"] > 0.0
        assert rows["mib_per_h", subject, "events"]["value"] >= 0.0
    assert rows["events_per_h", "retrowalk", "priority high"]["value"] > 0.0


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.process
@pytest.mark.parametrize(
    ("options", "met"), [pytest.param((), True, id="as it is"), pytest.param(("--dead-line",), False, id="a deaf hub")]
)
def test_a_hub_that_hears_nothing_is_seen(options, met):
    """A device out of reach is noticed in time; by a hub that is cut off itself it is not, and that is a miss"""
    rows = ran("silence.py", *options)
    assert rows["noticed_s", "retrowalk", "max radio"]["met"] is met
    assert rows["noticed_s", "retrowalk", "max killed"]["met"] is met


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.process
def test_a_fall_reaches_client_caregiver_and_hub():
    """Rows for each part, nothing lost on the way"""
    rows = ran("delivery.py", "--parts", "falls,notifications,hub-ack")
    for metric in ("fall_ms", "notify_ms"):
        assert 0.0 < rows[metric, "retrowalk", "p99"]["value"] < 60_000.0
    assert rows["notify_lost", "retrowalk", "all"]["value"] == 0
    assert rows["missing", "retrowalk", "hub-ack"]["value"] == 0
