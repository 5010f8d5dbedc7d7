"""Stage 5: one period of service, and whether it calls for training again."""

from pathlib import Path
from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from fivestage.common import settings
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
    """Watch [start, end) as of its end; the policy remembers `past` periods and moments of training.

    `log_offsets` are the last numbers of the log that an earlier period has looked at: of answers, and of
    challengers' answers.
    """
    rows, event_tables, _ = ingest(data)
    features = featurise(rows, event_tables)
    monitored = monitor_period(rows, features, folder, start, end, *log_offsets)
    verdict = decide_retraining(monitored, past, trained)
    if Path(folder) != settings.DEMO:  # a service of the demo tells nobody
        notify_teams(monitored, verdict, folder)
