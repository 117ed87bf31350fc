"""What lies below the drivers of a machine: the simulated world, as one more service of it.

The units of retrowalk are the installed ones, sandbox and all.  Two of them get another program by a drop-in, as the
device's own has no word for a simulation: guard and voice on thin pins, bus and sound (`retrowalk.sim.process`), which
is what the real-time demo starts.  The courier is the device's own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.boot.machine import Machine
from tests.packaging.roots import System

from retrowalk.voice.bank import default_directory

SCENARIO = "hours"
"""Walks all day, and accepted the limits long ago."""
PHRASES = "var/lib/retrowalk/bank"

_PYTHON = "/opt/retrowalk/current/bin/python"
_PLACES = "--config /etc/retrowalk/retrowalk.toml --run-dir /run/retrowalk"
_USED_BEFORE = (
    "from pathlib import Path; from retrowalk.guard.state import StateFile, accepted_before; "
    "from retrowalk.platform import boot_id; "
    "StateFile(Path('/run/retrowalk')).write(accepted_before(boot_id()))"
)
_WORLD = f"""
[Unit]
Description=the simulated world below the drivers
Before=retrowalk-guard.service retrowalk-voice.service
[Service]
User=retrowalk
RuntimeDirectory=world
StateDirectory=world
Environment=XDG_CACHE_HOME=/var/lib
# The world does not wait for whoever is in it: before everything but the guard.
Nice=-9
ExecStartPre={_PYTHON} -c "{_USED_BEFORE}"
ExecStart={_PYTHON} -m retrowalk.sim.world_process --world /run/world/socket --origin /run/world/origin \
  --scenario {SCENARIO} --seed SEED --config /etc/retrowalk/retrowalk.toml --out /var/lib/world --until 7200
# It stands when it can be reached; so long the other two wait.
ExecStartPost=/bin/sh -c 'until test -S /run/world/socket; do sleep 0.1; done'
TimeoutStartSec=60
[Install]
WantedBy=retrowalk.target
"""
_THIN = f"""
[Service]
ExecStart=
ExecStart=/bin/sh -c 'exec {_PYTHON} -m retrowalk.sim.process NAME {_PLACES} --world /run/world/socket \
  --origin "$(cat /run/world/origin)"'
"""


def put(system: System, seed: int) -> None:
    """Puts the world into a system that is off; it stands there from its next power-on."""
    units = system.path / "etc/systemd/system"
    (units / "world.service").write_text(_WORLD.replace("SEED", str(seed)), encoding="utf-8")
    wants = units / "retrowalk.target.wants"
    wants.mkdir()
    (wants / "world.service").symlink_to("/etc/systemd/system/world.service")
    for name in ("guard", "voice"):
        folder = units / f"retrowalk-{name}.service.d"
        folder.mkdir(exist_ok=True)
        (folder / "thin.conf").write_text(_THIN.replace("NAME", name), encoding="utf-8")
    put_phrases(system)


def put_phrases(system: System) -> None:
    """Puts the spoken phrases there: to render them is minutes of computing, and not what is looked at."""
    shutil.copytree(default_directory(), system.path / PHRASES)
    system.run(f"chown -R retrowalk:retrowalk /{PHRASES}")


class Walker:
    """What the walker of that world hears.  Times are of the kernel's monotonic clock."""

    def __init__(self, machine: Machine) -> None:
        self._root = Path(f"/proc/{machine.first}/root")
        self._heard = machine.system.path / "var/lib/world/heard.jsonl"
        self.origin_s = float((self._root / "run/world/origin").read_text(encoding="ascii"))

    def heard(self, *keys: str, since_s: float = 0.0) -> list[tuple[float, str]]:
        """When they heard something begin (all there was if no key is given), and what, from a moment on."""
        found = []
        for line in self._heard.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                entry = json.loads(line)
                t_s, key = self.origin_s + entry["t_s"], entry["key"]
                if t_s >= since_s and (not keys or key in keys):
                    found.append((t_s, key))
        return found
