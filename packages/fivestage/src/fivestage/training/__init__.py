"""Candidates on temporal folds, calibration, selection, leakage probes, packaging."""
