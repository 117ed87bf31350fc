"""Starts the guard or the voice on thin hardware: what systemd starts on a device, above another ground.

`python -m retrowalk.sim.process guard|voice ...` is started by the real-time demo.  Everything above `Platform` is the
device's own.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from retrowalk import logs
from retrowalk.config import Config, load
from retrowalk.guard import process as guard
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox
from retrowalk.sim.remote import RemoteBus, RemoteHost, RemotePinFactory, RemoteSerialPorts, RemoteSoundSystem
from retrowalk.voice import process as voice
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.bank import default_directory


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("process", choices=("guard", "voice"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, help="not used by these two")
    parser.add_argument("--world", type=Path, required=True, help="socket of the world's process")
    parser.add_argument("--origin", type=float, required=True, help="CLOCK_MONOTONIC at second 0 of the walk")
    parser.add_argument("--sound", default="", help="a real sound device that works, too; empty: none")
    return parser.parse_args()


def run_guard(options: argparse.Namespace, config: Config) -> int:
    """The guard, with pins and bus in the world's process."""
    clock = MonotonicClock(options.origin)
    pins = RemotePinFactory(options.world, clock)
    platform = Platform(
        clock=clock,
        mailbox=SocketMailbox(options.run_dir, "guard"),
        pin_factory=pins,
        bus=RemoteBus(options.world),
        serial=RemoteSerialPorts(options.world),
        host=RemoteHost(options.world),
    )
    try:
        return guard.run(config, platform, options.run_dir)
    finally:
        pins.close()


def run_voice(options: argparse.Namespace, config: Config) -> int:
    """The voice, whose sound the world hears; a person hears it too where there is a sound device."""
    clock = MonotonicClock(options.origin)
    sound = RemoteSoundSystem(options.world, clock, AlsaSystem() if options.sound else None)
    platform = Platform(clock=clock, mailbox=SocketMailbox(options.run_dir, "voice"), sound=sound)
    voice.run(config, platform, default_directory())
    return 0


def main() -> int:
    """Runs one of the two until it is asked to stop; returns its exit status."""
    options = arguments()
    if logs.journal_reads_stderr():
        logs.begin(options.process)
    else:
        logging.basicConfig(level=logging.INFO, format=f"{options.process}: %(message)s")
    config = load(options.config)
    return run_guard(options, config) if options.process == "guard" else run_voice(options, config)


if __name__ == "__main__":
    sys.exit(main())
