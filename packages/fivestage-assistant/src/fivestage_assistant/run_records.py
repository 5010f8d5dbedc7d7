"""Records: the contract and the results of a run as plain sentences, the generated part of the corpus."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.deployment.releases import Release
from fivestage.evaluation.gates import Gate
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences, task_display
from fivestage.reporting.documents import card_text, decisions_text
from fivestage.reporting.results import (
    DataSection,
    ModelSection,
    MonitoringSection,
    PeriodRow,
    PoliciesSection,
    Results,
    Retraining,
    ServingSection,
)

from fivestage_assistant.passages import Document

FOLDER = "run"
DAYS_OF_A_WEEK = 7
MOST_IMPORTANT = 5
WORDS_OF_A_NAME = 3  # a longer value in the data may be an injected instruction
TEXT_IN_DATA = "(a text in the data)"
WINDOW_USE = {
    "train": "the data on which the model is trained (from which it learns)",
    "fold": "on which candidates are compared",
    "holdout": "on which a new version is compared with the one that serves",
    "test": "frozen, which no model has seen before it is judged",
}
MEANING = {  # of metrics, so that users who do not know their names find them
    "roc_auc": "how well the model ranks cases, where 0.5 is chance and 1 is perfect",
    "pr_auc": "precision averaged over recall",
    "log_loss": "how surprised the probabilities are by what comes; lower is better",
    "brier": "the mean squared error of the probabilities",
    "calibration_error": "how far probabilities are from how often the outcome really comes",
    "accuracy": "the share of cases whose likeliest class comes",
    "mae": "the mean absolute error of the forecasts",
    "rmse": "the root mean squared error of the forecasts",
    "bias": "whether predictions are too high or too low on average",
    "cost_per_1000": "the bill of a thousand decisions",
    "savings_share": "of the money that an oracle, a perfect forecast, could save, what the model saves",
    "action_rate": "in which share of the cases the model says to act",
    "rate": "how often the outcome really happens",
}


def records(contract: Contract, results: Results, releases: Sequence[Release] = ()) -> list[Document]:
    """Write the records of a run.

    Args:
        contract: the problem's contract.
        results: the results of the stages.
        releases: releases to clusters, oldest first.

    Returns:
        A document for the contract, one for the decisions, and one for each stage that has run.
    """
    stated = (line for heading, some in contract_sections(contract) for line in _section(heading, *some))
    found = {
        "contract": (_page("The contract", stated), "problem/problem.yaml"),
        "decisions": (decisions_text(contract, results), "problem/problem.yaml"),
    }
    if results.data:
        found["data"] = _page("The data of the last run", _data(contract, results.data)), _file("data")
    if results.model:
        added = "\n".join(_model(contract, results.model))
        found["model-card"] = f"{card_text(contract, results)}\n{added}\n", _file("model")
    if results.serving:
        found["serving"] = _page("The service in the last run", _serving(results.serving)), _file("serving")
    if results.monitoring:
        text = _page(
            "Monitoring, alerts and retrainings of the last run", _monitoring(contract, results.monitoring)
        )
        found["monitoring"] = text, _file("monitoring")
    if results.policies:
        text = _page("Retraining policies compared", _policies(contract, results.policies))
        found["policies"] = text, _file("policies")
    if releases:
        found["releases"] = _page("Releases", _releases(releases)), "var/releases.jsonl"
    texts = _texts_in_data(results)
    return [
        Document(f"{FOLDER}/{name}.md", _without(texts, text), origin)
        for name, (text, origin) in found.items()
    ]


def _texts_in_data(results: Results) -> list[str]:
    """Return values of the data that are too long for names, longest first."""
    slices = [*results.model.slices] if results.model else []
    slices += [row for one in results.monitoring.periods for row in one.slices] if results.monitoring else []
    texts = {one.value for one in slices if len(one.value.split()) > WORDS_OF_A_NAME}
    return sorted(texts, key=len, reverse=True)


def _without(texts: Sequence[str], page: str) -> str:
    for one in texts:
        page = page.replace(one, TEXT_IN_DATA)
    return page


def _file(stage: str) -> str:
    return str(Path("var", "results", f"{stage}.json"))


def _page(title: str, lines: Iterator[str]) -> str:
    return "\n".join((f"# {title}", "", *lines)) + "\n"


def _section(heading: str, *lines: str) -> Iterator[str]:
    yield from ("", f"## {heading}")
    for line in lines:
        yield from ("", line)


def _data(contract: Contract, data: DataSection) -> Iterator[str]:
    yield sentences.data(contract, data)
    yield from _section(
        "Raw tables",
        *(
            f"The raw table `{name}`{_about(contract, name)} has {rows:,} rows."
            for name, rows in data.raw_rows.items()
        ),
        f"{data.rows:,} decisions (examples, records) were kept after cleaning.",
    )
    yield from _section(
        "Quarantine",
        f"{_quarantined(sum(data.quarantined.values()))} in total, because they break the contract.",
        *(f"{_quarantined(rows)}: {why}." for why, rows in data.quarantined.items()),
    )
    first = next((one for one in data.windows if one.kind == "train"), None)
    if first:
        yield from _section(
            "What data the first version was trained on",
            f"The model was trained on data from {fmt.day(first.start)} to before {fmt.day(first.end)}: "
            f"{first.rows:,} decisions (examples, rows) of the training window.",
        )
    yield from _section(
        "Windows",
        *(
            f"The {sentences.WINDOWS[one.kind]} window, {WINDOW_USE[one.kind]}, goes from "
            f"{fmt.day(one.start)} ({one.start}) to before {fmt.day(one.end)} ({one.end}) and holds "
            f"{one.rows:,} decisions."
            for one in data.windows
        ),
    )
    yield from _section(
        "Leakage probes",
        *(f"Probe “{one.name}” {_passed(passed=one.passed)}: {one.sentence}." for one in data.probes),
    )
    if data.label_rate and contract.task == "binary":
        label = fmt.spaced(contract.label.name)
        by_rate = sorted(data.label_rate, key=lambda week: week.rate)
        low, high = by_rate[0], by_rate[-1]
        yield from _section(
            "The label by week",
            f"The label rate was lowest in the week from {fmt.day(low.start)}, the calmest one: {label} in "
            f"{low.rate:.1%} of the cases.",
            f"The label rate was highest in the week from {fmt.day(high.start)}, the worst one: {label} in "
            f"{high.rate:.1%} of the cases.",
        )


def _quarantined(rows: int) -> str:
    return f"{fmt.plural(rows, 'row or value was', 'rows or values were')} put aside into quarantine"


def _about(contract: Contract, table: str) -> str:
    event = contract.events.get(table)
    return f" ({event.about})" if event else ""


def _model(contract: Contract, model: ModelSection) -> Iterator[str]:
    """Yield the tables of the model card as sentences."""
    display = task_display.shown_of(contract)
    unit = {"cost_per_1000": f" {contract.costs.currency}"}
    yield from _section(
        "How good the model is, in numbers",
        sentences.model(contract, model),
        *(
            f"On the frozen test window the {fmt.metric_title(name)} of version {model.version} is "
            f"{fmt.estimate(name, model.test[name])}{unit.get(name, '')}{_meaning(name)}."
            for name in fmt.in_order(model.test)
            if name != "rows"
        ),
    )
    name, sign = display.slices[0], 1 if display.low_is_good else -1
    title = fmt.metric_title(name)
    weak = []
    for column in dict.fromkeys(one.column for one in model.slices):
        rated = [
            one for one in model.slices if one.column == column and one.rows >= contract.gates.min_slice_rows
        ]
        rated = sorted(
            (one for one in rated if name in one.metrics), key=lambda one: sign * one.metrics[name].value
        )
        if len(rated) > 1:
            best, worst = rated[0], rated[-1]
            weak.append(
                f"Of the {len(rated)} values of {fmt.spaced(column)}, the model does worst (is weakest) for "
                f"{worst.value}, with a {title} of {fmt.metric(name, worst.metrics[name].value)}, and best "
                f"for {best.value}, with {fmt.metric(name, best.metrics[name].value)}."
            )
    yield from _section("Where the model (the champion) is weak: its limits by slice", *weak)
    ranked = sorted(model.importance.items(), key=lambda item: -item[1])[:MOST_IMPORTANT]
    if ranked:
        yield from _section(
            "The most important features",
            f"The model depends most on the features {', '.join(name for name, _ in ranked)} (by permutation "
            "importance).",
        )


def _meaning(name: str) -> str:
    return f"; this is {MEANING[name]}" if name in MEANING else ""


def _serving(serving: ServingSection) -> Iterator[str]:
    yield sentences.serving(serving)
    yield from _section(
        "Latency",
        f"The median latency of a one-row request, how long a typical caller waits for an answer (p50), is "
        f"{serving.p50_ms:.2f} ms.",
        f"The 99th percentile of the latency (p99), which the slowest one in a hundred exceed, is "
        f"{serving.p99_ms:.2f} ms.",
    )
    yield from _section(
        "Requests",
        f"{serving.requests:,} requests (calls) were sent to the service in total, and {serving.failed:,} of "
        "them failed.",
        f"{serving.at_switch:,} requests (calls) were sent while a new version took over (the switch).",
        f"Version {serving.version} serves when the run is over; `make serve` starts it again.",
    )


def _monitoring(contract: Contract, found: MonitoringSection) -> Iterator[str]:
    yield sentences.monitoring(contract, found)
    yield from _section("The champion now: which version serves", *_champion(found))
    yield from _section("Versions: refused or promoted", *_versions(found))
    yield from _section("Alerts of all periods", *_alerts(found))
    yield from _section("Bad periods", *_bad(contract, found))
    for period in found.periods:
        last = period.end - timedelta(days=1)
        yield from _section(f"Period from {period.start} to {last}", *_period(contract, period))
    for one in found.retrainings:
        yield from _section(f"Retraining of {one.at}: version {one.version}", *_retraining(one))
    yield from _section(
        "Which version served when",
        *(f"From {fmt.day(one.at)} ({one.at}) on, version {one.version} served." for one in found.versions),
    )


def _champion(found: MonitoringSection) -> Iterator[str]:
    if not found.versions:
        return
    now = found.versions[-1]
    yield (
        f"The current champion, the model that serves now, is version {now.version}: it has served since "
        f"{fmt.day(now.at)} ({now.at})."
    )
    for one in found.retrainings:
        if one.version == now.version:
            yield f"Version {one.version}, the champion now, was trained because {one.reason}."


def _versions(found: MonitoringSection) -> Iterator[str]:
    refused = [one for one in found.retrainings if not one.promoted]
    if not refused:
        how = "every retraining passed its gates" if found.retrainings else "there was no retraining"
        yield f"No version of the model was refused (rejected): {how}."
    for one in refused:
        failed = [f"“{gate.name}” ({gate.sentence})" for gate in one.gates if not gate.passed]
        yield (
            f"Version {one.version} of {fmt.day(one.at)} was refused (rejected) because of "
            f"{fmt.plural(len(failed), 'failed gate')}: {'; '.join(failed)}."
        )
    for one in found.retrainings:
        if one.promoted:
            yield (
                f"Version {one.version} was not refused: trained on {fmt.day(one.at)} because {one.reason}, "
                f"it was promoted and became the champion ({sentences.gates(one.gates)})."
            )


def _alerts(found: MonitoringSection) -> Iterator[str]:
    fired = [(one, [row.column for row in one.drift if row.drifted]) for one in found.periods]
    fired = [(one, columns) for one, columns in fired if columns]
    total = sum(len(columns) for _, columns in fired)
    yield (
        f"{fmt.plural(total, 'drift alert')} fired in total, in {len(fired)} of "
        f"{fmt.plural(len(found.periods), 'period')} (weeks)."
    )
    for one, columns in fired:
        yield f"In {_span(one)} alerts fired for {', '.join(columns)}."


def _bad(contract: Contract, found: MonitoringSection) -> Iterator[str]:
    bad = [one for one in found.periods if one.bad]
    yield (
        f"{len(bad)} of {fmt.plural(len(found.periods), 'period')} (weeks) were bad"
        f"{': ' + '; '.join(map(_span, bad)) if bad else ''}."
    )
    cost = "cost_per_1000"
    judged = [one for one in found.periods if cost in one.metrics]
    if judged:
        worst = max(judged, key=lambda one: one.metrics[cost].value)
        yield (
            f"The most expensive period was {_span(worst)}: "
            f"{fmt.metric(cost, worst.metrics[cost].value)} {contract.costs.currency} per 1,000 decisions."
        )


def _span(period: PeriodRow) -> str:
    length = "week" if (period.end - period.start).days == DAYS_OF_A_WEEK else "period"
    return f"the {length} from {fmt.day(period.start)} to {fmt.day(period.end - timedelta(days=1))}"


def _period(contract: Contract, period: PeriodRow) -> Iterator[str]:
    currency, span = contract.costs.currency, _span(period)
    yield (
        f"In {span}, version {period.version} made {period.rows:,} predictions (forecasts); "
        f"{period.label_share:.1%} of the outcomes have arrived."
    )
    yield f"{fmt.capital(span)} was {'bad' if period.bad else 'good'}: {period.verdict}."
    display = task_display.shown_of(contract).periods
    for name in (*display, "rate", "savings_share"):
        if name in period.metrics:
            unit = f" {currency}" if name == "cost_per_1000" else ""
            found = fmt.estimate(name, period.metrics[name])
            yield f"In {span} the {fmt.metric_title(name)} was {found}{unit}{_meaning(name)}."
    if not any(one.drifted for one in period.drift):
        yield f"No drift alert fired in {span}."
    yield from (f"A drift alert fired in {span} for {one.sentence}." for one in period.drift if one.drifted)
    yield from (f"What caused it in {span}, {one.kind}: {one.sentence}." for one in period.causes)
    days = (period.start + timedelta(days=n) for n in range((period.end - period.start).days))
    yield f"```\n{', '.join(fmt.day(day) for day in days)}\n```"  # for retrieval; code is not quoted


def _retraining(one: Retraining) -> Iterator[str]:
    verdict = "became the champion" if one.promoted else "was refused"
    yield f"On {fmt.day(one.at)} version {one.version} was trained because {one.reason}, and {verdict}."
    yield f"{fmt.capital(sentences.gates(one.gates))}."
    yield from (_gate(one.version, gate) for gate in one.gates)


def _gate(version: str, gate: Gate) -> str:
    return f"Gate “{gate.name}” of version {version} {_passed(passed=gate.passed)}: {gate.sentence}."


def _policies(contract: Contract, found: PoliciesSection) -> Iterator[str]:
    yield sentences.policies(contract, found)
    yield from _section(
        "Each policy",
        *(
            f"The policy “{one.name}” trained {one.trainings:.1f} times and saved "
            f"{fmt.estimate('cost_per_1000', one.saved)} {contract.costs.currency} per 1,000 decisions."
            for one in found.policies
        ),
    )


def _releases(found: Sequence[Release]) -> Iterator[str]:
    for one in found:
        failed = f" It failed: {one.failed}." if one.failed else ""
        yield from _section(
            f"Release {one.number}",
            f"Release {one.number} of {one.when} by {one.who} brought version {one.model} with image "
            f"{one.image} to {one.overlay}: {one.outcome}. Reason given: {one.why or 'none'}.{failed} "
            f"The release before it is {one.previous or 'none'}.",
        )


def _passed(*, passed: bool) -> str:
    return "passed" if passed else "failed"


def contract_sections(contract: Contract) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the contract's sections: a heading, and the sentences below it."""
    yield "What is decided", _decision(contract)
    yield "The decision rule: the threshold from which to act", _rule(contract)
    yield "What errors cost", _costs(contract)
    yield "What the contract promises: the service's objectives", _objectives(contract)
    yield "Gates: what a version must reach before it serves", _gates(contract)
    yield "Monitoring and retraining", _retraining_rules(contract)
    yield "Budget", _budget(contract)
    yield "How time is split", _split(contract)
    yield (
        "Columns of a request",
        (f"The column `{name}` is the {one.about} ({one.type})." for name, one in contract.columns.items()),
    )
    yield (
        "Events that the service receives",
        (f"The event `{name}` means: {one.about}." for name, one in contract.events.items()),
    )


def _decision(contract: Contract) -> Iterator[str]:
    decision, label = contract.decision, contract.label
    yield sentences.problem(contract)
    yield f"Who uses the model, and whom it was made for: {decision.who}."
    yield f"What is decided: {decision.what}."
    lead, time = fmt.compact(decision.hours_before), fmt.spaced(decision.time_column)
    yield f"The decision is taken {lead} hours before {time}."
    yield f"What is predicted, the label (target, outcome), is “{fmt.spaced(label.name)}”: {label.means}."
    yield f"The label is known {label.known}."


def _rule(contract: Contract) -> Iterator[str]:
    if isinstance(contract, BinaryContract):
        threshold = f"{contract.costs.threshold:.3f}, which follows from the costs"
        yield f"The threshold that is used to decide is a probability of {threshold}."
    yield task_display.rule(contract)


def _costs(contract: Contract) -> Iterator[str]:
    currency = contract.costs.currency
    match contract:
        case BinaryContract():
            act, wait = (fmt.spaced(one) for one in (contract.decision.act, contract.decision.wait))
            label, errors = fmt.spaced(contract.label.name), contract.costs
            for what, decided, truth, cost in (
                ("A false alarm (false positive", act, f"although it is not {label}", errors.act_negative),
                (f"A miss (a missed {label} case", wait, f"although it is {label}", errors.wait_positive),
                ("A hit (true positive", act, f"and it is {label}", errors.act_positive),
                ("Rightly waiting (true negative", wait, f"and it is not {label}", errors.wait_negative),
            ):
                yield f"{what}: “{decided}” {truth}) costs {fmt.money(cost, currency)}."
        case MulticlassContract():
            for action, prices in contract.costs.actions.items():
                for one, cost in prices.items():
                    yield f"“{fmt.spaced(action)}” costs {fmt.money(cost, currency)} where “{one}” comes."
        case RegressionContract():
            costs, unit = contract.costs, contract.label.unit
            yield f"Planning too high costs {costs.over:g} {currency} per unit ({unit})."
            yield f"Planning too low costs {costs.under:g} {currency} per unit ({unit})."


def _objectives(contract: Contract) -> Iterator[str]:
    service = contract.service
    yield f"The contract promises a latency of at most {service.p99_ms:g} ms for 99% of the requests (p99)."
    answered = f"{100 * service.availability:g}%"
    yield f"The contract promises an availability of {service.availability:g}: {answered} of the requests."
    load = f"{service.requests_per_second:g} requests per second"
    yield f"The contract promises a load (throughput) of {load}."
    yield f"A request may hold at most {service.max_batch:,} rows (a batch)."


def _gates(contract: Contract) -> Iterator[str]:
    gates, slack = contract.gates, "beyond it a version is refused"
    yield f"Scoring one row may take at most {gates.max_row_ms:g} ms; {slack}."
    yield f"The bias (mean prediction against the mean outcome) may be at most {gates.max_bias:g}; {slack}."
    if isinstance(contract, RegressionContract):
        yield f"The interval coverage may be off by at most {gates.max_coverage_error:g}; {slack}."
        suspicious = ("R²", gates.suspicious_r2)
    else:
        yield f"The calibration error may be at most {gates.max_calibration_error:g}; {slack}."
        suspicious = ("ROC-AUC", gates.suspicious_roc_auc)
    if suspicious[1] is not None:
        yield f"From {suspicious[0]} {suspicious[1]:g} on a leak is suspected, and a version is refused."
    for name, share in contract.baselines.items():
        yield (
            f"A version must save at least {share:.0%} more of the achievable savings than the baseline "
            f"“{fmt.spaced(name)}”."
        )
    yield f"No slice (group) may cost {gates.max_slice_loss:.0%} more than under the champion."


def _retraining_rules(contract: Contract) -> Iterator[str]:
    rules = contract.monitoring
    yield (
        f"The service is monitored in periods of {rules.period_days} days, against a reference of "
        f"{rules.reference_days} days."
    )
    yield f"When the model is retrained: {sentences.policy(contract)}"
    oldest = f"{rules.max_age_days} days old (its maximal age)"
    yield f"A model is trained again at the latest when it is {oldest}."
    yield f"At least {rules.cooldown_days} days (the cooldown) lie between two retrainings."
    yield f"Drift alerts have a chance of a false alarm of {rules.false_alarm:.0%} per period."
    yield f"A period is judged once {rules.min_label_share:.0%} of its labels (outcomes) have arrived."
    approval = (
        "what passes its gates serves, and nobody has to approve it"
        if rules.promotion == "automatic"
        else "a person has to approve what has passed its gates (`make approve`)"
    )
    yield f"Promotion of a new version ({rules.promotion}): {approval}."


def _budget(contract: Contract) -> Iterator[str]:
    budget = contract.budget
    yield f"At most {fmt.plural(budget.retrainings_per_year, 'retraining')} (trainings) a year are paid for."
    yield f"One retraining costs {fmt.money(budget.retraining_cost, contract.costs.currency)}."
    yield f"A training may take at most {budget.training_minutes:g} minutes."


def _split(contract: Contract) -> Iterator[str]:
    split = contract.split
    yield f"The frozen test window goes from {fmt.day(split.test_start)} to before {fmt.day(split.test_end)}."
    yield f"A new version is compared with the champion on a holdout window of {split.holdout_days} days."
    yield f"Candidates are compared on {split.folds} validation folds of {split.fold_days} days each."
