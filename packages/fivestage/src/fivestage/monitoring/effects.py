"""What moved columns do to the model: to its score, to the decisions, and to their price."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact
from fivestage.contract.contract import Contract, RegressionContract
from fivestage.contract.cost_model import VALUE, cost_model_of
from fivestage.evaluation.daily import DECISIONS, Floats
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.monitoring.causes import Effect

ROWS = 500
DRAWS = 2


def effects_of(
    columns: Iterable[str], current: pd.DataFrame, usual: pd.DataFrame, model: Artifact, contract: Contract
) -> dict[str, Effect]:
    """The effect of each column that the model has; features of now, and of the days before.

    A column's values are exchanged for usual ones, drawn at random: what the model says then is the best that
    is known if the values of now are wrong.
    """
    columns = [name for name in columns if name in model.features]
    if not columns:
        return {}
    draw = np.random.default_rng(0)
    now, *then = (
        frame.iloc[draw.choice(len(frame), min(ROWS, len(current)))].reset_index(drop=True)
        for frame in (current, *[usual] * DRAWS)
    )
    predicted, money = artifact_forecast(model, now), cost_model_of(contract.costs)
    decided = model.decide(predicted)
    found = {}
    for name in columns:
        asked = [artifact_forecast(model, now.assign(**{name: one[name]})) for one in then]
        without = np.asarray(np.mean(asked, axis=0), dtype=np.float64)
        otherwise, truth = model.decide(without), _expected(without, contract)
        moved = np.atleast_1d((predicted - without).mean(axis=0))
        loss = money.price(truth, decided) - money.price(truth, otherwise)
        found[name] = Effect(
            shift=float(moved[np.abs(moved).argmax()]),
            changed=float((decided != otherwise).mean()),
            loss_per_1000=float(loss.mean()) * DECISIONS,
        )
    return found


def _expected(forecast: Floats, contract: Contract) -> Floats:
    """What may be expected in the place of labels."""
    return forecast[:, VALUE] if isinstance(contract, RegressionContract) else forecast
