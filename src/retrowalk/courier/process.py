"""The courier's process: a real loop around `Courier`, until it is told to stop."""

from __future__ import annotations

import errno
import logging
import math
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from retrowalk import __version__, logs
from retrowalk.config import Config
from retrowalk.courier.courier import Courier
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.recording import Recorder
from retrowalk.logs import about
from retrowalk.mounts import this_machine_forgets
from retrowalk.platform import Clock, Platform, Waker, notify

_log = logging.getLogger(__name__)


def run(config: Config, platform: Platform, state_dir: str | Path) -> None:
    """The courier's main loop, until SIGTERM or SIGINT; then it says `disconnected` and finishes its files.

    `platform` gives clock, mailbox (`courier`) and link; without a link one is made from `config.broker`.  Outbox,
    recordings and the guard's state lie in `state_dir`.
    """
    from retrowalk.mqtt import PahoLink  # here: virtual time needs no broker client

    link = platform.link
    if link is None and config.broker.host:
        link = PahoLink(config.broker, config.device.name)
    state_dir = Path(state_dir)
    owner = f"{config.device.site}/{config.device.name}"
    with Waker() as waker, _Syncer(platform.clock) as syncer:
        courier = Courier(
            config,
            Outbox(state_dir / "outbox.db", owner=owner),
            Recorder(state_dir / "recordings", config.recording, syncer.sync),
            link,
            platform,
            state_dir / "guard.state",
            forgets=this_machine_forgets(state_dir),
        )
        courier.wake = waker.wake
        stop = threading.Event()
        _on_signals(stop, waker)
        alive = link.alive if isinstance(link, PahoLink) else _always
        try:
            _loop(courier, platform, waker, stop, alive)
        finally:
            courier.close()
            platform.mailbox.close()


def _always(now: float) -> bool:
    return True


def _loop(
    courier: Courier, platform: Platform, waker: Waker, stop: threading.Event, alive: Callable[[float], bool]
) -> None:
    clock, mailbox = platform.clock, platform.mailbox
    ready = False
    fed_at = -math.inf
    while True:
        now = clock.now()
        if stop.is_set():
            courier.begin_stop(now)
        try:
            _, due = courier.poll(now)
            courier.ask_outbox(now)
            turned = alive(now)
        except Exception:
            # Nothing may end the courier but a stop.  A turn that fails does not feed the watchdog.
            _log.exception("a turn failed", extra=about("turn.failed"))
            due, turned = now + courier.retry_s, False
        if turned and not ready:
            # The outbox has answered: it is open, or why it is not has been told.
            ready = True
            notify("READY=1")
            _log.info("started: version %s", __version__, extra=about("process.started"))
        if turned and now - fed_at >= 1.0:
            fed_at = now
            logs.poll()
            notify("WATCHDOG=1")
        if stop.is_set() and courier.stopped(now):
            return
        wait_s = min(max(due - clock.now(), 0.0), 0.1 if stop.is_set() else 1.0)
        select.select([mailbox.fileno(), waker.fileno()], [], [], wait_s)
        waker.clear()


def _on_signals(stop: threading.Event, waker: Waker) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()
        waker.wake()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
        signal.signal(signal.SIGINT, handler)


SYNC_LATE_S = 30.0
"""A card that has not taken a recording for so long takes none: that is a fault, and nothing more is asked of it."""


class _Syncer:
    """A thread that puts recordings on the disk: an SD card may take seconds, and events do not wait for that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy_since_s = math.inf

    def __enter__(self) -> _Syncer:
        self._asked = threading.Condition()
        self._files: deque[int] = deque()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name="recording-sync", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._asked:
            self._ending = True
            self._asked.notify()
        self._thread.join(5.0)

    def sync(self, descriptor: int) -> None:
        """Asks for the data of an open file; it may be closed before that is done.

        Raises `TimeoutError` while the disk has not done so for too long: a file more would be one that waits for ever.
        """
        if self._clock.now() - self._busy_since_s > SYNC_LATE_S:
            raise TimeoutError(errno.ETIMEDOUT, f"the disk has not answered for {SYNC_LATE_S:g} s")
        own = os.dup(descriptor)
        with self._asked:
            self._files.append(own)
            self._asked.notify()

    def _work(self) -> None:
        while True:
            with self._asked:
                while not self._files and not self._ending:
                    self._asked.wait()
                if not self._files:
                    return
                descriptor = self._files.popleft()
            self._busy_since_s = self._clock.now()
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                _log.warning("recording: %s", error)  # the next write fails, too, and is reported as a fault
            finally:
                self._busy_since_s = math.inf
                os.close(descriptor)
