"""All checks, in the order in which they are run."""

from __future__ import annotations

from tlstudio.selftest import Check, close, hostile, plugins, resume, store

CHECKS: tuple[Check, ...] = (resume.CHECK, store.CHECK, plugins.CHECK, close.CHECK, hostile.CHECK)
