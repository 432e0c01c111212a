"""CSV as spreadsheets and enemies write it."""

import contextlib
import csv
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_node.client.items import Fault, Item
from trace_node.client.tables import MAX_FIELD, find_encoding, read_table
from trace_node.errors import LimitExceeded, Malformed


def read(data):
    if isinstance(data, str):
        data = data.encode()
    source = read_table(data, "t.csv", "declaration")
    return list(source.items)


def rows(data):
    return [item.body["row"] for item in read(data) if isinstance(item, Item)]


def faults(data):
    return [(f.place, f.message) for f in read(data) if isinstance(f, Fault)]


def test_a_row_is_a_record_with_its_place():
    (item,) = read("no,what\n1,milk\n")
    assert item == Item(
        2,
        "line 2",
        "declaration",
        {
            "row": {"no": "1", "what": "milk"},
            "source": {"name": "t.csv", "line": 2},
        },
    )


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(mark, end):
    text = end.join([mark.join("ab"), mark.join("12"), mark.join("34")])
    assert rows(text) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chinese_spreadsheets(encoding):
    text = "申报编号,商品\r\n1,联通\r\n2,婴幼儿配方奶粉𠮷\r\n"
    assert rows(text.encode(encoding))[1] == {
        "申报编号": "2",
        "商品": "婴幼儿配方奶粉𠮷",
    }


def test_one_broken_line_does_not_turn_the_file_into_other_characters():
    good = "名称,数量\n奶粉,1\n奶酪,2\n".encode()
    data = good + b"\xff\xfe\x80,3\n" + "黄油,4\n".encode()
    assert find_encoding(data) == "utf-8"
    assert [row["名称"] for row in rows(data)] == ["奶粉", "奶酪", "黄油"]
    assert [place for place, _ in faults(data)] == ["line 4"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "nom,ville\nCrédit,Orléans\n"),
        ("big5", "商品名稱,產地\n嬰兒配方奶粉,紐西蘭\n"),
        ("shift-jis", "商品名,数量\n粉ミルク,カップ\n"),
    ],
)
def test_another_encoding_is_not_signed_as_other_characters(encoding, text):
    data = text.encode(encoding)
    data.decode("gb18030", errors="replace")  # it can be read so, and means nothing
    with pytest.raises(Malformed, match="save the table as CSV in UTF-8"):
        read(data)


def test_rare_characters_in_chinese():
    text = "商品,原产地\n婴儿配方奶粉堃,新西兰㐂\n"
    assert rows(text.encode("gb18030"))[0] == {
        "商品": "婴儿配方奶粉堃",
        "原产地": "新西兰㐂",
    }


def test_empty_columns_on_the_right():
    text = "a,b,,\n1,2,,\n3,4,5,\n6,7\n"
    assert rows(text) == [{"a": "1", "b": "2"}, {"a": "6", "b": "7"}]
    assert [place for place, _ in faults(text)] == ["line 3"]


def test_too_many_lines_are_refused_before_they_take_memory():
    data = b"a\n" * 30_000_000
    tracemalloc.start()
    with pytest.raises(LimitExceeded):
        read_table(data, "t.csv", "declaration")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_broken_line_in_gb18030():
    data = "名称\n奶粉\n".encode("gb18030") * 3 + b"\xff\xff\n"
    assert [place for place, _ in faults(data)] == ["line 7"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", Malformed),
        ("\n\n", Malformed),
        ("a,b,a\n1,2,3\n", Malformed),
        ("a,,c\n1,2,3\n", Malformed),
        ("a, a\n1,2\n", Malformed),
        ("a,b\0\n1,2\n", Malformed),
        ('"a\n' * 500, Malformed),
        (",".join(f"c{n}" for n in range(600)), LimitExceeded),
        ("x" * 300 + "\n1\n", LimitExceeded),
        ("x" * 1_000_000 + "\n1\n", LimitExceeded),
        ("a\n" * 1_000_002, LimitExceeded),
        ("a,b\n1,2\n".encode("utf-16"), Malformed),
        (b"a,\xff\n1,2\n", Malformed),
    ],
)
def test_files_that_cannot_be_read(text, error):
    with pytest.raises(error):
        read(text)


@pytest.mark.parametrize(
    "bad",
    [
        "1",
        "1,2,3",
        "1," + "x" * (MAX_FIELD + 1),
        "1," + "x" * 200_000,
        "1,\0",
        '"1,2',
        '1,"2"3',
        '"' + "\n" * 300,
        '1,"' + '""' * 100_000,
    ],
)
def test_a_bad_row_costs_that_row_only(bad):
    text = f"a,b\n0,first\n{bad}\n9,last\n"
    found = rows(text)
    assert found[0] == {"a": "0", "b": "first"}
    assert found[-1] == {"a": "9", "b": "last"}
    assert len(found) == 2
    assert faults(text)[0][0] == "line 3"


def test_a_bad_byte_in_a_row():
    data = b"a,b\n0,first\n1,\xff\n9,last\n"
    assert [place for place, _ in faults(data)] == ["line 3"]


def test_lines_within_cells_and_empty_rows():
    text = 'a,b\n1,"two\nlines"\n\n,\n3,4\n'
    items = read(text)
    assert [item.position for item in items] == [2, 6]
    assert items[0].body["row"]["b"] == "two\nlines"


@pytest.mark.parametrize("line", ["sep=;", "SEP=;", '"sep=;"'])
def test_a_line_that_names_the_delimiter_is_no_header(line):
    (item,) = read(f"{line}\r\na;b\r\n1;2\r\n")
    assert item.body["row"] == {"a": "1", "b": "2"}
    assert item.position == 3
    assert rows("sep=x;b\n1;2\n") == [{"sep=x": "1", "b": "2"}]


def test_a_header_in_quotes():
    assert rows('"a","b;c"\r\n"1","2"\r\n') == [{"a": "1", "b;c": "2"}]


def test_formulas_are_text_like_any_other():
    assert rows("a\n\"=cmd|' /C calc'!A0\"\n@x\n+1\n")[0] == {"a": "=cmd|' /C calc'!A0"}


def test_a_file_full_of_open_quotes_ends_in_time():
    text = "a,b\n" + '"x\n' * 20_000
    assert len(faults(text)) == 20_000


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            min_size=3,
            max_size=3,
        ).filter(any),
        max_size=20,
    )
)
def test_what_a_writer_writes_is_read(table):
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow("abc")
    writer.writerows(table)
    data = b"\xef\xbb\xbf" + out.getvalue().encode()
    assert [list(row.values()) for row in rows(data)] == table


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(Malformed):
        read(b"a,b\n" + data)
