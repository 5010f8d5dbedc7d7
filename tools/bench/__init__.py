"""Benchmarks: run on request, never as tests."""
