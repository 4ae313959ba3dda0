"""Benchmarks: each prints figures and ratios from one run, ``python -m tests.benchmarks.NAME``; none is a test."""

import os

from tlstudio.startup import keep_freed_memory, share_the_cores

keep_freed_memory()
share_the_cores(os.environ)  # as the program does, before torch is loaded
