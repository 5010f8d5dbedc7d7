"""The page that a person opens after a run: five stages, each with its decision, numbers and plots."""

from pathlib import Path

from markupsafe import Markup

from fivestage.common.files import write_whole
from fivestage.contract.contract import Contract
from fivestage.reporting import number_format as fmt
from fivestage.reporting import plots, sentences, task_display
from fivestage.reporting.render import render
from fivestage.reporting.results import NAN, DataSection, Estimate, ModelSection, MonitoringSection, Results
from fivestage.reporting.sentences import STAGES

PLOTTED_CAUSES = 3  # of a period; the others are in its drift report


def write_page(contract: Contract, results: Results, path: Path) -> Path:
    """Write the page to a file, completely or not at all.

    Args:
        contract: the problem's contract.
        results: of the run.
        path: the HTML file; its folder is made.

    Returns:
        The path.

    Raises:
        UserError: if the file cannot be written.
    """
    text = page(contract, results)
    return write_whole(path, lambda scratch: scratch.write_text(text, encoding="utf-8"))


def page(contract: Contract, results: Results) -> str:
    """The page as HTML; it loads nothing from anywhere."""
    drawn = {name: Markup(svg) for name, svg in _plots(contract, results).items()}  # noqa: S704 - our own
    tiles = _tiles(contract, results)
    return render("page.html.j2", contract, results, stages=STAGES, tiles=tiles, plots=drawn)


def _tiles(contract: Contract, results: Results) -> dict[str, tuple[str, str]]:
    """By stage: the one number to remember, and its caption."""
    tiles = {stage.name: (fmt.NONE, sentences.not_run(results, stage.name)) for stage in STAGES}
    tiles["problem"] = task_display.short_rule(contract)
    if data := results.data:
        tiles["data"] = (fmt.count(data.rows), f"rows kept; {sentences.passed(data.probes, 'leakage probe')}")
    if model := results.model:
        saved = model.test.get("savings_share", Estimate(NAN))
        headline = task_display.headline_metric(model.test, contract)
        caption = f"of the achievable savings on unseen data; {headline}"
        tiles["model"] = (fmt.metric("savings_share", saved.value), caption)
    if serving := results.serving:
        requests = fmt.plural(serving.requests, "request")
        caption = f"p99 of a one-row request; {serving.failed:,} of {requests} failed"
        tiles["serving"] = (f"{fmt.decimal(serving.p99_ms, 1)} ms", caption)
    if monitoring := results.monitoring:
        bad = sum(period.bad for period in monitoring.periods)
        caption = f"periods bad; {sentences.retrained(monitoring.retrainings)}"
        tiles["monitoring"] = (f"{bad} of {len(monitoring.periods)}", caption)
    return tiles


def _plots(contract: Contract, results: Results) -> dict[str, str]:
    """The SVG of each plot that has points, by name."""
    monitored = results.monitoring or MonitoringSection((), (), ())
    drawn = _plots_of_periods(contract, monitored)
    if results.data and results.data.label_rate:
        drawn |= _plots_of_data(contract, results.data, monitored)
    if results.model:
        drawn |= _plots_of_model(contract, results.model)
    if results.policies and any(one.trainings for one in results.policies.years):
        drawn["policies"] = plots.policies(results.policies, contract.costs.currency)
    return drawn


def _plots_of_data(contract: Contract, data: DataSection, monitored: MonitoringSection) -> dict[str, str]:
    _, unit = task_display.label_axis(contract)
    return {"label_rate": plots.label_rate(data, monitored.retrainings, unit)}


def _plots_of_model(contract: Contract, model: ModelSection) -> dict[str, str]:
    drawn = {}
    currency, shown = contract.costs.currency, task_display.shown_of(contract)
    if model.ablation:
        drawn["ablation"] = plots.ablation(model.ablation, shown.sets)
    if model.calibration:
        _, unit = task_display.label_axis(contract)
        drawn["calibration"] = plots.calibration(model.calibration, unit)
    if model.cost_curve:
        labels = task_display.cost_curve_labels(contract)
        drawn["cost_curve"] = plots.cost_curve(model.cost_curve, model.threshold, labels, currency)
    if model.importance:
        drawn["importance"] = plots.importance(model.importance)
    if model.slices:
        least = contract.gates.min_slice_rows
        drawn["slices"] = plots.slices(model.slices, model.test, shown.slices, currency, least)
    return drawn


def _plots_of_periods(contract: Contract, monitored: MonitoringSection) -> dict[str, str]:
    periods, drawn = monitored.periods, {}
    limit, currency = contract.monitoring.max_bias, contract.costs.currency
    if periods:
        shown = task_display.shown_of(contract).periods
        drawn["performance"] = plots.performance(periods, monitored.retrainings, shown, limit, currency)
    if any("cost_per_1000" in {*one.estimated} & {*one.metrics} for one in periods):
        drawn["estimates"] = plots.estimates(periods, currency)
    if any(period.slices for period in periods):
        drawn["slices by period"] = plots.slices_by_period(periods, limit)
    if any(period.drift for period in periods):
        drawn["drift"] = plots.drift(periods)
    for number, period in enumerate(periods):
        causes = period.causes[:PLOTTED_CAUSES]
        if any(cause.days for cause in causes):
            drawn[f"causes {number}"] = plots.causes(causes)
    return drawn
