"""Whether this machine stood still: what is measured in real time proves nothing of a time in which nothing ran."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

LOOK_S = 0.005

Made = TypeVar("Made")


class Stalls:
    """Watches, while it is entered, how late a thread that only sleeps wakes up.  Another process's delay does not
    show in it unless that process waited for the machine, too.
    """

    def __init__(self) -> None:
        self.worst_s = 0.0
        """The longest delay so far."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            self.worst_s = max(self.worst_s, now - before - LOOK_S)
            before = now

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def undisturbed(make: Callable[[], Made], limit_s: float = 0.25, times: int = 3) -> Made:
    """What `make` makes; made anew while the machine stood still meanwhile for longer than `limit_s`, at most `times`.
    Whatever is wrong with the last one made is wrong.
    """
    for _ in range(times):
        with Stalls() as stalls:
            made = make()
        if stalls.worst_s < limit_s:
            break
        print(f"the machine stood still for {stalls.worst_s:.2f} s")
    return made
