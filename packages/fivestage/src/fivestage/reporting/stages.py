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
        ("problem/problem.yaml",),
    ),
    Stage(
        "data",
        "Data",
        "How do you know that the model never sees the future?",
        ("problem/dataset.py", "problem/features.py", "steps/data.py"),
    ),
    Stage(
        "model",
        "Model",
        "Why this model, why this threshold, and would you bet money on it?",
        ("pipelines/training.py", "steps/model.py"),
    ),
    Stage(
        "serving",
        "Serving",
        "Is what serves the same as what you evaluated, and is it quick enough?",
        ("serving/app.py", "steps/deploy.py"),
    ),
    Stage(
        "monitoring",
        "Monitoring",
        "How do you notice that it got worse, and what happens then?",
        ("monitoring", "steps/monitor.py"),
    ),
)
