"""Evidently's report of a period: its input frames and its run."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from evidently import (
    BinaryClassification,
    DataDefinition,
    Dataset,
    MulticlassClassification,
    Regression,
    Report,
)
from evidently.core.report import Snapshot
from evidently.metrics import DriftedColumnsCount, ValueDrift
from evidently.presets import DataDriftPreset

from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract, MulticlassContract, RegressionContract, day_of
from fivestage.data.labels import labels_of
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.evaluate import decision_day
from fivestage.monitoring.causes import QUALITY
from fivestage.monitoring.drift import DAY_COLUMN
from fivestage.monitoring.evidently_drift import FORECAST_COLUMN, LABEL_COLUMN
from fivestage.monitoring.performance import JudgedScore, Performance, score_columns, score_names

PREDICTED_COLUMN = "predicted class"


@dataclass(frozen=True)
class PeriodColumns:
    """The columns of a period's frames by role, from which a project builds its checks."""

    inputs: tuple[str, ...]
    scores: tuple[str, ...]
    forecasts: tuple[str, ...]
    performance_metrics: tuple[JudgedScore, ...]  # from the labels that have arrived
    contract: Contract
    days: tuple[int, int] | None = None  # the period's first and the day after its last, in days since 1970

    @classmethod
    def of(
        cls,
        features: pd.DataFrame,
        frame: pd.DataFrame,
        performance: Performance,
        contract: Contract,
    ) -> "PeriodColumns":
        """Return the columns of a frame built by `period_frame`."""
        inputs = tuple(str(name) for name in features if name not in contract.monitoring.unwatched)
        own = (str(name) for name in frame if name not in features)
        forecasts = tuple(name for name in own if name.startswith(FORECAST_COLUMN))
        return cls(inputs, score_names(contract), forecasts, performance.judged, contract)


Checks = Callable[[PeriodColumns], Report]


def period_frame(
    features: pd.DataFrame, rows: pd.DataFrame, forecast: Floats, end: int, contract: Contract, as_of: int = 0
) -> pd.DataFrame:
    """Build a frame with one row per decision: features, day, label, forecast and scores.

    A period that ends at `end` is checked at `as_of`. A label counts only if it was known as early after the
    end of the row's own period, also in the reference: often the easy cases end first, so labels that arrive
    early are comparable only with others that arrived as early.
    """
    label = np.asarray(labels_of(rows, contract), dtype=np.float64)
    length = contract.monitoring.period_seconds
    own_end = end - (end - 1 - rows["decision_at"]) // length * length
    known = (rows["known_at"] - own_end < max(as_of - end, 0)).to_numpy()
    wide = forecast.reshape(len(rows), -1)
    names = [FORECAST_COLUMN, *(f"{FORECAST_COLUMN} {place}" for place in range(1, wide.shape[1]))]
    columns: dict[str, Any] = {
        DAY_COLUMN: decision_day(rows),
        LABEL_COLUMN: np.where(known, label, np.nan),
        **dict(zip(names, wide.T, strict=True)),
        **score_columns(forecast, contract),
    }
    if isinstance(contract, MulticlassContract):
        columns[PREDICTED_COLUMN] = np.where(np.isnan(wide[:, 0]), -1, np.nan_to_num(wide).argmax(axis=1))
    order = np.argsort(decision_day(rows), kind="stable")
    return features.reset_index(drop=True).assign(**columns).iloc[order]


def run_checks(
    report: Report, current: pd.DataFrame, reference: pd.DataFrame, contract: Contract, end: int
) -> Snapshot:
    """Run a report on a period's frames, or raise `UserError` if a check cannot apply to them."""
    _require_labelled_rows(report)
    _leave_out_empty_columns(report, current, reference)
    now, then = (
        Dataset.from_pandas(_with_classes(frame, contract), data_definition=_definition(frame, contract))
        for frame in (current, reference)
    )
    first, moment = int(current[DAY_COLUMN].min()) * DAY, datetime.fromtimestamp(end, UTC)
    name = f"{day_of(first)} to {day_of(end - 1)}"
    try:
        return report.run(now, then, timestamp=moment.replace(tzinfo=None), name=name)
    except KeyError as error:
        if error.args[0] in current:
            raise
        raise UserError(
            f"A check in monitoring/checks.py uses the column {error.args[0]!r}, which does not exist: "
            f"fix its name. The columns are {', '.join(map(repr, current))}."
        ) from error


def _require_labelled_rows(report: Report) -> None:
    """Raise if a metric judges the model on all rows: Evidently's need the label of each."""
    for one in report.metrics:
        if type(one).__module__.endswith(QUALITY):
            raise UserError(
                f"{type(one).__name__} in monitoring/checks.py needs rows with labels: write "
                f"LabelledRows(items=[{type(one).__name__}(...)])."
            )


def _leave_out_empty_columns(report: Report, current: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Exclude columns without values from Evidently's drift, which raises; `CalibratedDrift` reports them."""
    empty = {name for frame in (current, reference) for name in frame if frame[name].isna().all()}
    metrics = []
    for one in report.metrics:
        if isinstance(one, DataDriftPreset | DriftedColumnsCount):
            columns = [str(name) for name in one.columns or current if name not in empty]
            if columns:  # none would mean all
                metrics.append(one.copy(update={"columns": columns}) if empty else one)
        elif not (isinstance(one, ValueDrift) and one.column in empty):
            metrics.append(one)
    report.metrics = metrics


def _with_classes(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the frame with integers as labels of classes: Evidently's summary takes no others."""
    if isinstance(contract, RegressionContract):
        return frame
    label = frame[LABEL_COLUMN]
    return frame.assign(**{LABEL_COLUMN: label.astype("Int64").astype(object).where(label.notna(), None)})


def _definition(frame: pd.DataFrame, contract: Contract) -> DataDefinition:
    """Tell Evidently which columns are numbers or categories, and which are the label and its prediction."""
    binary = BinaryClassification(target=LABEL_COLUMN, prediction_probas=FORECAST_COLUMN)
    multiclass = MulticlassClassification(target=LABEL_COLUMN, prediction_labels=PREDICTED_COLUMN)
    roles: dict[str, dict[str, Any]] = {
        "binary": {"classification": [binary]},
        "multiclass": {"classification": [multiclass]},
        "regression": {"regression": [Regression(target=LABEL_COLUMN, prediction=FORECAST_COLUMN)]},
    }
    classes = () if isinstance(contract, RegressionContract) else (LABEL_COLUMN, PREDICTED_COLUMN)
    numbers = [name for name in frame.select_dtypes(["number", "bool"]) if name not in classes]
    texts = [name for name in frame if name not in numbers]
    return DataDefinition(numerical_columns=numbers, categorical_columns=texts, **roles[contract.task])
