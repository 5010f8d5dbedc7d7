"""A Grafana dashboard over what the service and the monitoring job expose, generated from the contract."""

import json
from dataclasses import dataclass
from typing import Any

from fivestage.contract.contract import Contract

PROBES = "/|/healthz|/readyz|/metrics|/docs.*|/redoc|/openapi.json|/v2|/v2/health/.*|/v2/models/.*/ready"
ASKED = f'handler!~"unmatched|{PROBES}"'  # neither probes and pages, nor paths that are no route
LATENCY_SHARE = 0.99  # of the requests: the contract's objective is a p99
FAST_BURN = 14.4  # times: 2% of a budget of 30 days within an hour
HEIGHT = 8  # of a panel, in units of the grid, which is 24 wide


@dataclass(frozen=True)
class Panel:
    """Queries by their legend, in Grafana's word for the unit, beside a limit if there is one."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    limit: float | None = None
    from_zero: bool = True


def dashboard(contract: Contract) -> dict[str, Any]:
    """The dashboard as Grafana imports it; which Prometheus to ask is chosen on its page."""
    rows = {"Service": _service(contract), "Requests": _requests(), "Periods watched": _periods(contract)}
    shown: list[dict[str, Any]] = []
    top = 0
    for title, panels in rows.items():
        at = {"x": 0, "y": top, "w": 24, "h": 1}
        shown.append({"id": len(shown) + 1, "title": title, "type": "row", "gridPos": at, "panels": []})
        for place, panel in enumerate(panels):
            at = {"x": 12 * (place % 2), "y": top + 1 + HEIGHT * (place // 2), "w": 12, "h": HEIGHT}
            shown.append({"id": len(shown) + 1, "gridPos": at} | _drawn(panel))
        top += 1 + HEIGHT * ((len(panels) + 1) // 2)
    return {
        "title": contract.title,
        "uid": contract.name,
        "tags": ["machine-learning"],
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": shown,
    }


def dashboard_text(contract: Contract) -> str:
    """The dashboard as JSON, which a template of this project may include: no braces of legends in pairs."""
    text = json.dumps(dashboard(contract), indent=1, ensure_ascii=False)
    return text.replace("{" * 2, r"\u007b" * 2) + "\n"


def _label(name: str) -> str:
    return "{" * 2 + name + "}" * 2  # Grafana's sign for it


def _service(contract: Contract) -> list[Panel]:
    service = contract.service
    buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{ASKED}}}[5m]))"
    error_budget = round(1 - service.availability, 9)
    return [
        Panel(
            "Requests/s by status",
            {_label("status"): f"sum by (status) (rate(http_requests_total{{{ASKED}}}[5m]))"},
            "reqps",
            service.requests_per_second,
        ),
        Panel("Server errors", {"share": "serving:errors:ratio_rate5m"}, "percentunit", error_budget),
        Panel(
            "p50 and p99",
            {name: f"histogram_quantile({q}, {buckets})" for name, q in (("p50", 0.5), ("p99", 0.99))},
            "s",
            service.p99_ms / 1000,
        ),
        Panel(
            "Budget burn, 1 h (1 = on budget)",
            {
                "errors": f"serving:errors:ratio_rate1h / {error_budget:.6g}",
                "slow": f"serving:slow:ratio_rate1h / {1 - LATENCY_SHARE:.6g}",
            },
            limit=FAST_BURN,
        ),
    ]


def _requests() -> list[Panel]:
    return [
        Panel(
            "Rows/s by version and decision",
            {
                f"version {_label('model_version')}: {_label('decision')}": (
                    "sum by (model_version, decision) (rate(predictions_total[5m]))"
                )
            },
        ),
        Panel(
            "Values/s that training never saw, by feature",
            {_label("feature"): "sum by (feature) (rate(unknown_categories_total[1h]))"},
        ),
        Panel("Answers waiting on disk", {"answers": "max(answers_spooled)"}, limit=1),
        Panel("Events/s by kind", {_label("kind"): "sum by (kind) (rate(events_total[5m]))"}),
    ]


def _periods(contract: Contract) -> list[Panel]:
    watched = contract.monitoring
    return [
        Panel(
            "Columns drifted and broken",
            {"drifted": "monitoring_drifted", "broken": "monitoring_broken"},
            limit=1,
        ),
        Panel("Labels arrived", {"share": "monitoring_label_share"}, "percentunit", watched.min_label_share),
        Panel(
            f"Cost per 1,000 decisions, {contract.costs.currency}",
            {
                "by labels": "monitoring_cost_per_1000",
                "estimated": "monitoring_estimated_cost_per_1000",
            },
        ),
        Panel(
            "Mean prediction minus the rate",
            {"bias": "monitoring_bias"},
            limit=watched.max_bias,
            from_zero=False,
        ),
    ]


def _drawn(panel: Panel) -> dict[str, Any]:
    limit = panel.limit
    steps = [{"color": "green", "value": None}, *([{"color": "red", "value": limit}] if limit else [])]
    custom = {"thresholdsStyle": {"mode": "line" if limit else "off"}}
    return {
        "title": panel.title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0 if panel.from_zero else None,
                "custom": custom | ({"axisSoftMax": 1.2 * limit} if limit else {}),
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
    }
