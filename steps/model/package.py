"""The artifact: trees, encoders, calibration, threshold and the history as of now, in one piece."""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from core.contract import Contract
from core.errors import UserError
from core.windows import HOUR, Table
from problem.features import REACH_HOURS, SETS, Reference
from serving.artifact import Artifact, Calibration, Lineage, SmokeRow
from serving.engine import Scorer
from steps.data.split import Windows
from steps.model.fit import Floats, Ints, as_data, feature_matrix, fit_trees, learn_categories
from steps.model.select import Selection

SMOKE_ROWS = 24
PARITY = 1e-9  # the converted trees add the same leaves, in another order


def package(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    label: Ints,
    windows: Windows,
    selection: Selection,
    past: Table,
    reference: Reference,
    contract: Contract,
    lineage: Lineage,
) -> Artifact:
    """Fit the chosen trees on the training window and put all that a prediction needs into one artifact.

    Its smoke rows carry what scikit-learn itself answers, so that whoever loads it can check every conversion since.

    Raises:
        UserError: when the converted trees do not answer as scikit-learn's do.
    """
    categories = learn_categories(features.iloc[windows.train])
    numbers = feature_matrix(features, categories)
    trees = fit_trees(numbers[windows.train], label[windows.train], selection.trees)
    model = as_data(trees)
    expected = original(trees, selection.calibration, numbers[windows.contest])
    converted = Scorer(model, selection.calibration).probability(numbers[windows.contest])
    worst = float(np.abs(expected - converted).max())
    if worst > PARITY:
        raise UserError(
            f"the converted trees differ from scikit-learn's by {worst:.2g} on the contest window. "
            "Pin the versions of treelite and scikit-learn that requirements.lock names."
        )
    recent = np.arange(len(windows.contest))[-SMOKE_ROWS:]
    smoke = rows.iloc[windows.contest[recent]][list(contract.columns)]
    return Artifact(
        contract=contract,
        sets=tuple(SETS),
        features=tuple(features),
        categories=categories,
        reference=reference,
        calibration=selection.calibration,
        threshold=contract.costs.threshold,
        as_of=windows.as_of,
        trained_until=windows.contest_start,
        lineage=lineage,
        model=model,
        history=past.between(windows.as_of - (REACH_HOURS + 24) * HOUR, windows.as_of),
        smoke=tuple(
            SmokeRow(row, float(probability))
            for row, probability in zip(smoke.to_dict(orient="records"), expected[recent], strict=True)
        ),
    )


def original(trees: HistGradientBoostingClassifier, calibration: Calibration, features: Floats) -> Floats:
    """What scikit-learn's own trees answer, calibrated."""
    return calibration.probability(np.asarray(trees.decision_function(features), dtype=np.float64).ravel())
