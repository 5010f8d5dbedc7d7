"""The artifact: trees, encoders, calibration, threshold and the history as of now, in one piece."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.columns import Floats, Ints
from core.contract import Category, Contract
from core.windows import Table
from problem.features import SETS, Reference
from serving.artifact import Artifact, Lineage, Parity, SmokeRow
from serving.calibration import AnyCalibration
from serving.checkpoint import ensemble_of
from serving.engine import Scorer, table_of
from serving.trees import Ensemble, probes
from steps.data.split import Windows
from steps.data.world import PAST, SMOKE_ROWS, World, known_between
from steps.model.fit import Categories, as_data
from steps.model.learner import learner_of
from steps.model.sample import Sample
from steps.model.select import Selection

CONTEST_ROWS = 64  # real rows among those that every load is held against


@dataclass(frozen=True)
class Fitted:
    """The chosen trees as data, and all that turns features into their answers."""

    names: tuple[str, ...]
    categories: Categories
    calibration: AnyCalibration
    models: Ensemble
    parity: Parity
    contest: Floats  # what scikit-learn's own trees answer to the contest window, calibrated


def fit_chosen(sample: Sample, windows: Windows, selection: Selection, contract: Contract) -> Fitted:
    """Fit the chosen trees on the training window and convert them.

    Raises:
        UserError: when the converted trees do not answer as scikit-learn's do.
    """
    learner = learner_of(contract)
    models = learner.fit(sample.features[windows.train], sample.label[windows.train], selection.trees)
    contest = sample.features[windows.contest]
    margins = learner.margins(models, contest)
    ensemble = ensemble_of([as_data(model) for model in models])
    converted = Scorer(ensemble, selection.calibration)
    converted.require(Parity(contest, margins))
    tried = np.vstack([probes(ensemble), contest[-CONTEST_ROWS:]])
    parity = Parity(tried, learner.margins(models, tried))
    converted.require(parity)
    return Fitted(
        names=sample.names,
        categories=sample.categories,
        calibration=selection.calibration,
        models=ensemble,
        parity=parity,
        contest=selection.calibration.forecast(margins),
    )


def package(
    fitted: Fitted,
    rows: pd.DataFrame,
    windows: Windows,
    world: World,
    contract: Contract,
    lineage: Lineage,
) -> Artifact:
    """Put all that a prediction needs into one artifact.

    Its smoke rows and parity carry what scikit-learn itself answers: each load checks every conversion since.
    """
    contest = rows.iloc[windows.contest]
    since = known_from(contest["decision_at"].to_numpy(), windows.as_of, world.since)
    return Artifact(
        contract=contract,
        sets=tuple(SETS),
        features=fitted.names,
        categories=fitted.categories,
        reference=world.reference,
        calibration=fitted.calibration,
        as_of=windows.as_of,
        trained_until=windows.contest_start,
        lineage=lineage,
        models=fitted.models,
        parity=fitted.parity,
        history=history_at(world.events, world.reference, contract, since, windows.as_of),
        smoke=_smoke(fitted, contest, contract, since),
    )


def known_from(contest: Ints, as_of: int, since: int) -> int:
    """How far back the history of an artifact reaches, of what is known since a moment.

    It holds the past of `as_of`, and that of the smoke rows, the last ones decided in the contest window:
    where rows are few or labels come late, these are long ago.
    """
    return max(since, int(contest[-SMOKE_ROWS:].min(initial=as_of)) - PAST)


def history_at(
    events: Mapping[str, pd.DataFrame], reference: Reference, contract: Contract, since: int, as_of: int
) -> Table:
    """All that became known between two moments.

    By when an event was known, not by when its facts count, which may be later.
    """
    return table_of(known_between(events, contract, since, as_of), reference)


def _smoke(fitted: Fitted, contest: pd.DataFrame, contract: Contract, since: int) -> tuple[SmokeRow, ...]:
    """The last rows of the contest window, of those whose whole past is in the artifact's history."""
    covered = np.flatnonzero(contest["decision_at"] - PAST >= since)[-SMOKE_ROWS:]
    absent = {name: "" for name, column in contract.columns.items() if isinstance(column, Category)}
    chosen = contest.iloc[covered][list(contract.columns)].fillna(absent).to_dict(orient="records")
    return tuple(
        SmokeRow({str(name): value for name, value in row.items()}, tuple(forecast.tolist()))
        for row, forecast in zip(chosen, fitted.contest.reshape(len(contest), -1)[covered], strict=True)
    )
