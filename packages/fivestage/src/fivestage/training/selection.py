"""Compares baselines and candidates on the same temporal folds, without the holdout window or later rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fivestage.artifact.calibration import AnyCalibration
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.contract.contract import BaselineName
from fivestage.data.splits import Fold
from fivestage.evaluation.metrics import scores
from fivestage.evaluation.task_evaluation import loss
from fivestage.training.conversion import convert, evenly_spaced, levels_of
from fivestage.training.estimators import (
    Estimator,
    boosting_stages,
    count_setting,
    hyperparameters_of,
    with_settings,
)
from fivestage.training.leaderboard import LeaderboardRow
from fivestage.training.sample import TrainingSample
from fivestage.training.side_by_side import side_by_side
from fivestage.training.task_trainer import TaskTrainer, trainer_of

TREES_STEP = 25  # step in which the number of trees is tuned
CHECKED_ROWS = 500  # on which each candidate is fitted and converted once before it is cross-validated
FEW_TREES = 4  # trees of the model in that check

Candidates = Mapping[str, Estimator]


@dataclass(frozen=True)
class Selection:
    """The chosen candidate, its calibration, and everything it was compared with."""

    candidate: str  # its name in `problem/candidates.py`
    settings: dict[str, Any]  # tuned on the folds, such as the number of trees
    calibration: AnyCalibration  # turns its raw scores into forecasts
    leaderboard: tuple[LeaderboardRow, ...]  # metrics of all candidates and baselines on the folds
    made_of: str = ""  # the estimator, features and code for which the selection is valid


@dataclass(frozen=True)
class CandidateResult:
    """A candidate with its best number of trees, and its raw scores for the validation rows of each fold."""

    name: str
    loss: float
    margins: tuple[Floats, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    seconds: float = 0.0


def estimator_of(candidates: Candidates, selection: Selection) -> Estimator:
    """Return the selected estimator with its settings, unfitted."""
    if selection.candidate not in candidates:
        raise UserError(
            f"problem/candidates.py no longer has {selection.candidate!r}, which this version uses. "
            "Restore it, or train without it with `make train`."
        )
    return with_settings(candidates[selection.candidate], selection.settings)


def parameters_of(candidates: Candidates, selection: Selection) -> dict[str, Any]:
    """Return the selected candidate's name and settings (a pipeline's: of its last step), for MLflow."""
    return {"candidate": selection.candidate, **hyperparameters_of(estimator_of(candidates, selection))}


def select(
    sample: TrainingSample,
    candidates: Candidates,
    kept: Selection | None = None,
    code: str = "",
) -> Selection:
    """Compare baselines and candidates on the folds, and calibrate the candidate with the lowest loss.

    Args:
        sample: all rows, as models see them, with the temporal folds.
        candidates: unfitted estimators by name.
        kept: an earlier selection to be reused in a retraining. Its candidate and settings are not compared
            with others, and are fitted on the folds for a new calibration only if the candidate, the
            features or the code have changed.
        code: digest of the code that computes the features, such as that of the lineage.

    Returns:
        The selection with its calibration and the leaderboard; `kept` itself if nothing has changed.

    Raises:
        UserError: if there is no candidate, or one cannot be converted to an artifact.
    """
    if not candidates:
        raise UserError("problem/candidates.py defines no candidate: add at least one.")
    if kept is not None:
        estimator = estimator_of(candidates, kept)
        if kept.made_of == _made_of(estimator, sample, code):
            return kept
        results = cross_validate(sample, {kept.candidate: estimator}, tune=False)
        results = [replace(result, settings=kept.settings) for result in results]
    else:
        results = cross_validate(sample, candidates, tune=True)
    contract, folds = sample.contract, sample.windows.folds
    trainer = trainer_of(contract)
    labels = _labels(sample)
    best = min(results, key=lambda result: result.loss)
    estimator = with_settings(candidates[best.name], best.settings)

    def baseline(name: BaselineName) -> LeaderboardRow:
        def fold_scores(fold: Fold) -> dict[str, float]:
            forecast = trainer.baseline(name, sample, fold.train, fold.valid)
            return scores(sample.label[fold.valid], forecast, contract.costs)

        return LeaderboardRow(name, "baseline", _means(side_by_side(fold_scores, folds)))

    def candidate(result: CandidateResult) -> LeaderboardRow:
        chosen = result is best
        forecasts = [trainer.uncalibrated.forecast(margins) for margins in result.margins]
        metrics = _means([scores(*pair, contract.costs) for pair in zip(labels, forecasts, strict=True)])
        return LeaderboardRow(result.name, "candidate", metrics, chosen, result.started, result.seconds)

    baselines = contract.baselines if kept is None else ()
    leaderboard = (*map(baseline, baselines), *map(candidate, results))
    calibration = trainer.calibrate(np.concatenate(best.margins), np.concatenate(labels))
    return Selection(best.name, best.settings, calibration, leaderboard, _made_of(estimator, sample, code))


def _made_of(estimator: Estimator, sample: TrainingSample, code: str) -> str:
    return f"{estimator!r} of {', '.join(sample.names)}, code {code}"


def cross_validate(sample: TrainingSample, candidates: Candidates, *, tune: bool) -> list[CandidateResult]:
    """Fit and score each candidate on each fold, in parallel, and tune its number of trees."""
    folds, trainer = sample.windows.folds, trainer_of(sample.contract)
    for name, estimator in candidates.items():
        require_convertible(name, estimator, sample)

    def stages(work: tuple[Estimator, Fold]) -> tuple[list[Floats], float, float]:
        started = time.time()
        return _stages(sample, work[1], work[0], trainer, tune=tune), started, time.time()

    fits = side_by_side(stages, [(one, fold) for one in candidates.values() for fold in folds])
    labels = _labels(sample)
    results = []
    for number, (name, estimator) in enumerate(candidates.items()):
        staged, started, ended = zip(*fits[number * len(folds) :][: len(folds)], strict=True)
        best = _best_count(name, estimator, staged, labels, trainer)
        results.append(replace(best, started=min(started), seconds=max(ended) - min(started)))
    return results


def require_convertible(name: str, estimator: Estimator, sample: TrainingSample) -> None:
    """Fit a candidate on a few rows and convert it to data, so that an unsuitable one fails early."""
    count, trainer = count_setting(estimator), trainer_of(sample.contract)
    small = with_settings(estimator, {count: FEW_TREES} if count else {})
    rows = sample.windows.folds[0].train[-CHECKED_ROWS:]
    try:
        models = trainer.fit(sample.frame(rows), sample.label[rows], small)
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


def _labels(sample: TrainingSample) -> list[Any]:
    return [sample.label[fold.valid] for fold in sample.windows.folds]


def _stages(
    sample: TrainingSample, fold: Fold, estimator: Estimator, trainer: TaskTrainer, *, tune: bool
) -> list[Floats]:
    """Return the raw scores of a fold's validation rows after every `TREES_STEP` trees, and after all.

    There are only those after all trees if a model has stopped early: it chooses their number itself.
    """
    train, valid = sample.frame(fold.train), sample.frame(fold.valid)
    count = count_setting(estimator)
    models = trainer.fit(train, sample.label[fold.train], estimator)
    trees = estimator.get_params()[count] if count and tune else 0
    if not trees or any(boosting_stages(model, valid) < trees for model in models):
        return [trainer.margins(models, valid)]
    return [
        margins
        for number, margins in enumerate(trainer.staged_margins(models, valid), 1)
        if number % TREES_STEP == 0 or number == trees
    ]


def _best_count(
    name: str,
    estimator: Estimator,
    staged: Sequence[Sequence[Floats]],
    labels: Sequence[Any],
    trainer: TaskTrainer,
) -> CandidateResult:
    """Find the number of trees with the lowest mean loss over the folds.

    It is not tuned if models stopped early on some folds, which then have no raw scores of earlier stages.
    """
    if len({len(fold) for fold in staged}) > 1:
        staged = [fold[-1:] for fold in staged]
    stages = list(zip(*staged, strict=True))  # stages x folds

    def fold_loss(label: Any, margins: Floats) -> float:
        return loss(trainer.contract, label, trainer.uncalibrated.forecast(margins))

    losses = [np.mean([fold_loss(*pair) for pair in zip(labels, stage, strict=True)]) for stage in stages]
    best = int(np.argmin(losses))
    settings = {} if best == len(stages) - 1 else {count_setting(estimator): (best + 1) * TREES_STEP}
    return CandidateResult(name, float(losses[best]), stages[best], settings)


def _means(by_fold: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([metrics[name] for metrics in by_fold])) for name in by_fold[0]}
