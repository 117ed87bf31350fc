"""What `retrowalk hub status`, `alerts` and `events` print.  Whatever a device has written is printed as plain text."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from retrowalk.hub.view import AlertNow, DeviceNow, EventSeen, HubNow

_STYLES = {"high": "bold red", "medium": "yellow"}
_STAGES = {"open": "bold red", "possible": "yellow", "answered": "cyan", "over": "dim"}
_SINCE = re.compile(r"^(\d{1,6})([smhd])\Z")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

GUARDS = {
    "limited": ("warns in part only", "yellow"),
    "not_protecting": ("does not protect", "bold red"),
    "silent": ("does not watch over the walk: its guard does not answer", "bold red"),
    "not_worn": ("is not worn", ""),
    "checking": ("is being checked before the walk", ""),
}
"""What a guard state that is not simply guarding means, and how it is shown."""

REASONS = {
    "unchecked": "not yet checked",
    "imu": "no balance clip",
    "clip": "clip slipped",
    "rear": "no rear sensor",
    "unknown": "path not seen",
    "drop": "kerbs not seen",
    "ground": "ground not seen",
    "voice": "voice trouble",
    "vibration": "no vibration",
    "config": "settings are wrong",
    "unheard": "sound untested",
    "late": "warnings late",
    "inexact": "clip inexact",
    "battery": "battery empty",
}
"""Reasons of a guard state, as the walker hears them."""


def status(hub: HubNow) -> RenderableType:
    """The hub and its devices."""
    lines: list[RenderableType] = [_hub_line(hub)]
    if hub.running and hub.contacts == 0:
        lines.append(Text("Nobody is told of anything: its settings name no [[contact]].", "bold red"))
    for site, how in sorted(hub.sites.items()):
        line = Text(f"{plain(site)}: ")
        connected = bool(how.get("connected"))
        line.append("connected to the broker" if connected else "no connection to the broker", _good(connected))
        for topic in how.get("refused", []):
            line.append(f"\n  the broker refuses {plain(str(topic))}", "red")
        lines.append(line)
    lines.append(_counts(hub))
    if hub.devices:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for title in ("device", "state", "last heard"):
            table.add_column(title)
        for title in ("battery", "waiting", "missing"):
            table.add_column(title, justify="right")
        table.add_column("clock")
        for device in hub.devices:
            table.add_row(*_device_row(device))
        lines += [Text(), table]
        lines += [
            Text(f"{plain(d.device)} lost its connection at {moment(d.state_at)}.", "red")
            for d in hub.devices
            if d.state == "lost"
        ]
        lines += [_guard(d) for d in hub.devices if d.guard_state in GUARDS and d.state not in ("disconnected", "lost")]
        lines += [
            Text(f"{plain(d.device)} has trouble with: {plain(', '.join(d.faults))}", "yellow")
            for d in hub.devices
            if d.faults
        ]
    else:
        lines.append(Text("No device has been heard of yet."))
    return Group(*lines)


def _hub_line(hub: HubNow) -> Text:
    if not hub.running:
        return Text("The hub is not running: nobody is told of anything.", "bold red")
    line = Text("The hub is running")
    return line.append(f" since {moment(hub.started)}." if hub.started else ".")


def _counts(hub: HubNow) -> Text:
    line = Text(f"{hub.events} {'event' if hub.events == 1 else 'events'} stored")
    missing, lost = sum(d.missing for d in hub.devices), sum(d.lost for d in hub.devices)
    for count, words, style in (
        (hub.open_alerts, "alerts open", "bold red"),
        (hub.waiting_notices, "messages not taken yet", "yellow"),
        (missing, "events missing, asked for", "yellow"),
        (lost, "events lost for good", "red"),
        (hub.odd, "messages that fit nowhere", "yellow"),
        (hub.let_go, "messages let go", "yellow"),
    ):
        if count:
            line.append(", ").append(f"{count} {words if count != 1 else _one(words)}", style)
    return line.append(".")


def _one(words: str) -> str:
    return (
        words.replace("alerts", "alert")
        .replace("messages", "message")
        .replace("events", "event")
        .replace(" fit ", " fits ")
    )


def _guard(device: DeviceNow) -> Text:
    """What the walker may rely on, and why it is no more."""
    words, style = GUARDS[device.guard_state]
    why = ", ".join(REASONS.get(reason, plain(reason)) for reason in device.reasons)
    known = why and device.guard_state in ("limited", "not_protecting")
    return Text(f"{plain(device.device)} {words}{f': {why}' if known else ''}.", style)


def _device_row(device: DeviceNow) -> list[Text]:
    heard = Text("never" if device.heard_s is None else f"{ago(device.heard_s)} ago")
    heard.stylize("bold red" if device.overdue else "dim" if device.state == "disconnected" else "")
    state = {"disconnected": "switched off", "lost": "connection lost", "": "not told"}.get(device.state, device.state)
    missing = f"{device.missing}" if not device.lost else f"{device.missing}, {device.lost} lost"
    battery = device.battery_percent
    clock = {"ntp": "right", "rtc": "battery clock", "unset": "not set"}.get(device.clock, device.clock)
    return [
        Text(plain(device.device)),
        Text(plain(state), "red" if device.state == "lost" else ""),
        heard,
        Text("" if battery is None else f"{battery:.0f} %", "red" if battery is not None and battery <= 20 else ""),
        Text("" if device.waiting is None else str(device.waiting), "yellow" if device.waiting else ""),
        Text(missing, "yellow" if device.missing or device.lost else ""),
        Text(plain(clock), "yellow" if device.clock == "unset" else ""),
    ]


def alerts(found: Sequence[AlertNow], wall_s: float) -> RenderableType:
    """Alerts with who was told, and who answered."""
    if not found:
        return Text("No alert is open.")
    parts: list[RenderableType] = []
    for one in found:
        head = Text(f"{one.number}  ")
        head.append(f"{plain(str(one.alert.get('event_type') or one.kind))} ", _STYLES.get(one.priority, ""))
        head.append(f"of {plain(one.device)}, ")
        head.append(one.stage, _STAGES.get(one.stage, ""))
        head.append(f", {ago(max(0.0, wall_s - one.opened))} ago ({moment(one.opened)})")
        parts.append(head)
        ended = one.alert.get("ended")
        if one.stage == "over" and ended and ended != "note":
            parts.append(Text(f"   over: {plain(str(ended))}"))
        for answer in one.answers:
            words = "says that it is over" if answer["over"] else "has it in hand"
            parts.append(
                Text(
                    f"   {moment(answer['wall_s'])}  {plain(answer['by'])} {words} (by {plain(answer['via'])})", "cyan"
                )
            )
        parts += [_told_line(contact, notices) for contact, notices in _by_contact(one.told).items()]
    return Group(*parts)


def _by_contact(told: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for notice in told:
        found.setdefault(notice["contact"], []).append(notice)
    return found


def _told_line(contact: str, notices: Sequence[dict[str, Any]]) -> Text:
    sent = [notice for notice in notices if notice["state"] == "sent"]
    line = Text(f"   {plain(contact)}: ")
    if sent:
        times = "once" if len(sent) == 1 else f"{len(sent)} times, last"
        line.append(f"told {times} at {moment(sent[-1]['wall_s'])}")
    open_ones = [notice for notice in notices if notice["state"] in ("waiting", "failed")]
    if open_ones:
        line.append(", " if sent else "").append("not reached yet", "red")
        if open_ones[-1]["detail"]:
            line.append(f" ({plain(open_ones[-1]['detail'])[:80]})")
    elif not sent and any(notice["state"] == "missed" for notice in notices):
        line.append("not reached", "red")
    elif not sent:
        line.append("not told any more")
    return line


def event(seen: EventSeen) -> Text:
    """One event, as one line."""
    line = Text(f"{moment(seen.received)}  {plain(seen.device)}  ")
    line.append(plain(seen.type), _STYLES.get(seen.priority, ""))
    if seen.historical:
        known = "  happened at an unknown time (clock not set)" if seen.clock == "unset" else ""
        line.append(known or f"  happened {plain(seen.time)}", "yellow")
    data = plain(json.dumps(seen.data, ensure_ascii=False, separators=(", ", ": "))[1:-1])
    return line.append(f"  {data[:200]}", "dim")


def moment(wall_s: float | None) -> str:
    """Date and time of the people here."""
    try:
        return datetime.datetime.fromtimestamp(wall_s or 0.0).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def ago(seconds: float) -> str:
    """As "12 s", "5 min", "3 h" or "2 days"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def since(text: str, wall_s: float) -> float:
    """The Unix time that `90s`, `30m`, `2h`, `3d` or a date mean.  Raises `ValueError`."""
    short = _SINCE.match(text)
    if short:
        return wall_s - int(short[1]) * _UNITS_S[short[2]]
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f'{text}: must be as 90s, 30m, 2h, 3d or "2026-11-23 08:00"') from error


def plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _good(good: bool) -> str:
    return "green" if good else "bold red"
