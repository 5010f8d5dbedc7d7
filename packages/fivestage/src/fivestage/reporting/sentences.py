"""The sentences that page, card and summary share, made from the contract and the results."""

from collections.abc import Sequence
from dataclasses import dataclass

from fivestage.contract.contract import Contract
from fivestage.evaluation.gates import Gate, Probe
from fivestage.reporting import number_format as fmt
from fivestage.reporting import task_display
from fivestage.reporting.results import (
    DataSection,
    ModelSection,
    MonitoringSection,
    PoliciesSection,
    Results,
    Retraining,
    ServingSection,
)

NOT_RUN = "Not run yet."
ADVICE = (
    "Bring it what tells more (histories of entities follow what moves: `make init` with KEYS=...), or, "
    "where a gate asks for too much, change `gates` in problem/problem.yaml."
)


@dataclass(frozen=True)
class Stage:
    """One of the five; `places` are paths of the project."""

    name: str  # as in Results
    title: str
    question: str
    places: tuple[str, ...]


STAGES = (
    Stage(
        "problem",
        "Problem",
        "Who decides what with this model, and what does a mistake cost?",
        ("problem/problem.yaml",),
    ),
    Stage(
        "data",
        "Data",
        "How do you know that the model never sees the future?",
        ("problem/dataset.py", "problem/features.py", "steps/data.py"),
    ),
    Stage(
        "model",
        "Model",
        "Why this model, why this threshold, and would you bet money on it?",
        ("pipelines/training.py", "steps/model.py"),
    ),
    Stage(
        "serving",
        "Serving",
        "Is what serves the same as what you evaluated, and is it quick enough?",
        ("serving/app.py", "steps/deploy.py"),
    ),
    Stage(
        "monitoring",
        "Monitoring",
        "How do you notice that it got worse, and what happens then?",
        ("monitoring", "steps/monitor.py"),
    ),
)


def refused(results: Results) -> bool:
    """Whether the model of the last run did not pass its gates."""
    return results.model is not None and not all(gate.passed for gate in results.model.gates)


def not_run(results: Results, stage: str) -> str:
    """Why a stage has no results."""
    if results.model and refused(results) and stage in ("serving", "monitoring"):
        return f"Not run, as version {results.model.version} was refused."
    return NOT_RUN


def problem(contract: Contract) -> str:
    """Who decides what, and what the model says to that."""
    decision = contract.decision
    return f"{fmt.capital(decision.who)}: {decision.what}. The model gives {task_display.gives(contract)}."


def data(contract: Contract, result: DataSection) -> str:
    """What was kept, what was not, and how the future is kept out."""
    bad = sum(result.quarantined.values())
    return (
        f"A feature may read only what was known {fmt.compact(contract.decision.hours_before)} h before "
        f"the {fmt.spaced(contract.decision.time_column)}; time is cut, never shuffled. "
        f"{passed(result.probes, 'leakage probe')}; {result.rows:,} rows were "
        f"kept, and {fmt.plural(bad, 'row or value', 'rows or values')} went to quarantine, with the reason."
    )


def model(contract: Contract, result: ModelSection) -> str:
    """Which model was taken, against what, and whether it was promoted."""
    words = []
    chosen = next((one for one in result.candidates if one.chosen), None)
    if chosen is not None:
        against = _against(result, task_display.shown_of(contract).fit)
        words.append(f"“{fmt.spaced(chosen.name)}” was taken on the validation folds{against}.")
    words.append(
        f"Version {result.version} was {'promoted' if result.promoted else 'refused'}: {gates(result.gates)}."
    )
    return " ".join(words)


def _against(result: ModelSection, name: str) -> str:
    chosen = [one.metrics[name] for one in result.candidates if one.chosen and name in one.metrics]
    baselines = [one for one in result.candidates if one.kind == "baseline" and name in one.metrics]
    if not chosen or not baselines:
        return ""
    best = min(baselines, key=lambda one: one.metrics[name])
    return (
        f": {fmt.metric_title(name)} {fmt.metric(name, chosen[0])} against "
        f"{fmt.metric(name, best.metrics[name])} for the best baseline, {fmt.spaced(best.name)}"
    )


def gates(of: tuple[Gate, ...]) -> str:
    """How many gates passed, and the names of those that did not."""
    failed = [fmt.spaced(gate.name) for gate in of if not gate.passed]
    words = passed(of, "gate")
    return f"{words}; failed: {', '.join(failed)}" if failed else words


def passed(of: Sequence[Gate | Probe], what: str) -> str:
    """How many of those that could fail have passed, and how many could not."""
    asked = [one for one in of if one.applicable]
    words = f"{sum(one.passed for one in asked)} of {fmt.plural(len(asked), what)} passed"
    return f"{words} ({len(of) - len(asked)} not applicable)" if len(asked) < len(of) else words


def serving(result: ServingSection) -> str:
    """Whether what serves is what was evaluated."""
    answered = "none failed" if result.failed == 0 else f"{result.failed:,} failed"
    switched = f", {result.at_switch:,} of them while a new version took over" if result.at_switch else ""
    return (
        f"The service loads the very artifact that was evaluated: {result.parity.rows:,} raw rows sent over "
        f"HTTP got the offline answers, with a largest difference of "
        f"{fmt.compact(result.parity.largest_difference)}. "
        f"Of {fmt.plural(result.requests, 'request')}{switched}, {answered}."
    )


def policy(contract: Contract) -> str:
    """When the model is trained again."""
    rules = contract.monitoring
    return (
        f"{rules.bad_periods} bad periods of the last {rules.of_periods}, the latest among them, lead to "
        f"retraining, and so do {rules.max_age_days} days without; then {rules.cooldown_days} days of rest."
    )


def monitoring(contract: Contract, result: MonitoringSection) -> str:
    """What was seen and what followed."""
    return f"{seen(result)} The rule: {policy(contract)}"


def seen(result: MonitoringSection) -> str:
    """Periods, bad ones, and retrainings."""
    bad = sum(period.bad for period in result.periods)
    words = (
        f"{fmt.plural(len(result.periods), 'period')} watched, {bad} bad; {retrained(result.retrainings)}."
    )
    return f"{words} Version {result.versions[-1].version} serves now." if result.versions else words


def policies(contract: Contract, found: PoliciesSection) -> str:
    """Which policy is worth it, and honestly when none is."""
    currency = contract.costs.currency
    trained = [one for one in found.years if one.trainings]
    lived = f"From {fmt.day(found.start)} to {fmt.day(found.end)}, {found.decisions:,} decisions"
    better = [one for one in trained if one.saved.low > 0]
    if not better:
        return (
            f"{lived}: no policy is shown to be worth its trainings on these data. Of each, the interval of "
            "what it saves against never training again reaches to zero or below."
        )
    best = max(better, key=lambda one: one.saved.value)
    total = fmt.money(best.saved.value * found.decisions / task_display.PER, currency)
    others = [one.name for one in trained if one.saved.low <= 0]
    doubt = f" Not shown to be worth it: {', '.join(others)}." if others else ""
    saves = f"{fmt.estimate('cost_per_1000', best.saved)} {currency} per 1,000 decisions"
    return (
        f"{lived}: training “{best.name}” saves most against never training again, {saves}, {total} in all, "
        f"trainings paid.{doubt}"
    )


def retrained(of: tuple[Retraining, ...]) -> str:
    """How often, and how the contests ended."""
    if not of:
        return "no retraining"
    promoted = sum(one.promoted for one in of)
    return f"{fmt.plural(len(of), 'retraining')}, {promoted} promoted"


def stale(contract: Contract, results: Results) -> str:
    """A warning if the results belong to another contract."""
    if results.problem is None or results.problem.digest == contract.digest:
        return ""
    return "problem.yaml has changed since this run: the results below belong to the contract before."
