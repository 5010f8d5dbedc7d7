"""The synthetic service of the serving tests, deployed."""

from tests.serving.conftest import artifact, contract, other_artifact, synthetic_process, traffic

__all__ = ["artifact", "contract", "other_artifact", "synthetic_process", "traffic"]
