"""The value of more tuning: random settings, the best of N on the folds and on later rows."""

import time
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from fivestage.evaluation.metrics import scores
from fivestage.training.estimators import Estimator, fit_classifier
from problem.candidates import boosting, candidates
from tools.bench.study.sample import calibrated_after, scored, studied

DRAWN = 10
ROWS = 80_000  # latest training rows per fold, to keep the study short


def measure() -> dict[str, Any]:
    """Evaluate the usual settings and random ones on the last fold, and the best also on later rows."""
    study = studied()
    label, features, fold = study.sample.label, study.sample.features, study.windows.folds[-1]
    results: list[dict[str, Any]] = []
    train = fold.train[-ROWS:]
    usual = candidates(ROWS, ())
    for number, (name, trees) in enumerate([*usual.items(), *drawn()]):
        started = time.process_time()
        model = fit_classifier(trees, features[train], label[train])
        answers = model.predict_proba(features[fold.valid])[:, 1]
        results.append(
            {
                "name": name,
                "usual": number < len(usual),
                "log_loss": float(log_loss(label[fold.valid], answers)),
                "savings_share": scores(label[fold.valid], answers, study.contract.costs)["savings_share"],
                "cpu_s": time.process_time() - started,
                "trees": trees,
            }
        )
    best = {
        count: min(results[:count], key=lambda one: one["log_loss"]) for count in (1, 2, 4, 8, len(results))
    }
    curve = []
    later: dict[str, Any] = {}
    for count, one in best.items():
        if one["name"] not in later:
            later[one["name"]] = _afterwards(one["trees"])
        curve.append(
            {
                "tried": count,
                "name": one["name"],
                "log_loss": one["log_loss"],
                "cpu_s": sum(each["cpu_s"] for each in results[:count]),
                "after": later[one["name"]],
            }
        )
    return {"curve": curve, "worst": max(one["log_loss"] for one in results), "rows": len(train)}


def drawn() -> list[tuple[str, Estimator]]:
    """Draw settings from commonly searched ranges."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(DRAWN):
        rate = round(float(np.exp(draw.uniform(np.log(0.03), np.log(0.3)))), 3)
        leaves = int(draw.choice([7, 15, 31, 63, 127]))
        settings = {
            "learning_rate": rate,
            "max_leaf_nodes": leaves,
            "max_iter": int(draw.choice([50, 100, 150, 200])),
            "min_samples_leaf": int(draw.choice([20, 50, 100, 300])),
            "l2_regularization": float(draw.choice([0.0, 1.0, 10.0])),
        }
        found.append((f"boosting, {leaves} leaves at rate {rate:g}", boosting().set_params(**settings)))
    return found


def _afterwards(trees: Estimator) -> dict[str, dict[str, float]]:
    study = studied()
    windows, features = study.windows, study.sample.features
    model = fit_classifier(trees, features[windows.train], study.sample.label[windows.train])
    holdout, after = (
        np.ravel(model.decision_function(features[rows])) for rows in (windows.holdout, windows.after)
    )
    return scored(study, calibrated_after(study, holdout, after))
