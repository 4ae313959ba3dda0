"""Whether a run can be asked about a source, looked at before its model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tlstudio.api import DataError, Sample, TLStudioError
from tlstudio.data.unlabelled import NO_COLUMNS, gives
from tlstudio.engine.assemble import preprocessor_of
from tlstudio.engine.columns import columns_of
from tlstudio.engine.parts import parts_from
from tlstudio.engine.target import read_target
from tlstudio.plugins import Registry
from tlstudio.store.run import Run


def can_read(run: Run, registry: Registry, asked: Path | Sample, columns: Mapping[str, str] = NO_COLUMNS) -> bool:
    """Whether a sample, or one of the first of a source, can be prepared for the model of a run.

    Args:
        run: The run.
        registry: The components.
        asked: The sample, or the file, folder or table.
        columns: Columns of a table by the option that names them.
    """
    try:
        parts = parts_from({**run.read_recipe(), "methods": {}}, registry)
        preprocessor, target = preprocessor_of(parts, assets=run.assets), read_target(run)

        def takes(sample: Sample) -> bool:
            try:
                preprocessor(sample)
            except DataError:
                return False
            return (sample.pair is not None) == target.pairs

        if isinstance(asked, Sample):
            return takes(asked)
        formats, modality = registry.formats.values(), parts.backbone.modality
        return gives(asked, formats, modality, columns, takes, target.task, columns_of(run))
    except TLStudioError:
        return False
