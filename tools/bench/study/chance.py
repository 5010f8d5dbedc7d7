"""Intervals from rows against those from whole days; the delay of labels; errors by group."""

from typing import Any

import numpy as np

from fivestage.common.clock import DAY
from fivestage.contract.cost_model import cost_model_of
from fivestage.evaluation.metrics import evaluate
from fivestage.features.stores import HOUR
from fivestage.training.estimators import fit_classifier
from tools.bench.study.sample import USUAL, calibrated_after, studied

METRICS = ("roc_auc", "log_loss", "cost_per_1000", "savings_share", "bias")
LEAST = 500  # rows of a group that is reported


def measure() -> dict[str, Any]:
    """Return intervals by rows and by days, the delay of labels, and both kinds of error by group."""
    study = studied()
    windows, sample, costs = study.windows, study.sample, study.contract.costs
    model = fit_classifier(USUAL, sample.features[windows.train], sample.label[windows.train])
    holdout, after = (
        np.ravel(model.decision_function(sample.features[rows])) for rows in (windows.holdout, windows.after)
    )
    probability = calibrated_after(study, holdout, after)
    label, days = sample.label[windows.after], study.days[windows.after]
    by_days = evaluate(label, probability, days, costs)
    by_rows = evaluate(label, probability, np.arange(len(label)), costs, draws=40)
    act = cost_model_of(costs).decide(probability)
    return {
        "rows": len(study.rows),
        "feature_seconds": study.feature_seconds,
        "intervals": [
            {
                "metric": name,
                "days": [by_days[name].low, by_days[name].high],
                "rows": [by_rows[name].low, by_rows[name].high],
            }
            for name in METRICS
        ],
        "delay": _delay(),
        "groups": {
            name: _groups(study.rows[name].to_numpy()[windows.after], label, act)
            for name in study.contract.slices
        },
    }


def _delay() -> dict[str, float]:
    """Return the hours from a decision to its label, and the share of labels known by the end of the day."""
    rows = studied().rows
    decided, known = (rows[name].to_numpy(dtype=np.int64) for name in ("decision_at", "known_at"))
    hours = (known - decided) / HOUR
    quantiles = np.quantile(hours, [0.5, 0.95, 0.99])
    until_midnight = known < (decided // DAY + 1) * DAY
    next_day = known < (decided // DAY + 2) * DAY
    names = ("median", "p95", "p99")
    return dict(zip(names, quantiles.tolist(), strict=True)) | {
        "most": float(hours.max()),
        "same_day": float(until_midnight.mean()),
        "next_day": float(next_day.mean()),
    }


def _groups(value: Any, label: Any, act: Any) -> list[dict[str, Any]]:
    """Return for each group the label rate, the share acted on, and that share by outcome."""
    found = []
    for group in np.unique(value.astype(str)):
        here = value == group
        if here.sum() >= LEAST:
            positive = label[here] == 1
            found.append(
                {
                    "group": group,
                    "rows": int(here.sum()),
                    "rate": float(positive.mean()),
                    "acted": float(act[here].mean()),
                    "caught": float(act[here][positive].mean()),
                    "false_alarms": float(act[here][~positive].mean()),
                }
            )
    return sorted(found, key=lambda one: -one["rows"])
