"""Lines in a real journal: journald itself, with our settings, in a name space of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOURNALD = Path("/lib/systemd/systemd-journald")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        os.geteuid() != 0 or not JOURNALD.exists() or shutil.which("unshare") is None,
        reason="needs root, journald and unshare",
    ),
]

WRITER = """
import logging
from retrowalk import logs
lines = logs.begin("guard", journal=True)
log = logging.getLogger("retrowalk.guard")
logs.hide("canary-4711")
log.warning("rear: lost", extra=logs.about("sensor.lost", part="rear", fault="silent", sensor="rear", session="s1"))
try:
    raise ValueError("with canary-4711")
except ValueError:
    log.exception("a turn failed", extra=logs.about("turn.failed"))
for _ in range(100):
    log.warning("again and again")
logging.shutdown()
print(lines.lost)
"""

SCRIPT = """
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal {here}/log/journal
mount --bind {here}/log /var/log
cp {root}/systemd/journald.conf.d/50-retrowalk.conf /run/systemd/journald.conf.d/
{journald} 2>{here}/complaints &
journald=$!
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.05; done
{python} {here}/writer.py >{here}/lost
journalctl --flush 2>/dev/null || true
kill -USR1 $journald; sleep 0.5
kill -RTMIN+1 $journald; sleep 0.5
journalctl -o json --no-pager SYSLOG_IDENTIFIER=retrowalk-guard >{here}/found
journalctl --no-pager -q RETROWALK_EVENT=sensor.lost -o cat >{here}/asked
du -sk {here}/log/journal | cut -f1 >{here}/size
kill $journald
wait $journald || true
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what was written, found and complained of."""
    here = tmp_path_factory.mktemp("journal")
    (here / "writer.py").write_text(WRITER)
    script = SCRIPT.format(here=here, root=ROOT, journald=JOURNALD, python=sys.executable)
    subprocess.run(["unshare", "--mount", "bash", "-c", script], check=True, timeout=60.0)
    return here


def entries(written: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (written / "found").read_text().splitlines()]


def test_fields_are_found_again(written: Path) -> None:
    """What was given comes back out of the journal, field by field."""
    first = entries(written)[0]
    expected = {"MESSAGE": "rear: lost", "PRIORITY": "4", "RETROWALK_PART": "rear", "RETROWALK_SESSION": "s1"}
    assert {name: first[name] for name in expected} == expected
    assert (written / "asked").read_text() == "rear: lost\n"


def test_trace_is_one_entry(written: Path) -> None:
    """A trace of many lines is one entry, and the secret in it is not shown."""
    (failed,) = (entry for entry in entries(written) if entry.get("RETROWALK_EVENT") == "turn.failed")
    assert failed["MESSAGE"].count("\n") > 3
    assert "canary" not in json.dumps(entries(written))


def test_nothing_is_lost_and_repeated_lines_collapse(written: Path) -> None:
    """Everything that was not held back has arrived."""
    assert (written / "lost").read_text() == "0\n"
    said = [entry["MESSAGE"] for entry in entries(written)]
    assert said[2:] == ["again and again"] * 3 + ["97 more like this: again and again"]


def test_journald_understands_its_settings(written: Path) -> None:
    """journald takes each line of our settings, and keeps the journal where it stays over a restart, small."""
    assert "Unknown key" not in (written / "complaints").read_text()
    assert "50-retrowalk.conf" not in (written / "complaints").read_text()
    assert list((written / "log" / "journal").rglob("system.journal"))
    assert int((written / "size").read_text()) <= 8 * 1024
