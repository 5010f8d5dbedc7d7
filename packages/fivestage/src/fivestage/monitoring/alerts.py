"""Prometheus rules and a Grafana dashboard, generated from the contract: `make alerts` writes them anew.

The serving objectives are watched by how fast their error budgets burn, over two windows each, so that an
alert is both quick and quick to end (The Site Reliability Workbook, 2018, chapter 5). What the monitoring job
finds reaches Prometheus through `fivestage.monitoring.exposition`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fivestage.common.files import write_whole
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract
from fivestage.monitoring.dashboard import ASKED, FAST_BURN, LATENCY_SHARE, dashboard_text

RULES = ROOT / "monitoring" / "rules.yaml"
OPERATOR = ROOT / "monitoring" / "prometheus_rule.yaml"
DASHBOARD = ROOT / "monitoring" / "dashboard.json"
LATE_DAYS = 2  # that a monitoring job may be behind


@dataclass(frozen=True)
class Burn:
    """An alert when a budget burns so many times too fast, over a long window and a short one."""

    times: float
    long: str
    short: str
    severity: str


# For a budget of 30 days: 2% of it within an hour, 5% within six, 10% within three days.
BURNS = (Burn(FAST_BURN, "1h", "5m", "page"), Burn(6, "6h", "30m", "page"), Burn(1, "3d", "6h", "ticket"))


def rules(contract: Contract) -> dict[str, Any]:
    """The content of a Prometheus rule file."""
    return {
        "groups": [
            {"name": "serving-ratios", "rules": _ratios(contract)},
            {"name": "serving", "rules": [*_burns(contract), *_serving()]},
            {"name": "monitoring", "rules": _monitoring(contract)},
        ]
    }


def rules_text(contract: Contract) -> str:
    """The rule file as YAML."""
    return _yaml(rules(contract))


def operator_text(contract: Contract) -> str:
    """The same rules as the Prometheus Operator takes them."""
    labels = {f"app.kubernetes.io/{key}": "fivestage" for key in ("name", "part-of")}
    return _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "fivestage", "labels": labels},
            "spec": rules(contract),
        }
    )


def _yaml(content: dict[str, Any]) -> str:
    head = "# Generated from problem/problem.yaml by `make alerts`.\n"
    return head + yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)


def bounds() -> tuple[float, ...]:
    """Of the service's histogram; written out, as this room does not import that one: a test compares."""
    return (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def bucket(contract: Contract) -> float:
    """The histogram's bound (seconds) that the latency objective is counted at: the first not below it."""
    wanted = contract.service.p99_ms / 1000
    return next((bound for bound in bounds() if bound >= wanted), bounds()[-1])


def _ratios(contract: Contract) -> list[dict[str, Any]]:
    windows = sorted({window for burn in BURNS for window in (burn.long, burn.short)})
    le = f"{bucket(contract):g}"
    asked = "sum(rate(http_requests_total{%s}[%s]))"
    errors = 'sum(rate(http_requests_total{%s,status=~"5.."}[%s]))'
    quick = 'sum(rate(http_request_duration_seconds_bucket{%s,le="%s"}[%s]))'
    all_timed = "sum(rate(http_request_duration_seconds_count{%s}[%s]))"
    return [
        rule
        for window in windows
        for rule in (
            {
                "record": f"serving:errors:ratio_rate{window}",
                "expr": f"({errors % (ASKED, window)} or vector(0)) / {asked % (ASKED, window)}",
            },
            {
                "record": f"serving:slow:ratio_rate{window}",
                "expr": f"1 - {quick % (ASKED, le, window)} / {all_timed % (ASKED, window)}",
            },
        )
    ]


def _burns(contract: Contract) -> list[dict[str, Any]]:
    service = contract.service
    slow = f"slower than {service.p99_ms:g} ms"
    objectives = {
        "Errors": ("errors", 1 - service.availability, "answered with a server error"),
        "Latency": ("slow", 1 - LATENCY_SHARE, slow),
    }
    return [
        _alert(
            f"{name}Burn{burn.long.upper()}",
            f"serving:{ratio}:ratio_rate{burn.long} > {burn.times * budget:.6g} "
            f"and serving:{ratio}:ratio_rate{burn.short} > {burn.times * budget:.6g}",
            burn.severity,
            "{{ $value | humanizePercentage }} of the last " + burn.long + f"'s requests were {what}: "
            f"the budget of {budget:.2%} burns {burn.times:g} times too fast.",
        )
        for name, (ratio, budget, what) in objectives.items()
        for burn in BURNS
    ]


def _serving() -> list[dict[str, Any]]:
    return [
        _alert("ServiceAbsent", "absent(model_info)", "page", "No instance of the service is scraped.", "5m"),
        _alert(
            "LogSpooled",
            "max(answers_spooled) > 0",
            "page",
            "{{ $value }} answers wait on a disk of the service, as the log's database takes none.",
            "5m",
        ),
        _alert(
            "ReloadRefused",
            'sum(increase(model_reloads_total{outcome="refused"}[1h])) > 0',
            "ticket",
            "A new model was refused at loading; the one before serves on. The service's log says why.",
        ),
        _alert(
            "TreesInterpreted",
            "min(trees_compiled) == 0",
            "ticket",
            "An instance runs its trees uncompiled, which is many times slower.",
            "15m",
        ),
    ]


def _monitoring(contract: Contract) -> list[dict[str, Any]]:
    rules = contract.monitoring
    late = (rules.period_days + LATE_DAYS) * 86_400
    return [
        _alert(
            "DataBroken",
            "monitoring_broken > 0",
            "page",
            "{{ $value }} inputs are broken in the last period. The drift report says which; "
            "retraining on it is blocked.",
            team="data",
        ),
        _alert(
            "InputsDrifted",
            "monitoring_drifted > 0",
            "info",
            "{{ $value }} columns moved more than days move by chance. That may be the season.",
        ),
        _alert(
            "PerformanceBad",
            "monitoring_bad == 1",
            "ticket",
            "The last judged period was bad by its labels: the monitoring page says in what.",
        ),
        _alert(
            "LabelsLate",
            f"monitoring_label_share < {rules.min_label_share:g}",
            "ticket",
            "Only {{ $value | humanizePercentage }} of the last period's labels have arrived: "
            f"{rules.min_label_share:.0%} are needed to judge it.",
            "1d",
            team="data",
        ),
        _alert(
            "RetrainingWanted",
            "monitoring_retrain == 1",
            "ticket",
            "The policy asks for a retraining, which has not happened yet.",
            "1d",
        ),
        _alert(
            "MonitoringLate",
            f"time() - max(monitoring_ran_at_seconds) > {late} or absent(monitoring_ran_at_seconds)",
            "ticket",
            f"No period has been watched for {rules.period_days + LATE_DAYS} days.",
            "1h",
        ),
    ]


def _alert(
    name: str, when: str, severity: str, summary: str, lasting: str = "", team: str = "model"
) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": when,
        **({"for": lasting} if lasting else {}),
        "labels": {"severity": severity, "team": team},
        "annotations": {"summary": summary},
    }


def write_all(contract: Contract) -> None:
    """Write the rules, plain and for the operator, and the dashboard."""
    _write(RULES, rules_text(contract))
    _write(OPERATOR, operator_text(contract))
    _write(DASHBOARD, dashboard_text(contract))


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))
