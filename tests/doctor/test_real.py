"""Doctor and labelled recording beside three real processes, as a person at a terminal runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.sound import match, read_wav

from retrowalk.config import Config
from retrowalk.courier import recording
from retrowalk.replay import replay
from retrowalk.sim.realtime import RealWalk
from retrowalk.voice import bank as banks
from retrowalk.voice.say import render_text

pytestmark = pytest.mark.process

PATIENCE_S = 40.0

SCRIPT = """
[[prompt]]
label = "stand"
say = "Stand still."
seconds = 1.5
countdown = false
[[prompt]]
label = "go"
say = "Walk on."
seconds = {seconds}
countdown = false
"""


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`retrowalk` with these arguments, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "retrowalk", *arguments],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def beside(walk: RealWalk, process: subprocess.Popen[str], act: Callable[[], None] = lambda: None) -> str:
    """Lets the walk go on until the process has ended; returns what it wrote."""
    limit = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < limit, "it does not end"
        walk.run_until(walk.now() + 0.1)
        act()
    out, errors = process.communicate()
    assert "Traceback" not in errors, errors
    return out


def test_a_doctor_sees_a_real_guard(tmp_path: Path) -> None:
    """Through the socket of a guard that guards: every sensor is well by name, and a lost one is told."""
    banks.build(Config(), banks.default_directory())
    with RealWalk(1, tmp_path, ["rear:off@9-60"], until_s=40.0) as walk:
        walk.run_until(3.0)
        asked = ("doctor", "--json", "--quick", "--run-dir", str(walk.run_dir))
        well = {check["id"]: check for check in json.loads(beside(walk, command(*asked)))["checks"]}
        walk.run_until(max(walk.now(), 10.5))
        ill = {check["id"]: check for check in json.loads(beside(walk, command(*asked)))["checks"]}
        assert not list(walk.run_dir.glob("doctor-*")), "its mailbox is taken down"
        walk.finish()
    names = [f"sensors.{sensor.name}" for sensor in Config().range_sensor]
    for check in (*names, "sensors.imu", "sensors.button", "messages.courier"):
        assert well[check]["state"] == "ok", well[check]
    assert well["sound.voice"]["state"] != "bad", well["sound.voice"]
    assert "was asked" in well["retrowalk.processes"]["detail"]
    assert ill["sensors.rear"]["state"] == "bad"
    assert "GPIO24" in ill["sensors.rear"]["mend"]


@pytest.mark.parametrize("interrupted", [False, True], ids=["to its end", "Ctrl-C"])
def test_a_labelled_recording_beside_a_real_guard(tmp_path: Path, interrupted: bool) -> None:
    """What was asked for was heard; the copy is whole, has the labels at their moments, and replays identically."""
    banks.build(Config(), banks.default_directory())
    out, file = tmp_path / "mine", tmp_path / "script.toml"
    file.write_text(SCRIPT.format(seconds=30 if interrupted else 1.5))
    with RealWalk(1, tmp_path, until_s=60.0) as walk:
        walk.run_until(4.0)
        asked = ("record", "--run-dir", str(walk.run_dir), "--script", str(file), "--out", str(out), "--label", "anna")
        process = command(*asked)
        interrupt_s = [walk.now() + 12.0] if interrupted else []

        def act() -> None:
            if interrupt_s and walk.now() > interrupt_s[0]:
                interrupt_s.clear()
                process.send_signal(signal.SIGINT)

        told = beside(walk, process, act)
        assert process.returncode == 0, told
        walk.finish()
    assert "retrowalk replay" in told
    walked = recording.read(sorted(out.glob("*.mcap")))
    assert walked.complete, walked.problem
    comparison = replay(walked)
    assert comparison.identical, comparison.difference
    begins = {label.label: label.t_s for label in walked.labels if label.phase == "begin"}
    ends = {label.label: label.t_s for label in walked.labels if label.phase == "end"}
    assert set(begins) == set(ends) == {"anna", "stand", "go"}
    assert ends["stand"] - begins["stand"] == pytest.approx(1.5, abs=0.3)
    sound = read_wav(tmp_path / "walk.wav")
    pcm = render_text(Config(), banks.default_directory(), "Stand still.")
    # Second 0 of the guard's session and of the walk are the same moment here.
    heard_s = begins["stand"] - len(pcm) / 2 / 48_000
    assert max(match(sound, pcm, heard_s + shift / 100, 0.03) for shift in range(-30, 6, 3)) > 0.9


def test_a_labelled_recording_of_its_own(tmp_path: Path) -> None:
    """Nothing runs: retrowalk is started for as long as it takes, in directories that are gone afterwards."""
    settings, file, out = tmp_path / "settings.toml", tmp_path / "script.toml", tmp_path / "mine"
    settings.write_text('[broker]\nhost = ""\n')
    file.write_text(SCRIPT.format(seconds=1.0))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    asked = ("record", "--config", str(settings), "--script", str(file), "--out", str(out), "--run-dir", str(run_dir))
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:  # short: sockets lie in it
        process = command(*asked, TMPDIR=temporary)
        told, errors = process.communicate(timeout=90.0)
        assert process.returncode == 0, errors
        assert os.listdir(temporary) == []
    assert "Walk on." in told
    walked = recording.read(sorted(out.glob("*.mcap")))
    assert walked.complete, walked.problem
    assert [label.label for label in walked.labels] == ["stand", "stand", "go", "go"]
    assert replay(walked).identical
