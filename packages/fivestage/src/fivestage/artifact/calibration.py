"""Calibrations: they turn a model's raw scores into forecasts (see `fivestage.contract.cost_model`).

`forecast` takes the raw scores of many rows (rows, or rows x outputs), `forecast_one` those of a single row;
both agree but for the last bit of an exponential. `weights` says how much each raw score counts in the
explanation of a prediction.
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
    """Temperature scaling of a single margin: sigmoid(slope * margin) (Guo et al. 2017)."""

    slope: float = 1.0
    task: Literal["binary"] = "binary"

    def forecast(self, margins: Floats) -> Floats:
        calibrated: Floats = 1 / (1 + np.exp(-self.slope * margins))
        return calibrated

    def forecast_one(self, margins: float) -> float:
        try:
            return 1 / (1 + math.exp(-self.slope * margins))
        except OverflowError:
            return 0.0

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        return [self.slope] * len(forecast)


@dataclass(frozen=True, slots=True)
class MulticlassCalibration:
    """Temperature scaling of one margin per class: softmax(slope * margins) (Guo et al. 2017)."""

    slope: float = 1.0
    task: Literal["multiclass"] = "multiclass"

    def forecast(self, margins: Floats) -> Floats:
        powers = np.exp(self.slope * (margins - margins.max(axis=1, keepdims=True)))
        calibrated: Floats = powers / powers.sum(axis=1, keepdims=True)
        return calibrated

    def forecast_one(self, margins: Sequence[float]) -> list[float]:
        largest = max(margins)
        powers = [math.exp(self.slope * (margin - largest)) for margin in margins]
        total = sum(powers)
        return [power / total for power in powers]

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        """Weigh the likeliest class against the mean of all classes."""
        likeliest, share = forecast.index(max(forecast)), 1 / len(forecast)
        return [self.slope * ((place == likeliest) - share) for place in range(len(forecast))]


@dataclass(frozen=True, slots=True)
class RegressionCalibration:
    """Conformalised quantiles (Romano et al. 2019): offsets that give each quantile its nominal coverage.

    The interval always contains the expected value. `cost_per_width` is the mean cost of a decision per unit
    of interval width, on rows that the models were not trained on.
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

    def forecast_one(self, margins: Sequence[float]) -> list[float]:
        value, low, high, decision = margins
        return [value, min(low + self.low, value), max(high + self.high, value), decision + self.decision]

    def weights(self, forecast: Sequence[float]) -> Sequence[float]:
        """Weigh the expected value alone."""
        return [1.0] + [0.0] * (len(forecast) - 1)


AnyCalibration = Calibration | MulticlassCalibration | RegressionCalibration
CALIBRATIONS: dict[str, type[AnyCalibration]] = {
    "binary": Calibration,
    "multiclass": MulticlassCalibration,
    "regression": RegressionCalibration,
}


def expected_cost(calibration: AnyCalibration, forecast: Floats) -> Floats | None:
    """Return the expected cost of each row's decision; None where the forecasts alone determine it."""
    if isinstance(calibration, RegressionCalibration):
        return calibration.cost_per_width * (forecast[:, HIGH] - forecast[:, LOW])
    return None
