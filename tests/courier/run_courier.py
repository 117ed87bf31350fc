"""The courier as a process of its own: `run_courier.py CONFIG RUN_DIR STATE_DIR`."""

import logging
import sys
from pathlib import Path

from retrowalk import config
from retrowalk.courier.process import run
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    path, run_dir, state_dir = sys.argv[1:]
    mailbox = SocketMailbox(run_dir, "courier")
    try:
        run(config.load(Path(path)), Platform(MonotonicClock(), mailbox), state_dir)
    finally:
        mailbox.close()
