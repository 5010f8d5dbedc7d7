"""Sentences shared by the page, the model card, the terminal summary and the notices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fivestage.contract.contract import Contract
from fivestage.evaluation.gates import ADVICE, Gate, Probe
from fivestage.monitoring.retraining import RetrainingDecision
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

if TYPE_CHECKING:  # Evidently takes seconds to import
    from fivestage.monitoring.period import MonitoredPeriod

NOT_RUN = "Not run yet."
CARD = "model_card.md"  # next to the page
PROGRAMS = (  # whose pages show a run, with the commands that open them
    ("MLflow: runs, versions, artifacts", "make ui"),
    ("ZenML: pipelines, steps, lineage", 'make ui ARGS="--which zenml"'),
    ("Evidently: the checks of each period", 'make ui ARGS="--which evidently"'),
)
SERVE = "make serve"
WINDOWS = {  # by kind of window
    "train": "training",
    "fold": "validation fold",
    "holdout": "holdout",
    "test": "test",
}


@dataclass(frozen=True)
class Stage:
    """One of the five stages of a project."""

    name: str  # as in `Results`
    title: str  # displayed
    question: str  # answered by the stage
    places: tuple[str, ...]  # project paths of the code behind the answer


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
        ("problem/candidates.py", "pipelines/training.py", "steps/model.py"),
    ),
    Stage(
        "serving",
        "Serving",
        "Does the service answer as the evaluated model did, and fast enough?",
        ("serving/app.py", "steps/deploy.py"),
    ),
    Stage(
        "monitoring",
        "Monitoring",
        "How do you notice that the model got worse, and what happens then?",
        ("monitoring", "steps/monitor.py"),
    ),
)


def refused(results: Results) -> bool:
    """Return whether a gate refused the model of the last run."""
    return results.model is not None and not all(gate.passed for gate in results.model.gates)


def refusal_advice(results: Results) -> str:
    """Say what to do if a gate refused the model of the last run; empty otherwise."""
    return ADVICE if refused(results) else ""


def not_run(results: Results, stage: str) -> str:
    """Explain why a stage has no results."""
    if results.model and refused(results) and stage in ("serving", "monitoring"):
        return f"Not run, because version {results.model.version} was refused."
    return NOT_RUN


def problem(contract: Contract) -> str:
    """Say who decides what, and what the model predicts."""
    decision = contract.decision
    return (
        f"{fmt.capital(decision.who)}: {decision.what}. The model predicts {task_display.predicts(contract)}."
    )


def decision_time(contract: Contract) -> str:
    """Say when the decision is taken, relative to the time column."""
    column, hours = fmt.spaced(contract.decision.time_column), contract.decision.hours_before
    return f"{fmt.compact(hours)} h before the {column}" if hours else f"at the time in “{column}”"


def data(contract: Contract, result: DataSection) -> str:
    """Say how leakage is prevented, and how many rows were accepted and quarantined."""
    bad = sum(result.quarantined.values())
    return (
        f"Features use only what was known {decision_time(contract)}; "
        "the data are split by time, never shuffled. "
        f"{passed(result.probes, 'leakage probe')}. {fmt.plural(result.rows, 'row was', 'rows were')} kept; "
        f"{fmt.plural(bad, 'row or value was', 'rows or values were')} quarantined, each with its reason."
    )


def model(contract: Contract, result: ModelSection) -> str:
    """Say which candidate was selected, how the best baseline compares, and whether it was promoted."""
    selected = ""
    chosen = next((one for one in result.candidates if one.chosen), None)
    if chosen is not None:
        against = _against_baseline(result, task_display.shown_of(contract).fit)
        selected = f"“{fmt.spaced(chosen.name)}” was selected on the validation folds{against}. "
    verdict = "promoted" if result.promoted else "refused"
    return f"{selected}Version {result.version} was {verdict}: {gates(result.gates)}."


def _against_baseline(result: ModelSection, name: str) -> str:
    chosen = [one.metrics[name] for one in result.candidates if one.chosen and name in one.metrics]
    baselines = [one for one in result.candidates if one.kind == "baseline" and name in one.metrics]
    if not chosen or not baselines:
        return ""
    best = min(baselines, key=lambda one: one.metrics[name])
    return (
        f": {fmt.metric_title(name)} {fmt.metric(name, chosen[0])}, against "
        f"{fmt.metric(name, best.metrics[name])} for the best baseline, {fmt.spaced(best.name)}"
    )


def gates(results: tuple[Gate, ...]) -> str:
    """Say how many gates passed, and name those that failed."""
    failed = [fmt.spaced(gate.name) for gate in results if not gate.passed]
    counted = passed(results, "gate")
    return f"{counted}; failed: {', '.join(failed)}" if failed else counted


def passed(results: Sequence[Gate | Probe], noun: str) -> str:
    """Say how many applicable gates or probes passed, and how many are not applicable."""
    applicable = [result for result in results if result.applicable]
    counted = f"{sum(result.passed for result in applicable)} of {fmt.plural(len(applicable), noun)} passed"
    rest = len(results) - len(applicable)
    return f"{counted} ({rest} not applicable)" if rest else counted


def serving(result: ServingSection) -> str:
    """Say whether the service answers as the evaluated model did, and how many requests failed."""
    failed = "none failed" if result.failed == 0 else f"{result.failed:,} failed"
    switched = (
        f" ({result.at_switch:,} of them during the switch to a new version)" if result.at_switch else ""
    )
    return (
        f"The service loads the artifact that was evaluated: for "
        f"{fmt.plural(result.parity.rows, 'raw row')} sent over HTTP, its answers differ from the offline "
        f"ones by at most {fmt.compact(result.parity.largest_difference)}. "
        f"Of {fmt.plural(result.requests, 'request')}{switched}, {failed}."
    )


def policy(contract: Contract) -> str:
    """Say when the model is retrained."""
    rules = contract.monitoring
    if rules.of_periods == 1:
        bad = "a bad period triggers"
    else:
        some = fmt.plural(rules.bad_periods, "bad period")
        verb = "triggers" if rules.bad_periods == 1 else "trigger"
        bad = f"{some} out of the last {rules.of_periods}, including the latest, {verb}"
    age = f"{'does' if rules.max_age_days == 1 else 'do'} {fmt.plural(rules.max_age_days, 'day')} without one"
    rest = fmt.plural(rules.cooldown_days, "day")
    pause = f" Two retrainings are at least {rest} apart." if rules.cooldown_days else ""
    return f"{fmt.capital(bad)} a retraining, and so {age}.{pause}"


def advice(verdict: RetrainingDecision) -> str:
    """Say what to do after the policy's decision."""
    if verdict.promote:
        return f"Promote version {verdict.promote}"
    return "Retrain" if verdict.retrain else "Keep the model"


def by_late_labels(period: "MonitoredPeriod") -> str:
    """Say how an earlier period was judged once most of its labels had arrived."""
    found = f"{period.state}, {period.performance.sentence}"
    return f"From {period.days}, by the labels that have arrived since: {found}."


def monitoring(contract: Contract, result: MonitoringSection) -> str:
    """Summarise the periods and retrainings, and state the retraining rule."""
    return f"{seen(result)} The rule: {policy(contract)}"


def seen(result: MonitoringSection) -> str:
    """Count the periods, the bad ones among them, and the retrainings."""
    periods = fmt.plural(len(result.periods), "period was", "periods were")
    states = [f"{sum(one.bad for one in result.periods)} of them bad"]
    if broken := sum(one.broken for one in result.periods):
        states.append(f"{broken} with broken data")
    if waiting := sum(not one.judged for one in result.periods):
        states.append(f"{waiting} with too few labels to judge")
    counted = f"{periods} monitored, {', '.join(states)}; {retrained(result.retrainings)}."
    return (
        f"{counted} Version {result.versions[-1].version} served at the end." if result.versions else counted
    )


def policies(contract: Contract, result: PoliciesSection) -> str:
    """Say which retraining policy saves most after the cost of training, if any saves significantly."""
    currency = contract.costs.currency
    trained = [one for one in result.policies if one.trainings]
    window = f"From {fmt.day(result.start)} to {fmt.day(result.end)}, over {result.decisions:,} decisions"
    better = [one for one in trained if one.saved.low > 0]
    if not better:
        return (
            f"{window}, no policy saves significantly more than its training costs: each interval of the "
            "savings against never retraining includes zero or lies below it."
        )
    best = max(better, key=lambda one: one.saved.value)
    total = fmt.money(best.saved.value * result.decisions / task_display.PER, currency)
    others = [one.name for one in trained if one.saved.low <= 0]
    doubt = f" No significant savings: {', '.join(others)}." if others else ""
    saves = f"{fmt.estimate('cost_per_1000', best.saved)} {currency} per 1,000 decisions"
    return (
        f"{window}, retraining “{best.name}” saves most against never retraining: {saves}, {total} in total, "
        f"after the cost of training.{doubt}"
    )


def retrained(retrainings: tuple[Retraining, ...]) -> str:
    """Count the retrainings, and those whose version was promoted."""
    if not retrainings:
        return "no retraining"
    promoted = sum(one.promoted for one in retrainings)
    return f"{fmt.plural(len(retrainings), 'retraining')}, {promoted} promoted"


def stale(contract: Contract, results: Results) -> str:
    """Return a warning if the results belong to another contract."""
    if results.problem is None or results.problem.digest == contract.digest:
        return ""
    return "problem.yaml has changed since this run: the results below belong to the earlier contract."
