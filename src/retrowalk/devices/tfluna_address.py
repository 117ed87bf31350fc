"""Giving a TF-Luna another I2C address, once, so that two of them can share a bus.

Not part of the driver, which never writes to the module's flash: a maker does this at the bench with one module on the
bus.  After the makers' manuals: the address goes into register 0x22, 1 into 0x20 saves it, 2 into 0x21 starts the
module anew.  Whether it answers at the new address before that differs between firmwares, so both are asked.
"""

from __future__ import annotations

from collections.abc import Callable

from retrowalk.devices.i2c import Registers
from retrowalk.devices.tfluna import ADDRESS, NAME, SIGNATURE, VERSION
from retrowalk.errors import DeviceError
from retrowalk.platform import I2CBus

SAVE, REBOOT = 0x20, 0x21
SETTLE_S = 0.2
"""A setting can be read back after 0.1 s (maker's manual)."""
SAVE_WAIT_S = 2.5
"""Saving takes 1 to 2 s."""
REBOOT_WAIT_S = 2.0


def answers(bus: I2CBus, address: int) -> bool:
    """Whether anything acknowledges at `address`."""
    try:
        bus.transfer(address, bytes((VERSION,)), 3)
    except OSError:
        return False
    return True


def move(bus: I2CBus, old: int, new: int, wait: Callable[[float], None]) -> str:
    """Moves the TF-Luna at `old` to `new` for good, and returns its firmware version.

    `wait(seconds)` lets time pass.  Raises `DeviceError` with what to do: nothing or something else at `old`, something
    at `new` already, or a module that does not come back.
    """
    if old == new:
        raise DeviceError(f"0x{old:02X} is the address it has already")
    if not answers(bus, old):
        raise DeviceError(
            f"nothing answers at 0x{old:02X}: check 5 V, ground, SDA, SCL, and pin 5 to ground before power comes"
        )
    if answers(bus, new):
        raise DeviceError(f"something answers at 0x{new:02X} already: take it off the bus, or choose another address")
    module = Registers(bus, old, f"TF-Luna at 0x{old:02X}")
    try:
        version = module.get(VERSION, 3)
        # A firmware without the signature is known by its register of the address, which holds the one it has.
        if module.get(SIGNATURE, 4) != NAME and module.get(ADDRESS, 1)[0] != old:
            raise DeviceError(f"what answers at 0x{old:02X} is no TF-Luna: it was left as it is")
        module.put(ADDRESS, new)
        wait(SETTLE_S)
        now_at = Registers(bus, new if answers(bus, new) else old, "TF-Luna")
        if now_at.get(ADDRESS, 1)[0] != new:
            raise DeviceError(f"the TF-Luna did not take 0x{new:02X}: cut its power, connect it again, and try again")
        now_at.put(SAVE, 1)
        wait(SAVE_WAIT_S)
        now_at.put(REBOOT, 2)
    except DeviceError:
        raise
    except OSError as error:
        raise DeviceError(
            f"the TF-Luna at 0x{old:02X} stopped answering half way: cut its power and look where it answers"
        ) from error
    wait(REBOOT_WAIT_S)
    if not answers(bus, new):
        raise DeviceError(f"nothing answers at 0x{new:02X} after the restart: cut its power and look where it answers")
    return ".".join(str(part) for part in reversed(version))
