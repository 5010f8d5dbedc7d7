"""The value of the gate's tolerance: a backtest of the fixed schedule for each, averaged over its phases."""

from typing import Any

import numpy as np

from fivestage.common.settings import VAR
from fivestage.monitoring.backtest import CADENCE, BacktestData, PolicyBacktest, policies_with, simulate
from monitoring.policy import decide
from tools.bench.study.sample import USUAL, studied

TOLERANCES = (0.5, 1.0, 1.5, 2.0, 3.0)  # standard errors of the paired saving that a challenger may lose


def measure() -> dict[str, Any]:
    """Return promotions, trainings and savings against never retraining, by tolerance."""
    study, folder = studied(), VAR / "bench" / "tolerance"
    folder.mkdir(parents=True, exist_ok=True)
    year = BacktestData(study.rows, study.features, study.contract, USUAL, folder)
    policies = policies_with(decide)
    never = simulate(year, policies["never"]).cost
    price = study.contract.budget.retraining_cost
    decisions = year.inside(year.start, year.starts()[-1] + year.starts().step).size

    def saved(one: PolicyBacktest) -> float:
        return float((never - one.cost).sum() - price * len(one.trained)) / decisions * 1000

    found = []
    for tolerance in TOLERANCES:
        gates = study.contract.gates.model_copy(update={"max_loss_standard_errors": tolerance})
        year.contract = year.contract.model_copy(update={"gates": gates})
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
