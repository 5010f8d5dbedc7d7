"""Export the results of monitoring to Prometheus: a text file, and optionally a Pushgateway.

node_exporter's textfile collector or any web server can serve the file. A CronJob cannot be scraped, and sets
`MONITOR_PUSHGATEWAY=http://host:9091` instead.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from fivestage.common.errors import UserError

PUSHGATEWAY = "MONITOR_PUSHGATEWAY"
ABOUT = {
    "ran_at_seconds": "When monitoring last ran, in epoch seconds.",
    "period_end_seconds": "The end of the last monitored period, in epoch seconds.",
    "period_days": "The length of a period in days.",
    "rows": "Decisions in the period.",
    "label_share": "Share of the period's labels that have arrived.",
    "min_label_share": "Share of the period's labels that should have arrived.",
    "bad": "Whether the period was bad according to its labels.",
    "drifted": "Columns that drifted more than chance explains.",
    "broken": "Inputs whose data are broken.",
    "retrain": "Whether the policy requires a retraining or a promotion.",
    "bias": "Mean prediction minus mean outcome.",
    "max_bias": "Largest allowed absolute value of the bias.",
    "cost_per_1000": "Cost per 1,000 decisions, from the labels.",
    "estimated_cost_per_1000": "Cost per 1,000 decisions, estimated from the predictions alone.",
}


def expose(values: Mapping[str, float], path: Path, job: str, *, update: bool = False) -> None:
    """Write the gauges `monitoring_*`, and push them if a gateway is named.

    Args:
        values: Each gauge's value by its name without `monitoring_`; the names are the keys of `ABOUT`.
        path: The text file, which is replaced; its folder is created if necessary.
        job: The Pushgateway's label `job`.
        update: Keep the file's other gauges, if it exists.

    Raises:
        UserError: If the gateway rejects the metrics.
    """
    registry = CollectorRegistry()
    for name, value in ((exposed(path) if update and path.exists() else {}) | dict(values)).items():
        Gauge(f"monitoring_{name}", ABOUT[name], registry=registry).set(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
    if gateway := os.environ.get(PUSHGATEWAY, ""):
        try:
            push_to_gateway(gateway, job=job, registry=registry)
        except OSError as error:
            raise UserError(
                f"The Pushgateway {gateway} rejects the metrics: {error}. Fix or unset {PUSHGATEWAY}."
            ) from error


def exposed(path: Path) -> dict[str, float]:
    """Read a file of `expose`: the value of each gauge in `ABOUT`, by its name without `monitoring_`."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    values = {one.name.removeprefix("monitoring_"): one.samples[0].value for one in families}
    return {name: value for name, value in values.items() if name in ABOUT}
