"""The effect of data leakage: rows split at random, and features as of a later time."""

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
    """Return the ROC-AUC of the same trees with rows split by time, at random, and with later features."""
    study = studied()
    label, features, windows = study.sample.label, study.sample.features, study.windows
    fold = windows.folds[-1]
    model = fit_classifier(USUAL, features[fold.train], label[fold.train])
    rows = np.concatenate([fold.train, fold.valid])
    mixed = np.random.default_rng(0).permutation(rows)
    train, valid = mixed[: len(fold.train)], mixed[len(fold.train) :]
    shuffled = fit_classifier(USUAL, features[train], label[train])
    late = []
    for hours in HOURS_TOO_LATE:
        later = features_later(hours)
        peeking = fit_classifier(USUAL, later[fold.train], label[fold.train])
        late.append(
            {"hours": hours, "roc_auc": _auc(label[fold.valid], peeking.predict_proba(later[fold.valid]))}
        )
    return {
        "by_time": _auc(label[fold.valid], model.predict_proba(features[fold.valid])),
        "at_random": _auc(label[valid], shuffled.predict_proba(features[valid])),
        "late": late,
    }


def features_later(hours: int) -> Floats:
    """Return the features as of some hours after each decision."""
    study = studied()
    at = study.rows["decision_at"].to_numpy(dtype=np.int64) + hours * 3600
    past = PROBLEM.features.offline_store(study.event_tables.events, study.event_tables.reference)
    found = PROBLEM.features.compute(SETS, columns_of(study.rows), at, past, study.event_tables.reference)
    return matrix(encode(found, study.sample.categories), study.sample.names, len(at))


def _auc(label: Any, answers: Any) -> float:
    return float(roc_auc_score(label, answers[:, 1]))
