"""What the monitoring job found, for Prometheus: a text file, and a Pushgateway where one is named.

The file is for node_exporter's textfile collector or any web server; a CronJob, which nobody can scrape, sets
`MONITOR_PUSHGATEWAY=http://host:9091`.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from fivestage.common.errors import UserError

PUSHGATEWAY = "MONITOR_PUSHGATEWAY"
ABOUT = {
    "ran_at_seconds": "When the log was last looked at for a period to watch, in epoch seconds.",
    "period_end_seconds": "The end of that period.",
    "period_days": "Its length.",
    "rows": "Decisions in it.",
    "label_share": "Share of its labels that have arrived.",
    "min_label_share": "Share of them that is needed to judge it.",
    "bad": "Whether it was bad by its labels.",
    "drifted": "Columns that moved more than days move by chance.",
    "broken": "Inputs whose data are broken.",
    "retrain": "Whether the policy asks for a retraining.",
    "bias": "Mean prediction minus the rate.",
    "max_bias": "What it may be, on either side.",
    "cost_per_1000": "Cost per 1,000 decisions, by the labels.",
    "estimated_cost_per_1000": "The same, estimated from the probabilities alone.",
}


def expose(found: Mapping[str, float], path: Path, job: str, *, update: bool = False) -> None:
    """Write the gauges `monitoring_*`, and push them if a gateway is named.

    Args:
        found: each gauge's value by its name, without `monitoring_`: the names are those of `ABOUT`.
        path: the text file, which is replaced; its folder is made.
        job: the label `job` of what is pushed.
        update: keep the file's other gauges as they are.

    Raises:
        UserError: when the gateway does not take them.
    """
    registry = CollectorRegistry()
    for name, value in ((exposed(path) if update else {}) | dict(found)).items():
        Gauge(f"monitoring_{name}", ABOUT[name], registry=registry).set(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
    if gateway := os.environ.get(PUSHGATEWAY, ""):
        try:
            push_to_gateway(gateway, job=job, registry=registry)
        except OSError as error:
            raise UserError(
                f"The Pushgateway {gateway} takes no metrics: {error}. Mend or unset {PUSHGATEWAY}."
            ) from error


def exposed(path: Path) -> dict[str, float]:
    """What `expose` has written to a file: each gauge's value by its name, without `monitoring_`."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return {one.name.removeprefix("monitoring_"): one.samples[0].value for one in families}
