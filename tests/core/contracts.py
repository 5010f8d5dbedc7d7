"""The shipped contract made over for each task: what differs, and nothing else."""

import copy
from typing import Any

import yaml

from core.contract import CONTRACT_PATH, Contract, parse_contract

CLASSES = ["early", "on time", "late", "very late", "lost"]
COMMON = {"max_row_ms": 5, "confidence": 0.9, "max_loss_per_1000": 1000, "max_slice_loss": 0.5}
OF_TASK: dict[str, dict[str, Any]] = {
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
    },
    "regression": {
        "label": {"name": "delay", "means": "how late it is", "known": "at its end", "unit": "minutes"},
        "costs": {"currency": "USD", "over": 1, "under": 3},
        "interval": 0.8,
        "gates": {"max_coverage_error": 0.05, "max_bias": 5, "suspicious_r2": 0.8},
        "baselines": {"prior": 0.0, "historical_mean": 0.0, "linear_regression": 0.0},
    },
}


def content_of(task: str) -> dict[str, Any]:
    """The content of a contract of a task."""
    content: dict[str, Any] = yaml.safe_load(CONTRACT_PATH.read_text(encoding="utf-8"))
    made = copy.deepcopy(content | OF_TASK[task] | {"task": task})
    made["gates"] |= COMMON | {"min_slice_rows": 50}
    made["decision"] = {n: v for n, v in made["decision"].items() if n not in ("act", "wait")}
    if task == "regression":
        made["monitoring"]["max_bias"] = 5
    return made


def contract_of(task: str) -> Contract:
    """A contract of a task."""
    return parse_contract(content_of(task), task)
