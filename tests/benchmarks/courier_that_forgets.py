"""A broken courier, for the tests of `benchmarks/outbox.py`: it takes an event for delivered as soon as it is sent."""

from __future__ import annotations

from collections.abc import Sequence

from retrowalk.cli import main
from retrowalk.courier.outbox import Outbox

_mark_sent = Outbox.mark_sent


def _forget(self: Outbox, seqs: Sequence[int], now: float) -> None:
    _mark_sent(self, seqs, now)
    self.delete(seqs, now)


if __name__ == "__main__":
    Outbox.mark_sent = _forget  # type: ignore[method-assign]  # this is what is broken
    main()
