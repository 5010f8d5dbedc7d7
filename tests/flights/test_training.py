"""How a training is wired; nothing runs."""

from dataclasses import asdict, replace

import pytest

from fivestage.training.selection import CANDIDATES
from pipelines.training import training


@pytest.mark.parametrize("count", [1, 2, 5])
def test_candidates_wait_for_the_data_alone_and_the_choice_for_all_of_them(count: int) -> None:
    """What waits for nothing but the data runs side by side where steps run in pods."""
    some = [asdict(replace(CANDIDATES[0], leaves=4 + number)) for number in range(count)]
    training.prepare("data", "registry", "2013-09-01", "", some)
    waits = {name: step.upstream_steps for name, step in training.invocations.items()}
    tried = {f"candidate_{number}" for number in range(1, count + 1)}
    assert {name for name in waits if name.startswith("candidate")} == tried
    assert all(waits[name] == {"ingest", "featurise"} for name in tried)
    assert waits["choose"] == {"ingest", "featurise", *tried}
    parameters = [training.invocations[name].parameters["trees"] for name in sorted(tried)]
    assert parameters == some
