"""Typed records of each stage's results, saved as one JSON file per stage under var/results."""

from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fivestage.common.errors import UserError
from fivestage.common.files import write_whole
from fivestage.evaluation.daily import NAN
from fivestage.evaluation.gates import ConfusionMatrix, Gate, Probe
from fivestage.evaluation.metrics import CalibrationPoint, CostPoint, Metrics, Slice
from fivestage.monitoring.retraining import Comparison
from fivestage.training.leaderboard import LeaderboardRow

S = TypeVar("S", bound="Section")


class Section:
    """Base class of a stage's results, saved as JSON: `DataSection` in data.json, and so on."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


@dataclass(frozen=True)
class ProblemSection(Section):
    """The contract of the run."""

    digest: str  # SHA-256 of the contract


@dataclass(frozen=True)
class WeeklyLabel:
    """The label in a week."""

    start: date  # the first day
    rate: float  # the label's mean, which is the rate of a binary label
    rows: int
    shares: dict[str, float] = field(default_factory=dict)  # each class's share; multiclass only


@dataclass(frozen=True)
class WindowRow:
    """A window of the temporal split; folds lie inside `train`."""

    kind: Literal["train", "fold", "holdout", "test"]
    start: date  # the first day
    end: date  # the day after the last one
    rows: int  # number of decisions


@dataclass(frozen=True)
class DataSection(Section):
    """Stage 2, the data."""

    raw_rows: dict[str, int]  # rows read, by table
    rows: int  # accepted decisions
    quarantined: dict[str, int]  # rows or values in quarantine, by reason
    events: dict[str, int]  # rows, by kind of event
    windows: tuple[WindowRow, ...]  # of the temporal split
    label_rate: tuple[WeeklyLabel, ...]  # the label by week
    probes: tuple[Probe, ...]  # leakage probes
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)  # names of features, by set
    cleaning: dict[str, int] = field(default_factory=dict)  # counts of cleaning steps, such as rows left out


@dataclass(frozen=True)
class AblationRow:
    """A model trained on some of the feature sets."""

    features: str  # the sets, such as "calendar + history"
    metrics: Metrics  # on the test window, by name


@dataclass(frozen=True)
class ModelSection(Section):
    """Stage 3, the model."""

    version: str  # in the registry
    digest: str  # SHA-256 of the artifact
    promoted: bool  # whether every gate passed
    candidates: tuple[LeaderboardRow, ...]  # baselines and candidates on the validation folds
    test: Metrics  # metrics on the frozen test window, by name; empty before the evaluation
    threshold: float  # the version's own rule on the cost curve
    gates: tuple[Gate, ...]  # promotion gates
    lineage: dict[str, str]  # inputs of the training: data, contract, lock, commit, ...
    ablation: tuple[AblationRow, ...] = ()  # feature sets added one by one
    slices: tuple[Slice, ...] = ()  # of the test window
    calibration: tuple[CalibrationPoint, ...] = ()  # the reliability diagram on the test window
    cost_curve: tuple[CostPoint, ...] = ()  # other decision rules on the test window
    importance: dict[str, float] = field(default_factory=dict)  # permutation importance, by feature
    confusion: ConfusionMatrix | None = None  # decisions by outcome on the holdout window


@dataclass(frozen=True)
class ParityRow:
    """The service's answers compared with offline evaluation."""

    rows: int  # number of rows compared
    largest_difference: float  # between the two predictions of a row


@dataclass(frozen=True)
class ServingSection(Section):
    """Stage 4, the service."""

    version: str  # the version served at the end
    url: str  # address of the service
    parity: ParityRow  # comparison with offline predictions
    requests: int  # number sent
    failed: int  # number of failed requests
    at_switch: int  # requests sent during the switch to a new version
    rows: int  # predictions
    p50_ms: float  # median latency of one-row requests, sent one after another
    p99_ms: float  # their 99th percentile


@dataclass(frozen=True)
class ColumnDriftRow:
    """The drift of a column in a period."""

    column: str  # a feature
    score: float  # how far it moved
    limit: float  # maximum score without drift
    sentence: str  # description of the finding

    @property
    def drifted(self) -> bool:
        return self.score > self.limit


@dataclass(frozen=True)
class CauseRow:
    """A root cause of an alarm, with the daily series that shows it."""

    kind: str  # such as "input shift"
    subject: str  # what is affected, such as a column
    sentence: str  # description of the finding
    what: str = ""  # meaning of the daily values
    first: date | None = None  # the first day of the series; None without one
    usual: tuple[float, ...] = ()  # daily values of the reference
    now: tuple[float, ...] = ()  # daily values of the period, after the reference
    low: float = 0.0  # 90% of the usual values lie between `low` and `high`
    high: float = 0.0  # see `low`

    @property
    def days(self) -> int:
        return len(self.usual) + len(self.now)


@dataclass(frozen=True)
class PeriodRow:
    """One period of service."""

    start: date  # the first day
    end: date  # the day after the last one
    version: str  # version or versions that served
    rows: int  # predictions
    label_share: float  # share of the rows whose outcome has arrived
    metrics: Metrics  # measured with the labels, by name
    drift: tuple[ColumnDriftRow, ...]  # of each column
    bad: bool  # whether the performance violates its limits
    verdict: str  # description of the performance and the policy's decision
    estimated_cost: float = NAN  # per 1,000 decisions, from the predictions alone
    drift_report: str = ""  # an HTML file, relative to the page
    causes: tuple[CauseRow, ...] = ()  # root causes of the alarms, the most severe first
    # metrics estimated before any label arrived, by name
    estimated: Metrics = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()  # of the period
    judged: bool = True  # whether enough labels had arrived to judge the performance

    @property
    def broken(self) -> bool:
        """Whether the data are broken, which blocks training."""
        return any(cause.kind == "data broken" for cause in self.causes)


@dataclass(frozen=True)
class Retraining:
    """A retraining and the evaluation of its challenger."""

    at: date  # the day
    reason: str  # the policy's reason
    version: str  # the challenger
    promoted: bool  # whether it became the champion
    gates: tuple[Gate, ...]  # gates of its evaluation


@dataclass(frozen=True)
class VersionChange:
    """The day from which a version served."""

    at: date
    version: str


@dataclass(frozen=True)
class MonitoringSection(Section):
    """Stage 5, monitoring: the periods, the retrainings and the served versions."""

    periods: tuple[PeriodRow, ...]
    retrainings: tuple[Retraining, ...]
    versions: tuple[VersionChange, ...]


@dataclass(frozen=True)
class PoliciesSection(Comparison, Section):
    """The backtest of several retraining policies over the same days."""


@dataclass(frozen=True)
class RunSection(Section):
    """The run as a whole."""

    seconds: dict[str, float]  # by stage, in order
    cached: bool = False  # whether the data came from ZenML's cache, so that the durations mean little


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


def save(section: Section, folder: Path) -> Path:
    """Write a stage's results to a file in the folder atomically, and return the file."""
    content = TypeAdapter(type(section)).dump_json(section, indent=2)
    return write_whole(_path(type(section), folder), lambda scratch: scratch.write_bytes(content))


def load(folder: Path) -> Results:
    """Read the results that the stages have saved so far."""
    kinds: dict[str, Any] = {kind.__name__: kind for kind in Section.__subclasses__()}
    names = [one.name for one in fields(Results)]
    return Results(**{name: _read(kinds[f"{name.capitalize()}Section"], folder) for name in names})


def forget(section: type[Section], folder: Path) -> None:
    """Delete the results that a stage saved in an earlier run."""
    _path(section, folder).unlink(missing_ok=True)


def _read(section: type[S], folder: Path) -> S | None:
    path = _path(section, folder)
    if not path.exists():
        return None
    try:
        return TypeAdapter(section).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} does not contain valid results. Delete it and run its stage again."
        ) from error


def _path(section: type[Section], folder: Path) -> Path:
    return folder / f"{section.__name__.removesuffix('Section').lower()}.json"
