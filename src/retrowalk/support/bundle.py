"""Packs the file: each piece within its time and size, or the reason why it is missing; no secret in any of them.

`make` never raises for what it finds on the device, however broken: what could not be had stands in `CONTENTS.txt`.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrowalk.courier.recording import SUFFIX
from retrowalk.support.pieces import MESSAGES, PIECES, Piece, Source, doctor_page, learn_secrets

TOTAL_S = 20.0
"""All pieces together; then secrets are looked for and it is packed: on the slowest Pi that takes ten seconds."""
LEARN_S = 4.0
PIECE_MAX_BYTES = 600_000
"""A longer text loses its beginning: the end is the latest."""
TEXTS_MAX_BYTES = 2_000_000
"""All texts together, before they are compressed: with a recording the file stays below `BUNDLE_MAX_BYTES`."""
BUNDLE_MAX_BYTES = 20_000_000
RECORDING_MAX_BYTES = 15_000_000
CHUNK_BYTES = 1 << 20
FOLDER = "retrowalk-support"


@dataclass(frozen=True, slots=True)
class Made:
    """What became of it."""

    file: Path
    size_bytes: int
    missing: dict[str, str]
    """Pieces that could not be had, each with the reason."""


class _Asked:
    """A piece that is being made in a thread of its own; one that hangs is left behind."""

    def __init__(self, name: str, work: Callable[[], str]) -> None:
        self.text: str | None = None
        self.problem = ""
        self._work = work
        self._done = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self.text = self._work()
        except Exception as error:  # a broken device breaks in ways of its own; the others are still wanted
            named = isinstance(error, OSError) and error.filename and error.strerror
            words = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and named else f"{error}"
            self.problem = " ".join(words.split())[:300] or type(error).__name__
        self._done.set()

    def wait(self, seconds: float) -> None:
        if not self._done.wait(max(0.0, seconds)):
            self.problem = self.problem or "it took too long"


def make(
    source: Source,
    out: Path,
    *,
    with_recording: bool = False,
    with_messages: bool = False,
    tell: Callable[[str], None] = lambda words: None,
    pieces: Sequence[Piece] = PIECES,
    total_s: float = TOTAL_S,
) -> Made:
    """Packs everything that can be had into `out` (tar.gz), readable by its owner alone.

    `tell` is called with what is being done.  Raises `OSError` only when `out` itself cannot be written.
    """
    until = time.monotonic() + total_s
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}-", delete=False) as file:
        temporary = Path(file.name)  # now, so that a folder that cannot be written to is known before half a minute
    try:
        learning = _Asked("secrets", lambda: learn_secrets(source))
        learning.wait(min(LEARN_S, until - time.monotonic()))
        texts, missing = _make_pieces(source, (*pieces, *([MESSAGES] if with_messages else [])), until, tell)
        if learning.problem:
            missing["(secrets)"] = f"not all files with secrets could be read: {learning.problem}"
        # Whatever was learned meanwhile counts for all: nothing has been packed yet.
        clean = {name: source.hidden.clean(text) for name, text in texts.items()}
        missing = {name: source.hidden.clean(why) for name, why in missing.items()}
        recordings: list[Path] = []
        if with_recording:
            recordings, why = last_recording(source.places.state / "recordings")
            missing |= {"recording": why} if why else {}
        tell("packing")
        with tarfile.open(temporary, "w:gz", compresslevel=6) as tar:
            contents = _contents(source, pieces, clean, missing, recordings)
            for name, text in {"CONTENTS.txt": contents, **clean}.items():
                _add(tar, name, text.encode(errors="replace"))
            for recording in recordings:
                try:
                    tar.add(recording, f"{FOLDER}/recording/{recording.name}", filter=_nobody)
                except OSError as error:  # deleted a moment ago: it was the oldest
                    missing[recording.name] = f"{error}"
        _give_to_asker(temporary)
        temporary.replace(out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Made(out, out.stat().st_size, missing)


def _make_pieces(
    source: Source, pieces: Sequence[Piece], until: float, tell: Callable[[str], None]
) -> tuple[dict[str, str], dict[str, str]]:
    texts: dict[str, str] = {}
    missing: dict[str, str] = {}

    def take(piece: Piece, asked: _Asked, seconds: float) -> None:
        asked.wait(min(seconds, until - time.monotonic()))
        if asked.text is None or asked.problem:
            missing[piece.name] = asked.problem or "it took too long"
        else:
            room = TEXTS_MAX_BYTES - sum(len(text.encode(errors="replace")) for text in texts.values())
            texts[piece.name] = shortened(asked.text, max(1000, min(PIECE_MAX_BYTES, room)))

    def ask(piece: Piece) -> _Asked:
        return _Asked(piece.name, lambda: piece.make(source))

    # The one that takes long runs beside the others.
    long = [(piece, ask(piece)) for piece in pieces if piece.seconds > 10.0]
    for piece in pieces:
        if piece.seconds <= 10.0 and time.monotonic() < until:
            tell(piece.what)
            take(piece, ask(piece), piece.seconds)
        elif piece.seconds <= 10.0:
            missing[piece.name] = "there was no time left"
    for piece, asked in long:
        tell(piece.what)
        take(piece, asked, piece.seconds)
    if "doctor.json" in texts:
        with contextlib.suppress(Exception):  # of another version: the JSON is there
            texts["doctor.txt"] = doctor_page(texts["doctor.json"])
    order = [piece.name for piece in pieces]
    order.insert(order.index("doctor.json") + 1 if "doctor.json" in order else 0, "doctor.txt")
    return {name: texts[name] for name in order if name in texts}, missing


def shortened(text: str, limit_bytes: int = PIECE_MAX_BYTES) -> str:
    """The text, or its end within the limit."""
    data = text.encode(errors="replace")
    if len(data) <= limit_bytes:
        return text
    kept = data[-limit_bytes:].partition(b"\n")[2] or data[-limit_bytes:]
    return f"... {len(data) - len(kept)} bytes before this are left out\n{kept.decode(errors='replace')}"


def last_recording(folder: Path) -> tuple[list[Path], str]:
    """The parts of the latest recording that fit, the latest first to be taken; and what had to be left out."""
    try:
        files = sorted(path for path in folder.glob(f"*_*_*{SUFFIX}"))
    except OSError as error:
        return [], f"{error}"
    if not files:
        return [], f"{folder}: there is none, or this person may not look into it"
    session = files[-1].stem.partition("_")[2].rpartition("_")[0]
    parts = [file for file in files if file.stem.partition("_")[2].rpartition("_")[0] == session]
    taken: list[Path] = []
    room = RECORDING_MAX_BYTES
    for file in reversed(parts):
        try:
            size = file.stat().st_size
            with file.open("rb"):
                pass
        except OSError as error:
            return taken[::-1], f"{error}"
        if size > room:
            left = len(parts) - len(taken)
            return taken[::-1], f"{left} of {len(parts)} parts did not fit into {RECORDING_MAX_BYTES // 1_000_000} MB"
        taken.append(file)
        room -= size
    return taken[::-1], ""


def _contents(
    source: Source,
    pieces: Sequence[Piece],
    texts: dict[str, str],
    missing: dict[str, str],
    recordings: Sequence[Path],
) -> str:
    what = {piece.name: piece.what for piece in (*pieces, MESSAGES)} | {"doctor.txt": "the doctor's report, to read"}
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(source.machine.wall_s()))
    lines = [
        f"What a device that runs retrowalk says of itself, made {when}.",
        "Passwords, tokens, addresses and names of people are replaced.  It is plain text: read it before you send it.",
        "",
        *(f"{name:20} {what.get(name, '')}" for name in texts),
    ]
    if recordings:
        lines += [
            "recording/           the latest recorded walk, because it was asked for: it says how the walker moved"
        ]
    if missing:
        lines += ["", "Could not be had:", *(f"{name:20} {why}" for name, why in missing.items())]
    return "\n".join(lines) + "\n"


def _give_to_asker(file: Path) -> None:
    """Made with sudo, it belongs to who will send it."""
    asker = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and asker.isdigit():
        with contextlib.suppress(OSError):
            os.chown(file, int(asker), -1)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(f"{FOLDER}/{name}")
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    tar.addfile(info, io.BytesIO(data))


def _nobody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the name of who owns it."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def default_name(wall_s: float) -> str:
    """Name of the file by its time."""
    return f"retrowalk-support-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(wall_s))}.tar.gz"


def since(text: str) -> str:
    """`24h`, `90m`, `7d` as journalctl takes it.  Raises `ValueError`."""
    number, unit = text[:-1], text[-1:]
    if not number.isdigit() or unit not in "mhd" or not 0 < int(number) < 100_000:
        raise ValueError(f"--since {text}: must be a number with m, h or d, as 90m, 24h or 7d")
    minutes = int(number) * {"m": 1, "h": 60, "d": 1440}[unit]
    return f"-{minutes}min"
