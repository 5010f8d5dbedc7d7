"""What mistakes with time would show: rows cut at random, and the label's own future among the features."""

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from fivestage.common.columns import Floats
from fivestage.features.definitions import columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.training.estimators import fit_classifier
from problem import PROBLEM
from problem.features import SETS
from tools.bench.study.sample import USUAL, studied

HOURS_TOO_LATE = (1, 2, 4)


def measure() -> dict[str, Any]:
    """ROC-AUC of the same trees: rows cut by time, cut at random, and features as of some hours too late."""
    given = studied()
    label, features, windows = given.sample.label, given.sample.features, given.windows
    fold = windows.folds[-1]
    model = fit_classifier(USUAL, features[fold.train], label[fold.train])
    rows = np.concatenate([fold.train, fold.valid])
    mixed = np.random.default_rng(0).permutation(rows)
    train, valid = mixed[: len(fold.train)], mixed[len(fold.train) :]
    shuffled = fit_classifier(USUAL, features[train], label[train])
    late = []
    for hours in HOURS_TOO_LATE:
        told = features_later(hours)
        peeking = fit_classifier(USUAL, told[fold.train], label[fold.train])
        late.append(
            {"hours": hours, "roc_auc": _auc(label[fold.valid], peeking.predict_proba(told[fold.valid]))}
        )
    return {
        "by_time": _auc(label[fold.valid], model.predict_proba(features[fold.valid])),
        "at_random": _auc(label[valid], shuffled.predict_proba(features[valid])),
        "late": late,
    }


def features_later(hours: int) -> Floats:
    """The features as if each decision were taken some hours later."""
    given = studied()
    at = given.rows["decision_at"].to_numpy(dtype=np.int64) + hours * 3600
    past = PROBLEM.features.offline_store(given.event_tables.events, given.event_tables.reference)
    found = PROBLEM.features.compute(SETS, columns_of(given.rows), at, past, given.event_tables.reference)
    return matrix(encode(found, given.sample.categories), given.sample.names, len(at))


def _auc(label: Any, answers: Any) -> float:
    return float(roc_auc_score(label, answers[:, 1]))
