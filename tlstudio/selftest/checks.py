"""All checks, in the order in which they are run."""

from __future__ import annotations

from tlstudio.selftest import Check, resume

CHECKS: tuple[Check, ...] = (resume.CHECK,)
