"""Prometheus rules and a Grafana dashboard, from templates and the contract: `make alerts` writes them anew.

The serving objectives are watched by how fast their error budgets burn, over two windows each, so that an
alert is both quick and quick to end (The Site Reliability Workbook, 2018, chapter 5). What the monitoring job
finds reaches Prometheus through `fivestage.monitoring.exposition`.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fivestage.common.files import write_text
from fivestage.common.settings import ROOT
from fivestage.contract.contract import Contract
from fivestage.serving.prometheus_metrics import bound_of

FOLDER = ROOT / "monitoring"
LATE_DAYS = 2  # that a monitoring job may be behind
PROBES = "/|/healthz|/readyz|/metrics|/docs.*|/redoc|/openapi.json|/v2|/v2/health/.*|/v2/models/.*/ready"
ASKED = f'handler!~"unmatched|{PROBES}"'  # neither probes and pages, nor paths that are no route
HEIGHT = 8  # of a panel, in units of the grid, which is 24 wide


def rules(contract: Contract) -> dict[str, Any]:
    """The content of a Prometheus rule file."""
    return _filled("rules.yaml.j2", contract)


def dashboard(contract: Contract) -> dict[str, Any]:
    """The dashboard as Grafana imports it; which Prometheus to ask is chosen on its page."""
    shown: list[dict[str, Any]] = []
    top = 0
    for title, panels in _filled("dashboard.yaml.j2", contract).items():
        at = {"x": 0, "y": top, "w": 24, "h": 1}
        shown.append({"id": len(shown) + 1, "title": title, "type": "row", "gridPos": at, "panels": []})
        for place, panel in enumerate(panels):
            at = {"x": 12 * (place % 2), "y": top + 1 + HEIGHT * (place // 2), "w": 12, "h": HEIGHT}
            shown.append({"id": len(shown) + 1, "gridPos": at} | _panel(**panel))
        top += 1 + HEIGHT * ((len(panels) + 1) // 2)
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "title": contract.title,
        "uid": contract.name,
        "tags": ["machine-learning"],
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [source]},
        "panels": shown,
    }


def texts(contract: Contract) -> dict[str, str]:
    """The generated files by name: rules, plain and as the Prometheus Operator takes them, and dashboard."""
    labels = {f"app.kubernetes.io/{key}": "fivestage" for key in ("name", "part-of")}
    operator = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "fivestage", "labels": labels},
        "spec": rules(contract),
    }
    panels = json.dumps(dashboard(contract), indent=1, ensure_ascii=False)
    return {
        "rules.yaml": _yaml(rules(contract)),
        "prometheus_rule.yaml": _yaml(operator),
        # A template of this project includes it, so no braces of legends in pairs.
        "dashboard.json": panels.replace("{" * 2, r"\u007b" * 2) + "\n",
    }


def write_all(contract: Contract) -> None:
    """Write the generated files into the project."""
    for name, text in texts(contract).items():
        write_text(FOLDER / name, text)


def _filled(template: str, contract: Contract) -> dict[str, Any]:
    """The content of a YAML template; its own signs leave `{{ }}` to Prometheus and Grafana."""
    environment = Environment(  # noqa: S701 (YAML, not HTML)
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
    )
    text = environment.get_template(template).render(
        service=contract.service,
        monitoring=contract.monitoring,
        currency=contract.costs.currency,
        asked=ASKED,
        bucket=f"{bound_of(contract.service.p99_ms):g}",
        late_days=contract.monitoring.period_days + LATE_DAYS,
    )
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def _yaml(content: dict[str, Any]) -> str:
    head = "# Generated from problem/problem.yaml by `make alerts`.\n"
    return head + yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)


def _panel(
    title: str,
    queries: dict[str, str],
    unit: str = "short",
    limit: float | None = None,
    least: int | None = 0,
) -> dict[str, Any]:
    """A panel as Grafana takes it, with a line at its limit."""
    line: dict[str, Any] = {"thresholdsStyle": {"mode": "line" if limit else "off"}}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if limit:
        line["axisSoftMax"] = 1.2 * limit
        steps.append({"color": "red", "value": limit})
    thresholds = {"mode": "absolute", "steps": steps}
    return {
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(queries.items())
        ],
        "fieldConfig": {
            "defaults": {"unit": unit, "min": least, "custom": line, "thresholds": thresholds},
            "overrides": [],
        },
    }
