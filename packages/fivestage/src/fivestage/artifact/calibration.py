"""From a model's raw scores to forecasts (see `fivestage.contract.cost_model`).

Of each task, `forecast` maps the scores of many rows (rows, or rows x outputs) and `of_one` those of one
row, the same but for the last bit of an exponential; `weights` says what each score counts for in a row's
reasons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fivestage.common.columns import Floats
from fivestage.contract.cost_model import HIGH, LOW


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature scaling of one margin: sigmoid(slope * margin) (Guo et al. 2017)."""

    slope: float = 1.0
    task: Literal["binary"] = "binary"

    def forecast(self, margins: Floats) -> Floats:
        calibrated: Floats = 1 / (1 + np.exp(-self.slope * margins))
        return calibrated

    def of_one(self, margins: float) -> float:
        try:
            return 1 / (1 + math.exp(-self.slope * margins))
        except OverflowError:
            return 0.0

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        return [self.slope] * len(forecast)


@dataclass(frozen=True, slots=True)
class MulticlassCalibration:
    """Temperature scaling of a margin for each class: softmax(slope * margins) (Guo et al. 2017)."""

    slope: float = 1.0
    task: Literal["multiclass"] = "multiclass"

    def forecast(self, margins: Floats) -> Floats:
        powers = np.exp(self.slope * (margins - margins.max(axis=1, keepdims=True)))
        calibrated: Floats = powers / powers.sum(axis=1, keepdims=True)
        return calibrated

    def of_one(self, margins: Sequence[float]) -> list[float]:
        most = max(margins)
        powers = [math.exp(self.slope * (margin - most)) for margin in margins]
        total = sum(powers)
        return [power / total for power in powers]

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        """The log-odds of the likeliest class, against the mean of all."""
        likeliest, share = forecast.index(max(forecast)), 1 / len(forecast)
        return [self.slope * ((place == likeliest) - share) for place in range(len(forecast))]


@dataclass(frozen=True, slots=True)
class RegressionCalibration:
    """Conformalised quantiles (Romano et al. 2019): by how much each must move to hold what it says.

    The interval always holds the expected value. `cost_per_width` is what a decision cost, on rows that the
    trees had not seen, per unit of the interval's width.
    """

    low: float = 0.0
    high: float = 0.0
    decision: float = 0.0
    cost_per_width: float = math.nan
    task: Literal["regression"] = "regression"

    def forecast(self, margins: Floats) -> Floats:
        value, low, high, decision = margins.T
        return np.column_stack(
            [
                value,
                np.minimum(low + self.low, value),
                np.maximum(high + self.high, value),
                decision + self.decision,
            ]
        )

    def of_one(self, margins: Sequence[float]) -> list[float]:
        value, low, high, decision = margins
        return [value, min(low + self.low, value), max(high + self.high, value), decision + self.decision]

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        """The value itself."""
        return [1.0] + [0.0] * (len(forecast) - 1)


AnyCalibration = Calibration | MulticlassCalibration | RegressionCalibration
LINKS: dict[str, type[AnyCalibration]] = {
    "binary": Calibration,
    "multiclass": MulticlassCalibration,
    "regression": RegressionCalibration,
}


def expected_cost(calibration: AnyCalibration, forecast: Floats) -> Floats | None:
    """What each row's decision is expected to cost, where the forecasts alone do not tell it."""
    if isinstance(calibration, RegressionCalibration):
        return calibration.cost_per_width * (forecast[:, HIGH] - forecast[:, LOW])
    return None
