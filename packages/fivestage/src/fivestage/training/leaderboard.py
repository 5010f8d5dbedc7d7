"""What the page shows of each model that was tried."""

from dataclasses import dataclass, field
from typing import Literal

SHOWN = ("log_loss", "rmse", "savings_share")  # by a line: the loss of the task, and what decisions bring


@dataclass(frozen=True)
class LeaderboardRow:
    """A baseline or a candidate on the temporal folds."""

    name: str  # of the baseline, or of the candidate in `problem/candidates.py`
    kind: Literal["baseline", "candidate"]  # which of the two it is
    metrics: dict[str, float]  # means over the folds, by the names of `fivestage.evaluation.metrics.scores`
    chosen: bool = False  # whether the version was made of it
    started: float = field(default=0.0, compare=False, repr=False)  # when its first fit began, epoch seconds
    seconds: float = field(default=0.0, compare=False, repr=False)  # from there to the end of its last fit

    @property
    def line(self) -> str:
        """The mean scores on the folds, in one line; `*` marks what was chosen."""
        shown = ", ".join(
            f"{name.replace('_', ' ')} {self.metrics[name]:.4g}" for name in SHOWN if name in self.metrics
        )
        return f"{'*' if self.chosen else ' '} {self.name}: {shown}"
