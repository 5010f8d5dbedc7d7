"""What more tuning would bring: settings drawn at random, the best of so many on the folds and afterwards."""

import time
from typing import Any

import numpy as np
from sklearn.metrics import log_loss

from fivestage.evaluation.metrics import scores
from fivestage.training.estimators import Estimator, fit_classifier
from problem.candidates import boosting, candidates
from tools.bench.study.sample import calibrated_after, scored, studied

DRAWN = 10
ROWS = 80_000  # the latest of each fold's training rows, so that the study stays short


def measure() -> dict[str, Any]:
    """The usual settings, then random ones, each on the last fold; the best also afterwards."""
    given = studied()
    label, features, fold = given.sample.label, given.sample.features, given.windows.folds[-1]
    tried: list[dict[str, Any]] = []
    train = fold.train[-ROWS:]
    usual = candidates(ROWS, ())
    for number, (name, trees) in enumerate([*usual.items(), *drawn()]):
        begun = time.process_time()
        model = fit_classifier(trees, features[train], label[train])
        answers = model.predict_proba(features[fold.valid])[:, 1]
        tried.append(
            {
                "name": name,
                "usual": number < len(usual),
                "log_loss": float(log_loss(label[fold.valid], answers)),
                "savings_share": scores(label[fold.valid], answers, given.contract.costs)["savings_share"],
                "cpu_s": time.process_time() - begun,
                "trees": trees,
            }
        )
    best = {count: min(tried[:count], key=lambda one: one["log_loss"]) for count in (1, 2, 4, 8, len(tried))}
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
                "cpu_s": sum(each["cpu_s"] for each in tried[:count]),
                "after": later[one["name"]],
            }
        )
    return {"curve": curve, "worst": max(one["log_loss"] for one in tried), "rows": len(train)}


def drawn() -> list[tuple[str, Estimator]]:
    """Settings over the ranges that people usually search."""
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
    given = studied()
    windows, features = given.windows, given.sample.features
    model = fit_classifier(trees, features[windows.train], given.sample.label[windows.train])
    holdout, after = (
        np.ravel(model.decision_function(features[rows])) for rows in (windows.holdout, windows.after)
    )
    return scored(given, calibrated_after(given, holdout, after))
