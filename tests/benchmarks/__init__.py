"""Benchmarks: ratios measured in one run on a private host. ``python -m tests.benchmarks``."""
