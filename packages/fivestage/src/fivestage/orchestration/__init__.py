"""What ZenML needs to know of a project: stores, caching, materializers."""

from fivestage.orchestration.adjustments import adjust_stores

adjust_stores()  # before any part of ZenML connects to its store, or names a class
