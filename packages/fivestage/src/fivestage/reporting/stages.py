"""The five stages: what an interviewer asks of each, and where the answer is in the code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One of the five; `places` are paths of the project."""

    name: str  # as in Results
    title: str
    question: str
    places: tuple[str, ...]


STAGES = (
    Stage(
        "problem",
        "Problem",
        "Who decides what with this model, and what does a mistake cost?",
        ("problem/problem.yaml", "packages/fivestage/src/fivestage/contract/contract.py"),
    ),
    Stage(
        "data",
        "Data",
        "How do you know that the model never sees the future?",
        ("problem/features.py", "packages/fivestage/src/fivestage/features/stores.py", "steps/data"),
    ),
    Stage(
        "model",
        "Model",
        "Why this model, why this threshold, and would you bet money on it?",
        (
            "steps/model",
            "packages/fivestage/src/fivestage/evaluation/metrics.py",
            "packages/fivestage/src/fivestage/artifact/artifact.py",
        ),
    ),
    Stage(
        "serving",
        "Serving",
        "Is what serves the same as what you evaluated, and is it quick enough?",
        ("serving", "steps/deploy"),
    ),
    Stage(
        "monitoring",
        "Monitoring",
        "How do you notice that it got worse, and what happens then?",
        ("monitoring", "steps/monitor", "pipelines"),
    ),
)
