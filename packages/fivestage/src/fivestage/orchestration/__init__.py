"""The integration of a project with ZenML: stores, caching, materializers."""

from fivestage.common.settings import prepare_environment

prepare_environment()  # ZenML reads its settings when it is imported

from fivestage.orchestration.adjustments import adjust_stores  # noqa: E402

adjust_stores()  # before any part of ZenML connects to its store, or names a class
