"""The model: a regression that learns with each quote, and a detector of drift. Both are river's."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
from neverblink.worker import Codec
from river import compose, drift, linear_model, optim, preprocessing

WARM_UP = 200
"""It judges nothing before it has learned from so many quotes."""
FORGET = 0.01
"""The weight of the newest error in the average error."""


class Model:
    """Predicts the future from the venues. The same quotes in the same order make the same model."""

    def __init__(self) -> None:
        self.n = 0
        """The number of the last quote it has taken."""
        self.learned = 0
        self.error = 0.0
        """The average absolute error of its predictions."""
        regression = linear_model.LinearRegression(optim.SGD(0.01), intercept_lr=0.05)
        self.pipeline: Any = compose.Pipeline(
            ("scale", preprocessing.StandardScaler()), ("regression", regression)
        )
        self.detector: Any = drift.ADWIN()

    @property
    def weights(self) -> dict[str, float]:
        return {name: float(weight) for name, weight in self.pipeline["regression"].weights.items()}

    def take(self, n: int, venues: dict[str, float], future: float, threshold: float) -> tuple[str, float]:
        """Judge a quote and learn from it; return "", "anomaly" or "drift", and what the model had expected.

        It does not learn from an anomaly. When anomalies last, the relation has changed: that is a drift, and it learns
        everything until it is warm again. `threshold` is in average errors.
        """
        self.n = n
        expected = float(self.pipeline.predict_one(venues))
        error = abs(future - expected)
        if self.learned >= WARM_UP:
            self.detector.update(error)
            if self.detector.drift_detected:
                self.learned = 0
                return "drift", expected
            if error > threshold * self.error:
                return "anomaly", expected
        self.pipeline.learn_one(venues, future)
        self.learned += 1
        self.error += (error - self.error) * max(FORGET, 1 / self.learned)
        return "", expected


class Stored(msgspec.Struct):
    """A model in the journal and on its way to another process.

    `weights` are for people: `neverblink state show model`. river's own objects have no form but a pickle.
    """

    n: int
    learned: int
    error: float
    weights: dict[str, float]
    pickled: bytes


def store(model: Model) -> Stored:
    pickled = pickle.dumps((model.pipeline, model.detector))
    return Stored(model.n, model.learned, model.error, model.weights, pickled)


def restore(stored: Stored) -> Model:
    model = Model()
    model.n, model.learned, model.error = stored.n, stored.learned, stored.error
    model.pipeline, model.detector = pickle.loads(stored.pickled)
    return model


CODEC = Codec(Model, encode=store, decode=restore, wire=Stored)
