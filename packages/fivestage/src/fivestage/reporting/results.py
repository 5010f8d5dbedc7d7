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
    """A number and its interval.

    Args:
        value: the number.
        low: the interval's lower end; NaN where there is none.
        high: its upper end, likewise.
    """

    value: float
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class ProblemSection(Section):
    """Which contract the run was made for.

    Args:
        digest: of the contract.
    """

    digest: str


@dataclass(frozen=True)
class WeeklyLabel:
    """The label in seven days.

    Args:
        start: the first day.
        rate: the label's mean; of 0 and 1, the rate.
        rows: how many.
        shares: of several classes, each one's share.
    """

    start: date
    rate: float
    rows: int
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowRow:
    """A window of the temporal split; folds lie inside of `train`.

    Args:
        kind: what the window is for; `holdout` is the one of the champion/challenger evaluation.
        start: the first day.
        end: the day after the last one.
        rows: how many decisions fall in it.
    """

    kind: Literal["train", "fold", "holdout", "test"]
    start: date
    end: date
    rows: int


@dataclass(frozen=True)
class DataSection(Section):
    """Stage 2, the data.

    Args:
        raw_rows: rows read, by table.
        rows: decisions kept.
        quarantined: rows or values in quarantine, by reason.
        events: rows, by kind of event.
        windows: of the temporal split.
        label_rate: the label by week.
        probes: of leakage.
        features: names of features, by set.
        cleaning: what cleaning counted, such as rows left out.
    """

    raw_rows: dict[str, int]
    rows: int
    quarantined: dict[str, int]
    events: dict[str, int]
    windows: tuple[WindowRow, ...]
    label_rate: tuple[WeeklyLabel, ...]
    probes: tuple[Probe, ...]
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cleaning: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationRow:
    """A model on some of the feature sets.

    Args:
        features: the sets, such as "calendar + history".
        metrics: on the test window, by name.
    """

    features: str
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Slice:
    """Metrics of the rows where a column has a value.

    Args:
        column: the column.
        value: its value.
        rows: how many rows have it.
        metrics: by name.
    """

    column: str
    value: str
    rows: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class CalibrationPoint:
    """One bin of the reliability diagram.

    Args:
        predicted: the mean prediction.
        observed: the mean outcome.
        rows: how many the bin holds.
        of: the class, where there are several.
    """

    predicted: float
    observed: float
    rows: int
    of: str = ""


@dataclass(frozen=True)
class CostPoint:
    """What another decision rule would have cost.

    Args:
        threshold: of the probability; of regression, how far the planned value is shifted.
        cost_per_1000: money per 1,000 decisions.
    """

    threshold: float
    cost_per_1000: float


@dataclass(frozen=True)
class ModelSection(Section):
    """Stage 3, the model.

    Args:
        version: in the registry.
        digest: of the artifact.
        promoted: whether every gate passed.
        candidates: baselines and candidates on the validation folds.
        test: metrics on the frozen test window, by name; empty before the evaluation.
        threshold: where the version's own rule stands on the cost curve.
        gates: of promotion.
        lineage: what the version was built from: data, contract, lock, commit, ...
        ablation: more and more of the feature sets.
        slices: of the test window.
        calibration: the reliability diagram on the test window.
        cost_curve: other decision rules on the test window.
        importance: permutation importance, by feature.
    """

    version: str
    digest: str
    promoted: bool
    candidates: tuple[LeaderboardRow, ...]
    test: dict[str, Estimate]
    threshold: float
    gates: tuple[Gate, ...]
    lineage: dict[str, str]
    ablation: tuple[AblationRow, ...] = ()
    slices: tuple[Slice, ...] = ()
    calibration: tuple[CalibrationPoint, ...] = ()
    cost_curve: tuple[CostPoint, ...] = ()
    importance: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ParityRow:
    """The service's answers compared with offline evaluation.

    Args:
        rows: how many were compared.
        largest_difference: between two predictions of one row.
    """

    rows: int
    largest_difference: float


@dataclass(frozen=True)
class ServingSection(Section):
    """Stage 4, the service.

    Args:
        version: that serves at the end.
        url: of the service.
        parity: its answers compared with offline ones.
        requests: how many were sent.
        failed: how many of them failed.
        at_switch: how many of them were sent while a new version took over.
        rows: predictions.
        p50_ms: median latency of one-row requests, sent one after another.
        p99_ms: their 99th percentile.
        how_to_open: the command that starts the service.
    """

    version: str
    url: str
    parity: ParityRow
    requests: int
    failed: int
    at_switch: int
    rows: int
    p50_ms: float
    p99_ms: float
    how_to_open: str


@dataclass(frozen=True)
class ColumnDriftRow:
    """The drift of a column in a period.

    Args:
        column: a feature.
        score: how far it moved.
        limit: what the score may be.
        sentence: the finding in words.
    """

    column: str
    score: float
    limit: float
    sentence: str

    @property
    def drifted(self) -> bool:
        return self.score > self.limit


@dataclass(frozen=True)
class CauseRow:
    """A root cause of an alarm, with the daily series that shows it.

    Args:
        kind: such as "input shift".
        subject: what is affected, such as a column.
        sentence: the finding in words.
        what: the daily values are.
        first: the first day of the series; None without one.
        usual: daily values of the reference.
        now: daily values of the period, which follow them.
        low: of the usual values nine in ten lie above this and below `high`.
        high: see `low`.
    """

    kind: str
    subject: str
    sentence: str
    what: str = ""
    first: date | None = None
    usual: tuple[float, ...] = ()
    now: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def days(self) -> int:
        return len(self.usual) + len(self.now)


@dataclass(frozen=True)
class PeriodRow:
    """One period of service.

    Args:
        start: the first day.
        end: the day after the last one.
        version: that served, or several.
        rows: predictions.
        label_share: of the rows, the share whose outcome has arrived.
        metrics: measured with the labels, by name.
        drift: of each column.
        bad: whether the performance is outside of its limits.
        verdict: the performance and the policy's decision in words.
        estimated_cost: per 1,000 decisions, from the predictions alone.
        drift_report: an HTML file, relative to the page.
        causes: of the alarms, the gravest first.
        estimated: metrics estimated before any label arrived, by name.
        slices: of the period.
    """

    start: date
    end: date
    version: str
    rows: int
    label_share: float
    metrics: dict[str, Estimate]
    drift: tuple[ColumnDriftRow, ...]
    bad: bool
    verdict: str
    estimated_cost: float = NAN
    drift_report: str = ""
    causes: tuple[CauseRow, ...] = ()
    estimated: dict[str, Estimate] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class Retraining:
    """One retraining, and the evaluation of what came out of it.

    Args:
        at: the day.
        reason: why the policy asked for it.
        version: the challenger.
        promoted: whether it became the champion.
        gates: of its evaluation.
    """

    at: date
    reason: str
    version: str
    promoted: bool
    gates: tuple[Gate, ...]


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
    """What a retraining policy cost, and saved against never retraining.

    Args:
        name: of the policy.
        trainings: mean of the backtest's phases, as all else.
        promoted: challengers that became the champion.
        decisions_cost: money, of all decisions.
        training_cost: money, of all trainings.
        saved: per 1,000 decisions, after the cost of training.
        by_day: cumulative savings at the end of each day.
    """

    name: str
    trainings: float
    promoted: float
    decisions_cost: float
    training_cost: float
    saved: Estimate
    by_day: tuple[float, ...]


@dataclass(frozen=True)
class PoliciesSection(Section):
    """The backtest of several retraining policies over the same days.

    Args:
        start: the first day.
        end: the day after the last one.
        decisions: how many fall in between.
        years: the policies.
    """

    start: date
    end: date
    decisions: int
    years: tuple[PolicyRow, ...]


@dataclass(frozen=True)
class ReportLink:
    """Something to open: a path relative to the report, or a command."""

    title: str
    path: str = ""
    command: str = ""


@dataclass(frozen=True)
class RunSection(Section):
    """The run as a whole.

    Args:
        seconds: by stage, in order.
        links: what to open next.
        cached: whether ZenML's cache held the data, so that the times say little.
    """

    seconds: dict[str, float]
    links: tuple[ReportLink, ...] = ()
    cached: bool = False


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
    """Join metrics and their intervals.

    Args:
        scores: by name.
        intervals: by name; a metric may have none.

    Returns:
        Each metric with its interval, by name.
    """
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
    """Read what the stages have saved so far.

    Args:
        folder: that `save` has written to.

    Returns:
        The results; None for a stage that has saved none.

    Raises:
        UserError: naming a file that another version of the project wrote.
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
