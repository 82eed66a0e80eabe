"""What a file is by its first bytes, so that a message names it: "a Git LFS pointer", and not "row 1 is not JSON"."""

import codecs
from pathlib import Path

from persona_rm.errors import DataError

PACKINGS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"\xfd7zXZ\x00": ".xz", b"BZh": ".bz2"}
TABLES = {b"PAR1": ("Parquet", ".parquet"), b"ARROW1": ("Arrow", ".arrow"), b"\xff\xff\xff\xff": ("Arrow", ".arrow")}
OTHER_KINDS = {
    b"version https://git-lfs": "a Git LFS pointer, the data itself was not downloaded; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or export it as CSV",
    b"PK\x05\x06": "an empty zip archive",
    b"SQLite format 3": "a SQLite database; export it as CSV",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it",
    b"\x89HDF": "an HDF5 file; export it as JSON lines or Parquet",
    b"ORC": "an ORC file; export it as JSON lines or Parquet",
    b"Obj\x01": "an Avro file; export it as JSON lines or Parquet",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x02": "a Python pickle, which could run code and is not read",
    b"\x80\x03": "a Python pickle, which could run code and is not read",
    b"\x80\x04": "a Python pickle, which could run code and is not read",
    b"\x80\x05": "a Python pickle, which could run code and is not read",
    b"<!doctype": "an HTML page; the download probably failed",
    b"<html": "an HTML page; the download probably failed",
    b"<?xml": "an XML document",
    codecs.BOM_UTF32_LE: "not UTF-8 but UTF-32 text; save it as UTF-8 (`iconv -f utf-32 -t utf-8 FILE > NEW`)",
    codecs.BOM_UTF32_BE: "not UTF-8 but UTF-32 text; save it as UTF-8 (`iconv -f utf-32 -t utf-8 FILE > NEW`)",
    codecs.BOM_UTF16_LE: "not UTF-8 but UTF-16 text; save it as UTF-8 (`iconv -f utf-16 -t utf-8 FILE > NEW`)",
    codecs.BOM_UTF16_BE: "not UTF-8 but UTF-16 text; save it as UTF-8 (`iconv -f utf-16 -t utf-8 FILE > NEW`)",
}
"""The order counts: the mark of UTF-32 begins with that of UTF-16."""
TAR, TAR_AT = b"ustar", 257
SNIFFED = 1 << 9
"""Bytes that tell the kind."""


def other_kind(start: bytes) -> str:
    """What a file is that holds no rows this library reads, by its first (unpacked) bytes; "" if they do not tell."""
    if start[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return "a tar archive; unpack it"
    lower = start.lstrip()[:16].lower()
    for magic, kind in OTHER_KINDS.items():
        if start.startswith(magic) or (magic.startswith(b"<") and lower.startswith(magic)):
            return kind
    head = start[:200]
    # In UTF-16 every second byte of plain English is 0, and no other.
    zeros = sorted((head[1::2].count(0), head[::2].count(0)))
    if len(head) > 3 and zeros[1] > len(head) // 2 * 9 // 10 and not zeros[0]:
        return "UTF-16 text without a mark; save it as UTF-8 (`iconv -f utf-16le -t utf-8`)"
    return ""


def table_kind(start: bytes) -> tuple[str, str] | None:
    """The name and the suffix of a table's format; None if the bytes are not those of a table."""
    return next((kind for magic, kind in TABLES.items() if start.startswith(magic)), None)


def check_packing(path: Path) -> None:
    """Raises `DataError` if the file is packed otherwise than its name says. Raises OSError as `open`."""
    with path.open("rb") as stream:
        head = stream.read(8)
    packed = next((suffix for magic, suffix in PACKINGS.items() if head.startswith(magic)), "")
    named = path.suffix if path.suffix in PACKINGS.values() else ""
    if packed and packed != named:
        raise DataError(f"it is packed; rename it to end in {packed}", file=path)
    if named and not packed and head:
        kind = other_kind(head) or (table_kind(head) or ("not packed",))[0]
        problem = f"cannot be read: its name ends in {named}, and its content is {kind}; rename it as what it is"
        raise DataError(problem, file=path)
