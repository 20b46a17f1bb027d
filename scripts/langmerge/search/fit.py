"""A smooth curve through the candidates' scores: a Gaussian process, which knows its own error.

Its values are what candidates that were never asked are expected to score, and neighbours lend each
other their documents. For one parameter it is a smoothing spline with a chosen stiffness; for
several it is what Bayesian optimisation uses (Snoek, Larochelle and Adams 2012).
"""

from __future__ import annotations

import numpy as np
import sklearn
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

HEIGHT = 5.0
"""The standard deviation of scores over the space, in points."""

LENGTH = 0.3
"""The distance, in units of a parameter's range, within which scores are alike."""


class Curve:
    """Expected scores and their errors over the space of candidates."""

    def __init__(self, places: np.ndarray, values: np.ndarray, errors: np.ndarray) -> None:
        """Fit the curve.

        Args:
            places: n x parameters, each between 0 and 1.
            values, errors: n, in points.
        """
        self.level = float(np.average(values, weights=errors**-2.0))
        kernel = ConstantKernel(HEIGHT**2) * Matern(LENGTH, nu=2.5)
        self.process = GaussianProcessRegressor(kernel, alpha=errors**2, optimizer=None)
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            self.process.fit(places, values - self.level)

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is expected at these places, and its error."""
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            mean, error = self.process.predict(places, return_std=True)
        return mean + self.level, error

    def improvement(self, places: np.ndarray, best: float) -> np.ndarray:
        """By how much these places are expected to exceed the best score (Jones and others 1998)."""
        mean, error = self.at(places)
        error = np.maximum(error, 1e-9)
        return error * (
            stats.norm.pdf((mean - best) / error) + (mean - best) / error * stats.norm.cdf((mean - best) / error)
        )


def scaled(candidates: list[tuple[float, ...]], pool: list[tuple[float, ...]]) -> np.ndarray:
    """The candidates' places: each parameter runs from 0 to 1 over the pool."""
    low, high = np.min(pool, axis=0), np.max(pool, axis=0)
    return (np.array(candidates) - low) / np.where(high > low, high - low, 1.0)


def spread(pool: list[tuple[float, ...]], count: int) -> list[tuple[float, ...]]:
    """So many candidates far from one another: the first of the pool, then always the one that is
    farthest from those that are chosen.
    """
    places = scaled(pool, pool)
    chosen = [0]
    while len(chosen) < min(count, len(pool)):
        distance = np.linalg.norm(places[:, None] - places[chosen], axis=-1).min(axis=1)
        chosen.append(int(distance.argmax()))
    return [pool[index] for index in sorted(chosen)]
