"""The table of samples that a revision keeps as ``samples.parquet``: one row a sample."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tlstudio.api import SPLITS, DataError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.string()),  # relative to the revision's folder if it was copied, else absolute
        pa.field("text", pa.large_string()),  # large: together the texts may pass 2 GiB
        pa.field("pair", pa.large_string()),  # a second text that belongs to it
        pa.field("user", pa.string()),  # who has rated it, and what: the name of the item that the content is of
        pa.field("item", pa.string()),
        pa.field("audio", pa.string()),  # as the image
        pa.field("values", pa.large_string()),  # JSON: the columns of the user's own table
        pa.field("label", pa.string()),  # a name
        pa.field("labels", pa.list_(pa.string())),  # several names, also those that occur in an annotation
        pa.field("value", pa.float64()),  # a number
        pa.field("annotation", pa.large_string()),  # JSON of any other label, see `tlstudio.api.label_values`
        pa.field("group", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("hash", pa.string(), nullable=False),  # SHA-256 of the file's bytes or of the text in UTF-8
        pa.field("width", pa.int32()),  # pixels, upright
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64()),  # length of a sound
        pa.field("peak", pa.float64()),  # its largest sample, in 0..1
        pa.field("dhash", pa.binary(16)),  # perceptual hash of an image, see `tlstudio.data.fingerprint`
    ]
)
"""Columns of ``samples.parquet``, in their order."""

ADDED = frozenset({"pair", "user", "item", "audio", "values", "annotation", "seconds", "peak"})
"""Columns that tables of the first format do not have; nothing is in them."""

UNSPLIT = pa.schema([field for field in SCHEMA if field.name != "split"])
"""The same before the splits are known."""


def read_table(path: Path) -> pa.Table:
    """Read a table of samples, columns as in `SCHEMA` in one chunk each; annotations are read by `Annotations`.

    Args:
        path: The file; somebody may have sent it.

    Raises:
        DataError: It cannot be read, or is none.
    """
    remedy = "Import the data again."
    wanted = pa.schema([field for field in SCHEMA if field.name != "annotation"])
    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            kept = set(file.schema_arrow.names)
            table = file.read([name for name in wanted.names if name in kept])
        for name in ADDED.intersection(wanted.names).difference(table.column_names):
            table = table.append_column(SCHEMA.field(name), pa.nulls(table.num_rows, SCHEMA.field(name).type))
        if missing := [name for name in wanted.names if name not in table.column_names]:
            raise DataError(f"The table of samples {path} lacks the columns {', '.join(missing)}.", remedy, path=path)
        table = table.select(wanted.names).cast(wanted).combine_chunks()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"The table of samples {path} cannot be read: {error}.", remedy, path=path) from error
    if strange := {str(name) for name in table.column("split").unique().to_pylist()}.difference(SPLITS):
        raise DataError(f"The table of samples {path} has a split {min(strange)[:40]!r}.", remedy, path=path)
    return table
