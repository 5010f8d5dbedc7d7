"""Stage 5: a backtest of retraining policies."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from pipelines.training import LAST_DAY
from steps.data import prepare_data
from steps.monitor import compare


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def comparison(data: str) -> None:
    """Compare what each policy costs, in money, on the data with this hash."""
    rows, _, _, features = prepare_data(data, LAST_DAY, LAST_DAY)
    compare(rows, features, data)
