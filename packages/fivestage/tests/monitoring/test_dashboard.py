"""The dashboard asks for what exists, and its legends for labels that the answers have."""

import re
from typing import Any

from fivestage.monitoring.alerts import dashboard, rules
from fivestage.monitoring.exposition import ABOUT
from tests.contract.contracts import contract_of

CONTRACT = contract_of("binary")
SERVED = {
    "http_requests_total",
    "http_request_duration_seconds_bucket",
    "predictions_total",
    "unknown_categories_total",
    "answers_spooled",
    "events_total",
}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard(CONTRACT)["panels"] if panel["type"] != "row"]


def targets() -> list[dict[str, str]]:
    return [target for panel in panels() for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    groups = rules(CONTRACT)["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    known = recorded | SERVED | {f"monitoring_{name}" for name in ABOUT}
    assert all(any(name in target["expr"] for name in known) for target in targets())


def test_a_legend_names_only_labels_that_its_query_keeps() -> None:
    for target in targets():
        kept = re.match(r"sum by \(([^)]*)\)", target["expr"])
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert labels == (set(re.split(r",\s*", kept.group(1))) if kept else set()), target
        assert target["legendFormat"], target


def test_no_panel_lies_on_another_and_none_is_named_twice() -> None:
    shown = dashboard(CONTRACT)["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in shown)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in shown}) == len({panel["title"] for panel in shown}) == len(shown)
