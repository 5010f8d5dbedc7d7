"""What of the page, the card and the summary is another for each task."""

from collections.abc import Mapping
from dataclasses import dataclass

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.reporting import number_format as fmt
from fivestage.reporting.results import DataSection, Estimate, ModelSection

PER = 1000
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # head and rows, the first column names


@dataclass(frozen=True)
class Shown:
    """Scores by where they are shown, the first of each the one to remember."""

    sets: tuple[str, str, str]  # what feature sets bring
    models: tuple[str, ...]  # what candidates are compared by
    slices: tuple[str, str]
    periods: tuple[str, str, str]  # the middle one has limits
    summary: tuple[str, ...]
    fit: str  # the score that candidates are chosen by
    low_is_good: bool = False  # of the first one


CHANCES = Shown(
    sets=("roc_auc", "log_loss", "savings_share"),
    models=("roc_auc", "log_loss", "savings_share"),
    slices=("roc_auc", "cost_per_1000"),
    periods=("roc_auc", "bias", "cost_per_1000"),
    summary=("roc_auc", "log_loss", "calibration_error", "savings_share"),
    fit="log_loss",
)
NUMBERS = Shown(
    sets=("mae", "rmse", "savings_share"),
    models=("mae", "rmse", "savings_share"),
    slices=("mae", "cost_per_1000"),
    periods=("mae", "bias", "cost_per_1000"),
    summary=("mae", "rmse", "coverage", "savings_share"),
    fit="rmse",
    low_is_good=True,
)


def shown_of(contract: Contract) -> Shown:
    """The scores that a contract's task is shown by."""
    return NUMBERS if isinstance(contract, RegressionContract) else CHANCES


def gives(contract: Contract) -> str:
    """What the model gives."""
    label = contract.label
    match contract:
        case MulticlassContract():
            classes = ", ".join(f"“{one}”" for one in contract.label.classes)
            return f"the probabilities of {classes}: {label.means}"
        case RegressionContract():
            return (
                f"the expected “{fmt.spaced(label.name)}” in {contract.label.unit}, with an interval that "
                f"holds {contract.interval:.0%} of what comes: {label.means}"
            )
    return f"the probability that the outcome is “{fmt.spaced(label.name)}”: {label.means}"


def rule(contract: Contract) -> str:
    """How the costs make a decision of a forecast, and why."""
    match contract:
        case BinaryContract():
            costs, act = contract.costs, contract.decision.act
            alarm = fmt.money(costs.act_negative - costs.wait_negative, costs.currency)
            rescued = fmt.money(costs.wait_positive - costs.act_positive, costs.currency)
            return (
                f"The costs set the rule: “{fmt.spaced(act)}” from a probability of {costs.threshold:.3f} "
                f"on, because a needless action costs {alarm} and a timely one saves {rescued}."
            )
        case MulticlassContract():
            actions = ", ".join(f"“{fmt.spaced(one)}”" for one in contract.costs.actions)
            return (
                f"The costs set the rule: of {actions} the one whose price, weighted by the probabilities of "
                "the classes, is least."
            )
        case RegressionContract():
            prices, unit = contract.costs, contract.label.unit
            return (
                f"The costs set the rule: plan with the number that what comes stays below with a chance of "
                f"{prices.level:.3f}, because {unit} too many cost {prices.over:g} {prices.currency} each "
                f"and {unit} too few {prices.under:g}."
            )
    return ""


def short_rule(contract: Contract) -> tuple[str, str]:
    """The rule as the one thing to remember, and what stands below it."""
    match contract:
        case BinaryContract():
            act = fmt.spaced(contract.decision.act)
            return f"p ≥ {contract.costs.threshold:.2f}", f"from there “{act}” pays"
        case MulticlassContract():
            many = len(contract.costs.actions)
            return (
                f"{len(contract.label.classes)} classes",
                f"{many} actions; the least expected cost decides",
            )
        case RegressionContract():
            return f"q {contract.costs.level:.2f}", "the quantile that is cheapest to plan with"
    return fmt.NONE, ""


def prices(contract: Contract) -> Table:
    """What each outcome costs."""
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
                (fmt.spaced(name), *(fmt.compact(one) for one in of.values())) for name, of in by_action
            ]
        case RegressionContract():
            unit = contract.label.unit
            return ("", f"per unit ({unit})"), [
                ("too much", fmt.compact(contract.costs.over)),
                ("too little", fmt.compact(contract.costs.under)),
            ]
    return (), []


def stakes(contract: Contract, data: DataSection) -> tuple[str, dict[str, float]]:
    """Money per 1,000 decisions of the ways to decide without a model, and with what labels that is."""
    match contract:
        case BinaryContract():
            costs, rate = contract.costs, mean(data)
            acting = rate * costs.act_positive + (1 - rate) * costs.act_negative
            waiting = rate * costs.wait_positive + (1 - rate) * costs.wait_negative
            perfect = rate * min(costs.act_positive, costs.wait_positive)
            perfect += (1 - rate) * min(costs.act_negative, costs.wait_negative)
            ways = {"always act": acting, "always wait": waiting, "know the outcome": perfect}
            return f"at a rate of {fmt.percent(rate)}", {way: PER * cost for way, cost in ways.items()}
        case MulticlassContract():
            shares = class_shares(data)
            by_action = contract.costs.actions
            alone = {
                f"always {fmt.spaced(name)}": sum(shares.get(one, 0) * price for one, price in of.items())
                for name, of in by_action.items()
            }
            known = sum(share * min(of[one] for of in by_action.values()) for one, share in shares.items())
            ways = alone | {"know the outcome": known}
            return "at the classes' shares", {way: PER * cost for way, cost in ways.items()}
    return "", {}


def mean(data: DataSection) -> float:
    """The label's mean over all weeks, which of 0 and 1 is its rate."""
    rows = sum(week.rows for week in data.label_rate)
    return sum(week.rate * week.rows for week in data.label_rate) / rows if rows else float("nan")


def class_shares(data: DataSection) -> dict[str, float]:
    """Each class's share over all weeks."""
    rows = sum(week.rows for week in data.label_rate)
    names = dict.fromkeys(name for week in data.label_rate for name in week.shares)
    return {
        name: sum(week.shares.get(name, 0) * week.rows for week in data.label_rate) / rows for name in names
    }


def label_axis(contract: Contract) -> tuple[str, str]:
    """What the label's plot shows, and its unit; shares have none."""
    match contract:
        case MulticlassContract():
            return "Share of each class, week by week", ""
        case RegressionContract():
            return "Mean of the label, week by week", contract.label.unit
    return "Rate of the label, week by week", ""


def curve_words(contract: Contract) -> tuple[str, str]:
    """What the cost curve's axis is, and how the place is called where a version stands, with {at}."""
    if isinstance(contract, RegressionContract):
        return f"moved by ({contract.label.unit})", "as decided:"
    return "threshold", "act from {at:.3f} on:"


def decides(contract: Contract, model: ModelSection) -> tuple[str, str]:
    """How a version decides, as a name and a value."""
    if isinstance(contract, BinaryContract):
        return "act from", fmt.decimal(model.threshold)
    return "decides by", short_rule(contract)[1]


def best(test: Mapping[str, Estimate], contract: Contract) -> str:
    """The one score to remember, named."""
    name = shown_of(contract).summary[0]
    number = test.get(name, Estimate(float("nan")))
    return f"{fmt.metric_title(name)} {fmt.metric(name, number.value)}"
