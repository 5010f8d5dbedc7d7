"""A small contract is valid; each invalid one raises an error that names the field."""

import copy
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from fivestage.common.errors import UserError
from fivestage.contract.contract import (
    Contract,
    TimestampColumn,
    epoch,
    epoch_of,
    iso,
    parse_contract,
)
from tests.contract.contracts import yaml_of
from tests.synthetic import contract_content

TEXT = yaml_of(contract_content("binary"))
CONTENT: dict[str, Any] = yaml.safe_load(TEXT)
Edit = tuple[str, Any]
GONE = object()


def edited(*edits: Edit) -> dict[str, Any]:
    """The small contract with fields changed by their dotted path, or taken away."""
    content = copy.deepcopy(CONTENT)
    for path, value in edits:
        *above, last = path.split(".")
        inner = content
        for name in above:
            inner = inner[name]
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return content


@pytest.fixture(scope="module")
def small() -> Contract:
    return parse_contract(CONTENT, "problem.yaml")


def test_the_small_contract_loads(small: Contract) -> None:
    assert small.name == CONTENT["name"]
    assert list(small.columns) == list(CONTENT["columns"])
    assert isinstance(small.columns[small.decision.time_column], TimestampColumn)
    assert small.decision.lead_seconds == CONTENT["decision"]["hours_before"] * 3600
    assert small.label.name not in small.columns


def test_the_threshold_is_where_both_decisions_cost_the_same(small: Contract) -> None:
    costs, share = small.costs, small.costs.threshold
    acting = share * costs.act_positive + (1 - share) * costs.act_negative
    waiting = share * costs.wait_positive + (1 - share) * costs.wait_negative
    assert acting == pytest.approx(waiting)
    assert share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("edits", "field", "why"),
    [
        ([("identity", ["order_number", "flite"])], "identity", "'flite', which is not listed under columns"),
        ([("slices", ["airport"])], "slices", "'airport', which is not listed under columns"),
        (
            [("events.delivery.identity", ["gate"])],
            "events.delivery",
            "'gate', which is not listed under columns",
        ),
        (
            [("columns.order_number.nullable", True)],
            "the contract",
            "'order_number' dates or identifies a row",
        ),
        ([("columns.deliver_at.nullable", True)], "the contract", "'deliver_at' dates or identifies"),
        ([("events.traffic.columns.hour.nullable", True)], "events.traffic", "'hour' dates or identifies"),
        ([("identity", [])], "identity", "at least 1 item"),
        ([("events.traffic.identity", [])], "events.traffic.identity", "at least 1 item"),
        ([("columns.Carrier", {})], "columns.Carrier", "match pattern"),
        ([("owner", "me")], "owner", "the contract has no such field"),
        ([("costs.tax", 1.0)], "costs.tax", "the contract has no such field"),
        (
            [("columns.order_number.unity", "m")],
            "columns.order_number.integer.unity",
            "the contract has no such field",
        ),
        (
            [("gates.max_calibration_error", GONE), ("gates.max_calibration_eror", 0.1)],
            "gates.max_calibration_eror",
            r"the contract has no such field. Did you mean max_calibration_error? (1 more)",
        ),
        ([("columns.customer.nulable", True)], "columns.customer", "Did you mean nullable?"),
        ([("slises", [])], "slises", "Did you mean slices?"),
        ([("split.folds", "three")], "split.folds", "valid integer"),
        ([("split.folds", 2.5)], "split.folds", "valid integer"),
        ([("gates.confidence", "0.9")], "gates.confidence", "valid number"),
        ([("columns.customer.type", "text")], "columns.customer", "'text'"),
        ([("task", "ranking")], "task", "must be one of binary, multiclass, regression"),
        ([("label", GONE)], "label", "Field required"),
        ([("decision.hours_before", GONE)], "decision.hours_before", "Field required"),
        ([("columns.amount.max", GONE)], "columns.amount.number.max", "Field required"),
        ([("decision.time_column", "customer")], "decision.time_column", "not a timestamp under columns"),
        ([("decision.time_column", "departure")], "decision.time_column", "not a timestamp under columns"),
        ([("label.name", "amount")], "label", "'amount' is also an input column, which leaks it"),
        ([("events.delivery.known", "customer")], "events.delivery", "'customer', which is not a timestamp"),
        ([("events.delivery.known", "arrived")], "events.delivery", "'arrived', which is not a timestamp"),
        ([("monitoring.bad_periods", 4)], "monitoring", "bad_periods cannot be more than of_periods"),
        ([("monitoring.reference_days", 27)], "monitoring", "at least 4 periods"),
        ([("monitoring.max_age_days", 20)], "monitoring", "cannot be less than cooldown_days"),
        ([("costs.act_positive", 80)], "costs", "must cost less than missing it"),
        ([("costs.act_negative", 0)], "costs", "must cost more than correctly waiting"),
        ([("costs.act_positive", float("nan"))], "costs.act_positive", "finite"),
        ([("columns.amount.max", float("inf"))], "columns.amount.number.max", "finite"),
        ([("columns.amount.example", 7000)], "columns.amount", "7000.0 is outside 0.0 to 2000.0"),
        (
            [("columns.deliver_at.example", datetime(2012, 1, 1, tzinfo=UTC))],
            "columns.deliver_at",
            "is outside",
        ),
        (
            [("columns.deliver_at.min", datetime(2013, 1, 1))],  # noqa: DTZ001 (what is refused)
            "columns.deliver_at",
            "min has no time zone",
        ),
        ([("columns.channel.example", "fax")], "columns.channel", "'fax' is not one of values"),
        ([("columns.customer.example", "customer 9")], "columns.customer", "longer than max_length, 8"),
        (
            [("columns.channel.values", ["web", "letter" * 6])],
            "columns.channel",
            "is longer than max_length, 32",
        ),
        ([("columns.order_number.example", 15.5)], "columns.order_number", "15.5 is not a whole number"),
        ([("decision.act", "wait")], "decision", "act and wait are both 'wait'"),
        ([("label.name", "known_at")], "problem.yaml", "the name 'known_at' is reserved"),
        (
            [("columns.decision_at", CONTENT["columns"]["amount"])],
            "problem.yaml",
            "the name 'decision_at' is reserved",
        ),
        ([("split.test_end", date(2024, 4, 20))], "split", "test_end must come after test_start"),
        ([("baselines", {})], "baselines", "at least 1 item"),
        ([("baselines.median", 0.1)], "baselines.median", "'historical_rate'"),
        ([("service.availability", 1.0)], "service.availability", "less than 1"),
    ],
)
def test_an_illegal_contract_is_a_sentence_that_names_the_field(
    edits: list[Edit], field: str, why: str
) -> None:
    with pytest.raises(UserError) as refused:
        parse_contract(edited(*edits), "problem.yaml")
    sentence = str(refused.value)
    assert sentence.startswith("problem.yaml: ")
    assert field in sentence
    assert why in sentence
    assert "Value error" not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("gates.period_days", ""),  # a field of monitoring
        ("monitoring.period_dais", " Did you mean period_days?"),
        ("events.traffic.columns.hour.exampel", " Did you mean example?"),
        ("events.traffic.identiti", " Did you mean identity?"),
    ],
)
def test_only_fields_of_the_place_are_suggested(field: str, hint: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_contract(edited((field, 1)), "problem.yaml")
    assert f"the contract has no such field.{hint or ' Fix'}".rstrip("?") in str(refused.value)


def test_of_several_mistakes_the_first_is_told_and_the_others_counted() -> None:
    with pytest.raises(UserError, match=r"problem\.yaml: title: .* \(2 more\)\. Fix that field"):
        parse_contract(edited(("title", ""), ("label", GONE), ("owner", "me")), "problem.yaml")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("name: syn", "name: [syn", 1), "is not YAML: .* line 2"),
        (
            lambda text: text.replace("task: binary", "task: binary\ntitle: Another", 1),
            "'title' is given twice.* line 4",
        ),
        (lambda text: text.replace("  customer:", "  order_number:", 1), "'order_number' is given twice"),
        (lambda text: text.replace("2024-05-20", "2024-13-20", 1), "'2024-13-20' does not exist: .* line"),
        (lambda _: "", "has no fields"),
        (lambda _: "- a\n- list\n", "has no fields"),
        (lambda text: text.replace("task: binary\n", "", 1), "task: it must be one of binary"),
        (
            lambda text: text.replace("max: 2040-01-01T00:00:00Z", "max: 2040-01-01T00:00:00", 1),
            "deliver_at.*max has no time zone",
        ),
    ],
)
def test_a_file_that_is_no_contract(change: Callable[[str], str], why: str, tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text(change(TEXT), encoding="utf-8")
    with pytest.raises(UserError, match=why) as refused:
        Contract.load(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_a_file_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_bytes(TEXT.replace("title: How", "title: Wäll", 1).encode("latin-1"))
    with pytest.raises(UserError, match=r"problem\.yaml is not UTF-8: save it as UTF-8"):
        Contract.load(path)


def test_a_contract_is_read_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    """So that an illegal one fails at once."""
    (tmp_path / "problem.yaml").write_text(TEXT, encoding="utf-8")
    asked = (
        "import sys; from pathlib import Path; from fivestage.contract.contract import Contract;"
        "Contract.load(Path('problem.yaml'));"
        "print(*({'numpy', 'pandas', 'sklearn', 'treelite', 'mlflow', 'zenml'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert not found.stdout.split()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"problem\.yaml cannot be read: No such file"):
        Contract.load(tmp_path / "problem.yaml")


def test_a_contract_cannot_be_changed(small: Contract) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small.title = "Another"
    with pytest.raises(ValidationError, match="frozen"):
        small.costs.act_positive = 0


def test_a_contract_survives_json(small: Contract) -> None:
    again = parse_contract(small.model_dump_json(), "manifest.json")
    assert again == small
    assert again.digest == small.digest
    with pytest.raises(UserError, match=r"manifest\.json: "):
        parse_contract("{", "manifest.json")


def backwards(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: backwards(content[name]) for name in reversed(content)}
    return content


def test_the_digest_is_of_the_content_alone(small: Contract, tmp_path: Path) -> None:
    path = tmp_path / "problem.yaml"
    path.write_text(f"# Another comment.\n{yaml.safe_dump(backwards(CONTENT), sort_keys=False)}")
    again = Contract.load(path)
    assert list(again.columns) != list(small.columns)
    assert again.digest == small.digest
    changed = parse_contract(edited(("costs.act_negative", 21)), "problem.yaml")
    assert changed.digest != small.digest


def test_times_and_days() -> None:
    assert epoch(date(2013, 10, 1)) == epoch_of("2013-10-01") == 1_380_585_600
    assert epoch(datetime.fromisoformat("2013-10-01T02:00:00+02:00")) == 1_380_585_600
    assert iso(1_380_585_600) == "2013-10-01T00:00:00Z"
    with pytest.raises(UserError, match="'October' is not a date"):
        epoch_of("October")
