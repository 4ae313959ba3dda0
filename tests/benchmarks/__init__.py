"""Benchmarks: each prints figures and ratios from one run, ``python -m tests.benchmarks.NAME``; none is a test."""
