"""Baselines and candidates on the same temporal folds; nothing here sees the holdout window or later."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fivestage.artifact.calibration import AnyCalibration
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.contract.contract import BaselineName, Contract
from fivestage.data.splits import Fold, TemporalSplit
from fivestage.evaluation.metrics import scores
from fivestage.training.conversion import convert, evenly_spaced, levels_of
from fivestage.training.estimators import (
    Estimator,
    count_setting,
    fit_regressor,
    scores_of_classes,
    settings_of,
    staged_scores,
    with_settings,
)
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.sample import TrainingSample
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import TaskTrainer, trainer_of

TREES_STEP = 25
CHECKED_ROWS = 500  # on which a candidate shows that it can become an artifact, before it is fitted at length
FEW = 4  # trees of it, meanwhile

Candidates = Mapping[str, Estimator]


@dataclass(frozen=True)
class Selection:
    """The chosen candidate, its calibration, and everything it was compared with.

    Args:
        candidate: its name in `problem/candidates.py`.
        settings: what the folds chose for it, such as the number of trees.
        calibration: from its raw scores to forecasts.
        leaderboard: it and the others on the folds.
        made_of: the estimator, the features and the code that this was found with; of others it says nothing.
    """

    candidate: str
    settings: dict[str, Any]
    calibration: AnyCalibration
    leaderboard: tuple[LeaderboardRow, ...]
    made_of: str = ""


@dataclass(frozen=True)
class CandidateResult:
    """A candidate with its best number of trees, and its raw scores for each fold's validation rows."""

    name: str
    loss: float
    margins: tuple[Floats, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0


def estimator_of(candidates: Candidates, selection: Selection) -> Estimator:
    """The estimator that a selection chose, unfitted."""
    if selection.candidate not in candidates:
        raise UserError(
            f"problem/candidates.py has no {selection.candidate!r} any more, which this version is made of: "
            "put it back, or train without it with `make train`."
        )
    return with_settings(candidates[selection.candidate], selection.settings)


def parameters_of(candidates: Candidates, selection: Selection) -> dict[str, Any]:
    """What was chosen, as MLflow shows the parameters of a run.

    Args:
        candidates: unfitted estimators by name.
        selection: what the folds chose.

    Returns:
        The candidate's name, and the settings of its estimator, or of a pipeline's last step.
    """
    return {"candidate": selection.candidate, **settings_of(estimator_of(candidates, selection))}


def select(
    sample: TrainingSample,
    windows: TemporalSplit,
    contract: Contract,
    candidates: Candidates,
    kept: Selection | None = None,
    code: str = "",
) -> Selection:
    """Compare baselines and candidates on the folds; the one with the least loss is calibrated.

    Args:
        sample: rows as models see them.
        windows: the temporal folds.
        contract: names the baselines, and tells the task.
        candidates: unfitted estimators by name.
        kept: an earlier selection, as in a retraining: its candidate with its settings is compared with
            nothing, and fitted on the folds for a new calibration only where the candidate, the features
            or the code have changed since.
        code: digest of the code that the features come from, such as a lineage's.

    Returns:
        The choice, its calibration and the leaderboard; `kept` itself where nothing has changed.

    Raises:
        UserError: when there is no candidate, or one cannot become an artifact.
    """
    if not candidates:
        raise UserError("problem/candidates.py names no candidate: name at least one.")
    if kept is not None:
        estimator = estimator_of(candidates, kept)
        if kept.made_of == _made_of(estimator, sample, code):
            return kept
        tried = cross_validate(sample, windows, contract, {kept.candidate: estimator}, tune=False)
        tried = [replace(one, settings=kept.settings) for one in tried]
    else:
        tried = cross_validate(sample, windows, contract, candidates)
    folds, trainer = windows.folds, trainer_of(contract)
    labels = _labels(sample, folds)
    best = min(tried, key=lambda one: one.loss)
    estimator = with_settings(candidates[best.name], best.settings)
    complete = trainer.complete(sample, folds, estimator, best.margins)

    def baseline(name: BaselineName) -> LeaderboardRow:
        def on(fold: Fold) -> dict[str, float]:
            forecast = trainer.baseline(name, sample, fold.train, fold.valid)
            return scores(sample.label[fold.valid], forecast, contract.costs)

        return LeaderboardRow(name, "baseline", _means(side_by_side(on, folds)))

    def row(one: CandidateResult) -> LeaderboardRow:
        margins = complete if one is best else one.margins
        found = _means([trainer.leaderboard_scores(*pair) for pair in zip(labels, margins, strict=True)])
        return LeaderboardRow(one.name, "candidate", found, one is best, one.started, one.seconds)

    compared = contract.baselines if kept is None else ()
    leaderboard = (*map(baseline, compared), *map(row, tried))
    calibration = trainer.calibrate(np.concatenate(complete), np.concatenate(labels))
    return Selection(best.name, best.settings, calibration, leaderboard, _made_of(estimator, sample, code))


def _made_of(estimator: Estimator, sample: TrainingSample, code: str) -> str:
    return f"{estimator!r} of {', '.join(sample.names)}, code {code}"


def cross_validate(
    sample: TrainingSample,
    windows: TemporalSplit,
    contract: Contract,
    candidates: Candidates,
    *,
    tune: bool = True,
) -> list[CandidateResult]:
    """Each candidate on each fold, side by side."""
    folds, trainer = windows.folds, trainer_of(contract)
    for name, estimator in candidates.items():
        require_convertible(name, estimator, sample, folds[0], trainer)

    def stages(work: tuple[Estimator, Fold]) -> tuple[list[Floats], float, float]:
        started = time.time()
        return _stages(sample, work[1], work[0], trainer, tune=tune), started, time.time()

    found = side_by_side(stages, [(one, fold) for one in candidates.values() for fold in folds])
    labels = _labels(sample, folds)
    results = []
    for place, (name, estimator) in enumerate(candidates.items()):
        staged, started, ended = zip(*found[place * len(folds) :][: len(folds)], strict=True)
        best = _best_count(name, estimator, staged, labels, trainer)
        results.append(replace(best, started=min(started), seconds=max(ended) - min(started)))
    return results


def require_convertible(
    name: str, estimator: Estimator, sample: TrainingSample, fold: Fold, trainer: TaskTrainer
) -> None:
    """Fit a candidate on a few rows and make data of it, before it is fitted at length."""
    count = count_setting(estimator)
    few = with_settings(estimator, {count: FEW} if count else {})
    rows = fold.train[-CHECKED_ROWS:]
    try:
        models = trainer.fit(sample.frame(rows), sample.label[rows], few)
    except ValueError as error:
        raise UserError(f"The candidate {name!r} cannot be fitted: {error}") from error
    convert(
        models,
        lambda values: trainer.margins(models, sample.named(values)),
        evenly_spaced(sample.features[rows]),
        levels_of(sample.names, sample.categories),
        trainer.uncalibrated,
        name,
    )


def _labels(sample: TrainingSample, folds: Sequence[Fold]) -> list[Any]:
    return [sample.label[fold.valid] for fold in folds]


def _stages(
    sample: TrainingSample, fold: Fold, estimator: Estimator, trainer: TaskTrainer, *, tune: bool
) -> list[Floats]:
    """Raw scores of the fold's validation rows after every few trees, and after all."""
    train, valid = sample.frame(fold.train), sample.frame(fold.valid)
    count = count_setting(estimator)
    if trainer.classifier:
        (model,) = trainer.fit(train, sample.label[fold.train], estimator)
        whole = scores_of_classes(model, valid)
    else:  # the mean alone: it chooses the number of trees
        model = fit_regressor(estimator, train, sample.label[fold.train])
        whole = np.asarray(model.predict(valid), dtype=np.float64).ravel()
    if not (count and tune):
        return [whole]
    found = [
        margins
        for number, margins in enumerate(staged_scores(model, valid, classifier=trainer.classifier), 1)
        if number % TREES_STEP == 0 and number < estimator.get_params()[count]
    ]
    return [*found, whole]


def _best_count(
    name: str,
    estimator: Estimator,
    staged: Sequence[Sequence[Floats]],
    labels: Sequence[Any],
    trainer: TaskTrainer,
) -> CandidateResult:
    """The number of trees with the least loss, as a mean over the folds."""
    stages = list(zip(*staged, strict=True))  # stages x folds
    losses = [
        np.mean([trainer.stage_loss(label, margins) for label, margins in zip(labels, stage, strict=True)])
        for stage in stages
    ]
    best = int(np.argmin(losses))
    settings = {} if best == len(stages) - 1 else {count_setting(estimator): (best + 1) * TREES_STEP}
    return CandidateResult(name, float(losses[best]), stages[best], settings)


def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}
