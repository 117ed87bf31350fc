"""The words of a message to a person, in their language: a title for a lock screen, and what to know and do.

The words stand in `texts/<language>.toml`.  What a device wrote (types, names of parts) is shown as plain text of
limited length; no ids, topics or addresses appear.
"""

from __future__ import annotations

import datetime
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from retrowalk.hub.case import same_person
from retrowalk.hub.facts import Alert, Kind, Notify, Stage, Told
from retrowalk.hub.values import real

SILENT_S = 90.0
"""Who has not been heard for so long is silent; a device that rests speaks each 60 s."""
SPAN_MAX_S = 1e9
CLOCK_WRONG_S = 600.0
"""An event that came at once and tells another time than the hub's by more has a wrong clock."""
SHOWN_MAX = 40
SHOWN_NUMBER_MAX = 1e6


class Message(NamedTuple):
    """What a person reads."""

    title: str
    body: str


def message(
    notify: Notify,
    *,
    wall_s: float,
    language: str = "en",
    walker: str = "",
    zone: datetime.tzinfo | None = None,
) -> Message:
    """The words of `notify`.

    `wall_s`: the hub's Unix time at hub time `notify.now_s`.  `walker`: who wears the device; empty: the device is
    named instead.  `zone` None: the hub's own.  Raises `KeyError` for a language without words.
    """
    return Writer(notify, wall_s, _texts(language), walker, zone).message()


@cache
def _texts(language: str) -> dict[str, Any]:
    file = Path(__file__).parent / "texts" / f"{language}.toml"
    if not language.isalpha() or not file.is_file():
        raise KeyError(language)
    return tomllib.loads(file.read_text("utf-8"))


class Writer:
    """Writes one message."""

    def __init__(
        self, notify: Notify, wall_s: float, texts: dict[str, Any], walker: str, zone: datetime.tzinfo | None
    ) -> None:
        self._notify = notify
        self._alert = alert = notify.alert
        self._texts = texts
        self._zone = zone
        self._wall_s = wall_s
        data, name = alert.data, alert.device.rpartition("/")[2]
        heard_s = notify.heard_s if notify.heard_s is not None else alert.opened_s
        self._silent_s = max(0.0, notify.now_s - heard_s)
        heard_of_s = self._wall_of(alert.opened_s)
        happened_s = _unix(alert.happened)
        self._happened_s = happened_s
        self._reckoned = False
        if alert.happened_s is not None and self._how_certain() not in ("at", "delayed"):
            self._reckoned = True
            self._happened_s = happened_s = self._wall_of(alert.happened_s)
        values: dict[str, Any] = {
            "who": texts["hub"]["name"] if name == "hub" else walker or shown(name),
            "by": shown(alert.answered_by),
            "age": self._span(notify.now_s - alert.opened_s),
            "silence": self._span(self._silent_s),
            "lasted": self._span((notify.now_s if alert.ended_s is None else alert.ended_s) - alert.opened_s),
            "type": shown(alert.event_type) or "?",
            "at": self._clock(happened_s if happened_s is not None else heard_of_s),
            "heard_of": self._clock(heard_of_s),
            "answered_at": self._clock(self._wall_of(notify.now_s if alert.answered_s is None else alert.answered_s)),
            "told": ", ".join(alert.told),
            "charge": _number(data.get("charge_percent")),
            "count": _number(data.get("count")),
            "minutes": _number(_number(data.get("within_s"), 60.0)),
            "away": self._span(real(data.get("away_s")) or 0.0),
            "more": _number(data.get("more")),
            "part": self._part(data),
            "rows": _number(data.get("rows")),
            "kind": shown(data.get("type", "?")),
            "of": shown(data.get("of", "?")),
            "cause": shown(data.get("cause", data.get("fault", ""))) or "?",
            "battery": _number(notify.battery_percent),
        }
        self._values = values
        note = alert.event_type if alert.event_type in texts["note"] else "other"
        values["note"] = texts["note"][note].format_map(values)
        values["note_long"] = texts["note_long"][note].format_map(values)
        values["news"] = texts["news"][self._news()]

    def message(self) -> Message:
        notify, alert, texts = self._notify, self._alert, self._texts
        kind = "test" if notify.why is Told.TEST else alert.kind
        title = texts["title"][kind][notify.why]
        lines = [*self._what(), *self._when(), *self._more(), *self._do()]
        return Message(
            title.format_map(self._values), " ".join(line.format_map(self._values) for line in lines if line)
        )

    # -- what --------------------------------------------------------------------------------------------

    def _news(self) -> str:
        alert, news = self._alert, self._texts["news"]
        if self._silent:
            return "silent"
        return next((key for key in (*self._keys(alert), alert.event_type) if key in news), "other")

    @staticmethod
    def _keys(alert: Alert) -> tuple[str, ...]:
        """Names under which words for an alert may stand, the most exact first."""
        data, name = alert.data, alert.event_type
        if name == "fall.suspected" and alert.stage is Stage.POSSIBLE:
            return (f"{name} possible",)
        if name == "fall.lasted":
            return (f"{name} {data.get('posture')}", name)
        if name == "fall.risen":
            return (f"{name} walking", name) if data.get("walking") is True else (name,)
        if alert.kind is Kind.SILENT:
            return (f"silent {data.get('cause')}",)
        return (name,)

    def _what(self) -> list[str]:
        notify, alert, texts = self._notify, self._alert, self._texts
        if notify.why is Told.TEST:
            return [texts["what"]["test"]]
        if notify.why is Told.ALL_CLEAR:
            person = bool(alert.answered_by) and same_person(alert.ended, alert.answered_by)
            why = "person" if person or alert.ended not in texts["ended"] else alert.ended
            return [texts["ended"]["device" if why == "person" and not person else why]]
        what = texts["what"]
        key = next(key for key in (*self._keys(alert), alert.kind.value) if key in what)
        return [texts["answered"]["text"], what[key]] if notify.why is Told.ANSWERED else [what[key]]

    # -- when --------------------------------------------------------------------------------------------

    @property
    def _silent(self) -> bool:
        return self._notify.heard_s is not None and self._silent_s > SILENT_S

    def _when(self) -> list[str]:
        notify, alert, when = self._notify, self._alert, self._texts["when"]
        if notify.why in (Told.TEST, Told.NOTE):
            return [when[self._how_certain()]] if alert.historical else []
        if alert.kind is Kind.SILENT:
            if notify.why is Told.ALL_CLEAR:
                return []
            self._values["at"] = self._clock(self._wall_of(notify.now_s - self._silent_s))
            return [when["silent"]]
        lines = [when[self._how_certain()].format_map(self._values)]
        if notify.why in (Told.UPDATE, Told.REMINDER):
            lines.append(when["lasting"])
        if notify.why is Told.ALL_CLEAR:
            lines.append(when["lasted"])
        if self._silent and notify.why is not Told.ALL_CLEAR:
            self._values["at"] = self._clock(self._wall_of(notify.now_s - self._silent_s))
            lines.append(when["still_silent"])
        return lines

    def _how_certain(self) -> str:
        """How much the time of the event is worth: the device's own, else what the hub reckons.

        Whether it is historical the device knows by its monotonic clock, however wrong the other one is.
        """
        alert, happened_s = self._alert, self._happened_s
        if self._reckoned:
            return "delayed" if alert.historical else "at"
        if alert.clock not in ("ntp", "rtc", "gps") or happened_s is None:
            return "unset" if alert.historical else "unset_live"
        off_s = self._wall_of(alert.opened_s) - happened_s
        if off_s < -CLOCK_WRONG_S or (off_s > CLOCK_WRONG_S and not alert.historical):
            return "wrong" if alert.historical else "wrong_live"
        return "delayed" if alert.historical else "at"

    def _wall_of(self, hub_s: float) -> float:
        return self._wall_s - (self._notify.now_s - hub_s)

    def _clock(self, wall_s: float) -> str:
        try:
            then, now = (datetime.datetime.fromtimestamp(at, self._zone) for at in (wall_s, self._wall_s))
        except (ValueError, OverflowError, OSError):
            return "?"
        pattern = self._texts["format"]["time" if then.date() == now.date() else "date"]
        text: str = pattern.format(
            hour=f"{then.hour:02d}",
            minute=f"{then.minute:02d}",
            year=then.year,
            month=f"{then.month:02d}",
            day=f"{then.day:02d}",
        )
        return text

    def _span(self, seconds: float) -> str:
        """A time as people say it."""
        formats = self._texts["format"]
        s = round(min(max(0.0, seconds), SPAN_MAX_S))
        if s < 60:
            name = "seconds"
        elif s < 3600:
            name = "minutes"
        elif s < 48 * 3600:
            name = "hours"
        else:
            name = "days"
        h = s // 3600
        text: str = formats[name].format(
            s=s, m=s // 60 if name == "minutes" else s % 3600 // 60, h=h % 24 if name == "days" else h, d=h // 24
        )
        return text

    # -- more --------------------------------------------------------------------------------------------

    def _part(self, data: dict[str, Any]) -> str:
        name = data.get("sensor", data.get("part", ""))
        parts: dict[str, str] = self._texts["part"]
        return parts.get(name, shown(name)) if isinstance(name, str) and name else "?"

    def _more(self) -> list[str]:
        notify, more = self._notify, self._texts["more"]
        lines = []
        if notify.why is Told.NOTE and "more" in self._alert.data:
            lines.append(more["left_out"])
        if notify.why in (Told.REPEAT, Told.ESCALATED) and set(self._alert.told) - {notify.contact}:
            lines.append(more["told"])
        if notify.battery_percent is not None and notify.why not in (Told.NOTE, Told.TEST, Told.ALL_CLEAR):
            lines.append(more["battery"])
        return lines

    def _do(self) -> list[str]:
        notify, alert, do = self._notify, self._alert, self._texts["do"]
        match notify.why:
            case Told.NOTE | Told.ALL_CLEAR:
                return []
            case Told.TEST | Told.ANSWERED | Told.UPDATE:
                return [do[notify.why]]
            case Told.POSSIBLE:
                return [do["silent" if alert.kind is Kind.SILENT else "possible"]]
            case Told.REMINDER:
                kind = f"_{alert.kind}" if alert.kind in (Kind.SILENT, Kind.EVENT) else ""
                other = "" if same_person(notify.contact, alert.answered_by) else "_other"
                return [do[f"reminder{kind}{other}"]]
            case _:
                return [do[alert.kind]]


def shown(text: Any) -> str:
    """What somebody else wrote, as plain text of limited length, without braces that a pattern could take."""
    plain = "".join(c for c in str(text) if c.isprintable() and c not in "{}")
    return plain if len(plain) <= SHOWN_MAX else plain[: SHOWN_MAX - 1] + "…"


def _number(value: Any, unit: float = 1.0) -> Any:
    """A number as people write it, in units of `unit`; a question mark for what nobody would write."""
    found = real(value)
    return "?" if found is None or abs(found) > SHOWN_NUMBER_MAX else round(found / unit)


def _unix(time: str) -> float | None:
    """Unix time of an RFC 3339 time; None if it is none."""
    try:
        moment = datetime.datetime.fromisoformat(time)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
