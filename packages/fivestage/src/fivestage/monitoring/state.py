"""What the loop remembers of a service from run to run: periods, trainings, what is to be done."""

import fcntl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from fivestage.common.files import write_whole
from fivestage.monitoring.retraining import PeriodSummary, RetrainingDecision

STATE_FILE = "periods.json"


@dataclass(frozen=True)
class PendingTraining:
    """A training as of a moment (epoch seconds): cut short, it meets the same champion again."""

    at: int
    champion: str  # a version


@dataclass(frozen=True)
class MonitoringState:
    """The periods monitored so far, and how far they reach: in time, and in the prediction log."""

    periods: tuple[PeriodSummary, ...]
    until: int
    log_offsets: tuple[int, int]  # answers, and challengers' answers
    verdict: RetrainingDecision | None = None
    done: bool = True  # what the verdict asks for
    trained: tuple[int, ...] = ()  # epoch seconds, promoted or not; the first model's is not a retraining
    begun: PendingTraining | None = None


def read(folder: str, first: Callable[[], int]) -> MonitoringState:
    """The state of a service; without one yet, it begins when the first model was trained."""
    path = Path(folder) / STATE_FILE
    if not path.exists():
        return MonitoringState((), first(), (0, 0), trained=(first(),))
    content = path.read_bytes().replace(b'"heard"', b'"log_offsets"')  # as it was called up to 0.2
    found = TypeAdapter(MonitoringState).validate_json(content)
    return found if found.trained else replace(found, trained=(first(),))


def amend(
    folder: str, first: Callable[[], int], change: Callable[[MonitoringState], MonitoringState]
) -> MonitoringState:
    """Change the state as it stands now, for others may write in it as well; returns what it says then."""
    path = Path(folder) / STATE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changed = change(read(folder, first))
        content = TypeAdapter(MonitoringState).dump_json(changed, indent=1)
        write_whole(path, lambda scratch: scratch.write_bytes(content))
    return changed
