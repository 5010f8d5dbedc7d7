"""Stage 5: the year lived through under several policies of retraining."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from pipelines.training import LAST_DAY
from steps.data import in_memory
from steps.monitor import compare


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def comparison(data: str) -> None:
    """What each policy costs on the data with this hash, in money."""
    rows, _, features = in_memory(data, LAST_DAY, LAST_DAY)
    compare(rows, features, data)
