"""Each task has its own contract; a field of another task raises an error."""

import re
from typing import Any

import pytest

from fivestage.common.errors import UserError
from fivestage.contract.contract import MulticlassContract, RegressionContract, parse_contract
from tests.contract.contracts import content_of, contract_of


def test_contracts_of_classes_and_numbers_load_and_survive_json() -> None:
    for task, kind in (("multiclass", MulticlassContract), ("regression", RegressionContract)):
        found = contract_of(task)
        assert isinstance(found, kind)
        again = parse_contract(found.model_dump_json(), task)
        assert again == found
        assert again.digest == found.digest


def refusal(task: str, path: str, value: Any) -> str:
    content = content_of(task)
    *above, last = path.split(".")
    inner = content
    for name in above:
        inner = inner[name]
    inner[last] = value
    with pytest.raises(UserError) as refused:
        parse_contract(content, "problem.yaml")
    return str(refused.value)


@pytest.mark.parametrize(
    ("task", "path", "value", "why"),
    [
        ("multiclass", "decision.act", "go", "decision.act: the contract has no such field"),
        ("multiclass", "label.classes", ["a", "b"], "label.classes: .* at least 3"),
        ("multiclass", "label.classes", ["a", "b", "b"], "label: classes lists a class twice"),
        (
            "multiclass",
            "label.classes",
            ["a", "b", "c"],
            "costs.actions.nothing must give a cost for each class",
        ),
        (
            "multiclass",
            "costs.actions.warn",
            {"early": 1.0},
            "costs: every action must give costs for the same",
        ),
        ("multiclass", "costs.actions", {"one": {"a": 1.0}}, "costs.actions: .* at least 2"),
        ("multiclass", "baselines", {"linear_regression": 0.1}, "baselines names 'linear_regression'"),
        ("regression", "costs.over", 0, "costs.over: .* greater than 0"),
        ("regression", "interval", 1.0, "interval: .* less than 1"),
        ("regression", "baselines", {"historical_rate": 0.1}, "the baselines of regression are prior"),
        (
            "regression",
            "gates.suspicious_roc_auc",
            0.9,
            "gates.suspicious_roc_auc: the contract has no such field",
        ),
    ],
)
def test_what_does_not_fit_a_task_is_a_sentence(task: str, path: str, value: Any, why: str) -> None:
    assert re.search(why, refusal(task, path, value))


def test_an_action_that_is_always_cheapest_leaves_nothing_to_decide() -> None:
    prices = content_of("multiclass")["costs"]["actions"]["warn"]
    said = refusal("multiclass", "costs.actions.nothing", dict.fromkeys(prices, 0))
    assert "'nothing' is the cheapest action for every class" in said


def test_a_rule_compares_two_columns_of_one_kind() -> None:
    content = content_of("binary")
    times = [name for name, column in content["columns"].items() if column["type"] == "timestamp"]
    texts = [name for name, column in content["columns"].items() if column["type"] == "category"]
    content["rules"] = [f"{times[0]} <= {times[-1]}"]
    found = parse_contract(content, "problem.yaml")
    assert [str(rule) for rule in found.rules] == content["rules"]
    assert parse_contract(found.model_dump_json(), "again").rules == found.rules
    for rule, why in (
        (f"{times[0]} is before", "rules.0.comparison: Input should be"),
        (f"{times[0]}<={times[-1]}", "is not a rule: write it as `ordered_at <= delivered_at`"),
        (f"{times[0]} <= nothing", "rules names the column 'nothing'"),
        (f"{times[0]} <= {texts[0]}", "must compare two numbers or two timestamps"),
    ):
        assert why in refusal("binary", "rules", [rule])


def test_a_limit_that_cannot_fire_is_refused() -> None:
    assert "suspicious_roc_auc: Input should be less than 1" in refusal(
        "binary", "gates.suspicious_roc_auc", 1.0
    )
    content = content_of("binary")
    del content["gates"]["suspicious_roc_auc"]
    assert parse_contract(content, "problem.yaml").gates.suspicious_roc_auc is None
