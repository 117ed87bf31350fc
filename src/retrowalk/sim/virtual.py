"""A whole walk in virtual time, in one process: the street's steps on simulated hardware.

The guard, the voice and the courier are the very objects that run on a device; only what lies below the drivers is
exchanged, and a scheduler calls the steps that threads call on the street.  A seed gives one result.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.core.samples import Item
from retrowalk.courier.courier import Courier
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.recording import Recorder
from retrowalk.errors import SensorError
from retrowalk.guard.guard import Guard
from retrowalk.guard.process import build_steps, light_of
from retrowalk.guard.state import Kept, accepted_before
from retrowalk.platform import Platform, Step, no_wake
from retrowalk.sim.broker import Incoming, Outage, ScriptedLink
from retrowalk.sim.ear import Ear
from retrowalk.sim.evidence import published
from retrowalk.sim.faults import Faults
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.microphone import Air, SimMicrophone, SimMicrophones
from retrowalk.sim.scenarios import Evidence, Heard, Remote, Scenario
from retrowalk.sim.scheduler import MemoryMail, MemoryMailbox, Scheduler, VirtualClock
from retrowalk.sim.sound import Listener, SimSoundSystem, WalkWav
from retrowalk.sim.world import World
from retrowalk.voice import earcons
from retrowalk.voice.bank import Bank
from retrowalk.voice.process import VoiceLoop

STARTED_WALL = "2026-01-01T00:00:00Z"

STAND_IN_BEAT_S = 1.0
_EVENT = b'{"kind":"event"'
_RECORDS = b'{"kind":"records"'


class Shelf:
    """Keeps the guard's state in memory, as the run directory does over a restart."""

    def __init__(self) -> None:
        self.kept: Kept | None = None

    def save(self, kept: Kept) -> None:
        self.kept = kept


_UNPACKED: WeakKeyDictionary[Bank, dict[tuple[str, str], bytes]] = WeakKeyDictionary()
"""The sound of every phrase of a bank: unpacking them all takes longer than a short walk."""


def clips(bank: Bank, config: Config) -> Iterator[tuple[str, bytes]]:
    """Every clip the ear may hear: earcons by their name, phrases as `phrase` or `phrase:value`."""
    yield from earcons.synthesise(config.voice.volume).items()
    unpacked = _UNPACKED.setdefault(bank, {})
    for phrase, value in alerts.clips(config):
        pcm = unpacked.get((phrase, value)) or bank.clip(phrase, value)
        if pcm is not None:
            unpacked[phrase, value] = pcm
            yield (f"{phrase}:{value}" if value else phrase), pcm


def outside(world: World, ear: Ear) -> Evidence:
    """What world and ear know of a walk; what was published is for others to say."""
    return Evidence(
        heard=[Heard(h.key, h.start_s, h.understood_s, h.complete) for h in ear.heard],
        published=[],
        felt=list(world.felt),
        contacts=[contact.t_s for contact in world.contacts],
        smallest_gap_m=min(world.smallest_gap_m.values(), default=1e9),
        impact_s=world.walker.impact_s,
    )


class Worn:
    """A device without a courier yet, worn in a world: the real guard and the real voice, and an ear that listens.

    `start_guard` and `start_voice` start them; `run_until` lets time pass.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        bank: Bank,
        *,
        faults: Faults | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.config = config
        self.world = world
        self._faults = faults or Faults()
        self._bank = bank
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, on_error=self._failed)
        self.ear = Ear(clips(bank, config), on_heard=lambda heard: self.world.hear(heard.key, heard.understood_s))
        self.hardware = Hardware(config, self.scheduler, self.world, self._faults)
        self.microphone = SimMicrophone(fault=lambda now: self._faults.active("microphone", now))
        hearers = (self.ear, *((self.microphone,) if config.voice.microphone else ()), *listeners)
        air = Air(hearers, lambda now: self._faults.active("voice", now))
        self.sound = SimSoundSystem(self.clock, (air,), faults=self._faults)
        self.mail = MemoryMail()
        self.shelf = Shelf()
        self._sessions = 0
        self.guard: Guard
        self.voice: VoiceLoop
        self._guard_steps: list[Step] = []

    # -- the processes -----------------------------------------------------------------------------------------

    def start_guard(self) -> None:
        """Starts the guard; after `kill_guard` it goes on from what was kept."""
        now = self.clock.now()
        platform = Platform(
            self.clock,
            self.mail.open("guard"),
            pin_factory=self.hardware.pin_factory,
            bus=self.hardware.bus,
            bus_lines=self.hardware.bus,
            serial=self.hardware.serial,
            host=self.hardware.host,
        )
        steps, touch = build_steps(self.config, platform)
        self._sessions += 1
        self.guard = Guard(
            self.config,
            clock=self.clock,
            mailbox=platform.mailbox,
            touch=touch,
            led=light_of(steps),
            saver=self.shelf,
            session=f"walk-{self.world.seed}-{self._sessions}",
            boot_id="simulated",
            started_wall=STARTED_WALL,
        )
        platform.mailbox.wake = lambda: self.guard.wake()
        self.guard.begin(now, self.shelf.kept, self.clock.wall_s())
        self._guard_steps = steps
        for step in steps:
            self.scheduler.add(step, self._sink(step))
        self.scheduler.add(self.guard)

    def kill_guard(self) -> None:
        """As kill -9: nothing is said, nothing is closed by the guard; the kernel releases its pins."""
        self.scheduler.remove(self.guard)
        for step in self._guard_steps:
            self.scheduler.remove(step)
            step.close()
        self.mail.open("guard").close()

    def start_voice(self) -> None:
        """Starts the voice."""
        microphone = SimMicrophones(self.microphone)
        platform = Platform(self.clock, self.mail.open("voice"), sound=self.sound, microphone=microphone)
        self.voice = VoiceLoop(self.config, self._bank, platform)
        self.scheduler.add(self.voice)

    def kill_voice(self) -> None:
        """As kill -9: the device falls silent."""
        self.scheduler.remove(self.voice)
        self.voice.close()

    def _sink(self, step: Step) -> Callable[[Sequence[Item]], None]:
        def take(items: Sequence[Item]) -> None:
            self.guard.take(items, self.clock.now(), step.name)
            self.guard.wake()

        return take

    def _failed(self, step: Step, error: SensorError) -> None:
        self.guard.step_failed(step.name, error, self.clock.now())
        self.guard.wake()

    def steps(self) -> tuple[Step, ...]:
        """The guard's drivers and outputs."""
        return tuple(self._guard_steps)

    # -- time ---------------------------------------------------------------------------------------------------

    def run_until(self, t_s: float) -> None:
        """Lets the walk happen up to session second `t_s`."""
        self.scheduler.run_until(t_s)


class VirtualWalk(Worn):
    """One walk.  `run_until` lets it happen; `finish` stops the device cleanly and returns the evidence."""

    def __init__(
        self,
        config: Config,
        scenario: Scenario,
        seed: int,
        bank: Bank,
        *,
        wav: Path | None = None,
        faults: Faults | None = None,
        outages: Sequence[Outage] = (),
    ) -> None:
        world = World(seed, profile=scenario.profile)
        world.run(scenario.script)
        self.wav = WalkWav(wav) if wav is not None else None
        super().__init__(config, world, bank, faults=faults, listeners=() if self.wav is None else (self.wav,))
        self.scenario = scenario
        if not scenario.first_use:
            self.shelf.kept = accepted_before("simulated")
        self.seed = seed
        incoming = tuple(self._sent(number, remote) for number, remote in enumerate(scenario.remote))
        self.link = ScriptedLink(self.clock, outages=outages, incoming=incoming, hub=scenario.hub)
        self._directory = Path(tempfile.mkdtemp(prefix="retrowalk-"))
        self.courier: Courier
        self.start_courier()
        self.start_voice()
        self.start_guard()

    def _sent(self, number: int, remote: Remote) -> Incoming:
        """A command of the scenario as it comes from the broker."""
        root = wire.topic_root(self.config.device.site, self.config.device.name)
        numbers = {"first": 1, "last": 2} if remote.name == "resync" else {}
        issued_ms = round((self.clock.wall_s() + remote.t_s) * 1000.0)
        content = {"id": f"remote-{number}", "by": remote.by, "issued_ms": issued_ms, **remote.fields, **numbers}
        return Incoming(remote.t_s, f"{root}/cmd/{remote.name}", wire.encode(content))

    # -- the courier -------------------------------------------------------------------------------------------

    def start_courier(self) -> None:
        """Starts the courier."""
        directory = self._directory
        self.outbox = Outbox(
            directory / "outbox.db",
            owner=f"{self.config.device.site}/{self.config.device.name}",
            rng=random.Random(f"outbox:{self.seed}"),
        )
        self.recorder = Recorder(directory / "recordings", self.config.recording, sync=lambda _: None)
        self.courier = Courier(
            self.config,
            self.outbox,
            self.recorder,
            self.link,
            Platform(self.clock, self.mail.open("courier")),
            directory / "state",
            quality=lambda _: "ntp",
            rng=random.Random(f"courier:{self.seed}"),
            boot="simulated",
        )
        self.scheduler.add(self.courier)

    def kill_courier(self) -> None:
        """As kill -9: what it had not written is gone, and the kernel closes its files."""
        self.scheduler.remove(self.courier)
        self.link.stop()
        self.mail.open("courier").close()
        self.outbox.close()
        if self.recorder._file is not None:
            self.recorder._file.close()

    # -- its end -----------------------------------------------------------------------------------------------

    def finish(self) -> Evidence:
        """Stops the device as a person would, lets it say goodbye, and closes everything."""
        evidence = self.evidence()
        self.mail.deliver("guard", wire.encode(wire.StopMessage("person")))
        self.guard.wake()
        end = self.clock.now() + 6.0
        while not self.guard.finished and self.clock.now() < end:
            self.scheduler.run_until(self.clock.now() + 0.1)
        self.kill_guard()
        self.courier.begin_stop(self.clock.now())
        self.scheduler.run_until(self.clock.now() + 0.5)
        self.scheduler.remove(self.voice)
        self.voice.close()
        self.scheduler.remove(self.courier)
        self.courier.close()
        self._close_sound()
        return evidence

    def _close_sound(self) -> None:
        """Lets the last frames leave and completes the sound file."""
        self.sound.advance(self.clock.now())
        if self.wav is not None:
            self.wav.close(self.clock.now())

    def evidence(self) -> Evidence:
        """What the walk has left behind so far, seen from outside."""
        evidence = outside(self.world, self.ear)
        evidence.published = published((p.t, p.topic, p.payload) for p in self.link.published)
        evidence.waiting = self.outbox.waiting(self.clock.now())
        return evidence

    def recordings(self) -> list[Path]:
        """The recording files so far, oldest first."""
        return sorted((self._directory / "recordings").glob("*.mcap"))

    def keep_recording(self, path: Path) -> None:
        """Copies the recording to `path` (after `finish`)."""
        shutil.copyfile(self.recordings()[-1], path)

    def close(self) -> None:
        """Ends everything, however far the walk has come, and removes what was kept for it."""
        try:
            self.courier.close()
            self.voice.close()
            self._close_sound()
        finally:  # a full disk must not also leave this behind
            shutil.rmtree(self._directory, ignore_errors=True)


class WornAlone(Worn):
    """A device whose courier is a sign of life once a second: for thousands of short walks.

    It goes on from `kept`, as after a restart.  `events` has what the guard has told the courier, as far as
    `take_events` or the courier's last second goes; `records` what it would have written down, if asked for.
    """

    def __init__(
        self, config: Config, world: World, bank: Bank, kept: Kept, *, keep_records: bool = False, **options: Any
    ) -> None:
        super().__init__(config, world, bank, **options)
        self.shelf.kept = kept
        self._stand_in = _StandIn(self.mail.open("courier"), keep_records)
        self.events = self._stand_in.events
        self.records = self._stand_in.records
        self.scheduler.add(self._stand_in)
        self.start_voice()
        self.start_guard()

    def take_events(self) -> None:
        """Lets the courier take what is waiting for it."""
        self._stand_in.poll(self.clock.now())

    def close(self) -> None:
        """Ends everything, however far the walk has come."""
        self.voice.close()
        self.sound.advance(self.clock.now())
        for step in self._guard_steps:
            step.close()


class _StandIn:
    """Takes what a courier takes, confirms every event, and keeps nothing but the events, and records if asked."""

    name = "courier"

    def __init__(self, mailbox: MemoryMailbox, keep_records: bool) -> None:
        self.wake: Callable[[], None] = no_wake
        self.events: list[wire.EventMessage] = []
        self.records: list[wire.Record] = []
        self._keep_records = keep_records
        self._mailbox = mailbox
        self._taken = 0

    def poll(self, now: float) -> float:
        while (data := self._mailbox.receive()) is not None:
            if data.startswith(_EVENT):  # the others are many, long, and of no interest
                event = wire.decode(data, wire.EventMessage)
                if event.number > self._taken:  # what was not confirmed in time comes again
                    self._taken = event.number
                    self.events.append(event)
                self._mailbox.send("guard", wire.encode(wire.CommittedMessage(event.session, event.number)))
            elif self._keep_records and data.startswith(_RECORDS):
                self.records += wire.decode(data, wire.RecordsMessage).records
        self._mailbox.send("guard", wire.encode(wire.CourierBeat(connected=True, waiting=0, recording=False)))
        return now + STAND_IN_BEAT_S
