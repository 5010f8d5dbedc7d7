"""What the contract says, as plain sentences: one fact each, in the words in which people ask."""

from collections.abc import Iterator

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract, RegressionContract
from fivestage.reporting import number_format as fmt
from fivestage.reporting import sentences, task_display


def contract_sections(contract: Contract) -> Iterator[tuple[str, Iterator[str]]]:
    """The contract as sections of sentences.

    Args:
        contract: the problem's contract.

    Yields:
        A heading, and the sentences below it.
    """
    yield "What is decided", _decision(contract)
    yield "The decision rule: the threshold from which to act", _rule(contract)
    yield "What errors cost", _costs(contract)
    yield "What the contract promises: the service's objectives", _objectives(contract)
    yield "Gates: what a version must reach before it serves", _gates(contract)
    yield "Monitoring and retraining", _monitoring(contract)
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


def _monitoring(contract: Contract) -> Iterator[str]:
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
