"""Data sets: importing them as frozen revisions, splitting, opening, auditing. No torch and no window in here."""

from tlstudio.data.importing import (
    Cancelled,
    ImportReport,
    ImportRequest,
    import_dataset,
    plan_import,
    valid_name,
)
from tlstudio.data.revision import Revision
from tlstudio.data.splits import assign_splits

__all__ = [
    "Cancelled",
    "ImportReport",
    "ImportRequest",
    "Revision",
    "assign_splits",
    "import_dataset",
    "plan_import",
    "valid_name",
]
