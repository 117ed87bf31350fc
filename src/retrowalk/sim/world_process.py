"""The world in a process of its own, for the real-time demo: walker, obstacles, modules, ear, and the sound file.

It tells what was heard as it is heard (`heard.jsonl`), and at its end what the walk left behind (`evidence.json`).
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import time
from pathlib import Path

from retrowalk.config import load
from retrowalk.sim import scenarios
from retrowalk.sim.ear import Ear, Heard
from retrowalk.sim.evidence import save
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.realtime import EVIDENCE_FILE, HEARD_FILE, SOUND_FILE
from retrowalk.sim.remote import WorldServer
from retrowalk.sim.scheduler import Scheduler, VirtualClock
from retrowalk.sim.sound import WalkWav
from retrowalk.sim.virtual import clips, outside
from retrowalk.sim.world import World
from retrowalk.voice.bank import Bank, default_directory
from retrowalk.wholefile import write

LEAD_S = 0.5
"""The walk begins this long after the world stands: time to start the device in."""
JOIN_S = 0.030
"""Frames that arrive this close to the end of the last ones follow them: clocks and sound cards disagree a little."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--world", type=Path, required=True, help="the socket to serve")
    parser.add_argument("--origin", type=Path, required=True, help="file for CLOCK_MONOTONIC at second 0 of the walk")
    parser.add_argument("--scenario", choices=tuple(scenarios.SCENARIOS), default="demo")
    parser.add_argument("--config", type=Path, required=True, help="settings of the device whose parts stand here")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", type=float, required=True, help="second of the walk at which the world ends at last")
    parser.add_argument("--fault", action="append", default=[])
    return parser.parse_args()


def main() -> int:
    """Serves until SIGTERM or the end of time; returns the exit status."""
    options = arguments()
    scenario = scenarios.SCENARIOS[options.scenario](options.seed)
    config = load(options.config)
    faults = Faults([Fault.parse(text) for text in options.fault])
    world = World(options.seed, profile=scenario.profile)
    world.run(scenario.script)
    wav = WalkWav(options.out / SOUND_FILE, join_s=JOIN_S)
    with open(options.out / HEARD_FILE, "w", encoding="utf-8") as told:

        def on_heard(heard: Heard) -> None:
            world.hear(heard.key, heard.understood_s)
            told.write(json.dumps({"t_s": round(heard.start_s, 3), "key": heard.key}) + "\n")
            told.flush()

        ear = Ear(clips(Bank.open(config, default_directory()), config), on_heard=on_heard)
        # Unpacking every phrase takes a second, or several on a busy machine: the walk begins when that is done.
        origin_mono_s = time.monotonic() + LEAD_S
        scheduler = Scheduler(VirtualClock(origin_mono_s=origin_mono_s))
        hardware = Hardware(config, scheduler, world, faults)
        write(options.origin, repr(origin_mono_s).encode())
        server = WorldServer(
            world,
            scheduler,
            hardware,
            (ear, wav),
            options.world,
            faults=faults,
            origin_mono_s=origin_mono_s,
        )
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        gc.collect()
        gc.freeze()
        try:
            server.run(options.until)
        finally:
            server.close()
            wav.close(max(0.0, server.now()))
    save(outside(world, ear), options.out / EVIDENCE_FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
