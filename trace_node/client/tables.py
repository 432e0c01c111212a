"""Tables in CSV, as spreadsheets write them, cut into rows.

RFC 4180 with the habits of spreadsheets: comma, semicolon or tab; UTF-8 with or
without a byte order mark, or GB18030, which Chinese spreadsheets still write.
A header names the columns. Every row stands for itself: a bad one is reported
with its line and the rest goes on. An open quote is found out by the row
that has too many lines, and reading goes on with the line behind its start, so one
stray quote costs one row and not the rest of the file.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Final

from trace_node.client.items import Fault, Item, Source
from trace_node.errors import LimitExceeded, Malformed

MAX_TABLE: Final = 256 << 20  # bytes
MAX_ROWS: Final = 1_000_000
MAX_COLUMNS: Final = 512
MAX_FIELD: Final = 32_767  # characters, what a spreadsheet's cell holds
MAX_NAME: Final = 200  # characters of a column's name
MAX_LINES: Final = 200  # of one row; cells may hold line breaks
_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_LEVEL_1: Final = range(0xB0, 0xD8)  # first bytes of the 3,755 usual characters
_SYMBOLS: Final = range(0xA1, 0xA4)  # and of punctuation
_HIGH: Final = 0xA1  # the second byte of both
_USUAL: Final = 0.6  # of the characters beyond ASCII, in a Chinese table
_SAMPLE: Final = 100_000  # characters that are looked at
_DELIMITERS: Final = ",;\t"
_SEP: Final = re.compile(r'"?sep=[,;\t]"?\s*$', re.IGNORECASE)  # Excel's own first line
_MAX_HEADER: Final = MAX_COLUMNS * (MAX_NAME + 3)  # characters

Row = tuple[int, list[str] | Fault]  # line where it starts, and its cells


def read_table(data: bytes, name: str, kind: str) -> Source:
    """Return the rows of a table.

    Args:
        data: the file.
        name: of the file; stands in each record.
        kind: type of the records.

    Raises:
        Malformed: encoding or header cannot be read.
        LimitExceeded: over 256 MiB, 512 columns or 1,000,000 lines.
    """
    if len(data) > MAX_TABLE:
        raise LimitExceeded(f"a table has at most {MAX_TABLE >> 20} MiB")
    # Before anything is decoded: a line of one byte takes fifty in memory.
    if max(data.count(b"\n"), data.count(b"\r")) > MAX_ROWS:
        raise LimitExceeded(f"a table has at most {MAX_ROWS:,} lines")
    encoding = find_encoding(data)
    text = data.removeprefix(_BOM).decode(encoding, errors="surrogateescape")
    lines = list(io.StringIO(text, newline=""))
    if len(lines) > MAX_ROWS:
        raise LimitExceeded(f"a table has at most {MAX_ROWS:,} lines")
    delimiter, columns, behind = _header(lines)
    notes = () if encoding == "utf-8" else ("read as GB18030",)
    items = _items(_rows(lines, behind, delimiter), columns, name, kind)
    return Source(items, len(lines) - behind, notes=notes)


def find_encoding(data: bytes) -> str:
    """Return "utf-8" or "gb18030", whichever more lines beyond ASCII are written in.

    Almost any bytes can be read as GB18030, so one broken line in UTF-8 must not
    turn the whole file into other characters: the lines vote.

    Raises:
        Malformed: UTF-16, or no encoding that can be told from the bytes.
    """
    if data.startswith(_UTF16):
        raise Malformed("UTF-16; save the table as CSV in UTF-8", where="byte 0")
    if data.startswith(_BOM) or data.isascii():
        return "utf-8"
    votes = 0
    for line in data.splitlines():
        if not line.isascii():
            try:
                line.decode()
                votes += 1
            except UnicodeDecodeError:
                votes -= 1
    if votes < 0:
        _check_chinese(data)
    return "utf-8" if votes >= 0 else "gb18030"


def _check_chinese(data: bytes) -> None:
    """Check that what is no UTF-8 is Chinese in GB18030, by its usual characters.

    "Crédit" in Latin-1 is GB18030 as well, and says "Cr閐it": a record would carry
    it signed and for ever. Simplified Chinese is written in level 1 of GB 2312
    nearly always; what other encodings hold falls elsewhere most of the time.

    Raises:
        Malformed: it is another encoding.
    """
    text = data[: 4 * _SAMPLE].decode("gb18030", errors="replace")
    # What is no GB18030 either tells nothing, and is reported row by row.
    strange = [c for c in text if not c.isascii() and c != "\ufffd"][:_SAMPLE]
    codes = (char.encode("gb18030") for char in strange)
    usual = sum(
        (code[0] in _LEVEL_1 or code[0] in _SYMBOLS)
        and code[1] >= _HIGH
        and len(code) == 2  # noqa: PLR2004 - GB 2312's
        for code in codes
    )
    if usual < _USUAL * len(strange):
        raise Malformed(
            "neither UTF-8 nor Chinese in GB18030; save the table as CSV in UTF-8",
            where="the file",
        )


def _header(lines: Sequence[str]) -> tuple[str, list[str], int]:
    """Return delimiter, names of the columns and the line behind the header."""
    start = next(
        (i for i, line in enumerate(lines) if line.strip() and not _SEP.match(line)),
        None,
    )
    if start is None:
        raise Malformed("the table is empty", where="line 1")
    where = f"line {start + 1}"
    if len(lines[start]) > _MAX_HEADER:
        raise LimitExceeded("the header is too long", where=where)
    best: list[str] = []
    behind, delimiter = start + 1, ","
    for candidate in _DELIMITERS:
        cells, used = _row(lines, start, candidate)
        # A wrong guess fails where quotes end; the right one is among the others.
        if not isinstance(cells, Fault) and len(cells) > len(best):
            best, behind, delimiter = cells, start + used, candidate
    if not best:
        raise Malformed("the header is no row of CSV", where=where)
    columns = [cell.strip() for cell in best]
    while len(columns) > 1 and not columns[-1]:
        columns.pop()  # a spreadsheet's empty columns on the right
    _check_columns(columns, where)
    return delimiter, columns, behind


def _check_columns(columns: list[str], where: str) -> None:
    if len(columns) > MAX_COLUMNS:
        raise LimitExceeded(f"a table has at most {MAX_COLUMNS} columns", where=where)
    seen: set[str] = set()
    for number, column in enumerate(columns, start=1):
        place = f"{where}, column {number}"
        if not column:
            raise Malformed(
                "a column has no name; name it, or delete the column", where=place
            )
        if len(column) > MAX_NAME:
            raise LimitExceeded(
                f"a name has at most {MAX_NAME} characters", where=place
            )
        if not _readable(column):
            raise Malformed("a name that cannot be read", where=place)
        if column in seen:
            raise Malformed(f"two columns are called {column!r}", where=place)
        seen.add(column)


def _rows(lines: Sequence[str], at: int, delimiter: str) -> Iterator[Row]:
    """Yield each row with its line; an impossible one costs its first line only."""
    while at < len(lines):
        cells, used = _row(lines, at, delimiter)
        if isinstance(cells, Fault) or any(cells):
            yield at + 1, cells
        at += 1 if isinstance(cells, Fault) else used


def _row(
    lines: Sequence[str], at: int, delimiter: str
) -> tuple[list[str] | Fault, int]:
    """Return the cells of the row that starts at ``at``, and how many lines it has."""
    place = f"line {at + 1}"
    reader = csv.reader(lines[at : at + MAX_LINES], delimiter=delimiter, strict=True)
    try:
        cells = next(reader)
    except csv.Error as error:
        return Fault(place, f"not a row of CSV: {error}"), 1
    return cells, reader.line_num


def _items(
    rows: Iterator[Row], columns: list[str], name: str, kind: str
) -> Iterator[Item | Fault]:
    for line, found in rows:
        if isinstance(found, Fault):
            yield found
            continue
        # Cells to the right of the last named column count when they hold something.
        spare = found[len(columns) :]
        cells = found if any(spare) else found[: len(columns)]
        if message := _complaint(cells, len(columns)):
            yield Fault(f"line {line}", message)
        else:
            body = {
                "row": dict(zip(columns, cells, strict=True)),
                "source": {"name": name, "line": line},
            }
            yield Item(line, f"line {line}", kind, body)


def _complaint(cells: list[str], columns: int) -> str:
    """Return what is wrong with a row; empty when nothing is."""
    if len(cells) != columns:
        return f"{len(cells)} columns where the header has {columns}"
    for number, cell in enumerate(cells, start=1):
        if len(cell) > MAX_FIELD:
            return f"column {number} is over {MAX_FIELD:,} characters"
        if not _readable(cell):
            return f"column {number} holds NUL or bytes that are no text"
    return ""


def _readable(text: str) -> bool:
    """Whether ``text`` can stand in JSON: no NUL, no bytes that failed to decode."""
    return "\0" not in text and (
        text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)
    )
