"""One message of each kind to each contact, clearly marked as a test: what `retrowalk notify-test` sends.

It tells nobody of an alert, needs no running hub and no broker, and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

from retrowalk.hub.facts import Alert, Kind, Notify, Stage, Told
from retrowalk.hub.notifier import Notifier
from retrowalk.hub.settings import Contact, HubConfig
from retrowalk.hub.times import timestamp

LIMIT_S = 25.0
"""A message that has not gone within this has failed."""

KINDS: tuple[tuple[str, Kind, Stage, Told, str, str], ...] = (
    ("possible fall", Kind.FALL, Stage.POSSIBLE, Told.POSSIBLE, "medium", "fall.suspected"),
    ("fall", Kind.FALL, Stage.OPEN, Told.ALARM, "high", "fall.confirmed"),
    ("repeated", Kind.FALL, Stage.OPEN, Told.REPEAT, "high", "fall.confirmed"),
    ("answered", Kind.FALL, Stage.ANSWERED, Told.ANSWERED, "low", "fall.confirmed"),
    ("all clear", Kind.FALL, Stage.OVER, Told.ALL_CLEAR, "low", "fall.cancelled"),
    ("SOS", Kind.SOS, Stage.OPEN, Told.ALARM, "high", "sos.raised"),
    ("device silent", Kind.SILENT, Stage.OPEN, Told.ALARM, "high", ""),
    ("note", Kind.NOTE, Stage.OVER, Told.NOTE, "low", "battery.low"),
    ("test", Kind.NOTE, Stage.OVER, Told.TEST, "low", ""),
)
"""What is sent, in this order: its name, kind, stage, why, priority and event."""


class Tried(NamedTuple):
    """What became of one message by one address."""

    contact: str
    scheme: str
    kind: str
    ok: bool
    detail: str
    took_s: float


def notices(contact: Contact, first: int, now_s: float, wall_s: float, device: str) -> Iterator[tuple[str, Notify]]:
    """The messages for a contact, numbered from `first`.  The urgent ways, which may cost money, get one of them."""
    for number, (name, kind, stage, why, priority, event) in enumerate(KINDS, first):
        alert = Alert(
            number=number,
            device=device,
            kind=kind,
            stage=stage,
            priority=priority,
            event="" if kind is Kind.SILENT else "test",
            event_type=event,
            session="test",
            opened_s=now_s - 60.0,
            happened=timestamp(wall_s - 60.0),
            clock="ntp",
            historical=False,
            answered_by=contact.name if stage in (Stage.ANSWERED, Stage.OVER) else "",
            answered_s=now_s - 30.0 if stage in (Stage.ANSWERED, Stage.OVER) else None,
            ended_s=now_s if stage is Stage.OVER else None,
            ended="button" if stage is Stage.OVER else "",
            told=(contact.name,),
            data={"charge_percent": 18.0} if event == "battery.low" else {},
        )
        yield (
            name,
            Notify(
                notice=number,
                alert=alert,
                contact=contact.name,
                why=why,
                priority=priority,
                urgent=why is Told.TEST,
                now_s=now_s,
                void_s=now_s + LIMIT_S * len(KINDS),
                heard_s=now_s - 200.0,
                battery_percent=64.0,
            ),
        )


def run(
    settings: HubConfig,
    contacts: tuple[Contact, ...],
    state_dir: Path | None,
    on_tried: Callable[[Tried], None],
    *,
    wait_s: float = 0.05,
    limit_s: float = LIMIT_S,
) -> list[Tried]:
    """Sends all, and tells `on_tried` what became of each; returns everything.  Raises what a `Notifier` raises."""
    device = settings.walker[0].device if settings.walker else f"{settings.hub.sites[0]}/test"
    notifier = Notifier(settings, state_dir, trial=True)
    now_s = 86400.0
    names: dict[int, str] = {}
    expected = 0
    try:
        notifier.now = None
        for contact in contacts:
            for name, notice in notices(contact, len(names) + 1, now_s, time.time(), device):
                names[notice.notice] = name
                expected += len(contact.notify) + (len(contact.urgent) if notice.urgent else 0)
                notifier.send(notice)
        found: list[Tried] = []
        quiet_at = time.monotonic() + limit_s
        while len(found) < expected and time.monotonic() < quiet_at:
            for tried in notifier.attempts():
                found.append(Tried(*tried[1:3], names[tried.notice], tried.ok, tried.detail, tried.took_s))
                on_tried(found[-1])
                quiet_at = time.monotonic() + limit_s
            time.sleep(wait_s)
        if len(found) < expected:
            words = (
                f"{expected - len(found)} of {expected} messages were not tried: the process that sends does not run"
            )
            found.append(Tried("", "", "", False, words, 0.0))
            on_tried(found[-1])
        return found
    finally:
        notifier.close()


def table(found: list[Tried]) -> Table:
    """A line for each address."""
    from rich.table import Table
    from rich.text import Text

    lines = Table(box=None, pad_edge=False)
    for name in ("Contact", "By", "Taken", "Slowest", "Why not"):
        lines.add_column(name, justify="right" if name in ("Taken", "Slowest") else "left", overflow="fold")
    for contact, scheme in sorted({tried[:2] for tried in found}):
        own = [tried for tried in found if tried[:2] == (contact, scheme)]
        taken = sum(tried.ok for tried in own)
        why = "; ".join(dict.fromkeys(tried.detail for tried in own if not tried.ok))
        slowest = f"{max(tried.took_s for tried in own):.1f} s"
        lines.add_row(Text(contact), Text(scheme), f"{taken} of {len(own)}", slowest, Text(why))
    return lines
