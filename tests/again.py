"""A failed test of real processes is asked again when the machine stood still meanwhile, and only then.

What runs in real time and is judged by it proves nothing of a time in which nothing ran: a guard that hears no sensor
for half a second is right to call it lost.  A machine that is shared stands still so now and then, and each time
another test looks broken.  So the machine is watched, and what it disturbed is made anew with all its fixtures, a
bounded number of times; what fails on a machine that went on fails at once.  All that was asked again is listed at the
end of the run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from _pytest.runner import runtestprotocol  # what pytest itself runs a test with; plug-ins that repeat tests use it

LOOK_S = 0.01
LIMIT_S = 0.1
"""What counts as standing still: the limits of tests are tenths of a second, the waits of a busy machine hundredths."""
TIMES = 3
ASKED = "asked again"


class Watch:
    """Notes, in a thread that only sleeps, from when to when nothing ran."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._stood: deque[tuple[float, float]] = deque(maxlen=10_000)
        self._seen_s = time.monotonic()
        threading.Thread(target=self._watch, name="standing still", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            now = time.monotonic()
            if now - self._seen_s - LOOK_S >= self._limit_s:
                self._stood.append((self._seen_s, now))
            self._seen_s = now

    def stood_s(self, from_s: float, until_s: float) -> float:
        """The longest time of standing still that began or ended between these; 0 for none."""
        while self._seen_s < until_s:  # it has not looked since
            time.sleep(LOOK_S)
        return max((b - a for a, b in tuple(self._stood) if b > from_s and a < until_s), default=0.0)


class Again:
    """The plug-in.  Its tests give another `marker`, and count what happened."""

    def __init__(self, marker: str = "process", limit_s: float = LIMIT_S) -> None:
        self._marker = marker
        self._limit_s = limit_s
        self._watch: Watch | None = None
        self._made: dict[Any, tuple[float, float]] = {}
        """When the fixtures that several tests share were made."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        """Notes when a shared fixture was made: a walk that many tests look at is disturbed for all of them."""
        began_s = time.monotonic()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                self._made[fixturedef] = (began_s, time.monotonic())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Runs a test, and again while it was disturbed and failed."""
        if item.get_closest_marker(self._marker) is None:
            return None
        watch = self._watch = self._watch or Watch(self._limit_s)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for left in reversed(range(TIMES)):
            began_s = time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            if not left or not any(report.failed for report in reports):
                break
            spans = [(began_s, time.monotonic()), *self._fixtures(item)]
            stood_s = max(watch.stood_s(*span) for span in spans)
            if stood_s < self._limit_s:
                break
            item.user_properties.append((ASKED, f"the machine stood still for {stood_s:.2f} s"))
            # With every fixture that it shares, or a walk that was disturbed would be judged again.
            with suppress(Exception):  # what cannot end was disturbed as well; it has to end the next time
                item.session._setupstate.teardown_exact(None)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _fixtures(self, item: pytest.Item) -> list[tuple[float, float]]:
        """When the shared fixtures were made that this test uses."""
        used = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        return [self._made[one] for several in used for one in several if one in self._made]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Lists what was asked again, also when it passed then."""
        reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ())]
        lines = [
            f"{report.nodeid}: {what}"
            for report in reports
            if report.when == "call" or report.failed
            for name, what in report.user_properties
            if name == ASKED
        ]
        if lines:
            terminalreporter.section("asked again")
            for line in lines:
                terminalreporter.write_line(line)
