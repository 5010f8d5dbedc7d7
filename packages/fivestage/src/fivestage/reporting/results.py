"""What each stage reports: typed records, one JSON file a stage."""

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
    """What one stage saves; its file has the name of its class, less `Section`."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; NaN where there is none."""

    value: float
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class ProblemSection(Section):
    """Which contract the run was made for."""

    digest: str  # of the contract


@dataclass(frozen=True)
class Week:
    """The label's mean in seven days; of several classes, each one's share."""

    start: date
    rate: float
    rows: int
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowRow:
    """A part of time, `end` excluded; folds lie inside of `train`."""

    kind: Literal["train", "fold", "contest", "test"]
    start: date
    end: date
    rows: int


@dataclass(frozen=True)
class DataSection(Section):
    """Stage 2."""

    raw_rows: dict[str, int]  # by table
    rows: int
    quarantined: dict[str, int]  # by reason
    events: dict[str, int]  # by kind
    windows: tuple[WindowRow, ...]
    label_rate: tuple[Week, ...]
    probes: tuple[Probe, ...]
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)  # names by set
    cleaning: dict[str, int] = field(default_factory=dict)  # what cleaning counted, such as rows left out


@dataclass(frozen=True)
class AblationRow:
    """What one collection of feature sets brings."""

    features: str
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Slice:
    """Scores where `column` has `value`."""

    column: str
    value: str
    rows: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin: what was predicted and what came; of several classes, of which one."""

    predicted: float
    observed: float
    rows: int
    of: str = ""


@dataclass(frozen=True)
class CostPoint:
    """What deciding by this threshold costs, or by so much more or less than was decided."""

    threshold: float
    cost_per_1000: float


@dataclass(frozen=True)
class ModelSection(Section):
    """Stage 3."""

    version: str
    digest: str  # of the artifact
    promoted: bool
    candidates: tuple[LeaderboardRow, ...]
    test: dict[str, Estimate]
    threshold: float  # of the cost curve, where the version stands
    gates: tuple[Gate, ...]
    lineage: dict[str, str]  # what it was made from: data, contract, lock, commit, ...
    ablation: tuple[AblationRow, ...] = ()
    slices: tuple[Slice, ...] = ()
    calibration: tuple[CalibrationPoint, ...] = ()
    cost_curve: tuple[CostPoint, ...] = ()
    importance: dict[str, float] = field(default_factory=dict)  # by feature, any order


@dataclass(frozen=True)
class ParityRow:
    """The service's answers against offline evaluation."""

    rows: int
    largest_difference: float


@dataclass(frozen=True)
class ServingSection(Section):
    """Stage 4."""

    version: str
    url: str
    parity: ParityRow
    requests: int
    failed: int  # requests
    at_switch: int  # of the requests, those asked while a new version took over
    rows: int
    p50_ms: float  # of a request with one row, one after another
    p99_ms: float
    how_to_open: str  # a command


@dataclass(frozen=True)
class DriftRow:
    """How far a column moved; it drifted when `score` passes `limit`."""

    column: str
    score: float
    limit: float
    sentence: str

    @property
    def drifted(self) -> bool:
        return self.score > self.limit


@dataclass(frozen=True)
class CauseRow:
    """What lies behind an alarm, and its days: the reference's `usual` ones, then those of the period."""

    kind: str
    subject: str
    sentence: str
    what: str = ""  # the numbers are
    first: date | None = None  # of the numbers
    usual: tuple[float, ...] = ()
    now: tuple[float, ...] = ()
    low: float = 0.0  # what nine in ten of the usual ones keep between
    high: float = 0.0

    @property
    def days(self) -> int:
        return len(self.usual) + len(self.now)


@dataclass(frozen=True)
class PeriodRow:
    """One period of service, `end` excluded."""

    start: date
    end: date
    version: str
    rows: int
    label_share: float  # of the rows, those whose outcome has arrived
    metrics: dict[str, Estimate]
    drift: tuple[DriftRow, ...]
    bad: bool
    verdict: str
    estimated_cost: float = NAN  # per 1,000 decisions, from the predictions alone
    drift_report: str = ""  # HTML; a path relative to the page
    causes: tuple[CauseRow, ...] = ()
    estimated: dict[str, Estimate] = field(default_factory=dict)  # metrics, before any label
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class Retraining:
    """One time the policy asked for a new model."""

    at: date
    reason: str
    version: str
    promoted: bool
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class VersionChange:
    """From when a version served."""

    at: date
    version: str


@dataclass(frozen=True)
class MonitoringSection(Section):
    """Stage 5."""

    periods: tuple[PeriodRow, ...]
    retrainings: tuple[Retraining, ...]
    versions: tuple[VersionChange, ...]


@dataclass(frozen=True)
class PolicyYear:
    """What a policy of retraining came to, against never training again."""

    name: str
    trainings: int
    promoted: int
    decisions_cost: float
    training_cost: float
    saved: Estimate  # per 1,000 decisions, the trainings paid
    by_day: tuple[float, ...]  # money saved up to the end of each day


@dataclass(frozen=True)
class PoliciesSection(Section):
    """The same days lived through under several policies."""

    start: date
    end: date
    decisions: int
    years: tuple[PolicyYear, ...]


@dataclass(frozen=True)
class ReportLink:
    """A page to open: a path relative to the report, or a command that brings it up."""

    title: str
    path: str = ""
    command: str = ""


@dataclass(frozen=True)
class RunSection(Section):
    """The run as a whole."""

    seconds: dict[str, float]  # by stage, in order
    links: tuple[ReportLink, ...] = ()
    cached: bool = False  # whether ZenML's cache had its data, so that its times say little


@dataclass(frozen=True)
class Results:
    """All that is known of a run; None is a stage not run yet."""

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
    """Each score with its interval, where it has one."""
    return {name: Estimate(value, *intervals.get(name, ())) for name, value in scores.items()}


def save(section: Section, folder: Path) -> Path:
    """Write a stage's results, whole or not at all.

    Raises:
        UserError: if the folder cannot be written.
    """
    content = TypeAdapter(type(section)).dump_json(section, indent=2)
    return write_whole(_path(type(section), folder), lambda scratch: scratch.write_bytes(content))


def load(folder: Path) -> Results:
    """What the stages have saved so far.

    Raises:
        UserError: naming a file that is not what this version of the project writes.
    """
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
    """Remove what a stage saved in an earlier run, where this one does not get so far."""
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
