"""A small synthetic problem for each task: deliveries to some customers, ordered by three channels.

`synthetic_problem(task)` is the problem, as built by a project's `problem/__init__.py`; `prepared(task)` adds
rows, features and windows; `synthetic_artifact(task)` is the trained artifact. All are seeded and cached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fivestage.common.clock import DAY, minute_of_day, weekday
from fivestage.common.columns import Row, Value, lookup
from fivestage.contract.contract import Contract, epoch_of, parse_contract
from fivestage.features.definitions import FeatureDefinitions, Features, Reference
from fivestage.features.stores import HOUR, AdditiveEvent, LatestValue, LoggedEvent, PointInTimeView

# A service of these problems starts without pandas and scikit-learn, as the service of a project does.
if TYPE_CHECKING:
    import pandas as pd

    from fivestage.artifact.artifact import Artifact
    from fivestage.data.event_tables import EventTables
    from fivestage.data.splits import TemporalSplit
    from fivestage.features.problem import Tables
    from fivestage.training.packaging import Fitted
    from fivestage.training.sample import TrainingSample

TASKS = ("binary", "multiclass", "regression")
CLASSES = ("on time", "late", "very late", "lost")
CHANNELS = ("web", "phone", "shop")
START = epoch_of("2024-01-01")
AS_OF = "2024-04-20"
DAYS, ROWS_A_DAY, CUSTOMERS = 140, 25, 30
REGIONS = ("north", "south", "east")
REGION = {f"c{number:02}": REGIONS[number % len(REGIONS)] for number in range(CUSTOMERS)}

TIMESTAMP = {
    "type": "timestamp",
    "min": "2020-01-01T00:00:00Z",
    "max": "2040-01-01T00:00:00Z",
    "example": "2024-04-20T09:00:00Z",
}
ORDER = {"type": "integer", "about": "number of the order", "min": 0, "max": 10**9, "example": 17}
CUSTOMER = {"type": "category", "about": "customer", "max_length": 8, "example": "c03"}
CHANNEL = {"type": "category", "about": "channel", "values": [*CHANNELS], "example": "web"}
AMOUNT = {"type": "number", "about": "amount", "unit": "EUR", "min": 0, "max": 2000, "nullable": True}

GATES = {"max_row_ms": 50, "confidence": 0.9, "max_loss_per_1000": 10_000, "max_slice_loss": 1.0}
BY_TASK: dict[str, dict[str, Any]] = {
    "binary": {
        "decision": {"act": "call", "wait": "wait"},
        "label": {"name": "failed", "means": "the delivery failed", "known": "six hours later"},
        "costs": {
            "currency": "EUR",
            "act_positive": 40,
            "act_negative": 20,
            "wait_positive": 80,
            "wait_negative": 0,
        },
        "baselines": {"prior": 0.0, "historical_rate": 0.0},
        "gates": {"max_calibration_error": 0.15, "max_bias": 0.1, "suspicious_roc_auc": 0.97},
        "monitoring": {"max_bias": 0.1},
    },
    "multiclass": {
        "label": {
            "name": "outcome",
            "means": "how the delivery ended",
            "known": "six hours later",
            "classes": [*CLASSES],
        },
        "costs": {
            "currency": "EUR",
            "actions": {
                "nothing": dict(zip(CLASSES, [0, 10, 40, 120], strict=True)),
                "warn": dict(zip(CLASSES, [8, 6, 25, 90], strict=True)),
                "call": dict(zip(CLASSES, [25, 22, 20, 30], strict=True)),
            },
        },
        "baselines": {"prior": 0.0, "historical_rate": 0.0},
        "gates": {"max_calibration_error": 0.15, "max_bias": 0.1, "suspicious_roc_auc": 0.97},
        "monitoring": {"max_bias": 0.1},
    },
    "regression": {
        "label": {
            "name": "minutes",
            "means": "minutes of delay",
            "known": "six hours later",
            "unit": "minutes",
        },
        "costs": {"currency": "EUR", "over": 1, "under": 3},
        "interval": 0.8,
        "baselines": {"prior": 0.0, "historical_mean": 0.0},
        "gates": {"max_coverage_error": 0.15, "max_bias": 10, "suspicious_r2": 0.97},
        "monitoring": {"max_bias": 10},
    },
}


def contract_content(task: str) -> dict[str, Any]:
    """Return the content of a `problem.yaml`; each call returns a new one, which tests may change."""
    own = BY_TASK[task]
    return {
        "name": f"synthetic-{task}",
        "title": "How will this delivery go?",
        "task": task,
        "decision": {
            "who": "the dispatcher",
            "what": "an hour before the delivery, act or wait",
            "time_column": "deliver_at",
            "hours_before": 1,
        }
        | own.get("decision", {}),
        "label": own["label"],
        "identity": ["order_number", "deliver_at"],
        "columns": {
            "order_number": ORDER,
            "customer": CUSTOMER,
            "channel": CHANNEL,
            "amount": AMOUNT | {"example": 120.5},
            "deliver_at": TIMESTAMP | {"about": "when it is due"},
        },
        "events": {
            "delivery": {
                "about": "a delivery has ended",
                "known": "ended_at",
                "identity": ["order_number"],
                "columns": {
                    "order_number": ORDER,
                    "customer": CUSTOMER,
                    "delay": {"type": "number", "about": "minutes", "min": -600, "max": 6000, "example": 12},
                    "ended_at": TIMESTAMP | {"about": "when it ended"},
                },
            },
            "traffic": {
                "about": "an hour's traffic",
                "known": "hour",
                "known_after_hours": 1,
                "identity": ["channel", "hour"],
                "columns": {
                    "channel": CHANNEL,
                    "hour": TIMESTAMP | {"about": "start of the hour"},
                    "level": {
                        "type": "number",
                        "about": "level of traffic",
                        "min": -50,
                        "max": 50,
                        "nullable": True,
                        "example": 0.5,
                    },
                },
            },
        },
        "slices": ["channel"],
        "costs": own["costs"],
        **({"interval": own["interval"]} if "interval" in own else {}),
        "baselines": own["baselines"],
        "split": {
            "test_start": AS_OF,
            "test_end": "2024-05-20",
            "holdout_days": 14,
            "folds": 2,
            "fold_days": 14,
        },
        "gates": GATES | own["gates"] | {"min_slice_rows": 50},
        "service": {"p99_ms": 25, "availability": 0.999, "requests_per_second": 50, "max_batch": 1000},
        "monitoring": {
            "period_days": 7,
            "bad_periods": 2,
            "of_periods": 3,
            "reference_days": 56,
            "false_alarm": 0.01,
            "min_label_share": 0.9,
            "cooldown_days": 21,
            "max_age_days": 84,
        }
        | own["monitoring"],
        "budget": {"training_minutes": 10, "retrainings_per_year": 12, "retraining_cost": 5},
    }


def delivery_events(event: Row, reference: Reference) -> list[LoggedEvent]:
    """Count the end of a delivery, whether it was late, and its delay in minutes."""
    del reference
    minutes = np.floor(event["delay"]) if isinstance(event["delay"], np.ndarray) else event["delay"] // 1
    late = (event["delay"] > 0) * 1
    return [AdditiveEvent("ended/customer", event["customer"], event["ended_at"], (late, minutes))]


def traffic_events(event: Row, reference: Reference) -> list[LoggedEvent]:
    """Store the traffic of an hour, which is known when the hour is over."""
    del reference
    return [LatestValue("traffic", event["channel"], event["hour"] + HOUR, (event["level"],))]


def order_features(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Features of the order itself and of its decision time."""
    del past, reference
    return {
        "channel": row["channel"],
        "amount": row["amount"],
        "minute": minute_of_day(at),
        "weekday": weekday(at),
    }


def history_features(row: Row, at: Value, past: PointInTimeView, reference: Reference) -> Features:
    """Features of earlier deliveries to the customer, and of the latest known traffic."""
    count, late, minutes = past.window("ended/customer", row["customer"], at, 14 * 24, 2)
    (level,) = past.latest("traffic", row["channel"], at, 6, 1)
    return {
        "ended_14d": count,
        "late_14d": (late + 0.5) / (count + 1),
        "minutes_14d": minutes / (count + 1),
        "traffic": level,
        "region": lookup(reference["region"], row["customer"], "elsewhere"),
    }


FEATURES = FeatureDefinitions(
    {"delivery": delivery_events, "traffic": traffic_events},
    {"order": order_features, "history": history_features},
    lookback_hours=14 * 24,
)


@dataclass(frozen=True)
class SyntheticProblem:
    """The synthetic problem of one task; see `fivestage.features.problem.Problem`."""

    contract: Contract
    features: FeatureDefinitions = FEATURES
    seed: int = 0
    days: int = DAYS

    def candidates(self, rows: int, text: Sequence[str]) -> dict[str, Any]:
        del rows, text
        return {"boosting": boosting(self.contract.task)}

    def digest(self) -> str:
        text = f"{self.contract.digest} {self.seed} {self.days}"
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self, contract: Contract, part: str = "") -> Tables:
        del part
        return tables(contract, self.seed, self.days)

    def parts(self) -> tuple[str, ...]:
        return ()

    def read_batch(self, source: str, contract: Contract) -> pd.DataFrame | None:
        del source, contract
        return None


def boosting(task: str, **settings: Any) -> Any:
    """Return a small boosting model, unfitted."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    defaults = {"learning_rate": 0.2, "max_leaf_nodes": 8, "max_iter": 15, "min_samples_leaf": 20}
    return kind(**{**defaults, "early_stopping": False, "random_state": 0, **settings})


def tables(contract: Contract, seed: int = 0, days: int = DAYS) -> Tables:
    """Draw rows, events and labels; the delay depends on the customer, the traffic, the amount, and noise."""
    import pandas as pd

    from fivestage.features.problem import Tables

    random = np.random.default_rng(seed)
    rows = days * ROWS_A_DAY
    decided = np.sort(START + random.integers(0, days * DAY // 60, rows) * 60)
    customer, channel = random.integers(0, CUSTOMERS, rows), random.integers(0, len(CHANNELS), rows)
    amount = np.round(random.gamma(2, 60, rows), 2)
    hours = np.arange(START // HOUR - 24, START // HOUR + days * 24) * HOUR
    level = np.cumsum(random.normal(0, 0.35, (len(hours), len(CHANNELS))), axis=0)
    level -= pd.DataFrame(level).rolling(72, min_periods=1).mean().to_numpy()
    known_level = level[np.searchsorted(hours, decided, side="right") - 2, channel]
    of_customer = random.normal(0, 1, CUSTOMERS)[customer]
    strain = 1.2 * of_customer + 0.9 * known_level + 0.8 * (amount > 150) + random.normal(0, 1.0, rows)
    delay = np.round(12 * strain + 3 * strain * np.abs(strain) - 6, 1)
    known = decided + HOUR + 6 * HOUR
    frame = pd.DataFrame(
        {
            "order_number": np.arange(rows),
            "customer": np.array([f"c{one:02}" for one in customer], dtype=object),
            "channel": np.array(CHANNELS, dtype=object)[channel],
            "amount": np.where(random.random(rows) < 0.05, np.nan, amount),
            "deliver_at": decided + HOUR,
            "decision_at": decided,
            contract.label.name: _label(contract.task, delay),
            "known_at": known,
        }
    )
    delivery = frame[["order_number", "customer"]].assign(delay=delay, ended_at=known)
    traffic = pd.DataFrame(
        {
            "channel": np.tile(np.array(CHANNELS, dtype=object), len(hours)),
            "hour": np.repeat(hours, len(CHANNELS)),
            "level": np.where(random.random(level.size) < 0.02, np.nan, level.ravel().round(3)),
        }
    )
    none = pd.DataFrame({"table": [], "line": [], "reason": [], "kept": []})
    return Tables(frame, {"delivery": delivery, "traffic": traffic}, {"region": dict(REGION)}, none, {})


def _label(task: str, delay: Any) -> Any:
    if task == "binary":
        return (delay > 8).astype(np.int64)
    if task == "multiclass":
        return np.digitize(delay, [0, 15, 45]).astype(np.int64)
    return delay


@dataclass(frozen=True)
class Prepared:
    """A problem's rows with their features and windows, as of `AS_OF`."""

    problem: SyntheticProblem
    rows: pd.DataFrame
    features: pd.DataFrame
    event_tables: EventTables
    windows: TemporalSplit
    sample: TrainingSample

    @property
    def contract(self) -> Contract:
        return self.problem.contract

    def label(self, places: Any) -> Any:
        return self.rows[self.contract.label.name].to_numpy()[places]


@cache
def synthetic_problem(task: str) -> SyntheticProblem:
    """Return the problem of a task."""
    return SyntheticProblem(parse_contract(json.dumps(contract_content(task)), task))


@cache
def prepared(task: str) -> Prepared:
    """Return the training data of a task's problem, which tests must not change."""
    return prepare(synthetic_problem(task))


def prepare(problem: SyntheticProblem, as_of: str = AS_OF) -> Prepared:
    """Build the training data of any synthetic problem."""
    from fivestage.data.event_tables import EventTables
    from fivestage.data.splits import windows_at
    from fivestage.features.offline import build_features
    from fivestage.training.sample import training_sample

    contract, loaded = problem.contract, problem.load(problem.contract)
    event_tables = EventTables(loaded.events, loaded.reference)
    rows = loaded.rows
    features = build_features(problem.features, rows, event_tables.events, event_tables.reference)
    windows = windows_at(rows, contract.split, epoch_of(as_of))
    sample = training_sample(rows, features, windows, contract)
    return Prepared(problem, rows, features, event_tables, windows, sample)


def request_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a client sends it: timestamps in ISO 8601, and null for missing numbers."""
    import pandas as pd

    timestamps = ("deliver_at", "hour", "ended_at")
    return {
        name: pd.Timestamp(value, unit="s", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
        if name in timestamps
        else None
        if isinstance(value, float) and np.isnan(value)
        else value
        for name, value in row.items()
    }


def changed(contract: Contract, **groups: Mapping[str, Any]) -> Contract:
    """Return a copy of the contract with some fields of some sections changed."""
    updates = {
        group: getattr(contract, group).model_copy(update=dict(fields)) for group, fields in groups.items()
    }
    return contract.model_copy(update=updates)


@cache
def synthetic_fitted(task: str) -> Fitted:
    """Fit a small model of a task."""
    from fivestage.artifact.calibration import CALIBRATIONS
    from fivestage.training.packaging import fit_chosen
    from fivestage.training.selection import Selection

    one = prepared(task)
    candidates = one.problem.candidates(len(one.windows.train), ())
    selection = Selection(next(iter(candidates)), {}, CALIBRATIONS[task](), ())
    return fit_chosen(one.sample, selection, candidates)


@cache
def synthetic_artifact(task: str) -> Artifact:
    """Build the artifact of that model."""
    return packaged(prepared(task), synthetic_fitted(task))


def packaged(one: Prepared, fitted: Fitted) -> Artifact:
    """Build the artifact of a fitted model."""
    from fivestage.artifact.artifact import Lineage

    lineage = Lineage("data", one.contract.digest, "lock", "code")
    return fitted.artifact(one.rows, one.event_tables, one.problem, lineage)
