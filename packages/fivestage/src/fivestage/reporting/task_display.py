"""Task-dependent parts of the page, the model card and the terminal summary."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.contract.cost_model import cost_model_of
from fivestage.evaluation.metrics import Estimate
from fivestage.reporting import number_format as fmt
from fivestage.reporting.results import DataSection

PER = 1000  # decisions
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # header and rows; the first column holds names


@dataclass(frozen=True)
class ShownMetrics:
    """Names of the metrics in each part of the report, the most important first."""

    sets: tuple[str, str, str]  # of the leaderboard, and of the ablation over feature sets
    slices: tuple[str, str]  # of a slice
    periods: tuple[str, str, str]  # of a monitored period; the second has limits
    summary: tuple[str, ...]  # of the terminal summary
    fit: str  # the metric that candidates are selected by; low is good
    low_is_good: bool = False  # whether the first metric of `slices` is better when it is lower


CLASSIFICATION = ShownMetrics(
    sets=("roc_auc", "log_loss", "savings_share"),
    slices=("roc_auc", "cost_per_1000"),
    periods=("roc_auc", "bias", "cost_per_1000"),
    summary=("roc_auc", "log_loss", "calibration_error", "savings_share"),
    fit="log_loss",
)
REGRESSION = ShownMetrics(
    sets=("mae", "rmse", "savings_share"),
    slices=("mae", "cost_per_1000"),
    periods=("mae", "bias", "cost_per_1000"),
    summary=("mae", "rmse", "coverage", "savings_share"),
    fit="rmse",
    low_is_good=True,
)


def shown_of(contract: Contract) -> ShownMetrics:
    """Return the metrics to show for a contract's task."""
    return REGRESSION if isinstance(contract, RegressionContract) else CLASSIFICATION


def metric_title(name: str, contract: Contract) -> str:
    """Return a metric's display name, with its unit if it has one."""
    unit = contract.costs.currency if name == "cost_per_1000" else ""
    if isinstance(contract, RegressionContract) and name in ("mae", "rmse", "bias", "width", "mean"):
        unit = contract.label.unit
    return f"{fmt.metric_title(name)}, {unit}" if unit else fmt.metric_title(name)


def predicts(contract: Contract) -> str:
    """Say what the model predicts, as the end of a sentence that starts "The model predicts"."""
    label = contract.label
    match contract:
        case MulticlassContract():
            classes = ", ".join(f"“{one}”" for one in contract.label.classes)
            return f"the probabilities of {classes}: {label.means}"
        case RegressionContract():
            return (
                f"“{fmt.spaced(label.name)}” in {contract.label.unit}, with an interval that holds "
                f"{contract.interval:.0%} of the outcomes: {label.means}"
            )
    return f"the probability of “{fmt.spaced(label.name)}”: {label.means}"


def rule(contract: Contract) -> str:
    """Explain how the costs turn a prediction into a decision.

    Binary: act where p >= (act_negative - wait_negative) / (that + wait_positive - act_positive) (Elkan 2001,
    "The foundations of cost-sensitive learning"). Multiclass: the action of least expected cost.
    Regression: the quantile at under / (under + over), the newsvendor's critical fractile.
    """
    match contract:
        case BinaryContract():
            costs, act = contract.costs, contract.decision.act
            needless = fmt.money(costs.act_negative - costs.wait_negative, costs.currency)
            timely = fmt.money(costs.wait_positive - costs.act_positive, costs.currency)
            return (
                f"The costs set the decision rule: “{fmt.spaced(act)}” from a probability of "
                f"{costs.threshold:.3f}, because a needless action costs {needless} and a timely one saves "
                f"{timely}."
            )
        case MulticlassContract():
            actions = ", ".join(f"“{fmt.spaced(one)}”" for one in contract.costs.actions)
            return (
                f"The costs set the decision rule: of {actions}, the action with the lowest expected cost "
                "under the predicted probabilities."
            )
        case RegressionContract():
            prices, unit = contract.costs, _priced_unit(contract)
            return (
                f"The costs set the decision rule: plan with the {prices.level:.3f} quantile of the "
                f"predicted distribution, because planning too high costs {prices.over:g} {prices.currency} "
                f"per {unit} and planning too low {prices.under:g}."
            )
    return ""


def short_rule(contract: Contract) -> tuple[str, str]:
    """Return the decision rule in short, and its caption."""
    match contract:
        case BinaryContract():
            act = fmt.spaced(contract.decision.act)
            return f"p ≥ {contract.costs.threshold:.2f}", f"“{act}” pays from this probability"
        case MulticlassContract():
            many = len(contract.costs.actions)
            caption = f"{fmt.plural(many, 'action')}; the lowest expected cost decides"
            return f"{len(contract.label.classes)} classes", caption
        case RegressionContract():
            return f"q {contract.costs.level:.2f}", "the quantile with the lowest expected cost"
    return fmt.NONE, ""


def prices(contract: Contract) -> Table:
    """Return the cost of each decision by outcome."""
    match contract:
        case BinaryContract():
            label, costs = fmt.spaced(contract.label.name), contract.costs
            pairs = (
                (contract.decision.act, costs.act_positive, costs.act_negative),
                (contract.decision.wait, costs.wait_positive, costs.wait_negative),
            )
            return ("", label, f"not {label}"), [
                (fmt.spaced(name), fmt.count(yes), fmt.count(no)) for name, yes, no in pairs
            ]
        case MulticlassContract():
            by_action = contract.costs.actions.items()
            return ("", *contract.label.classes), [
                (fmt.spaced(name), *map(fmt.compact, costs.values())) for name, costs in by_action
            ]
        case RegressionContract():
            return ("", f"per {_priced_unit(contract)}"), [
                ("too high", fmt.compact(contract.costs.over)),
                ("too low", fmt.compact(contract.costs.under)),
            ]
    return (), []


def _priced_unit(contract: RegressionContract) -> str:
    unit = contract.label.unit
    return "unit" if unit == "units" else f"unit ({unit})"  # `make init` writes "units"


def stakes(contract: Contract, data: DataSection) -> tuple[str, dict[str, float]]:
    """Return the cost per 1,000 decisions of constant decisions and of an oracle that knows the outcome."""
    weeks = data.label_rate

    def mean(values: Iterable[float]) -> float:
        return float(np.average(list(values), weights=[week.rows for week in weeks]))

    match contract:
        case BinaryContract():
            truth = np.array([mean(week.rate for week in weeks)])
            where = f"at a rate of {fmt.percent(truth[0])}"
            decisions: dict[str, Any] = {"always act": True, "always wait": False}
        case MulticlassContract():
            names = contract.label.classes
            truth = np.array([[mean(week.shares.get(name, 0.0) for week in weeks) for name in names]])
            where = "at the shares of the classes"
            actions = enumerate(contract.costs.actions)
            decisions = {f"always {fmt.spaced(name)}": place for place, name in actions}
        case _:
            return "", {}
    cost_model = cost_model_of(contract.costs)
    costs = {name: cost_model.price(truth, np.array([decision])) for name, decision in decisions.items()}
    costs["know the outcome"] = cost_model.oracle_cost(truth)
    return where, {name: PER * float(cost[0]) for name, cost in costs.items()}


def label_axis(contract: Contract) -> tuple[str, str]:
    """Return the title of the label's plot and its unit, which is empty for shares."""
    match contract:
        case MulticlassContract():
            return "Share of each class by week", ""
        case RegressionContract():
            return "Mean of the label by week", contract.label.unit
    return "Rate of the label by week", ""


def shown_metric(test: Mapping[str, Estimate], name: str) -> str:
    """Format a metric of the test window; a dash if it is missing."""
    return fmt.metric(name, test[name].value) if name in test else fmt.NONE
