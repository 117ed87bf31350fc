"""The guard process on the street: one thread a step, one main loop that decides.

Threads share nothing but the inbox.  The main loop touches no disk, no network and no sound; it waits on the inbox and
on the mailbox, feeds the Companion and routes what follows.  The service manager is told that all is well by evidence
only: the main loop has decided, and every step has been polled when it wanted to be, or is named (`evidence`).
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from retrowalk import __version__, logs
from retrowalk.config import A02yyuw, Battery, Config, HcSr04, Imu, RangeSensor, TfLuna, Vl53l1x
from retrowalk.core import samples as sm
from retrowalk.core.samples import Item
from retrowalk.devices.bus_watch import BusWatch, WatchedBus
from retrowalk.devices.button import ButtonDriver
from retrowalk.devices.led import LedDriver
from retrowalk.devices.pi_health import PiHealthDriver
from retrowalk.devices.touch import TouchDriver
from retrowalk.devices.turns import Turns
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import DeviceError, SensorError, WireError
from retrowalk.guard.evidence import HANGS, Evidence
from retrowalk.guard.guard import Guard
from retrowalk.guard.pending import Pending
from retrowalk.guard.state import Kept, StateFile, StateSaver
from retrowalk.logs import about
from retrowalk.platform import Clock, I2CBus, Platform, Step, boot_id, notify
from retrowalk.wire import StateMessage, StateRequest, decode, decode_local, encode

log = logging.getLogger("retrowalk.guard")

WAIT_MAX_S = 60.0
"""A step that only wants to be woken is due at infinity, for which no thread can wait."""
WATCHDOG_EVERY_S = 0.5
MAIN_WAIT_S = 0.1
CRASHED_RETRY_S = 1.0
VITAL = ("touch",)
"""Steps without which the guard must not go on as if nothing had happened: it ends, and is started again within
seconds.  Buzzer and motor are the last that can tell the walker anything."""
SLOW_POLL_S = 0.010
"""A poll takes a few transfers of a millisecond or two; longer is waiting for a chip that does not answer."""
SLACK_S = 0.008
"""So much early is a chip read to save a waking up: a sixth of the time between two reads of the clip."""
COURIER_COPY_WAIT_S = 0.1


def _range_step(sensor: RangeSensor, platform: Platform, turns: Turns) -> Step:
    """The driver of a range sensor.  Imported here: a device loads only what it has."""
    match sensor:
        case HcSr04():
            return Ultrasonic(sensor, platform.pin_factory, platform.clock, turns)
        case A02yyuw():
            from retrowalk.devices.a02yyuw import A02yyuwDriver

            assert platform.serial is not None
            return A02yyuwDriver(sensor, platform.serial, platform.clock)
        case TfLuna():
            from retrowalk.devices.tfluna import TfLunaDriver

            assert platform.bus is not None
            return TfLunaDriver(sensor, platform.bus, platform.clock)
        case Vl53l1x():
            from retrowalk.devices.vl53l1x import Vl53l1xDriver

            assert platform.bus is not None
            return Vl53l1xDriver(sensor, platform.bus, platform.clock)


def _imu_step(imu: Imu, bus: I2CBus, clock: Clock) -> Step:
    """The driver of the clip's chip."""
    match imu.chip:
        case "lsm6dsox":
            from retrowalk.devices.lsm6dsox import Lsm6dsox

            return Lsm6dsox(imu, bus, clock)
        case "mpu6050":
            from retrowalk.devices.mpu6050 import Mpu6050

            return Mpu6050(imu, bus, clock)


def _battery_step(battery: Battery, bus: I2CBus, clock: Clock) -> Step | None:
    """The driver of the battery's chip; None where there is none."""
    match battery.chip:
        case "max17048":
            from retrowalk.devices.max17048 import Max17048Driver

            return Max17048Driver(battery, bus, clock)
        case "ina219":
            from retrowalk.devices.ina219 import Ina219Driver

            return Ina219Driver(battery, bus, clock)
        case "none":
            return None


def build_steps(config: Config, platform: Platform) -> tuple[list[Step], TouchDriver]:
    """Every driver the configuration asks for, and the touch output, on this platform.

    The same in real and in virtual time: only `platform` differs.
    """
    pins = platform.pin_factory
    assert platform.bus is not None
    bus = WatchedBus(platform.bus, platform.clock)
    platform = replace(platform, bus=bus)
    touch = TouchDriver(config.buzzer, config.vibration, pins, platform.clock)
    turns = Turns(platform.clock.origin_mono_s)
    steps = [_range_step(sensor, platform, turns) for sensor in config.range_sensor]
    steps.append(_imu_step(config.imu, bus, platform.clock))
    # After those it watches: in one waking up it looks when they have been read.
    steps.append(BusWatch(bus, platform.bus_lines))
    battery = _battery_step(config.battery, bus, platform.clock)
    if battery is not None:
        steps.append(battery)
    if platform.host is not None:
        steps.append(PiHealthDriver(config.pi, platform.host, platform.clock))
        if config.air.thermometer == "ds18b20":
            from retrowalk.devices.ds18b20 import Ds18b20

            steps.append(Ds18b20(platform.host, platform.clock))
    steps.append(ButtonDriver(config.button, pins, platform.clock))
    steps.append(touch)
    if config.led.pin >= 0:
        steps.append(LedDriver(config.led, pins))
    return steps, touch


def light_of(steps: Sequence[Step]) -> LedDriver | None:
    """The light among the steps, if one is fitted."""
    return next((step for step in steps if isinstance(step, LedDriver)), None)


class Inbox:
    """What the step threads have for the main loop; an eventfd wakes it."""

    def __init__(self) -> None:
        self._entries: deque[Callable[[Guard], None]] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._event

    def put(self, *entries: Callable[[Guard], None]) -> None:
        self._entries.extend(entries)
        os.eventfd_write(self._event, 1)

    def drain(self, guard: Guard) -> None:
        """Runs what has come in, on the guard."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass
        while self._entries:
            self._entries.popleft()(guard)


class StepThread(threading.Thread):
    """Polls steps when they are due, or at once when they are woken.

    Steps that wait for the same wires share a thread: a chip that is due within `SLACK_S` is read in the same waking up
    as the one before it, which is what costs on a small processor.
    """

    def __init__(self, steps: Sequence[Step], clock: Clock, inbox: Inbox) -> None:
        super().__init__(name="+".join(step.name for step in steps), daemon=True)
        self._steps = list(steps)
        self._clock = clock
        self._inbox = inbox
        self._news = threading.Event()
        self._woken: deque[int] = deque()
        self._stopping = False
        self.due_s = 0.0
        """When the next step will be polled, or when the one that is being polled was."""
        self.polls = ""
        """The step that is being polled now; empty: none."""
        self.answered = False
        """Whether each step has come back once."""
        for index, step in enumerate(self._steps):
            step.wake = partial(self._wake, index)

    @property
    def steps(self) -> list[str]:
        """Names of its steps."""
        return [step.name for step in self._steps]

    def _wake(self, index: int) -> None:
        self._woken.append(index)
        self._news.set()

    def run(self) -> None:
        clock, inbox = self._clock, self._inbox
        due = [0.0] * len(self._steps)
        slow = [False] * len(self._steps)
        while not self._stopping:
            self._news.clear()
            while self._woken:
                due[self._woken.popleft()] = 0.0
            outcomes: list[Callable[[Guard], None]] = []
            until = clock.now() + SLACK_S
            for index, step in enumerate(self._steps):
                if due[index] > until:
                    continue
                if slow[index] and outcomes:
                    # A chip that hangs may take as long again: what the others have said does not wait for it.
                    inbox.put(*outcomes)
                    outcomes = []
                self.due_s = now = clock.now()
                self.polls = step.name
                try:
                    items, wanted = step.poll(now)
                except SensorError as error:
                    outcomes.append(_failed(step.name, error, now))
                    wanted = now + step.retry_s
                except Exception as error:
                    # A mistake in one driver, or a chip in a state nobody thought of, must not take the others along.
                    log.exception("%s: a fault in the program", step.name, extra=about("driver.failed", part=step.name))
                    if step.name in VITAL:
                        inbox.put(_crash(error))
                        return
                    _begin_anew(step)
                    outcomes.append(_failed(step.name, SensorError("crashed", f"{step.name}: {error!r}"), now))
                    wanted = now + CRASHED_RETRY_S
                except BaseException as error:
                    inbox.put(_crash(error))
                    return
                else:
                    if items:
                        outcomes.append(_took(step.name, items))
                self.polls = ""
                due[index] = wanted
                slow[index] = clock.now() - now > SLOW_POLL_S
            if outcomes:
                inbox.put(*outcomes)
            self.due_s = min(due)
            self.answered = True
            wait = self.due_s - clock.now()
            if wait > 0.0:
                self._news.wait(min(wait, WAIT_MAX_S))

    def stop(self) -> None:
        """Ends the thread after its poll."""
        self._stopping = True
        self._news.set()


def threads_of(steps: Sequence[Step], clock: Clock, inbox: Inbox) -> list[StepThread]:
    """A thread for each step, and one for all that share their wires (`shares`)."""
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.shares or step.name, []).append(step)
    return [StepThread(group, clock, inbox) for group in groups.values()]


def _begin_anew(step: Step) -> None:
    """Closes a driver that raised what it should not: its next poll opens and sets up its part again."""
    try:
        step.close()
    except Exception:
        log.exception("%s: cannot be closed", step.name)


def _took(step: str, items: Sequence[Item]) -> Callable[[Guard], None]:
    return lambda guard: guard.take(items, items[-1].t_received_s, step)


def _failed(step: str, error: SensorError, now: float) -> Callable[[Guard], None]:
    def failed(guard: Guard) -> None:
        if guard.step_failed(step, error, now):
            # What becomes of it (lost, a fault) is an event, and has its line with this in it.
            log.debug("%s", error)

    return failed


def _crash(error: BaseException) -> Callable[[Guard], None]:
    def crash(guard: Guard) -> None:
        raise RuntimeError("a thread of the guard died; the process ends and is started again") from error

    return crash


def recall(platform: Platform, file: StateFile, wait_s: float = COURIER_COPY_WAIT_S) -> Kept | None:
    """The state to go on from: the run directory's, else (after a boot) the courier's copy, else nothing.

    Asks nobody unless the run directory is empty, and then waits at most `wait_s`.
    """
    kept = file.read()
    if kept is not None or platform.mailbox.fileno() < 0:
        return kept
    mailbox = platform.mailbox
    if not mailbox.send("courier", encode(StateRequest())):
        return None
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0.0:
        if not select.select([mailbox.fileno()], [], [], left)[0]:
            return None
        data = mailbox.receive()
        try:
            message = decode_local(data) if data is not None else None
            if isinstance(message, StateMessage):
                copy: Kept | None = decode(message.content, Kept) if message.content else None
                return copy
        except WireError:
            return None  # a copy of another version: better to begin anew than to guess
    return None


def _pending(run_dir: Path) -> Pending | None:
    """Where unconfirmed events outlive the guard; None: it cannot be had, and the state's slots must do."""
    try:
        return Pending(run_dir)
    except (OSError, ValueError) as error:
        log.warning("events of the last instant may be lost with the guard: %s", error)
        return None


def run(config: Config, platform: Platform, run_dir: Path, problem: str = "", *, unusable: bool = False) -> int:
    """Guards until asked to stop; returns the exit status.  `problem`: what is wrong with the configuration file."""
    clock = platform.clock
    saver = StateSaver(StateFile(run_dir))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    inbox = Inbox()
    steps, touch = build_steps(config, platform)
    guard = Guard(
        config,
        clock=clock,
        mailbox=platform.mailbox,
        touch=touch,
        led=light_of(steps),
        saver=saver,
        memory=_pending(run_dir),
        session=os.urandom(8).hex(),
        boot_id=boot_id(),
        started_wall=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    kept = recall(platform, StateFile(run_dir))
    guard.begin(clock.now(), kept, clock.wall_s())
    if problem:
        fault = "unusable" if unusable else "rejected"
        guard.take([sm.HealthReport(clock.now(), "config", fault, active=True, detail=problem[:200])], clock.now())
    threads = threads_of(steps, clock, inbox)
    for thread in threads:
        thread.start()
    gc.collect()
    gc.freeze()
    how = "resumed" if kept else "new session"
    log.info("started: version %s, %d steps, %s", __version__, len(steps), how, extra=about("process.started"))
    evidence = Evidence(threads, run_dir, VITAL, clock.now())
    watchdog_s = 0.0
    ready = False
    left: set[str] = set()
    status = ""
    unkept = ""
    try:
        while not guard.finished:
            now = clock.now()
            _, due = guard.poll(now)
            if stop.is_set():
                stop.clear()
                guard.take([sm.StopRequested(clock.now(), "service")], clock.now())
                continue
            if now - watchdog_s >= (WATCHDOG_EVERY_S if ready else MAIN_WAIT_S):
                watchdog_s = now
                look = evidence.look(now)
                for name, error in look.failed:
                    guard.step_failed(name, error, now)
                for name in left - {name for name, _ in look.failed}:
                    guard.step_back(name, HANGS, now)
                left = {name for name, _ in look.failed}
                if look.well:
                    logs.poll()
                    state = guard.companion.snapshot_state
                    sign = "WATCHDOG=1" if ready else "READY=1\nWATCHDOG=1"
                    notify(sign if state == status else f"{sign}\nSTATUS={state}")
                    ready, status = True, state
            problem = saver.problem(now)
            if bool(problem) != bool(unkept):
                # A restart would begin from nothing: the walker hears of it while there is time.
                unkept = problem
                report = sm.HealthReport(clock.now(), "guard", "state_not_kept", bool(unkept), unkept[:200])
                guard.take([report], clock.now())
            wait = min(max(0.0, due - clock.now()), MAIN_WAIT_S)
            select.select([inbox.fileno(), platform.mailbox.fileno()], [], [], wait)
            inbox.drain(guard)
    finally:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(timeout=1.0)
        # Whoever closes what another thread is in may never come back, either.
        busy = {name for thread in threads if thread.is_alive() for name in thread.steps}
        for step in steps:
            try:
                if step.name not in busy:
                    step.close()
            except (DeviceError, OSError) as error:
                log.warning("%s: %s", step.name, error)
        saver.close()
        platform.mailbox.close()
    if guard.stop_reason == "button":
        # Switching off is not ours to do: a path unit watches for this file.
        (run_dir / "power-off").touch()
    return 0
