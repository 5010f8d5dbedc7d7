"""What the gate's tolerance is worth: a backtest of the calendar for each, in the mean of its phases."""

from typing import Any

import numpy as np

from fivestage.common.settings import VAR
from fivestage.monitoring.backtest import CADENCE, BacktestData, PolicyBacktest, policies_with, simulate
from monitoring.policy import decide
from tools.bench.study.sample import USUAL, studied

TRIED = (0.5, 1.0, 1.5, 2.0, 3.0)  # standard errors of the saving that the worse end of its interval may lose


def measure() -> dict[str, Any]:
    """Promotions and savings against never training again, trainings paid, by tolerance."""
    given, folder = studied(), VAR / "bench" / "tolerance"
    folder.mkdir(parents=True, exist_ok=True)
    year = BacktestData(given.rows, given.features, given.contract, USUAL, folder)
    policies = policies_with(decide)
    never = simulate(year, policies["never"]).cost
    price = given.contract.budget.retraining_cost
    decisions = year.inside(year.start, year.starts()[-1] + year.starts().step).size

    def saved(one: PolicyBacktest) -> float:
        return float((never - one.cost).sum() - price * len(one.trained)) / decisions * 1000

    found = []
    for tolerance in TRIED:
        gates = given.contract.gates.model_copy(update={"max_loss_standard_errors": tolerance})
        year.contract = given.contract.model_copy(update={"gates": gates})
        year.passes.cache_clear()
        phases = [simulate(year, policies[f"every {CADENCE} periods"], phase) for phase in range(CADENCE)]
        found.append(
            {
                "standard_errors": tolerance,
                "trainings": float(np.mean([len(one.trained) for one in phases])),
                "promoted": float(np.mean([len(one.promoted) for one in phases])),
                "saved_per_1000": float(np.mean([saved(one) for one in phases])),
            }
        )
    return {"phases": CADENCE, "tried": found}
