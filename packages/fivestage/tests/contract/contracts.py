"""A contract for each task with simple costs, on the columns of the synthetic problem."""

import json
import re
from typing import Any

import yaml

from fivestage.contract.contract import Contract, parse_contract
from tests.synthetic import contract_content

CLASSES = ["early", "on time", "late", "very late", "lost"]
MAX_BIAS = {"binary": 0.04, "multiclass": 0.04, "regression": 5}  # of a monitored period
COMMON = {"max_row_ms": 5, "confidence": 0.9, "max_loss_per_1000": 1000, "max_slice_loss": 0.5}
BY_TASK: dict[str, dict[str, Any]] = {
    "binary": {
        "label": {"name": "failed", "means": "it failed", "known": "at its end"},
        "costs": {
            "currency": "USD",
            "act_positive": 450,
            "act_negative": 150,
            "wait_positive": 750,
            "wait_negative": 0,
        },
        "gates": {"max_calibration_error": 0.06, "max_bias": 0.05, "suspicious_roc_auc": 0.8},
        "baselines": {"prior": 0.1, "historical_rate": 0.1, "logistic_regression": 0.0},
    },
    "multiclass": {
        "label": {"name": "fate", "means": "how it ends", "known": "at its end", "classes": CLASSES},
        "costs": {
            "currency": "USD",
            "actions": {
                "nothing": dict(zip(CLASSES, [0, 0, 20, 90, 400], strict=True)),
                "warn": dict(zip(CLASSES, [15, 10, 10, 60, 300], strict=True)),
                "rebook": dict(zip(CLASSES, [60, 50, 45, 40, 80], strict=True)),
            },
        },
        "gates": {"max_calibration_error": 0.1, "max_bias": 0.1, "suspicious_roc_auc": 0.95},
        "baselines": {"prior": 0.1, "historical_rate": 0.1, "logistic_regression": 0.0},
    },
    "regression": {
        "label": {"name": "delay", "means": "how late it is", "known": "at its end", "unit": "minutes"},
        "costs": {"currency": "USD", "over": 1, "under": 3},
        "interval": 0.8,
        "gates": {"max_coverage_error": 0.05, "max_bias": 5, "suspicious_r2": 0.8},
        "baselines": {"prior": 0.0, "historical_mean": 0.0, "linear_regression": 0.0},
    },
}


DATED = re.compile(r"'(\d{4}-\d\d-\d\d(?:T[^']*Z)?)'")


def yaml_of(content: dict[str, Any]) -> str:
    """Return a contract's content as YAML in the form that people write, with dates not in quotes."""
    copied = json.loads(json.dumps(content))  # a mapping used twice would become a YAML alias
    return DATED.sub(r"\1", yaml.safe_dump(copied, sort_keys=False))


def content_of(task: str) -> dict[str, Any]:
    """Return the content of a contract for a task, parsed from YAML."""
    content = contract_content(task)
    gates = COMMON | {"min_slice_rows": 50} | BY_TASK[task]["gates"]
    monitoring = content["monitoring"] | {"max_bias": MAX_BIAS[task]}
    merged = content | BY_TASK[task] | {"gates": gates, "monitoring": monitoring}
    found: dict[str, Any] = yaml.safe_load(yaml_of(merged))
    return found


def contract_of(task: str) -> Contract:
    """Return the contract for a task."""
    return parse_contract(content_of(task), task)
