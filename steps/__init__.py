"""What pipelines are made of: plain typed functions, each with a thin ZenML step around it."""

from fivestage.orchestration import materializers  # noqa: F401 - frames and records are stored by ours from here on
