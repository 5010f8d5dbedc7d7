"""Builds the artifact: fits the chosen candidate, converts it to data, and adds all that predictions need."""

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
from fivestage.features.problem import Problem
from fivestage.training.conversion import convert, evenly_spaced, levels_of
from fivestage.training.sample import TrainingSample
from fivestage.training.selection import Candidates, Selection, estimator_of
from fivestage.training.task_trainer import trainer_of

HOLDOUT_ROWS = 64  # real rows among those on which every load checks parity


@dataclass(frozen=True)
class Fitted:
    """The chosen model as data, with the calibration of its forecasts."""

    sample: TrainingSample
    calibration: AnyCalibration
    models: ModelData
    parity: Parity
    holdout: Floats  # the estimator's own calibrated forecasts for the holdout window

    def artifact(
        self, rows: pd.DataFrame, event_tables: EventTables, problem: Problem, lineage: Lineage
    ) -> Artifact:
        """Build the artifact, which holds everything needed for predictions.

        Its smoke and parity rows have the estimator's own results, so that each load checks the conversion.

        Args:
            rows: all rows, with the contract's columns and `decision_at` (epoch seconds).
            event_tables: events and reference data, of which the artifact keeps what predictions need.
            problem: the contract and the feature definitions.
            lineage: digests of what the version is trained from.

        Returns:
            The artifact, not yet saved.

        Raises:
            UserError: naming a feature that has no value for a row that the contract allows.
        """
        contract, definitions, windows = problem.contract, problem.features, self.sample.windows
        holdout = rows.iloc[windows.holdout]
        lookback = definitions.lookback_seconds
        since = known_from(holdout["decision_at"].to_numpy(), windows.as_of, event_tables.since, lookback)
        known = known_between(event_tables.events, contract, since, windows.as_of)
        artifact = Artifact(
            contract=contract,
            sets=tuple(definitions.sets),
            features=self.sample.names,
            categories=self.sample.categories,
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


def fit_chosen(sample: TrainingSample, selection: Selection, candidates: Candidates) -> Fitted:
    """Fit the chosen candidate on the training window, and convert it to data.

    Args:
        sample: all rows, as models see them, with their windows.
        selection: the candidate, its settings and its calibration.
        candidates: unfitted estimators by name.

    Returns:
        The model as data, with the estimator's own forecasts for the holdout window.

    Raises:
        UserError: if the converted model does not give the estimator's scores.
    """
    trainer, train = trainer_of(sample.contract), sample.windows.train
    estimator = estimator_of(candidates, selection)
    models = trainer.fit(sample.frame(train), sample.label[train], estimator)

    def score(values: Floats) -> Floats:
        return trainer.margins(models, sample.named(values))

    levels = levels_of(sample.names, sample.categories)
    rows, name = evenly_spaced(sample.features[train]), selection.candidate
    model, parity = convert(models, score, rows, levels, selection.calibration, name)
    holdout = sample.features[sample.windows.holdout]
    margins = score(holdout)
    Scorer(model, selection.calibration).require_parity(Parity(holdout, margins))
    return Fitted(
        sample=sample,
        calibration=selection.calibration,
        models=model,
        parity=Parity(
            np.vstack([parity.rows, holdout[-HOLDOUT_ROWS:]]),
            np.concatenate([parity.margins, margins[-HOLDOUT_ROWS:]]),
        ),
        holdout=selection.calibration.forecast(margins),
    )


def known_from(holdout: Ints, as_of: int, since: int, lookback: int) -> int:
    """Return the time (epoch seconds) from which events cover the windows of `as_of` and the smoke rows."""
    return max(since, int(holdout[-SMOKE_ROWS:].min(initial=as_of)) - lookback)


def _smoke(fitted: Fitted, holdout: pd.DataFrame, contract: Contract, earliest: int) -> tuple[SmokeRow, ...]:
    """Return the last rows of the holdout window for which the artifact's history is complete."""
    covered = np.flatnonzero(holdout["decision_at"] >= earliest)[-SMOKE_ROWS:]
    absent = {name: "" for name, column in contract.columns.items() if isinstance(column, CategoryColumn)}
    chosen = holdout.iloc[covered][list(contract.columns)].fillna(absent).to_dict(orient="records")
    return tuple(
        SmokeRow({str(name): value for name, value in row.items()}, tuple(forecast.tolist()))
        for row, forecast in zip(chosen, fitted.holdout.reshape(len(holdout), -1)[covered], strict=True)
    )
