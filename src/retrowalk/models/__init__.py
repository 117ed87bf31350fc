"""What was learned from recorded people: weights in JSON files, with a sentence for every number.

A model is a logistic: the chance is `1 / (1 + exp(-(intercept + sum of weight * (value - mean) / scale)))`.  A person
can read why it decided as it did; nothing else is learned on this device or elsewhere.  The files stand beside this
module and are read once; `script/train` makes them anew.  How good they are: `benchmarks/falls.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import msgspec

MOST = 60.0
"""Beyond this a logit changes no chance that a float can hold."""


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One number that is looked at."""

    name: str
    unit: str
    """"" for a plain number."""
    meaning: str
    """One sentence: what it is, and which way it points."""
    mean: float
    scale: float
    """Mean and standard deviation in training."""
    weight: float
    """Of one standard deviation."""


class Logistic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chance from some numbers."""

    what: str
    """What it is the chance of."""
    trained_on: str
    """Whose recordings, and which of them."""
    command: str
    """What makes this file anew."""
    seed: int
    threshold: float
    """A chance above this decides (0 to 1)."""
    intercept: float
    features: tuple[Feature, ...]

    def names(self) -> tuple[str, ...]:
        """Names of the features, in the order of their values."""
        return tuple(feature.name for feature in self.features)

    def plain(self) -> Plain:
        """The same with mean and scale worked into weights, for the path of the samples."""
        weights = tuple(feature.weight / feature.scale for feature in self.features)
        middle = sum(weight * feature.mean for weight, feature in zip(weights, self.features, strict=True))
        return Plain(self.intercept - middle, weights, math.log(self.threshold / (1.0 - self.threshold)))


class Plain:
    """A logistic as plain floats: logit of the values as they are."""

    __slots__ = ("intercept", "threshold", "weights")

    def __init__(self, intercept: float, weights: tuple[float, ...], threshold: float) -> None:
        self.intercept = intercept
        self.weights = weights
        self.threshold = threshold
        """The logit above which it decides."""

    def logit(self, values: Iterable[float]) -> float:
        """Of values in the order of the features."""
        total = self.intercept
        for weight, value in zip(self.weights, values, strict=True):
            total += weight * value
        return max(-MOST, min(MOST, total))


def decoded(text: bytes) -> Logistic:
    """Reads a model.  Raises `msgspec.ValidationError` for a file of another form, `ValueError` for useless numbers."""
    model = msgspec.json.decode(text, type=Logistic)
    numbers: Sequence[float] = (model.intercept, *(n for f in model.features for n in (f.mean, f.scale, f.weight)))
    if not all(map(math.isfinite, numbers)) or any(f.scale <= 0.0 for f in model.features):
        raise ValueError("a model's numbers must be finite, and its scales above 0")
    if not 0.0 < model.threshold < 1.0:
        raise ValueError(f"threshold = {model.threshold}: must be between 0 and 1")
    return model


def encoded(model: Logistic) -> bytes:
    """The model as the text of its file."""
    return msgspec.json.format(msgspec.json.encode(model), indent=2) + b"\n"


def read(path: Path) -> Logistic:
    """A model from a file.  Raises as `decoded`, and `OSError`."""
    return decoded(path.read_bytes())


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Models in place of the shipped ones, to judge people by weights that were learned without them."""

    balance_lost: Logistic | None = None
    fall: Logistic | None = None


@lru_cache
def shipped(name: str) -> Logistic:
    """The model that stands beside this module as `<name>.json`."""
    return decoded((files(__name__) / f"{name}.json").read_bytes())
