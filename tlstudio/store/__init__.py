"""Projects and runs on disk. The folders are the truth; ``project.db`` is an index that can be rebuilt from them."""

from tlstudio.store.metrics import MetricRow
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio.store.run_record import RunSummary

__all__ = ["MetricRow", "Project", "Run", "RunSummary"]
