"""Logs: structured to the journal under systemd, short lines for a person at a terminal.

`begin` sets them up, once a process.  A line never waits: the journal is a datagram that is sent or dropped, a terminal
is written to only while it takes something, and what was dropped is counted and told with the next line that gets
through.  The same line said again and again is collapsed: the first few within ten minutes, then how many more.

A line that somebody may look for has a kind (`about`), by which `journalctl MESSAGE_ID=...` and
`journalctl RETROWALK_EVENT=sensor.lost` find it.  Its fields are those of the systemd journal (`man
systemd.journal-fields`), and RETROWALK_EVENT, RETROWALK_PART, RETROWALK_FAULT, RETROWALK_SENSOR, RETROWALK_SESSION.

No secret belongs into a line.  Whoever reads one tells it to `hide`, and should it turn up all the same, in the words
of a library or a trace, it is blotted out.
"""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

JOURNAL_SOCKET = "/run/systemd/journal/socket"
"""Where journald takes datagrams, in its native form (systemd, "Native Journal Protocol")."""

MESSAGE_MAX_BYTES = 4000
"""A longer message is cut; a trace may have four times as much.  A datagram of the journal takes more than both."""

SECRET_MIN_CHARACTERS = 4
"""What is shorter is no secret, and would blot out half of a line."""

BLOT = "(not shown)"

MESSAGES: Mapping[str, str] = {
    "process.started": "d277fde6684e4df88634ca3c1f62aabd",
    "process.failed": "68c0666d837b4a0eb3479811b32e8260",
    "config.rejected": "bc7911082456457fb204fda7894757aa",
    "config.laid_over": "af0e3c0f63e24c19a0081d9f54fa17e5",
    "guard.changed": "303699667e4445d5a4ac416b9d3420e5",
    "sensor.lost": "c645bb94323245b4b0859627eaab6ca4",
    "sensor.restored": "c5215054802945928bb114539d860701",
    "fault.raised": "07464c6747244fdcb6de2822a1fcbc53",
    "fault.cleared": "b0bdc78102f146dc9ca957efc79271e3",
    "battery.low": "3c63912991b14d308dc98e5bc9fb6571",
    "driver.failed": "16d7b745320d4f0fa0874e63e15d5b57",
    "sound.failed": "ab3315b1cc9d4e56bc82dbf59d2765e1",
    "sound.restored": "a59f75a24af54bdbbb8457c74a116315",
    "broker.connected": "05a559388c5f419d963c9016a1ec3bfa",
    "broker.lost": "8c692e2a0c674abbbcab628e9656a189",
    "outbox.failed": "927aeac29399493ca6035b65edde2abd",
    "recording.failed": "fe3493b7ddd54df481015e03ff333505",
    "turn.failed": "cddc26c4a5244fb28c223c82cb6b4015",
    "process.silent": "3adb998a58ea43f985f3f49677a3646a",
    "lines.repeated": "930a77c92c314690abc109b5cc47b543",
    "lines.lost": "bae385e85da64b82b3d9543c73a7021a",
}
"""Kind of a message -> its MESSAGE_ID.  One that was given is never given to another kind, nor changed."""

ERRORS_NAME_THEIR_PLACE = logging.ERROR
"""From this level on a line says the file and line of the program that it comes from."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

_NUMBERS = re.compile(r"(?<![\w-])[0-9][0-9.]*(?![\w-])")
"""What differs from one to the next of the same line; a number in a name (rw-0001, GPIO24, 0x10) is part of it."""

_secrets: set[str] = set()


# ---------------------------------------------------------------------------------------------- what is said of a line


@dataclass(frozen=True, slots=True)
class About:
    """What a line is about; each goes into a field of its own, and an empty one is left out."""

    event: str
    part: str = ""
    fault: str = ""
    sensor: str = ""
    session: str = ""


def about(event: str, *, part: str = "", fault: str = "", sensor: str = "", session: str = "") -> dict[str, About]:
    """What to give as `extra` to a line of a known kind (a key of `MESSAGES`, or `KeyError` is raised)."""
    MESSAGES[event]
    return {"retrowalk": About(event, part, fault, sensor, session)}


def hide(*secrets: str) -> None:
    """From now on none of these is shown in any line of this process."""
    _secrets.update(secret for secret in secrets if len(secret) >= SECRET_MIN_CHARACTERS)


def hidden(text: str) -> str:
    """The text with every known secret blotted out."""
    for secret in sorted(_secrets, key=len, reverse=True):  # a secret may be a part of another one
        if secret in text:
            text = text.replace(secret, BLOT)
    return text


# ---------------------------------------------------------------------------------------------------------- collapsing


@dataclass(slots=True)
class _Line:
    """A line that is said again and again."""

    since_s: float
    said: int = 0
    held_back: int = 0
    example: str = ""
    level: int = logging.INFO


class Collapse:
    """Lets the first lines of a kind through and counts the others.  Pure: time is an argument.

    Of `key`, `burst` lines come through within `window_s`.  When that is over, `due` has how many were held back.  At
    most `keys_max` kinds are told apart; beyond that the oldest is forgotten, which lets too much through, not too
    little.
    """

    def __init__(self, burst: int = 3, window_s: float = 600.0, keys_max: int = 200) -> None:
        self._burst, self._window_s, self._keys_max = burst, window_s, keys_max
        self._lines: dict[str, _Line] = {}

    def lets(self, key: str, now: float, level: int = logging.INFO, example: str = "") -> bool:
        """Whether the line is to be said now.  Ask `due` before, or the count of an ended window is lost."""
        line = self._lines.get(key)
        if line is None or now - line.since_s >= self._window_s:
            if line is None and len(self._lines) >= self._keys_max:
                del self._lines[next(iter(self._lines))]
            self._lines.pop(key, None)
            line = self._lines[key] = _Line(now)
        if line.said < self._burst:
            line.said += 1
            return True
        line.held_back += 1
        line.level, line.example = level, example
        return False

    def due(self, now: float, *, ending: bool = False) -> list[tuple[int, int, str]]:
        """Level, count and the last words of what was held back in windows that are over (`ending`: in all)."""
        found = []
        for key, line in list(self._lines.items()):
            if ending or now - line.since_s >= self._window_s:
                del self._lines[key]
                if line.held_back:
                    found.append((line.level, line.held_back, line.example))
        return found


# ------------------------------------------------------------------------------------------------------------ handlers


class Way(Protocol):
    """Where lines go."""

    def __call__(self, fields: Mapping[str, str]) -> bool:
        """Sends one line; returns whether it went out.  Returns at once."""

    def close(self) -> None:
        """Lets go of what it holds."""


class Lines(logging.Handler):
    """Lines of this process on their way: collapsed, cut, without secrets, and never waited for."""

    def __init__(self, send: Way, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.send = send
        self._clock = clock
        self._collapse = Collapse()
        self._look_s = clock()
        self.lost = 0
        """Lines that nobody took, and that no later line has told of yet."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now = self._clock()
            self._catch_up(now)
            message = record.getMessage()
            key = f"{record.name} {record.levelno} {_NUMBERS.sub('#', message[:300])}"
            if self._collapse.lets(key, now, record.levelno, message):
                self._put(self._fields(record, message))
        except Exception:
            # A line that cannot be written is no reason for anything else to fail.
            self.lost += 1

    def poll(self) -> None:
        """Tells what was held back or lost, when it is time.  Whoever has a loop calls this now and then."""
        now = self._clock()
        if now - self._look_s >= 60.0:
            with self.lock or threading.Lock():
                self._catch_up(now)

    def close(self) -> None:
        with self.lock or threading.Lock():
            self._catch_up(self._clock(), ending=True)
        self.send.close()
        super().close()

    def _catch_up(self, now: float, *, ending: bool = False) -> None:
        if now - self._look_s < 1.0 and not ending:
            return
        self._look_s = now
        for level, count, example in self._collapse.due(now, ending=ending):
            words = f"{count} more like this: {example}"
            self._put(_plain_fields(level, "lines.repeated", words))
        if self.lost:
            lost = self.lost
            if self.send(_plain_fields(logging.WARNING, "lines.lost", f"{lost} lines could not be written")):
                self.lost -= lost

    def _put(self, fields: Mapping[str, str]) -> None:
        if not self.send(fields):
            self.lost += 1

    def _fields(self, record: logging.LogRecord, message: str) -> dict[str, str]:
        if record.exc_info and record.exc_info[0] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            message = f"{cut(message, MESSAGE_MAX_BYTES)}\n{cut(trace, 4 * MESSAGE_MAX_BYTES, end=True)}"
        else:
            message = cut(message, MESSAGE_MAX_BYTES)
        fields = {
            "MESSAGE": hidden(message),
            "PRIORITY": str(priority(record.levelno)),
            "RETROWALK_LOGGER": record.name,
        }
        what = getattr(record, "retrowalk", None)
        if isinstance(what, About):
            fields |= {
                "MESSAGE_ID": MESSAGES[what.event],
                "RETROWALK_EVENT": what.event,
                "RETROWALK_PART": what.part,
                "RETROWALK_FAULT": what.fault,
                "RETROWALK_SENSOR": what.sensor,
                "RETROWALK_SESSION": what.session,
            }
        if record.levelno >= ERRORS_NAME_THEIR_PLACE:
            fields |= {"CODE_FILE": record.pathname, "CODE_LINE": str(record.lineno), "CODE_FUNC": record.funcName}
        return {name: value for name, value in fields.items() if value}


def _plain_fields(level: int, event: str, words: str) -> dict[str, str]:
    return {
        "MESSAGE": hidden(cut(words, MESSAGE_MAX_BYTES)),
        "PRIORITY": str(priority(level)),
        "MESSAGE_ID": MESSAGES[event],
        "RETROWALK_EVENT": event,
    }


def cut(text: str, limit_bytes: int, *, end: bool = False) -> str:
    """The text within a number of bytes of UTF-8; `end`: of a longer one its end, where a trace says what it was."""
    data = text.encode(errors="replace")
    if len(data) <= limit_bytes:
        return data.decode()
    kept = data[-limit_bytes:] if end else data[:limit_bytes]
    words = kept.decode(errors="ignore")
    return f"... {words}" if end else f"{words} ..."


def priority(level: int) -> int:
    """The journal's priority, 2 (critical) to 7 (debug), of a level."""
    return next((found for limit, found in _PRIORITIES if level >= limit), 7)


# --------------------------------------------------------------------------------------------------------- the journal


def datagram(fields: Mapping[str, str]) -> bytes:
    """Fields in the journal's native form: a line each, or its length and its bytes where it has several lines."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class Journal:
    """Sends lines to journald.  A journal that does not take one (busy, away, full) costs that line and no time."""

    def __init__(self, identifier: str, address: str = JOURNAL_SOCKET) -> None:
        self._identifier = identifier
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def __call__(self, fields: Mapping[str, str]) -> bool:
        data = datagram({"SYSLOG_IDENTIFIER": self._identifier, **fields})
        try:
            # By name and not connected: a journald that was started again is another socket under the same name.
            self._socket.sendto(data, self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Closes the socket; what is sent from then on is lost."""
        self._socket.close()


def journal_reads_stderr(environ: Mapping[str, str] | None = None, descriptor: int = 2) -> bool:
    """Whether systemd started this process and what it writes to stderr goes to the journal.

    As systemd advises (`man systemd.exec`, JOURNAL_STREAM): a terminal in between has another device and inode.
    """
    named = (os.environ if environ is None else environ).get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


# ---------------------------------------------------------------------------------------------------- a person's lines


class Terminal:
    """Writes short lines for a person.  One who has stopped the screen (Ctrl-S), or a pipe nobody reads, gets none."""

    def __init__(self, name: str, descriptor: int = 2) -> None:
        self._name = name
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def __call__(self, fields: Mapping[str, str]) -> bool:
        text = "".join(f"{self._name}: {line}\n" for line in fields["MESSAGE"].splitlines())
        try:
            for piece in _pieces(text.encode(errors="replace")):
                ready = self._poll.poll(0)
                if not ready or ready[0][1] & (select.POLLERR | select.POLLNVAL | select.POLLHUP):
                    return False
                os.write(self._descriptor, piece)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Nothing of its own: whoever opened the descriptor closes it."""


def _pieces(data: bytes) -> Iterable[bytes]:
    """What a pipe or terminal that is ready takes at once without waiting (PIPE_BUF bytes; a terminal's buffer)."""
    return (data[start : start + 512] for start in range(0, len(data), 512))


# -------------------------------------------------------------------------------------------------------------- set-up


def begin(process: str, *, journal: bool | None = None, address: str = JOURNAL_SOCKET) -> Lines:
    """Sends this process's lines where they belong, and what would end it as one line, too.

    `journal`: whether to the journal (default: if systemd reads stderr).  There everything from INFO on is kept; a
    person sees warnings, and of what was measured of the walker also what is only worth knowing.
    """
    journal = journal_reads_stderr() if journal is None else journal
    lines = Lines(Journal(f"retrowalk-{process}", address) if journal else Terminal(process))
    root = logging.getLogger()
    for old in _begun():
        root.removeHandler(old)
        old.close()
    root.addHandler(lines)
    # Libraries tell of requests with all that is in them at INFO: none of it is ours to keep.
    root.setLevel(logging.WARNING)
    logging.getLogger("retrowalk").setLevel(logging.INFO if journal else logging.WARNING)
    if not journal:
        logging.getLogger("retrowalk.calibration").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    return lines


def poll() -> None:
    """Tells what was held back or lost, if it is time; costs nothing otherwise."""
    for handler in _begun():
        handler.poll()


def to_journal() -> bool:
    """Whether the lines of this process go to the journal."""
    return any(isinstance(handler.send, Journal) for handler in _begun())


def _begun() -> list[Lines]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Lines)]


def lost() -> int:
    """Lines of this process that nobody took, and that no later line has told of yet."""
    return sum(handler.lost for handler in _begun())


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)  # Ctrl-C is no fault
        return
    before = lost()
    logging.getLogger("retrowalk").critical(
        "ends by a fault in the program: %s: %s",
        kind.__name__,
        error,
        exc_info=(kind, error, trace),
        extra=about("process.failed"),
    )
    if lost() > before:
        sys.__excepthook__(kind, error, trace)  # a journal that is away must not make an end without a word


def _uncaught_in_thread(args: Any) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "?"
    logging.getLogger("retrowalk").critical(
        "thread %s ends by a fault in the program: %s: %s",
        name,
        args.exc_type.__name__,
        args.exc_value,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        extra=about("process.failed"),
    )
