"""The hub's process: a real loop around `Hub`, until it is told to stop."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from retrowalk import __version__, logs
from retrowalk.errors import StoreError
from retrowalk.hub import web
from retrowalk.hub.alerts import Desk
from retrowalk.hub.engine import Hub, Notifier
from retrowalk.hub.settings import HubConfig
from retrowalk.hub.store import Store
from retrowalk.hub.times import HubTime
from retrowalk.logs import about
from retrowalk.platform import BrokerLink, Clock, MonotonicClock, Waker, boot_id, notify

STORE_FILE = "hub.db"
LOCK_FILE = "hub.lock"
"""Held by the hub that owns the directory."""

LOCK_TRIES, LOCK_PAUSE_S = 20, 0.05
"""Whoever only asks whether a hub runs holds it for a moment."""

_log = logging.getLogger(__name__)


def run(
    settings: HubConfig,
    state_dir: str | Path,
    notifier: Callable[[], Notifier],
    *,
    clock: Clock | None = None,
    links: Mapping[str, BrokerLink] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """The hub's main loop, until SIGTERM or SIGINT; then it says `down` and finishes its file.

    `notifier` makes the one who tells people, `ready` is called when the hub runs.  Raises `StoreError` when the store
    cannot be used at the start, or another hub uses it.
    """
    state_dir = Path(state_dir)
    clock = clock or MonotonicClock()
    hide_addresses(settings)
    if not settings.contact:
        _log.error("the settings name no [[contact]]: events are kept, and nobody is told of them")
    with _owned(state_dir), Waker() as waker:
        store = Store(state_dir / STORE_FILE)
        store.ask(clock.now())
        desk = Desk(settings.contact, settings.ladder, settings.silence)
        times = HubTime(boot_id(), store.anchor(clock.now()))
        telling, roads = notifier(), links or links_of(settings)
        hub = Hub(settings, store, desk, telling, roads, clock, times)
        hub.wake = waker.wake

        def alive(now: float) -> bool:
            from retrowalk.mqtt import PahoLink

            return telling.alive() and all(road.alive(now) for road in roads.values() if isinstance(road, PahoLink))

        stop = threading.Event()
        _on_signals(stop, waker)
        try:
            ready()
            _loop(hub, clock, waker, stop, alive)
        finally:
            hub.close()


def hide_addresses(settings: HubConfig) -> None:
    """None of what an address keeps secret is shown in a line of this process, whoever writes it."""
    for address in (*(way for one in settings.contact for way in (*one.notify, *one.urgent)), settings.hub.alive_url):
        logs.hide(*web.secret_pieces(address))


def links_of(settings: HubConfig) -> dict[str, BrokerLink]:
    """A connection for each site, named `<hub>-<site>`: a connection has one will, and each site is told for itself."""
    from retrowalk.mqtt import PahoLink  # here: virtual time needs no broker client

    broker = settings.broker
    if broker.password_file and not broker.username:
        broker = msgspec.structs.replace(broker, username=settings.hub.name)
    return {site: PahoLink(broker, f"{settings.hub.name}-{site}", confirm=True) for site in settings.hub.sites}


def runs(state_dir: str | Path) -> bool:
    """Whether a hub runs on that directory now."""
    try:
        handle = os.open(Path(state_dir) / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def _owned(state_dir: Path) -> Iterator[None]:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{state_dir}: {error.strerror}") from error
    try:
        for attempt in range(LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if attempt == LOCK_TRIES - 1:
                    words = f"another hub runs on {state_dir}: give this one a --state-dir of its own"
                    raise StoreError(words) from error
                time.sleep(LOCK_PAUSE_S)
        yield
    finally:
        os.close(handle)


def _loop(hub: Hub, clock: Clock, waker: Waker, stop: threading.Event, alive: Callable[[float], bool]) -> None:
    ready = False
    fed_at = -math.inf
    while True:
        now = clock.now()
        if stop.is_set():
            hub.begin_stop(now)
        try:
            _, due = hub.poll(now)
            hub.ask_store(now)
            turned = alive(now)
        except Exception:
            # Nothing may end the hub but a stop.  A turn that fails does not feed the watchdog.
            _log.exception("a turn failed", extra=about("turn.failed"))
            due, turned = now + hub.retry_s, False
        if turned and not ready:
            ready = True
            notify("READY=1")
            _log.info("started: version %s", __version__, extra=about("process.started"))
        if turned and now - fed_at >= 1.0:
            fed_at = now
            logs.poll()
            notify("WATCHDOG=1")
        if stop.is_set() and hub.stopped(now):
            return
        wait_s = min(max(due - clock.now(), 0.0), 0.1 if stop.is_set() else 1.0) if turned else hub.retry_s
        select.select([waker.fileno()], [], [], wait_s)
        waker.clear()


def _on_signals(stop: threading.Event, waker: Waker) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()
        waker.wake()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
        signal.signal(signal.SIGINT, handler)
