"""A device at power-on where everything is missing: no network, pins, sound or phrases, and a clock of years ago.

systemd itself starts the installed services (see machine.py), and says what it thinks of them.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator

import pytest
from tests.boot.machine import Machine, faketime, missing, running
from tests.packaging import roots
from tests.packaging.roots import System

from retrowalk.courier import recording

LACKS = missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS), reason=f"to start a Debian system it needs {', '.join(LACKS)}"),
]
PROCESSES = ("guard", "voice", "courier")
SERVICES = (*PROCESSES, "bank", "poweroff", "firstboot", "hub")
READY_S = 45.0
"""From power-on (promise 25); here mostly systemd's own start."""
SETTLED_S = 12.0
"""Whoever cannot live here has died by then: a service that ends at once is started again within half a second."""
YEARS_BACK = 25
CLOCK = f"""
[Service]
Environment=LD_PRELOAD=/usr/local/lib/libfaketime.so.1 FAKETIME=-{YEARS_BACK}y FAKETIME_DONT_FAKE_MONOTONIC=1
Environment=FAKETIME_DISABLE_SHM=1
"""
"""Of the services that live on; the synthesiser cannot wait under this library.  The machine's own clock is that of
whoever runs the test, and stays right."""


@pytest.fixture(scope="module")
def bare(installed: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, on since a while."""
    library = faketime()
    assert library is not None
    with roots.layer(tmp_path_factory.mktemp("bare"), *installed.layers) as system:
        shutil.copy(library, system.path / "usr/local/lib")
        for name in (*PROCESSES, "hub"):
            folder = system.path / f"etc/systemd/system/retrowalk-{name}.service.d"
            folder.mkdir()
            (folder / "clock.conf").write_text(CLOCK, encoding="utf-8")
        with running(system) as machine:
            for name in PROCESSES:
                machine.back(name, machine.started_s, READY_S)
            yield machine


def test_it_serves_soon_after_power_on(bare, capsys, record_property):
    """Guard, voice and courier say that they serve, and the target is reached, with nothing to work with"""
    since = {name: bare.active_since(name) - bare.started_s for name in PROCESSES}
    with capsys.disabled():
        print("\n  from power-on:", ", ".join(f"{name} {took_s:.1f} s" for name, took_s in since.items()))
    record_property("power_on_to_ready_s", since)
    assert max(since.values()) < READY_S
    reached = "systemctl is-active retrowalk.target multi-user.target"
    bare.until(lambda: bare.try_(reached).status == 0, "the target", 5.0)
    assert bare.show("bank")["SubState"] == "running", "the target waited for the phrases"


def test_guard_says_what_is_missing(bare):
    """It does not protect and says so: in its state, and in a line for each part that is not there"""
    bare.until(lambda: bare.show("guard")["StatusText"] == "not_protecting", "not protecting", 15.0)
    named = {"rear", "lidar", "drop", "imu", "battery", "button", "buzzer", "vibration", "voice", "courier"}

    def parts() -> set[str]:
        return {line.get("RETROWALK_SENSOR") or line.get("RETROWALK_PART", "") for line in bare.lines("guard")}

    bare.until(lambda: named <= parts(), f"a line for each of {sorted(named)}", 15.0)


def test_its_clock_is_wrong(bare):
    """The services live years ago, or nothing here were a test of a wrong clock: the recording says when it began"""
    folder = bare.system.path / "var/lib/retrowalk/recordings"
    (path,) = bare.until(lambda: list(folder.glob("*.mcap")), "a recording", 15.0)
    year = time.gmtime(time.time() - YEARS_BACK * 365 * 86400).tm_year
    assert recording.read(path).session.started_wall.startswith(str(year))


def test_nobody_is_started_again(bare):
    """Each process lives on in its first life, and no other unit of the system has failed"""
    assert bare.run("systemctl start retrowalk-hub.service") == ""
    time.sleep(max(0.0, bare.started_s + SETTLED_S - time.monotonic()))
    lives = {name: (bare.show(name)["NRestarts"], bare.show(name)["Result"]) for name in SERVICES}
    assert lives == dict.fromkeys(SERVICES, ("0", "success"))
    assert all(bare.show(name)["SubState"] == "running" for name in (*PROCESSES, "hub"))
    assert bare.run("systemctl list-units --failed --plain --no-legend") == ""
    bare.run("systemctl stop retrowalk-hub.service")


def test_sandbox_is_that_of_a_running_process(bare):
    """Not only asked for: no rights, a filter of calls, no network for guard and voice, no devices for the courier"""
    for name in PROCESSES:
        proc = f"/proc/{bare.main_pid(name)}"
        status = dict(line.split(":\t", 1) for line in bare.run(f"cat {proc}/status").splitlines() if ":\t" in line)
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, name
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), name
        own = bare.run(f"readlink {proc}/ns/net") != bare.run("readlink /proc/1/ns/net")
        assert own == (name != "courier"), name
        assert bare.try_(f"nsenter --target $(basename {proc}) --mount touch /etc/there").status != 0, name


def test_devices_are_kept_from_a_running_process(bare):
    """What a service does not own it cannot open, were it root; the courier does not even see it"""
    device = "/dev/fuse"  # one that every kernel has
    bare.run(f"mknod -m 666 {device} c 10 229 && true <>{device}")
    for name in PROCESSES:
        join = f"echo 0 >/sys/fs/cgroup/system.slice/retrowalk-{name}.service/cgroup.procs"
        answer = bare.try_(f"{join} && true <>{device}")
        assert answer.status != 0, name
        assert "Operation not permitted" in answer.output, name
        seen = bare.try_(f"test -e /proc/{bare.main_pid(name)}/root{device}").status == 0
        assert seen == (name != "courier"), name


def test_security(bare, capsys, record_property):
    """systemd's score of each service, in the system that runs, is 1.5 at most (0 is best, 10 worst)"""
    scores = {}
    for name in SERVICES:
        said = bare.run(f"systemd-analyze security --no-pager retrowalk-{name}.service")
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        assert found, said
        scores[name] = float(found[1])
    with capsys.disabled():
        print("\n  systemd-analyze security:")
        for name, score in scores.items():
            print(f"    retrowalk-{name + '.service':<20} {score:.1f}")
    record_property("security", scores)
    assert {name: score for name, score in scores.items() if score > 1.5} == {}
