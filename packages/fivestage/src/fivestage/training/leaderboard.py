"""The leaderboard: baselines and candidates with their mean metrics over the folds."""

from dataclasses import dataclass, field
from typing import Literal

LINE_METRICS = ("log_loss", "rmse", "savings_share")  # shown in a line, if the task has them


@dataclass(frozen=True)
class LeaderboardRow:
    """A baseline or a candidate, evaluated on the temporal folds."""

    name: str  # of the baseline, or of the candidate in `problem/candidates.py`
    kind: Literal["baseline", "candidate"]
    metrics: dict[str, float]  # means over the folds, named as in `fivestage.evaluation.metrics.scores`
    chosen: bool = False  # whether the version is trained from it
    started: float = field(default=0.0, compare=False, repr=False)  # start of its first fit, epoch seconds
    seconds: float = field(default=0.0, compare=False, repr=False)  # from then to the end of its last fit

    @property
    def line(self) -> str:
        """The mean metrics over the folds as a line of text; `*` marks the chosen candidate."""
        metrics = ", ".join(
            f"{name.replace('_', ' ')} {self.metrics[name]:.4g}"
            for name in LINE_METRICS
            if name in self.metrics
        )
        return f"{'*' if self.chosen else ' '} {self.name}: {metrics}"
