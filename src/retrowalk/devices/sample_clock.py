"""Session time of samples that a chip took by a clock of its own and keeps in a FIFO.

The chip's rate is a few per cent off, and the host looks only now and then.  Each look gives two bounds: the newest
sample existed, and the one after it did not yet.  The model, `time = t0 + index * period`, is moved only as far as
the bounds demand, so the jitter of the looks never reaches the samples; its period is learnt over up to 30 s.
"""

from __future__ import annotations

from collections import deque

RATE_ERROR_MAX = 0.08
"""A chip further off its nominal rate than this is not believed."""

BASELINE_MIN_S = 1.0
"""Period is learnt from looks at least this far apart: half a sample in a second is 0.5 %."""

LOOK_KEPT_EVERY_S = 1.0
LOOKS_KEPT = 30


class SampleClock:
    """Times of samples numbered by `index`, in session seconds."""

    def __init__(self, nominal_period_s: float) -> None:
        self.period_s = nominal_period_s
        """Best knowledge of the true period; kept over restarts, since the chip stays the same."""
        self._nominal_s = nominal_period_s
        self._index: int | None = None
        self._newest_s = 0.0
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_KEPT)

    def restart(self) -> None:
        """Forgets where the samples stand in time: some were lost, nobody knows how many."""
        self._index = None
        self._looks.clear()

    def newest(self, index: int, before_s: float, after_s: float) -> tuple[float, bool]:
        """Time of sample `index`, the newest one in a look that began at `before_s` and was over at `after_s`.

        Second value: whether time was anchored anew, after a restart or because the numbering has slipped against
        time (samples vanished, or came twice).  The anchored time is within half a period.
        """
        look_s = (before_s + after_s) / 2.0
        period_s = self.period_s
        newest_s = look_s - period_s / 2.0
        anew = self._index is None
        if self._index is not None:
            steps = index - self._index
            model_s = self._newest_s + steps * period_s
            # It cannot be newer than the end of the look, nor so old that its successor was due before the look began.
            excess_s = model_s - after_s if model_s > after_s else min(0.0, model_s - (before_s - period_s))
            anew = abs(excess_s) > (2.0 + RATE_ERROR_MAX * steps) * period_s
            if not anew:
                newest_s = model_s - excess_s
        if anew:
            self._looks.clear()
        self._index, self._newest_s = index, newest_s
        self._learn(index, look_s)
        return newest_s, anew

    def _learn(self, index: int, look_s: float) -> None:
        looks = self._looks
        if not looks or look_s - looks[-1][0] >= LOOK_KEPT_EVERY_S:
            looks.append((look_s, index))
        first_s, first_index = looks[0]
        if look_s - first_s < BASELINE_MIN_S or index <= first_index:
            return
        measured_s = (look_s - first_s) / (index - first_index)
        low_s, high_s = self._nominal_s * (1.0 - RATE_ERROR_MAX), self._nominal_s * (1.0 + RATE_ERROR_MAX)
        # An eighth of the way each look: the sample that is or is not in the last look must not shake the rate.
        self.period_s += (min(max(measured_s, low_s), high_s) - self.period_s) / 8.0
