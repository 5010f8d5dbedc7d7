"""The project's alert rules, held to the service and, where promtool is there, made to fire one by one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fivestage.monitoring.alerts import FOLDER
from fivestage.monitoring.exposition import expose, exposed
from fivestage.serving.prometheus_metrics import BOUNDS

RULES = FOLDER / "rules.yaml"
DRILL = Path(__file__).with_name("rules_drill.yaml")
PROMTOOL = shutil.which("promtool")


def alerts() -> dict[str, dict[str, object]]:
    found = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in found for rule in group["rules"] if "alert" in rule}


def test_only_what_clients_ask_of_the_model_counts() -> None:
    (uncounted,) = set(re.findall(r'handler!~"([^"]*)"', RULES.read_text(encoding="utf-8")))
    others = ("/docs/assets", "/redoc", "unmatched", "/v2", "/v2/models/{name}/ready", "/healthz", "/")
    assert [one for one in others if not re.fullmatch(uncounted, one)] == []
    asked = ("/predict", "/outcomes", "/model", "/v2/models/{name}/infer", "/v2/models/{name}")
    assert [one for one in asked if re.fullmatch(uncounted, one)] == []


def test_the_latency_is_counted_at_a_bound_that_the_service_has() -> None:
    (bound,) = re.findall(r'le: "([^"]*)"', RULES.read_text(encoding="utf-8"))
    assert float(bound) in BOUNDS


def test_each_alert_says_who_is_to_act_on_what() -> None:
    for rule in alerts().values():
        assert set(rule["labels"]) == {"severity", "team"}  # type: ignore[call-overload]
        assert rule["annotations"]["summary"].endswith(".")  # type: ignore[index]


def test_each_alert_has_a_drill() -> None:
    drilled = {
        test["alertname"]
        for one in yaml.safe_load(DRILL.read_text())["tests"]
        for test in one["alert_rule_test"]
    }
    assert drilled == set(alerts())


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_each_alert_fires_in_its_drill(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(DRILL, tmp_path)
    for words in (["check", "rules", "rules.yaml"], ["test", "rules", DRILL.name]):
        found = subprocess.run(
            [str(PROMTOOL), *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr


def test_what_was_found_is_written_for_prometheus(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "monitoring.prom"
    expose({"broken": 2, "label_share": 0.5}, path, "test")
    assert "monitoring_broken 2.0" in path.read_text()
    assert "# HELP monitoring_label_share Share" in path.read_text()
    assert exposed(path) == {"broken": 2, "label_share": 0.5}


def test_gauges_without_a_new_value_stay_if_they_are_still_known(tmp_path: Path) -> None:
    path = tmp_path / "monitoring.prom"
    expose({"bad": 1, "rows": 5}, path, "test", update=True)  # there is no file yet
    path.write_text(path.read_text() + "# TYPE monitoring_gone gauge\nmonitoring_gone 1.0\n")
    expose({"rows": 6}, path, "test", update=True)
    assert exposed(path) == {"bad": 1, "rows": 6}
