"""The checks of a period of service and the retraining policy: yours to change."""
