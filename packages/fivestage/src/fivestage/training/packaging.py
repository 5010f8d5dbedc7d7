"""The artifact: trees, encoders, calibration, threshold and the history as of now, in one piece."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fivestage.artifact.artifact import Artifact, Lineage, SmokeRow
from fivestage.artifact.calibration import AnyCalibration
from fivestage.artifact.engine import Engine
from fivestage.artifact.extremes import require_defined
from fivestage.artifact.scorer import ModelData, Parity, Scorer
from fivestage.common.columns import Floats, Ints
from fivestage.contract.contract import CategoryColumn, Contract
from fivestage.data.event_tables import SMOKE_ROWS, EventTables, known_between
from fivestage.data.splits import TemporalSplit
from fivestage.features.offline import Categories
from fivestage.features.problem import Problem
from fivestage.training.conversion import convert, levels_of, some_of
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import Candidates, Selection, estimator_of
from fivestage.training.task_trainer import trainer_of

HOLDOUT_ROWS = 64  # real rows among those that every load is held against


@dataclass(frozen=True)
class Fitted:
    """The chosen model as data, and all that turns features into its answers."""

    names: tuple[str, ...]
    categories: Categories
    calibration: AnyCalibration
    models: ModelData
    parity: Parity
    holdout: Floats  # what scikit-learn itself answers to the holdout window, calibrated

    def artifact(
        self,
        rows: pd.DataFrame,
        windows: TemporalSplit,
        event_tables: EventTables,
        problem: Problem,
        lineage: Lineage,
    ) -> Artifact:
        """Put all that a prediction needs into one artifact.

        Its smoke rows and parity carry what scikit-learn itself answers: each load checks every conversion.

        Args:
            rows: all rows, with the contract's columns and `decision_at` (epoch seconds).
            windows: which of the rows are in the holdout window, and `as_of` in epoch seconds.
            event_tables: events and reference data, of which the artifact keeps what predictions need.
            problem: the contract and the features' definitions.
            lineage: what the version is made from.

        Returns:
            The artifact, not yet written.

        Raises:
            UserError: naming a feature that has no value for a row which the contract allows.
        """
        contract, definitions = problem.contract, problem.features
        holdout = rows.iloc[windows.holdout]
        lookback = definitions.lookback_seconds
        since = known_from(holdout["decision_at"].to_numpy(), windows.as_of, event_tables.since, lookback)
        known = known_between(event_tables.events, contract, since, windows.as_of)
        artifact = Artifact(
            contract=contract,
            sets=tuple(definitions.sets),
            features=self.names,
            categories=self.categories,
            reference=event_tables.reference,
            calibration=self.calibration,
            as_of=windows.as_of,
            trained_until=windows.holdout_start,
            lineage=lineage,
            models=self.models,
            parity=self.parity,
            history=definitions.offline_store(known, event_tables.reference),
            smoke=_smoke(self, holdout, contract, since + lookback),
        )
        require_defined(Engine(artifact, definitions))
        return artifact


def fit_chosen(
    sample: TrainingSample,
    windows: TemporalSplit,
    selection: Selection,
    contract: Contract,
    candidates: Candidates,
) -> Fitted:
    """Fit the chosen candidate on the training window and make data of it.

    Args:
        sample: rows as models see them.
        windows: which of them are learnt from.
        selection: what the folds chose.
        contract: tells the task.
        candidates: unfitted estimators by name.

    Returns:
        The model as data, with scikit-learn's own answers to the holdout window.

    Raises:
        UserError: when the data do not answer as scikit-learn does.
    """
    trainer, train = trainer_of(contract), windows.train
    estimator = estimator_of(candidates, selection)
    models = trainer.fit(sample.frame(train), sample.label[train], estimator)

    def answer(values: Floats) -> Floats:
        return trainer.margins(models, sample.named(values))

    levels = levels_of(sample.names, sample.categories)
    rows, name = some_of(sample.features[train]), selection.candidate
    model, tried = convert(models, answer, rows, levels, selection.calibration, name)
    holdout = sample.features[windows.holdout]
    margins = answer(holdout)
    Scorer(model, selection.calibration).require_parity(Parity(holdout, margins))
    return Fitted(
        names=sample.names,
        categories=sample.categories,
        calibration=selection.calibration,
        models=model,
        parity=Parity(
            np.vstack([tried.rows, holdout[-HOLDOUT_ROWS:]]),
            np.concatenate([tried.margins, margins[-HOLDOUT_ROWS:]]),
        ),
        holdout=selection.calibration.forecast(margins),
    )


def known_from(holdout: Ints, as_of: int, since: int, lookback: int) -> int:
    """How far back the history of an artifact reaches, of what is known since a moment.

    It holds the past of `as_of`, and that of the smoke rows, the last ones decided in the holdout window:
    where rows are few or labels come late, these are long ago.
    """
    return max(since, int(holdout[-SMOKE_ROWS:].min(initial=as_of)) - lookback)


def _smoke(fitted: Fitted, holdout: pd.DataFrame, contract: Contract, earliest: int) -> tuple[SmokeRow, ...]:
    """The last rows of the holdout window, of those whose whole past is in the artifact's history."""
    covered = np.flatnonzero(holdout["decision_at"] >= earliest)[-SMOKE_ROWS:]
    absent = {name: "" for name, column in contract.columns.items() if isinstance(column, CategoryColumn)}
    chosen = holdout.iloc[covered][list(contract.columns)].fillna(absent).to_dict(orient="records")
    return tuple(
        SmokeRow({str(name): value for name, value in row.items()}, tuple(forecast.tolist()))
        for row, forecast in zip(chosen, fitted.holdout.reshape(len(holdout), -1)[covered], strict=True)
    )
