"""Stage 5: one period of service, and whether it calls for training again."""

from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from steps.data.adapters import featurise, ingest
from steps.monitor.adapters import decide_retraining, watch_period


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring(
    data: str, folder: str, start: int, end: int, heard: int, past: list[dict[str, Any]], trained: list[int]
) -> None:
    """Watch [start, end) as of its end; the policy remembers `past` periods and moments of training.

    `heard` is the last number of the prediction log that an earlier period has looked at.
    """
    rows, world, _ = ingest(data)
    features = featurise(rows, world)
    watched = watch_period(rows, features, folder, start, end, heard)
    decide_retraining(watched, past, trained)
