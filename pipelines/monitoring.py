"""Stage 5: check one period of service, and decide whether to train again."""

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from fivestage.serving.service_settings import Settings
from steps.data import featurise, ingest
from steps.monitor import decide_retraining, monitor_period, notify_teams


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring(
    data: str,
    folder: str,
    start: int,
    end: int,
    log_offsets: tuple[int, int],
    past: list[dict[str, Any]],
    trained: list[int],
) -> None:
    """Check the period [start, end) as of its end, and apply the retraining policy.

    `past` are the summaries of earlier periods, `trained` the times of all trainings; without any, a day was
    named by hand, of which gauges and teams are not told. `log_offsets` are the last log numbers that an
    earlier period has read: of predictions, and of challengers' predictions.
    """
    rows, event_tables, _ = ingest(data)
    features = featurise(rows, event_tables)
    monitored = monitor_period(rows, features, folder, start, end, log_offsets, past)
    verdict = decide_retraining(monitored, past, trained)
    if trained and not Settings.of_folder(folder).is_demo:  # the demo notifies nobody
        notify_teams(monitored, verdict, folder)
