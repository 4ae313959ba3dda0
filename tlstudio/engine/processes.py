"""Helping processes that start quickly."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def quick_processes(*modules: str) -> BaseContext:
    """Give a way to start processes: forked from a small server that has loaded what they need.

    A forked child of this process itself could deadlock, since it has threads. Where there is no fork, each process
    loads the libraries anew, which takes seconds.

    Args:
        modules: What the server loads; what cannot be imported there is left out.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context
