"""How often to write checkpoints, and what failures leave of a machine's time. Plain arithmetic."""

from __future__ import annotations

import math


def young_interval(checkpoint: float, between_failures: float) -> float:
    """Seconds of work between checkpoints that lose the least (Young 1974).

    Args:
        checkpoint: seconds that a checkpoint keeps the training waiting.
        between_failures: mean seconds between failures of any part of the job.

    Returns:
        sqrt(2 x checkpoint x between_failures).
    """
    return math.sqrt(2 * checkpoint * between_failures)


def daly_interval(checkpoint: float, between_failures: float) -> float:
    """The same to a higher order (Daly 2006, equation 37), for checkpoints that cost much.

    Args:
        checkpoint: seconds that a checkpoint keeps the training waiting.
        between_failures: mean seconds between failures of any part of the job.

    Returns:
        Seconds of work between checkpoints.
    """
    if checkpoint >= 2 * between_failures:
        return between_failures
    ratio = checkpoint / (2 * between_failures)
    young = young_interval(checkpoint, between_failures)
    return young * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint


def expected_goodput(interval: float, checkpoint: float, restart: float, between_failures: float) -> float:
    """The share of time that goes into work that stays, failures being exponential (Daly 2006, equation 20).

    Args:
        interval: seconds of work between checkpoints.
        checkpoint: seconds that a checkpoint keeps the training waiting.
        restart: seconds from a failure to the first new step.
        between_failures: mean seconds between failures.

    Returns:
        Between 0 and 1.
    """
    spent = between_failures * math.exp(restart / between_failures)
    return interval / (spent * math.expm1((interval + checkpoint) / between_failures))


def goodput_of_failures(
    work: float, checkpoints: float, failures: int, restart: float, interval: float
) -> float:
    """The share of time that goes into work that stays, where the number of failures is known.

    Args:
        work: seconds of all steps, once each.
        checkpoints: seconds that all checkpoints have kept the training waiting.
        failures: how many there were.
        restart: seconds from a failure to the first new step.
        interval: seconds of work between checkpoints; half of them are lost on average.

    Returns:
        Between 0 and 1.
    """
    return work / (work + checkpoints + failures * (restart + interval / 2))
