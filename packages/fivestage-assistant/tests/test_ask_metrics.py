"""The assistant's metrics and alerts: limits from the contract, and fired with promtool."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fivestage_assistant.answering import Answer, Generated
from fivestage_assistant.ask_metrics import RULES, AskMetrics, alert_rules, rules_text
from fivestage_assistant.assistant_contract import AssistantContract

DRILL = Path(__file__).with_name("assistant_rules_drill.yaml")
PROMTOOL = shutil.which("promtool")


def test_the_committed_rules_are_those_of_the_contract(contract: AssistantContract) -> None:
    assert RULES.read_text(encoding="utf-8") == rules_text(contract), "run `make alerts-assistant`"


def test_the_limits_of_the_rules_are_those_of_the_contract(contract: AssistantContract) -> None:
    stricter = contract.model_copy(
        update={"monitoring": contract.monitoring.model_copy(update={"max_abstention": 0.15})}
    )
    (declines,) = (
        rule for rule in alert_rules(stricter)["groups"][0]["rules"] if rule["alert"] == "AssistantDeclines"
    )
    assert "> 0.15 and" in declines["expr"]
    assert declines["annotations"]["summary"].endswith("the limit is 15%.")


def test_each_alert_has_a_drill(contract: AssistantContract) -> None:
    drilled = {
        test["alertname"]
        for one in yaml.safe_load(DRILL.read_text(encoding="utf-8"))["tests"]
        for test in one["alert_rule_test"]
    }
    assert drilled == {rule["alert"] for rule in alert_rules(contract)["groups"][0]["rules"]}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_each_alert_fires_in_its_drill(tmp_path: Path, contract: AssistantContract) -> None:
    (tmp_path / "rules.yaml").write_text(rules_text(contract), encoding="utf-8")
    shutil.copy(DRILL, tmp_path)
    for words in (["check", "rules", "rules.yaml"], ["test", "rules", DRILL.name]):
        found = subprocess.run(
            [str(PROMTOOL), *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr


def test_answers_tokens_cost_and_fallbacks_are_counted() -> None:
    metrics = AskMetrics()
    said = Generated("x [1]", 100, 20, "a model")
    shown = Answer("x [1]", "generated", retrieved=("a",), generated=said)
    metrics.asked(shown, 0.5)
    metrics.asked(replace(shown, kind="extractive", fell_back="not supported"), 0.25)
    metrics.asked(Answer("I do not know", "unknown"), 0)
    metrics.set_release("one", 1)
    metrics.set_release("two", 1)
    found = metrics.exposition().decode()
    for line in (
        "ask_empty_retrievals_total 1.0",
        "ask_fallbacks_total 1.0",
        'ask_chat_tokens_total{direction="input"} 200.0',
        "ask_chat_cost_total 0.75",
        'ask_release_info{index="one",prompt="1"} 0.0',
        'ask_release_info{index="two",prompt="1"} 1.0',
    ):
        assert line in found.splitlines()
