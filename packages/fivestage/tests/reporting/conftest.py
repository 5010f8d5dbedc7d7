"""The results of a small run, as reported by its stages: a year of data, a model and a retraining."""

import math
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest
from pydantic import TypeAdapter

from fivestage import reporting
from fivestage.contract.contract import Contract, MulticlassContract
from fivestage.evaluation.gates import ConfusionMatrix, DecisionScores, Gate, Probe
from fivestage.evaluation.metrics import CalibrationPoint, CostPoint, Estimate, Slice
from fivestage.monitoring.retraining import PolicyResult
from fivestage.reporting.results import (
    AblationRow,
    CauseRow,
    ColumnDriftRow,
    DataSection,
    ModelSection,
    MonitoringSection,
    ParityRow,
    PeriodRow,
    PoliciesSection,
    ProblemSection,
    Results,
    Retraining,
    RunSection,
    ServingSection,
    VersionChange,
    WeeklyLabel,
    WindowRow,
)
from fivestage.training.leaderboard import LeaderboardRow
from tests.contract.contracts import contract_of

START = date(2013, 1, 1)
HOLDOUT = date(2013, 9, 1)
TEST = date(2013, 10, 1)
WATCHED = ("queue_length", "clock", "late_3h", "late_24h", "late_28d", "pressure", "category_rate")


CONFUSION = ConfusionMatrix(
    outcomes=("late", "very late", "lost"),
    counts=((900, 100), (250, 730), (2, 18)),
    decisions=(
        DecisionScores("wait", ("late",), 0.78125, 0.9, 1000),
        DecisionScores("call_ahead", ("very late", "lost"), 0.882, 0.748, 1000),
    ),
)


@pytest.fixture(scope="session")
def contract() -> Contract:
    return contract_of("binary")


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the plots of pages, which take most of the time, for tests that read only the text."""
    monkeypatch.setattr(reporting, "plots", defaultdict(lambda: lambda *_: ""), raising=False)


@pytest.fixture(scope="session")
def results(contract: Contract) -> Results:
    monitored = _monitoring()
    return Results(
        ProblemSection(contract.digest), _data(), _model(contract), _serving(), monitored, _run(), _policies()
    )


def for_task(task: str, results: Results) -> tuple[Contract, Results]:
    """Return the results as a run of another task, with the names of that task's metrics."""
    contract = contract_of(task)
    assert results.model
    assert results.data
    assert results.monitoring
    if isinstance(contract, MulticlassContract):
        names = contract.label.classes
        shares = {name: 1 / len(names) for name in names}
        weeks = tuple(replace(week, shares=shares) for week in results.data.label_rate)
        points = tuple(replace(point, of=name) for name in names for point in results.model.calibration)
        model = replace(results.model, calibration=points)
        return contract, replace(results, data=replace(results.data, label_rate=weeks), model=model)
    as_json = TypeAdapter(Results).dump_json(results).decode()
    renamed = as_json.replace('"roc_auc"', '"mae"').replace('"log_loss"', '"rmse"')
    return contract, TypeAdapter(Results).validate_json(renamed)


def _data() -> DataSection:
    weeks = [
        WeeklyLabel(
            START + timedelta(days=7 * at), 0.26 + 0.07 * math.sin(at / 4) + 0.02 * (at % 3 - 1), 6400
        )
        for at in range(52)
    ]
    folds = [date(2013, 6, 3), date(2013, 7, 3), date(2013, 8, 2), HOLDOUT]
    return DataSection(
        raw_rows={"journeys": 336_776, "readings": 26_115},
        rows=336_750,
        quarantined={"the same identity twice": 24, "end before start": 1, "value <out> of range": 1},
        events={"due": 336_750, "gone": 328_520, "reading": 26_114},
        windows=(
            WindowRow("train", START, HOLDOUT, 222_000),
            *(WindowRow("fold", start, end, 28_000) for start, end in pairwise(folds)),
            WindowRow("holdout", HOLDOUT, TEST, 27_500),
            WindowRow("test", TEST, date(2014, 1, 1), 84_000),
        ),
        label_rate=tuple(weeks),
        probes=(
            Probe(
                "future scrambled",
                passed=True,
                sentence="No feature moved when all that came after the decision was scrambled.",
            ),
            Probe(
                "shuffled labels",
                passed=True,
                sentence="With shuffled labels the model gets a ROC-AUC of 0.503.",
            ),
            Probe("no overlap", passed=True, sentence="No row is in two windows."),
        ),
        features={"clock": ("clock", "day_of_week"), "history": ("late_3h", "late_24h", "late_28d")},
    )


def _model(contract: Contract) -> ModelSection:
    threshold = contract.costs.threshold
    candidates = (
        LeaderboardRow("prior", "baseline", {"roc_auc": 0.5, "log_loss": 0.561, "savings_share": 0.0}),
        LeaderboardRow(
            "historical_rate", "baseline", {"roc_auc": 0.629, "log_loss": 0.543, "savings_share": 0.02}
        ),
        LeaderboardRow(
            "logistic_regression", "baseline", {"roc_auc": 0.75, "log_loss": 0.472, "savings_share": 0.27}
        ),
        LeaderboardRow(
            "boosting_small", "candidate", {"roc_auc": 0.751, "log_loss": 0.47, "savings_share": 0.268}
        ),
        LeaderboardRow(
            "boosting",
            "candidate",
            {"roc_auc": 0.755, "log_loss": 0.468, "savings_share": 0.274},
            chosen=True,
        ),
    )
    ablation = [
        ("clock", 0.631, 0.564, 0.02),
        ("clock + readings", 0.692, 0.511, 0.17),
        ("clock + history", 0.743, 0.478, 0.25),
        ("clock + readings + history", 0.751, 0.470, 0.27),
        ("all", 0.755, 0.468, 0.274),
    ]
    slices = [("origin", "EWR", 0.762), ("origin", "JFK", 0.741), ("origin", "LGA", 0.758)]
    slices += [
        ("shop", value, 0.7 + at / 100) for at, value in enumerate(("UA", "B6", "EV", "DL", "AA", "MQ"))
    ]
    return ModelSection(
        version="1",
        digest="5f2b" * 16,
        promoted=True,
        candidates=candidates,
        test={
            "roc_auc": Estimate(0.7551, 0.7302, 0.7731),
            "pr_auc": Estimate(0.534, 0.48, 0.59),
            "log_loss": Estimate(0.468, 0.44, 0.497),
            "brier": Estimate(0.152, 0.14, 0.163),
            "calibration_error": Estimate(0.018, 0.012, 0.031),
            "bias": Estimate(-0.0041, -0.02, 0.012),
            "cost_per_1000": Estimate(160_204, 148_000, 173_000),
            "savings_share": Estimate(0.274, 0.22, 0.31),
            "rate": Estimate(0.243, 0.21, 0.28),
            "rows": Estimate(84_000, 84_000, 84_000),
        },
        threshold=threshold,
        gates=(
            Gate(
                "better_than_baseline",
                passed=True,
                value=0.072,
                limit=0.05,
                sentence="Saves 7.2% more of what is possible than the best baseline.",
            ),
            Gate(
                "calibration",
                passed=True,
                value=0.018,
                limit=0.05,
                sentence="Calibration error 0.018, at most 0.05.",
            ),
            Gate(
                "bias",
                passed=True,
                value=0.004,
                limit=0.05,
                sentence="Mean prediction 0.4 points from the rate.",
            ),
            Gate("row_ms", passed=True, value=0.21, limit=5.0, sentence="One row takes 0.21 ms, at most 5."),
        ),
        lineage={"data": "ab" * 32, "contract": contract.digest, "commit": "67dd251", "as of": "2013-10-01"},
        ablation=tuple(
            AblationRow(
                name,
                {
                    "roc_auc": Estimate(auc, auc - 0.022, auc + 0.02),
                    "log_loss": Estimate(loss, loss - 0.028, loss + 0.027),
                    "savings_share": Estimate(saved, saved - 0.04, saved + 0.03),
                },
            )
            for name, auc, loss, saved in ablation
        ),
        slices=tuple(
            Slice(
                column,
                value,
                9000 - 400 * at,
                {
                    "roc_auc": Estimate(auc, auc - 0.03, auc + 0.03),
                    "cost_per_1000": Estimate(160_000 + 4000 * (at % 4), 148_000, 176_000),
                },
            )
            for at, (column, value, auc) in enumerate(slices)
        ),
        calibration=tuple(
            CalibrationPoint(at / 10 + 0.03, at / 10 + 0.035 - 0.01 * (at % 2), 20_000 - 2000 * at)
            for at in range(9)
        ),
        cost_curve=tuple(
            CostPoint(at / 50, 160_000 + 120_000 * (at / 50 - threshold) ** 2) for at in range(51)
        ),
        importance={name: 1 / (2 + at) for at, name in enumerate(WATCHED)},
        confusion=CONFUSION,
    )


def _serving() -> ServingSection:
    return ServingSection(
        version="1",
        url="http://127.0.0.1:8000",
        parity=ParityRow(5000, 2.2e-16),
        requests=2760,
        failed=0,
        at_switch=640,
        rows=84_000,
        p50_ms=3.1,
        p99_ms=11.4,
    )


def _causes(start: date) -> tuple[CauseRow, ...]:
    days = start - timedelta(days=56)
    usual = tuple(0.02 + 0.01 * (day % 3) for day in range(56))
    broken = "pressure: missing in 40.0% of rows, was 3.0%; since 26 Nov"
    return (
        CauseRow(
            "data broken", "pressure", broken, "share missing", days, usual, (0.03, 0.4, 0.41), 0.02, 0.04
        ),
        CauseRow("input shift", "rows a day", "rows a day: 400, were 900"),
    )


def _policies() -> PoliciesSection:
    never = PolicyResult("never", 0, 0, 5_000_000.0, 0.0, Estimate(0.0, 0.0, 0.0), (0.0,) * 30)
    saved = tuple(1000.0 * day for day in range(30))
    often = PolicyResult("every 4 periods", 7, 5, 4_970_000.0, 35.0, Estimate(1000.0, 200.0, 1900.0), saved)
    drift = PolicyResult("on drift", 9, 2, 5_010_000.0, 45.0, Estimate(-300.0, -900.0, 400.0), saved[::-1])
    return PoliciesSection(TEST, TEST + timedelta(days=30), 29_000, (never, often, drift))


def _monitoring() -> MonitoringSection:
    periods = []
    for at in range(13):
        start = TEST + timedelta(days=7 * at)
        bad = at in (8, 9)
        middle = 0.03 * math.sin(at)
        bias = -0.06 if bad else 0.01 * math.cos(at)
        periods.append(
            PeriodRow(
                start=start,
                end=start + timedelta(days=7),
                version="1" if at < 10 else "2",
                rows=6300 + at,
                label_share=0.998,
                metrics={
                    "roc_auc": Estimate(0.75 + middle, 0.72 + middle, 0.77 + middle),
                    "log_loss": Estimate(0.47, 0.44, 0.5),
                    "bias": Estimate(bias, bias - 0.03, bias + 0.03),
                    "cost_per_1000": Estimate(160_000 + 900_000 * abs(bias), 140_000, 230_000),
                    "savings_share": Estimate(0.27, 0.2, 0.31),
                },
                drift=tuple(
                    ColumnDriftRow(
                        column,
                        score := 0.02 + 0.01 * ((at * 7 + row * 3) % 5) + (0.06 if bad and row < 2 else 0),
                        0.07,
                        f"{column} moved by {score:.2f}, more than 0.07.",
                    )
                    for row, column in enumerate(WATCHED)
                ),
                bad=bad,
                verdict="Predictions 6 points below the rate that came." if bad else "As expected.",
                estimated_cost=158_000.0,
                drift_report=f"drift/{start}.html",
                causes=_causes(start) if bad else (),
                slices=tuple(
                    Slice(
                        "origin",
                        value,
                        2100,
                        {
                            "roc_auc": Estimate(0.74, 0.7, 0.78),
                            "bias": Estimate(bias + far, bias + far - 0.02, bias + far + 0.02),
                            "cost_per_1000": Estimate(150_000, 140_000, 160_000),
                        },
                    )
                    for value, far in (("EWR", -0.02), ("JFK", 0.0), ("LGA", 0.01))
                ),
                estimated={
                    "roc_auc": Estimate(0.76, 0.74, 0.78),
                    "log_loss": Estimate(0.46, 0.44, 0.48),
                    "cost_per_1000": Estimate(158_000, 150_000, 166_000),
                },
            )
        )
    again = date(2013, 12, 10)
    gates = (
        Gate(
            "against champion",
            passed=True,
            value=2400.0,
            limit=0.0,
            sentence="Saves 2,400 USD per 1,000 decisions, surely above 0.",
        ),
    )
    return MonitoringSection(
        periods=tuple(periods),
        retrainings=(
            Retraining(
                again, "2 of the last 3 periods are bad, the latest too", "2", promoted=True, gates=gates
            ),
        ),
        versions=(VersionChange(TEST, "1"), VersionChange(again, "2")),
    )


def _run() -> RunSection:
    return RunSection({"problem": 0.1, "data": 33.0, "model": 61.2, "serving": 9.8, "monitoring": 88.0})
