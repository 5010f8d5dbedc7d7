"""The dashboard asks for what exists, and its legends for labels that the answers have."""

import json
import re
from typing import Any

import yaml

from fivestage.monitoring.alerts import FOLDER
from fivestage.monitoring.exposition import ABOUT

RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
SERVED = {
    "http_requests_total",
    "http_request_duration_seconds_bucket",
    "predictions_total",
    "unknown_categories_total",
    "answers_spooled",
    "events_total",
}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets() -> list[dict[str, str]]:
    return [target for panel in panels() for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    known = recorded | SERVED | {f"monitoring_{name}" for name in ABOUT}
    assert all(any(name in target["expr"] for name in known) for target in targets())


def test_the_dashboard_counts_the_requests_that_the_alerts_count() -> None:
    shown, counted = (set(re.findall(r'handler!~"[^"]*"', one)) for one in map(str, (targets(), RULES)))
    assert shown == counted
    assert len(counted) == 1


def test_a_legend_names_only_labels_that_its_query_keeps() -> None:
    for target in targets():
        kept = re.match(r"sum by \(([^)]*)\)", target["expr"])
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels == (set(re.split(r",\s*", kept.group(1))) if kept else set()), target
        assert target["legendFormat"], target


def test_no_panel_lies_on_another_and_none_is_named_twice() -> None:
    shown = DASHBOARD["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in shown)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in shown}) == len({panel["title"] for panel in shown}) == len(shown)
