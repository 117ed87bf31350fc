"""In which order waiting events are sent, and when one that was sent is sent again.  Nothing of it is on disk.

A row that was never tried on this connection is *fresh*: the file's index gives those in order.  A row that was tried
*rests* until `next_try`, then it is *due*.  So what is to be sent is found without looking at all that waits: ten
thousand events that the broker has and the hub has not yet do not slow the next one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Try:
    """A waiting row that was sent (or refused) so often; next at `next_try`, in session seconds."""

    attempts: int
    next_try: float
    rank: int


class Order:
    """What rests and what is due.  Rows are named by `seq`; a higher `rank` goes first, then the lower `seq`."""

    def __init__(self, ranks: int) -> None:
        self.passed = [0] * ranks
        """By rank: every waiting row up to this `seq` was tried."""
        self._tried: dict[int, Try] = {}
        self._resting: list[tuple[float, int]] = []
        self._due: dict[int, int] = {}

    def __contains__(self, seq: int) -> bool:
        return seq in self._tried

    def attempts(self, seq: int) -> int:
        """How often it was tried on this connection."""
        tried = self._tried.get(seq)
        return tried.attempts if tried else 0

    def put(self, seq: int, rank: int, attempts: int, next_try: float) -> None:
        """It was tried, and rests until `next_try` (inf: until `again`)."""
        self._tried[seq] = Try(attempts, next_try, rank)
        self._due.pop(seq, None)
        if next_try < math.inf:
            heapq.heappush(self._resting, (next_try, seq))

    def due(
        self, limit: int, now: float, held: Collection[int] = (), until: float = -math.inf
    ) -> list[tuple[int, int]]:
        """The first of those that have rested enough: (-rank, seq).  Those `held` rest on `until` then."""
        resting, tried = self._resting, self._tried
        while resting and resting[0][0] <= now:
            next_try, seq = heapq.heappop(resting)
            found = tried.get(seq)
            if found is None or found.next_try != next_try:
                continue
            if until > now and seq in held:
                self.put(seq, found.rank, found.attempts, until)
            else:
                self._due[seq] = found.rank
        return heapq.nsmallest(limit, ((-rank, seq) for seq, rank in self._due.items()))

    def next_try(self, now: float) -> float | None:
        """When the next one will have rested enough; None: none rests."""
        resting, tried = self._resting, self._tried
        while resting:
            next_try, seq = resting[0]
            found = tried.get(seq)
            if found is not None and found.next_try == next_try and next_try > now:
                return next_try
            heapq.heappop(resting)
            if found is not None and found.next_try == next_try:
                self._due[seq] = found.rank
        return None

    def again(self, seqs: Iterable[int]) -> None:
        """These count as never tried."""
        for seq in seqs:
            found = self._tried.pop(seq, None)
            self._due.pop(seq, None)
            if found is not None:
                self.passed[found.rank] = min(self.passed[found.rank], seq - 1)

    def gone(self, seqs: Iterable[int]) -> None:
        """These wait no more."""
        for seq in seqs:
            self._tried.pop(seq, None)
            self._due.pop(seq, None)

    def waits_again(self, seq: int, rank: int) -> None:
        """This one waits again."""
        self.passed[rank] = min(self.passed[rank], seq - 1)

    def clear(self) -> None:
        """Nothing was tried."""
        self.passed = [0] * len(self.passed)
        self._tried.clear()
        self._resting.clear()
        self._due.clear()
