"""The register table of a simulated chip, and what is refused: other registers, and access of the wrong kind."""

from __future__ import annotations

from retrowalk.errors import StrictTwinError

R, W, RW = "r", "w", "rw"
Entry = tuple[str, str, int]
"""Name, access, value after reset."""
Registers = dict[int, Entry]
"""By address."""


def known(chip: str, registers: Registers, register: int) -> Entry:
    """The register's entry.  Raises `StrictTwinError` for one that the chip does not have."""
    entry = registers.get(register)
    if entry is None:
        raise StrictTwinError(f"{chip}: there is no register 0x{register:02X}")
    return entry


def readable(chip: str, registers: Registers, register: int) -> Entry:
    """The entry of a register that is read.  Raises `StrictTwinError`, also for a write-only one."""
    entry = known(chip, registers, register)
    if entry[1] == W:
        raise StrictTwinError(f"{entry[0]} (0x{register:02X}) is write-only")
    return entry


def writable(chip: str, registers: Registers, register: int, value: int, digits: int = 2) -> Entry:
    """The entry of a register that is written.  Raises `StrictTwinError`, also for a read-only one.

    `digits`: how many hexadecimal ones `value` has.
    """
    entry = known(chip, registers, register)
    if entry[1] == R:
        raise StrictTwinError(f"{entry[0]} (0x{register:02X}) is read-only; 0x{value:0{digits}X} was written")
    return entry


def split(chip: str, write: bytes, read: int) -> tuple[int, bytes]:
    """The register a transfer begins with, and what is written to it.  Raises `StrictTwinError`."""
    if not write:
        raise StrictTwinError(f"{chip}: a read needs the register's address in the same transfer")
    if len(write) > 1 and read:
        raise StrictTwinError(f"{chip}: register 0x{write[0]:02X} is written and read in one transfer")
    return write[0], write[1:]
