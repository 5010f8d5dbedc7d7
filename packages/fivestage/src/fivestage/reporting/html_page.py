"""The page that a person opens after a run: five stages, each with its decision, numbers and plots."""

from pathlib import Path

from markupsafe import Markup

from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract
from fivestage.reporting import number_format as fmt
from fivestage.reporting import plots, sentences, task_display
from fivestage.reporting.render import render
from fivestage.reporting.results import NAN, Estimate, MonitoringSection, Results
from fivestage.reporting.sentences import STAGES

PICTURED = 3  # causes of a period; the others are in its drift report


def write_page(contract: Contract, results: Results, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        UserError: if its folder cannot be written.
    """
    text = page(contract, results)
    return write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def page(contract: Contract, results: Results) -> str:
    """The page as HTML; it loads nothing from anywhere."""
    drawn = {name: Markup(svg) for name, svg in _plots(contract, results).items()}  # noqa: S704 - our own
    return render(
        "page.html.j2", contract, results, stages=STAGES, tiles=_tiles(contract, results), plots=drawn
    )


def _tiles(contract: Contract, results: Results) -> dict[str, tuple[str, str]]:
    """By stage: the one number to remember, and what stands below it."""
    tiles = {stage.name: (fmt.NONE, sentences.not_run(results, stage.name)) for stage in STAGES}
    tiles["problem"] = task_display.short_rule(contract)
    if data := results.data:
        tiles["data"] = (fmt.count(data.rows), f"rows kept; {sentences.passed(data.probes, 'leakage probe')}")
    if model := results.model:
        saved = model.test.get("savings_share", Estimate(NAN))
        below = f"of the possible savings on unseen months; {task_display.best(model.test, contract)}"
        tiles["model"] = (fmt.metric("savings_share", saved.value), below)
    if serving := results.serving:
        below = f"p99 of a one-row request; {serving.failed:,} of {serving.requests:,} requests failed"
        tiles["serving"] = (f"{fmt.decimal(serving.p99_ms, 1)} ms", below)
    if monitoring := results.monitoring:
        bad = sum(period.bad for period in monitoring.periods)
        number = f"{bad} of {len(monitoring.periods)}"
        tiles["monitoring"] = (number, f"periods bad; {sentences.retrained(monitoring.retrainings)}")
    return tiles


def _plots(contract: Contract, results: Results) -> dict[str, str]:
    """By name; a plot without points is left out."""
    drawn = {}
    watched = results.monitoring or MonitoringSection((), (), ())
    currency, shown, unit = (
        contract.costs.currency,
        task_display.shown_of(contract),
        task_display.label_axis(contract)[1],
    )
    if results.data and results.data.label_rate:
        drawn["label_rate"] = plots.label_rate(
            results.data, watched.retrainings, task_display.label_axis(contract)[1]
        )
    if model := results.model:
        if model.ablation:
            drawn["ablation"] = plots.ablation(model.ablation, shown.sets)
        if model.calibration:
            drawn["calibration"] = plots.calibration(model.calibration, unit)
        if model.cost_curve:
            drawn["cost_curve"] = plots.cost_curve(
                model.cost_curve, model.threshold, task_display.curve_words(contract), currency
            )
        if model.importance:
            drawn["importance"] = plots.importance(model.importance)
        if model.slices:
            drawn["slices"] = plots.slices(model.slices, model.test, shown.slices, currency)
    return drawn | _plots_of_periods(contract, watched) | _plots_of_policies(contract, results)


def _plots_of_periods(contract: Contract, watched: MonitoringSection) -> dict[str, str]:
    drawn = _pictures(watched)
    limit, currency, shown = (
        contract.monitoring.max_bias,
        contract.costs.currency,
        task_display.shown_of(contract),
    )
    if watched.periods:
        drawn["performance"] = plots.performance(
            watched.periods, watched.retrainings, shown.periods, limit, currency
        )
    if any("cost_per_1000" in {*one.estimated} & {*one.metrics} for one in watched.periods):
        drawn["estimates"] = plots.estimates(watched.periods, currency)
    if any(period.slices for period in watched.periods):
        drawn["slices by period"] = plots.slices_by_period(watched.periods, limit)
    if any(period.drift for period in watched.periods):
        drawn["drift"] = plots.drift(watched.periods)
    return drawn


def _plots_of_policies(contract: Contract, results: Results) -> dict[str, str]:
    if not results.policies or not any(one.trainings for one in results.policies.years):
        return {}
    return {"policies": plots.policies(results.policies, contract.costs.currency)}


def _pictures(watched: MonitoringSection) -> dict[str, str]:
    """The days of each period's first causes."""
    told = {number: period.causes[:PICTURED] for number, period in enumerate(watched.periods)}
    return {
        f"causes {number}": plots.causes(some)
        for number, some in told.items()
        if any(cause.days for cause in some)
    }
