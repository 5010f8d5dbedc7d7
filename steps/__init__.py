"""What pipelines are made of: plain typed functions, each with a thin ZenML step around it."""

from fivestage.common.settings import prepare_environment

prepare_environment()  # ZenML reads its settings when it is imported

from fivestage.orchestration import materializers  # noqa: E402, F401 - frames are stored by ours from here on
