"""Tests of the checks of each period, and of alert rules and manifests against the contract."""

import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import ProblemSlice
from fivestage.capacity.patches import require_current
from fivestage.capacity.size import sized
from fivestage.common.clock import DAY
from fivestage.common.errors import UserError
from fivestage.common.settings import ROOT
from fivestage.contract.contract import MulticlassContract, RegressionContract
from fivestage.evaluation.daily import Floats
from fivestage.evaluation.metrics import Estimate
from fivestage.monitoring.alerts import FOLDER, operator_rules
from fivestage.monitoring.causes import Cause, failed_tests
from fivestage.monitoring.exposition import exposed
from fivestage.monitoring.performance import Performance
from fivestage.monitoring.period import MonitoredPeriod
from fivestage.monitoring.period_report import PeriodColumns, period_frame, run_checks
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision, RetrainingHistory, Span
from fivestage.monitoring.served import Served
from fivestage.serving.prometheus_metrics import bound_of
from monitoring.checks import checks
from monitoring.policy import decide
from pipelines.monitoring import monitoring
from problem import PROBLEM
from steps import monitor
from steps.monitor import alerts_of, metrics_of

CONTRACT = PROBLEM.contract
ROWS, REFERENCE, PERIOD = 60, 56, 7
END = (REFERENCE + PERIOD) * DAY
NO_LOG = pd.DataFrame({"model_version": []})
NO_LABELS: Any = SimpleNamespace(judged=())


@pytest.fixture(scope="module")
def own(problem_slice: ProblemSlice) -> pd.DataFrame:
    """Features of this problem, because your own checks may name them."""
    return problem_slice.features


def days(own: pd.DataFrame, seed: int, first: int, number: int) -> pd.DataFrame:
    """Return some days as the checks see them: three more features and a forecast, without labels."""
    draw = np.random.default_rng(seed)
    day = np.repeat(np.arange(first, first + number), ROWS)
    x = draw.normal(size=day.size) + draw.normal(0, 0.3, number)[day - first]
    place = draw.choice(["north", "south"], day.size)
    features = own.sample(day.size, replace=True, random_state=seed, ignore_index=True)
    features = features.assign(x=x, y=draw.normal(size=day.size), place=place)
    rows = pd.DataFrame({"decision_at": day * DAY, "known_at": END, CONTRACT.label.name: 0})
    return period_frame(features, rows, forecast(x), END, CONTRACT)


def forecast(x: Floats) -> Floats:
    """Return forecasts in the form of the problem's task."""
    if isinstance(CONTRACT, RegressionContract):
        return np.column_stack([x, x - 1, x + 1, x])
    chance = 1 / (1 + np.exp(-x))
    if isinstance(CONTRACT, MulticlassContract):
        others = len(CONTRACT.label.classes) - 1
        return np.column_stack([chance, *[(1 - chance) / others] * others])
    return np.asarray(chance, dtype=np.float64)


def causes_of(period: pd.DataFrame, own: pd.DataFrame) -> tuple[Cause, ...]:
    features = pd.DataFrame(columns=["x", "y", "place"])
    report = checks(PeriodColumns.of(features, period, NO_LABELS, CONTRACT))
    return failed_tests(run_checks(report, period, days(own, 0, 0, REFERENCE), CONTRACT, END))


def test_a_week_like_the_others_passes(own: pd.DataFrame) -> None:
    assert causes_of(days(own, 1, REFERENCE, PERIOD), own) == ()


def test_missing_values_are_broken_data_which_block_a_training(own: pd.DataFrame) -> None:
    period = days(own, 1, REFERENCE, PERIOD)
    period["x"] = period["x"].where(np.arange(len(period)) % 3 > 0)
    causes = causes_of(period, own)
    assert {(one.kind, one.subject) for one in causes} == {("data broken", "x")}
    broken = PeriodSummary(1.0, bad=False, broken=tuple(one.subject for one in causes))
    old = 10 * CONTRACT.monitoring.max_age_days * DAY
    verdict = decide(RetrainingHistory([broken], [0], old, CONTRACT))
    assert not verdict.retrain
    assert verdict.reason == "blocked, the data are broken: x"


def test_inputs_that_moved_only_warn(own: pd.DataFrame) -> None:
    period = days(own, 1, REFERENCE, PERIOD)
    period["place"] = np.where(np.arange(len(period)) % 4 > 0, "north", "south")
    causes = causes_of(period, own)
    assert {(one.kind, one.subject) for one in causes} == {("input shift", "place")}


OVERLAYS = sorted(path.parent for path in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml"))


def test_a_period_without_any_request_is_for_the_datas_owner() -> None:
    nothing = Performance({"cost_per_1000": Estimate(float("nan"))}, "no prediction was requested")
    lost = Cause("data broken", "whole rows", "whole rows: none was requested")
    silent = MonitoredPeriod(Span(0, 7 * DAY), (), nothing, causes=(lost,))
    verdict = RetrainingDecision(retrain=False, reason="blocked")
    assert [one.team for one in alerts_of(silent, verdict, PROBLEM.contract)] == ["data"]
    assert metrics_of(silent, verdict)["broken"] == 1
    assert "label_share" not in metrics_of(silent, verdict)  # no label is late


def test_a_period_that_is_judged_late_alerts_the_models_owner() -> None:
    scored = {"cost_per_1000": Estimate(float("nan"))}
    bad = Performance(scored, "", 10, 1.0, faults=("it is off the rate",))
    causes = (Cause("data broken", "x", "x: gone"), Cause("concept shift", "the label", "it has changed"))
    late = MonitoredPeriod(Span(0, 7 * DAY), (), bad, causes=causes)
    few = Performance(scored, "40% of labels have arrived", 10, 0.4)
    now = MonitoredPeriod(Span(7 * DAY, 14 * DAY), (), few, labels_due=0.25, matured=(late,))
    keep = RetrainingDecision(retrain=False, reason="none")
    alerts = alerts_of(now, keep, PROBLEM.contract)
    days = "1970-01-01 to 1970-01-08"
    assert [one.title for one in alerts] == [f"concept shift: the label, {days}", f"bad period, {days}"]
    never = replace(late, performance=few, causes=(), labels_due=0.9)  # at its last chance
    for one in (replace(now, labels_due=0.9, matured=()), replace(now, matured=(never,))):
        (labels_late,) = alerts_of(one, keep, PROBLEM.contract)
        assert (labels_late.title, labels_late.team) == ("labels late", "data")
        found = metrics_of(one, keep)
        assert found["label_share"] < found["min_label_share"] == 0.9


def test_gauges_of_labels_are_those_of_the_last_judged_period(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit: Any = SimpleNamespace(allowed=0.1)
    good, bad, few = (
        Performance(
            {"cost_per_1000": Estimate(9.0)},
            "",
            10,
            share,
            {"bias": Estimate(bias), "cost_per_1000": Estimate(100 * bias)},
            (limit,) if share == 1 else (),
            faults,
        )
        for share, bias, faults in ((1.0, 0.1, ()), (1.0, 0.5, ("off",)), (0.4, 0.9, ()))
    )
    now, late = (MonitoredPeriod(Span(at, at + 7 * DAY), (), few) for at in (7 * DAY, 0))
    path, keep = tmp_path / "monitoring.prom", RetrainingDecision(retrain=False, reason="none")
    monkeypatch.setattr(monitor, "METRICS", path)
    monkeypatch.setattr(monitor, "decide", lambda _history: keep)

    def gauges(one: MonitoredPeriod) -> tuple[float | None, ...]:
        monitor.decide_retraining.entrypoint(one, [], [0])
        found = exposed(path)
        return tuple(found.get(name) for name in ("bad", "bias", "cost_per_1000", "label_share"))

    assert gauges(now) == (None, None, None, 0.4)
    assert gauges(replace(now, matured=(replace(late, performance=bad),))) == (1, 0.5, 50, 0.4)
    assert gauges(now) == (1, 0.5, 50, 0.4)
    assert gauges(replace(now, performance=good)) == (0, 0.1, 10, 1.0)


def test_a_check_of_a_past_day_by_hand_leaves_gauges_and_alerts_to_the_present(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The loop passes the times of trainings, a check by hand none."""
    path, few = tmp_path / "monitoring.prom", Performance({"cost_per_1000": Estimate(9.0)}, "", 10, 0.1)
    monkeypatch.setattr(monitor, "METRICS", path)
    for trained, written in (([], False), ([0], True)):
        monitor.decide_retraining.entrypoint(MonitoredPeriod(Span(0, 7 * DAY), (), few), [], trained)
        assert path.exists() is written
        monitoring.prepare("data", str(tmp_path), 0, 7 * DAY, (0, 0), [], trained)
        assert ("notify_teams" in monitoring.invocations) is written


def monitor_two(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    check: Any,
    versions: tuple[list[str], list[str]] = ([], []),
    artifact_of: Any = "artifact {}".format,
) -> tuple[MonitoredPeriod, list[str]]:
    """Monitor the week from day 14 and, as its labels have arrived since, that from day 0.

    Returns:
        The week from day 14, and the warnings.
    """
    warned: list[str] = []
    served = [
        Served(Span(start, start + 7 * DAY), pd.DataFrame({"model_version": some}), as_of=as_of)
        for start, some, as_of in zip((0, 14 * DAY), versions, (21 * DAY, 0), strict=True)
    ]
    monkeypatch.setattr(monitor.logger, "warning", lambda text, *given: warned.append(text % given))
    monkeypatch.setattr(monitor, "REGISTRY", SimpleNamespace(artifact_of=artifact_of))
    monkeypatch.setattr(monitor, "periods_to_check", lambda *_: served)
    monkeypatch.setattr(monitor, "check_period", check)
    monkeypatch.setattr(monitor, "_log", lambda *_: None)
    nothing = pd.DataFrame()
    found = monitor.monitor_period.entrypoint(nothing, nothing, str(folder), 14 * DAY, 21 * DAY, (3, 1), [])
    return found, warned


def few_labels(one: Served) -> tuple[MonitoredPeriod, None]:
    few = Performance({"cost_per_1000": Estimate(float("nan"))}, "no version can be judged", 10, 0.1)
    return MonitoredPeriod(one.span, (), few), None


@pytest.mark.parametrize("failing", [0, 14])
def test_an_old_period_that_cannot_be_checked_does_not_stop_the_latest(
    failing: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(_rows: Any, _features: Any, one: Any, *_: Any) -> tuple[MonitoredPeriod, None]:
        if one.span.start == failing * DAY:
            raise UserError("The data have 3 days before it.")
        return few_labels(one)

    if failing:
        with pytest.raises(UserError):
            monitor_two(monkeypatch, tmp_path, check)
        return
    found, warned = monitor_two(monkeypatch, tmp_path, check)
    assert found.span.start == 14 * DAY
    assert warned == ["The period from 1970-01-01 cannot be judged: The data have 3 days before it."]


def test_an_old_period_whose_versions_are_gone_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def check(_rows: Any, _features: Any, one: Any, versions: Any, *_: Any) -> tuple[MonitoredPeriod, None]:
        assert versions == {number: f"artifact {number}" for number in ("31" if one.span.start else "3")}
        return few_labels(one)

    found, warned = monitor_two(monkeypatch, tmp_path, check, (["3", "3"], ["3", "1", "1"]))
    assert (found.span.start, found.matured) == (14 * DAY, ())
    assert warned == ["The period from 1970-01-01 cannot be judged: no version can be judged."]


def test_an_old_period_whose_artifact_is_damaged_does_not_stop_the_latest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def artifact_of(version: str) -> str:
        if version == "3":
            raise UserError("The artifact is damaged.")
        return f"artifact {version}"

    found, warned = monitor_two(
        monkeypatch, tmp_path, lambda *of: few_labels(of[2]), (["3"], ["4"]), artifact_of
    )
    assert (found.span.start, found.matured) == (14 * DAY, ())
    assert warned == ["The period from 1970-01-01 cannot be judged: The artifact is damaged."]


def test_periods_that_can_be_judged_now_are_checked_with_the_latest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored, logged = {"cost_per_1000": Estimate(float("nan"))}, []
    limit: Any = SimpleNamespace(allowed=0.1)
    enough, few = (
        Performance(scored, "", 10, share, judged=judged) for share, judged in ((1.0, (limit,)), (0.1, ()))
    )
    served = [
        Served(Span(start, start + 7 * DAY), NO_LOG, as_of=as_of)
        for start, as_of in ((0, 21 * DAY), (7 * DAY, 21 * DAY), (14 * DAY, 0))
    ]

    def check(_rows: Any, _features: Any, one: Any, *_: Any) -> tuple[MonitoredPeriod, str]:
        performance = enough if one.span.start == 0 else few
        return MonitoredPeriod(one.span, (), performance), "snapshot"

    def to_check(*given: Any) -> Any:
        assert given[2:5] == ((14 * DAY, 21 * DAY), (3, 1), [asdict(past)])
        return served

    past = PeriodSummary(0.1, bad=False, broken=(), span=Span(0, 7 * DAY))
    monkeypatch.setattr(monitor, "periods_to_check", to_check)
    monkeypatch.setattr(monitor, "check_period", check)
    monkeypatch.setattr(MonitoredPeriod, "save", lambda *_: None)
    monkeypatch.setattr(monitor, "_log", lambda one, _folder: logged.append(one.span.start))
    nothing = pd.DataFrame()
    found = monitor.monitor_period.entrypoint(
        nothing, nothing, str(tmp_path), 14 * DAY, 21 * DAY, (3, 1), [asdict(past)]
    )
    assert logged == [0, 7 * DAY, 14 * DAY]
    assert (found.span.start, [one.span.start for one in found.matured]) == (14 * DAY, [0, 7 * DAY])


def test_the_rules_have_the_objectives_of_the_contract() -> None:
    service, bound = PROBLEM.contract.service, bound_of(PROBLEM.contract.service.p99_ms)
    objectives, *_ = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    held = {one["record"].partition(":")[2]: one for one in objectives["rules"]}
    expected = {
        "requests_per_second": f"{service.requests_per_second:g}",
        "error_budget": f"{1 - service.availability:.6g}",
        "p99_seconds": f"{bound:g}",
    }
    written = {name: held[name]["expr"].removeprefix("vector(").removesuffix(")") for name in expected}
    assert written == expected, "bring the objectives in monitoring/rules.yaml up to date"
    assert held["p99_seconds"]["labels"] == {"le": f"{bound:g}"}


def test_the_operator_gets_the_rules_as_they_are() -> None:
    written = (FOLDER / "prometheus_rule.yaml").read_text(encoding="utf-8")
    assert written == operator_rules(), "run `make alerts`"


def test_the_manifests_have_the_sizes_that_follow_from_the_contract() -> None:
    require_current(sized(PROBLEM.contract)[0])


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_renders_and_its_pods_are_restricted(overlay: Path) -> None:
    """The namespace's Pod Security standard requires: no root, no privileges, memory limits."""
    program = next(
        (one for one in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(one[0])), None
    )
    if program is None:
        pytest.skip("neither kustomize nor kubectl is installed (Debian: apt install kustomize)")
    done = subprocess.run([*program, str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for one in yaml.safe_load_all(done.stdout):
        if one["kind"] not in ("Deployment", "StatefulSet", "CronJob"):
            continue
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"], one["metadata"]["name"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"], container["name"]
            assert container["resources"]["limits"]["memory"], container["name"]
