"""The configuration of a device: the file when it is in order, else the last one that was.

A device whose file has been spoiled goes on with the settings its walker knows, and says so; it never falls back on
the defaults, which may be those of another walker.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from retrowalk import config, wholefile
from retrowalk.config import Config
from retrowalk.errors import ConfigError, Finding

_log = logging.getLogger(__name__)


def resolve(path: str | Path, last_good_path: str | Path) -> tuple[Config, str]:
    """The configuration to run with, and what is wrong with `path`: every finding, a line each; empty when nothing is.

    Whoever may write beside `last_good_path` (on a device: the courier alone) keeps a copy there of a file that is in
    order.  A copy that cannot be kept is logged as a warning and stops nobody: the settings in use are the right ones.

    Raises `ConfigError` with the findings of both files when neither can be used.
    """
    try:
        text, found = _usable(Path(path))
    except ConfigError as error:
        try:
            _, found = _usable(Path(last_good_path))
        except ConfigError as also:
            raise ConfigError([*error.findings, *also.findings]) from error
        return found, str(error)
    try:
        keep(text, last_good_path)
    except OSError as error:
        _log.warning("%s: a copy of the configuration could not be kept here: %s", last_good_path, error)
    return found, ""


def keep(text: bytes, last_good_path: str | Path) -> bool:
    """Stores a configuration as the last good one; True when that is done, False where the folder is not ours to write.

    The file is there whole, old or new, whatever moment the power goes.  An equal copy is left alone, because the card
    wears out.  Raises `OSError` (the card is full or failing).
    """
    target = Path(last_good_path)
    if not os.access(target.parent, os.W_OK):
        return False
    try:
        if config.read(target) == text:
            return True
    except OSError:
        pass  # none yet, or one that cannot be read: the new one takes its place
    wholefile.write(target, text)
    return True


def _usable(path: Path) -> tuple[bytes, Config]:
    """A file and what it says; that it cannot be read is a finding like any other."""
    try:
        text = config.read(path)
    except OSError as error:
        raise ConfigError([Finding(str(path), "(file)", "", f"cannot be read: {error.strerror or error}")]) from error
    return text, config.parse(text, str(path))
