"""What each stage reports: typed records, saved as one JSON file per stage under var/results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.evaluation.gates import Gate, Probe
from fivestage.training.leaderboard import LeaderboardRow

NAN = float("nan")
S = TypeVar("S", bound="Section")


class Section:
    """What one stage saves: `DataSection` in data.json, and so on."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


@dataclass(frozen=True)
class Estimate:
    """A number and its interval."""

    value: float
    low: float = NAN  # the interval's lower end; NaN where there is none
    high: float = NAN  # its upper end, likewise


@dataclass(frozen=True)
class ProblemSection(Section):
    """Which contract the run was made for."""

    digest: str  # of the contract


@dataclass(frozen=True)
class WeeklyLabel:
    """The label in seven days."""

    start: date  # the first day
    rate: float  # the label's mean; of 0 and 1, the rate
    rows: int
    shares: dict[str, float] = field(default_factory=dict)  # of several classes, each one's share


@dataclass(frozen=True)
class WindowRow:
    """A window of the temporal split; folds lie inside of `train`."""

    # what the window is for; `holdout` is the one of the champion/challenger evaluation
    kind: Literal["train", "fold", "holdout", "test"]
    start: date  # the first day
    end: date  # the day after the last one
    rows: int  # how many decisions fall in it


@dataclass(frozen=True)
class DataSection(Section):
    """Stage 2, the data."""

    raw_rows: dict[str, int]  # rows read, by table
    rows: int  # decisions kept
    quarantined: dict[str, int]  # rows or values in quarantine, by reason
    events: dict[str, int]  # rows, by kind of event
    windows: tuple[WindowRow, ...]  # of the temporal split
    label_rate: tuple[WeeklyLabel, ...]  # the label by week
    probes: tuple[Probe, ...]  # of leakage
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)  # names of features, by set
    cleaning: dict[str, int] = field(default_factory=dict)  # what cleaning counted, such as rows left out


@dataclass(frozen=True)
class AblationRow:
    """A model on some of the feature sets."""

    features: str  # the sets, such as "calendar + history"
    metrics: dict[str, Estimate]  # on the test window, by name


@dataclass(frozen=True)
class Slice:
    """Metrics of the rows where a column has a value."""

    column: str
    value: str
    rows: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin of the reliability diagram."""

    predicted: float  # the mean prediction
    observed: float  # the mean outcome
    rows: int  # how many the bin holds
    of: str = ""  # the class, where there are several


@dataclass(frozen=True)
class CostPoint:
    """What another decision rule would have cost."""

    threshold: float  # of the probability; of regression, how far the planned value is shifted
    cost_per_1000: float  # money per 1,000 decisions


@dataclass(frozen=True)
class ModelSection(Section):
    """Stage 3, the model."""

    version: str  # in the registry
    digest: str  # of the artifact
    promoted: bool  # whether every gate passed
    candidates: tuple[LeaderboardRow, ...]  # baselines and candidates on the validation folds
    test: dict[str, Estimate]  # metrics on the frozen test window, by name; empty before the evaluation
    threshold: float  # where the version's own rule stands on the cost curve
    gates: tuple[Gate, ...]  # of promotion
    lineage: dict[str, str]  # what the version was built from: data, contract, lock, commit, ...
    ablation: tuple[AblationRow, ...] = ()  # more and more of the feature sets
    slices: tuple[Slice, ...] = ()  # of the test window
    calibration: tuple[CalibrationPoint, ...] = ()  # the reliability diagram on the test window
    cost_curve: tuple[CostPoint, ...] = ()  # other decision rules on the test window
    importance: dict[str, float] = field(default_factory=dict)  # permutation importance, by feature


@dataclass(frozen=True)
class ParityRow:
    """The service's answers compared with offline evaluation."""

    rows: int  # how many were compared
    largest_difference: float  # between two predictions of one row


@dataclass(frozen=True)
class ServingSection(Section):
    """Stage 4, the service."""

    version: str  # that serves at the end
    url: str  # of the service
    parity: ParityRow  # its answers compared with offline ones
    requests: int  # how many were sent
    failed: int  # how many of them failed
    at_switch: int  # how many of them were sent while a new version took over
    rows: int  # predictions
    p50_ms: float  # median latency of one-row requests, sent one after another
    p99_ms: float  # their 99th percentile
    how_to_open: str  # the command that starts the service


@dataclass(frozen=True)
class ColumnDriftRow:
    """The drift of a column in a period."""

    column: str  # a feature
    score: float  # how far it moved
    limit: float  # what the score may be
    sentence: str  # the finding in words

    @property
    def drifted(self) -> bool:
        return self.score > self.limit


@dataclass(frozen=True)
class CauseRow:
    """A root cause of an alarm, with the daily series that shows it."""

    kind: str  # such as "input shift"
    subject: str  # what is affected, such as a column
    sentence: str  # the finding in words
    what: str = ""  # the daily values are
    first: date | None = None  # the first day of the series; None without one
    usual: tuple[float, ...] = ()  # daily values of the reference
    now: tuple[float, ...] = ()  # daily values of the period, which follow them
    low: float = 0.0  # of the usual values nine in ten lie above this and below `high`
    high: float = 0.0  # see `low`

    @property
    def days(self) -> int:
        return len(self.usual) + len(self.now)


@dataclass(frozen=True)
class PeriodRow:
    """One period of service."""

    start: date  # the first day
    end: date  # the day after the last one
    version: str  # that served, or several
    rows: int  # predictions
    label_share: float  # of the rows, the share whose outcome has arrived
    metrics: dict[str, Estimate]  # measured with the labels, by name
    drift: tuple[ColumnDriftRow, ...]  # of each column
    bad: bool  # whether the performance is outside of its limits
    verdict: str  # the performance and the policy's decision in words
    estimated_cost: float = NAN  # per 1,000 decisions, from the predictions alone
    drift_report: str = ""  # an HTML file, relative to the page
    causes: tuple[CauseRow, ...] = ()  # of the alarms, the gravest first
    # metrics estimated before any label arrived, by name
    estimated: dict[str, Estimate] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()  # of the period
    judged: bool = True  # whether enough labels had arrived to judge the performance

    @property
    def broken(self) -> bool:
        """Whether the data are broken, which blocks a training."""
        return any(cause.kind == "data broken" for cause in self.causes)


@dataclass(frozen=True)
class Retraining:
    """One retraining, and the evaluation of what came out of it."""

    at: date  # the day
    reason: str  # why the policy asked for it
    version: str  # the challenger
    promoted: bool  # whether it became the champion
    gates: tuple[Gate, ...]  # of its evaluation


@dataclass(frozen=True)
class VersionChange:
    """The day from which a version served."""

    at: date
    version: str


@dataclass(frozen=True)
class MonitoringSection(Section):
    """Stage 5, monitoring: what each period was like, and what followed."""

    periods: tuple[PeriodRow, ...]
    retrainings: tuple[Retraining, ...]
    versions: tuple[VersionChange, ...]


@dataclass(frozen=True)
class PolicyRow:
    """What a retraining policy cost, and saved against never retraining."""

    name: str  # of the policy
    trainings: float  # mean of the backtest's phases, as all else
    promoted: float  # challengers that became the champion
    decisions_cost: float  # money, of all decisions
    training_cost: float  # money, of all trainings
    saved: Estimate  # per 1,000 decisions, after the cost of training
    by_day: tuple[float, ...]  # cumulative savings at the end of each day


@dataclass(frozen=True)
class PoliciesSection(Section):
    """The backtest of several retraining policies over the same days."""

    start: date  # the first day
    end: date  # the day after the last one
    decisions: int  # how many fall in between
    years: tuple[PolicyRow, ...]


@dataclass(frozen=True)
class ReportLink:
    """Something to open: a path relative to the report, or a command."""

    title: str
    path: str = ""
    command: str = ""


@dataclass(frozen=True)
class RunSection(Section):
    """The run as a whole."""

    seconds: dict[str, float]  # by stage, in order
    links: tuple[ReportLink, ...] = ()  # what to open next
    cached: bool = False  # whether ZenML's cache held the data, so that the times say little


@dataclass(frozen=True)
class Results:
    """The results of a run; None for a stage that has not run."""

    problem: ProblemSection | None = None
    data: DataSection | None = None
    model: ModelSection | None = None
    serving: ServingSection | None = None
    monitoring: MonitoringSection | None = None
    run: RunSection | None = None
    policies: PoliciesSection | None = None


def estimates(
    scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, Estimate]:
    """Join metrics and their intervals."""
    return {name: Estimate(value, *intervals.get(name, ())) for name, value in scores.items()}


def save(section: Section, folder: Path) -> Path:
    """Write a stage's results, completely or not at all.

    Args:
        section: the results.
        folder: made where it does not exist.

    Returns:
        The file.

    Raises:
        UserError: if the folder cannot be written.
    """
    content = TypeAdapter(type(section)).dump_json(section, indent=2)
    return write_whole(_path(type(section), folder), lambda scratch: scratch.write_bytes(content))


def load(folder: Path) -> Results:
    """Read what the stages have saved so far."""
    return Results(
        problem=_read(ProblemSection, folder),
        data=_read(DataSection, folder),
        model=_read(ModelSection, folder),
        serving=_read(ServingSection, folder),
        monitoring=_read(MonitoringSection, folder),
        run=_read(RunSection, folder),
        policies=_read(PoliciesSection, folder),
    )


def forget(section: type[Section], folder: Path) -> None:
    """Remove what a stage saved in an earlier run.

    Args:
        section: the stage's class.
        folder: that `save` has written to.
    """
    _path(section, folder).unlink(missing_ok=True)


def _read(section: type[S], folder: Path) -> S | None:
    path = _path(section, folder)
    if not path.exists():
        return None
    try:
        return TypeAdapter(section).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path} cannot be read as results. Delete it and run its stage again.") from error


def _path(section: type[Section], folder: Path) -> Path:
    return folder / f"{section.__name__.removesuffix('Section').lower()}.json"
