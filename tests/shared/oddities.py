"""Files as people have them, each with what happens: `python tests/shared/oddities.py` prints the page docs/file-oddities.md."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mcprune.data.base import Dataset
from mcprune.data.load import load
from mcprune.errors import McpruneError

LETTERS = 58  # of a line of a file on the page


class Oddity(NamedTuple):
    """A file, how it is read, and what happens.

    Attributes
    ----------
    title : str
    content : str or bytes
        Texts are written in UTF-8.
    features : str
        Names of the features, joined by spaces; empty where the file is refused.
    first : tuple of float
        Features of the first row.
    labels : tuple
        The classes.
    says : tuple of str
        Parts of the notes, or of the error.
    name : str
        Of the file.
    options : dict
        Of `load`.
    """

    title: str
    content: str | bytes
    features: str = ""
    first: tuple[float, ...] = ()
    labels: tuple[object, ...] = ("x", "y")
    says: tuple[str, ...] = ()
    name: str = "table.csv"
    options: Mapping[str, Any] = MappingProxyType({})


def rows(*lines: str, times: int = 1) -> str:
    """Return lines as a text."""
    return "".join(f"{line}\n" for line in lines) * times


PLAIN = rows("1,2.5,x", "2,3.5,y", "4,0.5,x", "3,1.5,y")
MANY = "".join(f"{(7 * i) % 11}.5,{(i * i) % 13}.25,{'xy'[i % 2]}\n" for i in range(24))

ODDITIES: dict[str, list[Oddity]] = {
    "Separators": [
        Oddity("Commas", "a,b,label\n" + PLAIN, "a b", (1, 2.5), says=("target = column 'label', by its name",)),
        Oddity(
            "Semicolons", ("a,b,label\n" + PLAIN).replace(",", ";"), "a b", (1, 2.5), says=("separated by semicolons",)
        ),
        Oddity(
            "Tabs in a .csv", ("a,b,label\n" + PLAIN).replace(",", "\t"), "a b", (1, 2.5), says=("separated by tabs",)
        ),
        Oddity(
            "Commas in a .tsv", "a,b,label\n" + PLAIN, "a b", (1, 2.5), says=("separated by commas",), name="table.tsv"
        ),
        Oddity("Vertical bars", ("a,b,label\n" + PLAIN).replace(",", "|"), "a b", (1, 2.5), says=("vertical bars",)),
        Oddity(
            "Columns aligned by spaces",
            rows("  a    b  label", "  1  2.5  x", " 10  3.5  y ", "  4   .5  x", "  3  1.5  y"),
            "a b",
            (1, 2.5),
            says=("separated by spaces",),
            name="table.txt",
        ),
        Oddity(
            "A separator that no rule knows",
            ("a,b,label\n" + PLAIN).replace(",", ":"),
            says=("one column only, 'a:b:label'", "--separator"),
        ),
        Oddity(
            "The same, with `--separator :`",
            ("a,b,label\n" + PLAIN).replace(",", ":"),
            "a b",
            (1, 2.5),
            says=("separated by ':'",),
            options={"separator": ":"},
        ),
        Oddity(
            "A line `sep=;` on top, as Excel writes it",
            "sep=;\n" + ("a,b,label\n" + PLAIN).replace(",", ";"),
            "a b",
            (1, 2.5),
            says=("separated by semicolons; 1 line on top skipped",),
        ),
        Oddity(
            "The same, saved again by a program that fills lines up",
            "sep=;;;\n" + ("a,b,label\n" + PLAIN).replace(",", ";"),
            "a b",
            (1, 2.5),
            says=("separated by semicolons; 1 line on top skipped",),
        ),
        Oddity(
            "A line `sep=` with a tab",
            "sep=\t\n" + ("a,b,label\n" + PLAIN).replace(",", "\t"),
            "a b",
            (1, 2.5),
            says=("separated by tabs; 1 line on top skipped",),
        ),
        Oddity(
            "A separator at the end of each line",
            ("a,b,label\n" + PLAIN).replace("\n", ",\n"),
            "a b",
            (1, 2.5),
            says=("1 column without content is left out",),
        ),
        Oddity(
            "The same below a header without it",
            "a,b,label\n" + PLAIN.replace("\n", ",\n"),
            "a b",
            (1, 2.5),
            says=("1 column without content is left out",),
        ),
        Oddity(
            "A line with a cell too many",
            "a,b,label\n1,2,3,x\n" + PLAIN,
            says=("line 2 has 4 cells, the first line has 3",),
        ),
        Oddity(
            "Cells in quotes, with the separator in them",
            rows("a,b,label", '"1","2.5","x, red"', '"2","3.5",y', '4,.5,"x, red"', "3,1.5,y"),
            "a b",
            (1, 2.5),
            ("x, red", "y"),
        ),
        Oddity(
            "Cells in quotes, with line ends in them",
            rows("a,b,label", '1,2.5,"x\nred"', "2,3.5,y", '4,.5,"x\nred"', "3,1.5,y"),
            "a b",
            (1, 2.5),
            ("x\nred", "y"),
        ),
        Oddity(
            "A quote that is not closed",
            'a,b,label\n1,2.5,"x\n2,3,y\n',
            says=("not a readable table", "Check its quotes"),
        ),
    ],
    "Numbers": [
        Oddity(
            "Decimal commas between semicolons",
            rows("a;b;label", "1,5;2,25;x", "2,5;,5;y", "4,5;-3,5;x", "3;1,5E+01;y"),
            "a b",
            (1.5, 2.25),
            says=("separated by semicolons; decimal commas",),
        ),
        Oddity(
            "Decimal commas in quotes between commas",
            rows("a,b,label", '"1,5","2,25",x', '"2,5",3,y', '"4,5",1,x', '"3,5",0,y'),
            "a b",
            (1.5, 2.25),
            says=("decimal commas",),
        ),
        Oddity(
            "Decimal commas and points for thousands",
            rows("a;b;label", "1.234,5;2,25;x", "2.000;,5;y", "4;3,5;x", "3;1,5;y"),
            "a b",
            (1234.5, 2.25),
            says=("decimal commas; thousands separators",),
        ),
        Oddity(
            "Commas for thousands",
            rows("a,b,label", '"1,234",2.5,x', '"12,345,678",3.5,y', "4,.5,x", "3,1.5,y"),
            "a b",
            (1234, 2.5),
            says=("thousands separators",),
        ),
        Oddity(
            "Spaces or apostrophes for thousands",
            rows("a,b,label", "1 234,2.5,x", "12'345,3.5,y", "4,.5,x", "3,1.5,y"),
            "a b",
            (1234, 2.5),
            says=("thousands separators",),
        ),
        Oddity(
            "1,234 may be a thousand or one and a bit",
            rows("a;b;label", "1,234;2;x", "2,345;3;y", "4,567;5;x", "3,210;1;y"),
            says=("'1,234' may be 1234 or 1.234", "--decimal point or --decimal comma"),
        ),
        Oddity(
            "The same, with `--decimal comma`",
            rows("a;b;label", "1,234;2;x", "2,345;3;y", "4,567;5;x", "3,210;1;y"),
            "a b",
            (1.234, 2),
            says=("decimal commas",),
            options={"decimal": "comma"},
        ),
        Oddity(
            "1.234 beside whole numbers below a thousand may be 1,234",
            rows("a;b;label", "405;2;x", "1.205;3;y", "2.110;5;x", "980;1;y"),
            says=("'1.205' may be 1.205 or 1205", "--decimal point or --decimal comma"),
        ),
        Oddity(
            "The same, with `--decimal comma`",
            rows("a;b;label", "405;2;x", "1.205;3;y", "2.110;5;x", "980;1;y"),
            "a b",
            (405, 2),
            says=("thousands separators",),
            options={"decimal": "comma"},
        ),
        Oddity(
            "One decimal comma among points",
            rows("a;b;label", "1.5;2.5;x", "2,5;3.5;y", "4;.5;x", "3;1.5;y"),
            says=("column 'a' holds '2,5' in row 2 (line 3)",),
        ),
        Oddity("A printed minus sign", "a,b,label\n" + PLAIN.replace("1,2.5", "\u22121,2.5"), "a b", (-1, 2.5)),
        Oddity(
            "A unit behind a number",
            "a,b,label\n" + PLAIN.replace("2,", "2 kg,", 1),
            says=("'a' holds '2 kg' in row 2 (line 3)",),
        ),
        Oddity(
            "A percent sign", "a,b,label\n" + PLAIN.replace("2,", "2%,", 1), says=("'a' holds '2%' in row 2 (line 3)",)
        ),
        Oddity(
            "A percent sign in each row",
            rows("a,b,label", "1.5%,2.5,x", "2.5%,3.5,y", "3.1%,.5,x", "4%,1.5,y"),
            says=("'a' holds '1.5%' in row 1 (line 2)",),
        ),
        Oddity(
            "A currency in each row",
            rows("a,b,label", '"$1,200.50",2.5,x', "$2.50,3.5,y", "$3,.5,x", "$4,1.5,y"),
            says=("'a' holds '$1,200.50' in row 1 (line 2)",),
        ),
        Oddity(
            "Brackets around what is below zero",
            rows("a,b,label", "1.5,2.5,x", "(2.5),3.5,y", "3.1,.5,x", "(4),1.5,y"),
            says=("'a' holds '(2.5)' in row 2 (line 3)",),
        ),
        Oddity(
            "Codes with leading zeros",
            rows("zip,b,label", "01234,2.5,x", "00112,3.5,y", "04321,.5,x", "00112,1.5,y"),
            "zip b",
            (1234, 2.5),
            says=("read as numbers, though written with leading zeros as codes are: 'zip'", "--ignore"),
        ),
        Oddity(
            "Whole numbers of twenty digits",
            rows("a,b,label", *(f"{10**19 + i * 10**12 + 1},{i}.5,{'xy'[i % 2]}" for i in (3, 1, 2, 0))),
            "a b",
            (10**19 + 3e12, 3.5),
            says=("whole numbers of more than 15 digits lose the last ones: 'a'",),
        ),
        Oddity(
            "A hexadecimal number", "a,b,label\n" + PLAIN.replace("2,", "0x2,", 1), says=("'a' holds '0x2' in row 2",)
        ),
        Oddity(
            "Infinity",
            "a,b,label\n" + PLAIN.replace("2,", "inf,", 1),
            says=("1 feature value is missing (NaN), infinite", "'a' (1)"),
        ),
        Oddity(
            "Infinity beside gaps",
            "a,b,label\n" + PLAIN.replace("2,", "-inf,", 1).replace("4,", ",", 1),
            says=("1 feature value is infinite", "'a' (1)"),
        ),
        Oddity(
            "True and False",
            rows("a,b,label", "True,2.5,x", "FALSE,3.5,y", "true,.5,y", "false,1.5,x"),
            "a b",
            (1, 2.5),
        ),
        Oddity(
            "Dates",
            rows("when,b,label", "2026-01-05,2.5,x", "2026-01-06,3.5,y", "2026-01-07,.5,x", "2026-01-08,1.5,y"),
            says=("'when' holds '2026-01-05'", "a date or a time", "--ignore 'when'"),
        ),
        Oddity(
            "The same, with `--ignore when`",
            rows("when,b,label", "2026-01-05,2.5,x", "2026-01-06,3.5,y", "2026-01-07,.5,x", "2026-01-08,1.5,y"),
            "b",
            (2.5,),
            options={"ignore": ("when",)},
        ),
        Oddity(
            "Times of day, as 5/1/2026 1:30 PM",
            rows(
                "when,b,label",
                "5/1/2026 1:30 PM,2.5,x",
                "6/1/2026 1:45 PM,3.5,y",
                "6/1/2026 2:00 PM,.5,x",
                "7/1/2026 2:00 PM,1.5,y",
            ),
            says=("a date or a time",),
        ),
    ],
    "Gaps": [
        Oddity(
            "Empty cells, NA, ?, #N/A",
            "a,b,label\n" + PLAIN + rows(",1,x", "NA,1,y", "?,1,x", "#N/A,2,y"),
            "a|a is missing|b",
            (1, 0, 2.5),
            says=(
                "gaps (rows): 'a' (4)",
                "filled with the mean of the training rows, and an input, 0 or 1, marks them",
            ),
        ),
        Oddity(
            "-999 in the place of gaps",
            "a,b,label\n" + MANY + rows("-999,1.5,x", "-999,2.5,y"),
            "a b",
            (0.5, 0.25),
            says=(
                "column 'a' holds -999 in several rows, far from all other numbers",
                "empty these cells",
                "--must-keep a",
            ),
        ),
        Oddity(
            "A column without content",
            "a,c,b,label\n" + "".join(line.replace(",", ",,", 1) + "\n" for line in MANY.splitlines()),
            "a b",
            (0.5, 0.25),
            says=("left out, because all cells are missing, equal, or values of few rows: 'c'",),
        ),
        Oddity(
            "None and - among the values of a category",
            "a,c,label\n"
            + "".join(
                f"{line.split(',')[0]},{('none', 'mild', '-', 'severe')[i % 4]},{line[-1]}\n"
                for i, line in enumerate(MANY.splitlines())
            ),
            "a|c=mild|c=severe|c is missing",
            (0.5, 0, 0, 1),
            says=("categories (values): 'c' (2, and gaps)",),
        ),
        Oddity("A gap in the class", "a,b,label\n1,2,\n" + PLAIN, says=("'label' is missing", "counted from 1: 1")),
        Oddity(
            "Lines with separators only, as spreadsheets write them",
            "a,b,label\n,,\n,,\n" + PLAIN,
            "a b",
            (1, 2.5),
            says=("2 lines without content left out",),
        ),
        Oddity("Blank lines", "\n\na,b,label\n\n" + PLAIN + "\n\n", "a b", (1, 2.5)),
        Oddity("An empty file", "", says=("the file is empty",)),
        Oddity("A header alone", "a,b,label\n", says=("no rows",)),
    ],
    "Header and lines on top": [
        Oddity(
            "Comment lines on top",
            "# measured by hand\n# in 2026\na,b,label\n" + PLAIN,
            "a b",
            (1, 2.5),
            says=("2 lines on top skipped",),
        ),
        Oddity("Names after #", "# a,b,label\n" + PLAIN, "a b", (1, 2.5), says=("the names come after '#'",)),
        Oddity(
            "No header",
            PLAIN,
            "column 0|column 1",
            (1, 2.5),
            says=("no header line", "--header yes", "the last column 'column 2'"),
        ),
        Oddity(
            "No header, and a gap in the first row",
            rows("5.1,?,x", "4.9,3.0,x", "6.1,2.0,y", "6.2,2.1,y"),
            "column 0|column 1|column 1 is missing",
            (5.1, math.nan, 1),
            says=("gaps (rows): 'column 1' (1)", "no header line"),
        ),
        Oddity(
            "No header, and a class that only the first row has",
            rows("5.1,3.5,rotten", "4.9,3.0,x", "6.1,3.6,y", "6.2,2.1,y", "5.0,3.1,x"),
            says=("1 have one row only: 'rotten'",),
        ),
        Oddity(
            "A header of wavelengths",
            rows("900,905,910,quality", ".1,.2,.4,x", ".3,.2,.1,y", ".2,.3,.5,x", ".5,.4,.2,y"),
            "900 905 910",
            (0.1, 0.2, 0.4),
            says=("read as a header: 'quality' occurs in no row below", "--header no"),
        ),
        Oddity(
            "A header of numbers alone",
            rows("0,1,2", "5.5,3.5,1", "4.5,3.0,1", "6.5,2.0,0", "6.0,2.5,0"),
            "0 1",
            (5.5, 3.5),
            (0, 1),
            says=("the last column '2'",),
        ),
        Oddity(
            "The header once more, of joined files",
            "a,b,label\n" + PLAIN + "a,b,label\n" + PLAIN,
            "a b",
            (1, 2.5),
            says=("1 line that repeats the header left out",),
        ),
        Oddity(
            "A title above the header",
            "Apples of 2026\n\na,b,label\n" + PLAIN,
            says=(
                "the first line has one cell, 'Apples of 2026', but most lines have 3",
                "Remove the lines above the header",
            ),
        ),
        Oddity(
            "The same with separators behind it",
            "Apples of 2026,,\na,b,label\n" + PLAIN,
            says=("column 1 (counted from 0) has no name", "If the first line is a title, remove it"),
        ),
        Oddity(
            "A line of units below the header",
            "a,b,label\nkg,m,\n" + PLAIN,
            says=("'a' holds 'kg' in row 1 (line 2)",),
        ),
        Oddity(
            "A total below the rows",
            "a,b,label\n" + PLAIN + "Total,7.5,\n",
            says=("'a' holds 'Total' in row 5 (line 6)",),
        ),
        Oddity("Two columns of one name", "a,a,label\n" + PLAIN, says=("several columns are called 'a'",)),
        Oddity("A column without a name", "a,,label\n" + PLAIN, says=("column 1 (counted from 0) has no name",)),
    ],
    "Encoding": [
        Oddity("UTF-8 with a byte order mark", "\ufeffgröße,b,label\n" + PLAIN, "größe b", (1, 2.5)),
        Oddity("UTF-16", ("größe,b,label\n" + PLAIN).encode("utf-16"), "größe b", (1, 2.5), says=("encoding utf-16",)),
        Oddity(
            "Windows' western encoding",
            ("größe,b,label\n" + PLAIN).encode("cp1252"),
            "größe b",
            (1, 2.5),
            says=("encoding cp1252",),
        ),
        Oddity(
            "Cyrillic, with `--encoding cp1251`",
            ("вес,b,label\n" + PLAIN).encode("cp1251"),
            "вес b",
            (1, 2.5),
            says=("encoding cp1251",),
            options={"encoding": "cp1251"},
        ),
        Oddity("Line ends of an old Mac", ("a,b,label\n" + PLAIN).replace("\n", "\r"), "a b", (1, 2.5)),
        Oddity("Line ends of Windows", ("a,b,label\n" + PLAIN + "\n\n").replace("\n", "\r\n"), "a b", (1, 2.5)),
        Oddity(
            "A mark of the end, as old programs write it",
            "a,b,label\n" + PLAIN + "\x1a",
            "a b",
            (1, 2.5),
            says=("1 line without content left out",),
        ),
        Oddity("Bytes that are no text", b"a,b\x00\x01\x02", says=("not a text file (byte 3 is 0)",)),
        Oddity("A spreadsheet", b"PK\x03\x04", says=("Save the sheet as CSV",), name="table.xlsx"),
        Oddity("A compressed file", b"\x1f\x8b", says=("Unpack it",), name="table.csv.gz"),
        Oddity("A pickle", b"\x80", says=("may run any program", "never opened"), name="table.pkl"),
    ],
    "Classes": [
        Oddity(
            "Codes that are one number",
            rows("a,b,label", "1,2,1e1", "2,3,10", "4,5,20", "3,1,1e1", "1,1,10", "2,2,20"),
            "a b",
            (1, 2),
            ("10", "1e1", "20"),
        ),
        Oddity(
            "Versions 3.1 and 3.10",
            "a,b,label\n" + PLAIN.replace("x", "3.1").replace("y", "3.10"),
            "a b",
            (1, 2.5),
            ("3.1", "3.10"),
        ),
        Oddity(
            "Codes 007 and 7",
            "a,b,label\n" + PLAIN.replace("x", "007").replace("y", "7"),
            "a b",
            (1, 2.5),
            ("007", "7"),
        ),
        Oddity("Whole numbers", "a,b,label\n" + PLAIN.replace("x", "1").replace("y", "2"), "a b", (1, 2.5), (1, 2)),
        Oddity(
            "Classes that differ by a space",
            "a,b,label\n5,6, x\n" + PLAIN,
            says=("the classes ' x' and 'x' of column 'label' differ by spaces only",),
        ),
        Oddity(
            "Classes that differ in upper and lower case",
            "a,b,label\n" + PLAIN + PLAIN.replace("x", "X") + PLAIN.replace("y", "z"),
            "a b",
            (1, 2.5),
            ("X", "x", "y", "z"),
            says=("classes that differ in upper and lower case alone: 'X', 'x'", "write them alike"),
        ),
        Oddity(
            "Classes of several words and of many digits",
            "a,b,label\n" + PLAIN.replace("x", "not so good").replace("y", "90071992547409930001"),
            "a b",
            (1, 2.5),
            ("90071992547409930001", "not so good"),
        ),
        Oddity("A class of one row", "a,b,label\n5,6,z\n" + PLAIN, says=("1 have one row only: 'z'",)),
    ],
    "Which column is the target": [
        Oddity(
            "The last column, by its place",
            "a,b,kind\n" + PLAIN,
            "a b",
            (1, 2.5),
            says=("target = the last column 'kind'", "--target"),
        ),
        Oddity(
            "A usual name in another place",
            rows("diagnosis,a,b", "x,1.5,2.25", "y,2.5,3.5", "x,4.25,0.5", "y,3.5,1.25"),
            "a b",
            (1.5, 2.25),
            says=("target = column 'diagnosis', by its name and content, not the last one, 'b'",),
        ),
        Oddity(
            "A usual name, but the last column holds classes too",
            rows("diagnosis,a,b", "x,1.5,1", "y,2.5,2", "x,4.25,1", "y,3.5,2"),
            says=("no target is named, and 'diagnosis', 'b' may be it", "--target 'diagnosis'"),
        ),
        Oddity(
            "Two columns with names of targets",
            "target,a,y\n" + rows("1,2,x", "2,3,y", "1,2,x", "2,2,y"),
            says=("'target', 'y' may be it",),
        ),
        Oddity(
            "No header, and classes in the first column",
            rows("x,1.5,2.25", "y,2.5,3.5", "x,4.25,0.5", "y,3.5,1.25"),
            says=("'column 0', 'column 2' may be it", "--target 'column 0'"),
        ),
        Oddity(
            "A name that there is not",
            "a,b,kind\n" + PLAIN,
            says=("no target column 'kinds'. Did you mean 'kind'?",),
            options={"target": "kinds"},
        ),
    ],
    "Columns that are no measurements": [
        Oddity(
            "An index without a name",
            ",a,b,label\n" + "".join(f"{i},{line}\n" for i, line in enumerate(MANY.splitlines())),
            "a b",
            (0.5, 0.25),
            says=("left out, as it only numbers or names the rows: column 'Unnamed: 0'", "--id-columns keep"),
        ),
        Oddity(
            "Names of rows without a header, as R writes them",
            "a,b,label\n" + "".join(f"row {i},{line}\n" for i, line in enumerate(MANY.splitlines())),
            "a b",
            (0.5, 0.25),
            says=("column 'Unnamed: 0'",),
        ),
        Oddity(
            "A first column `id`",
            "id,a,b,label\n" + "".join(f"{(i * 7) % 24 + 900},{line}\n" for i, line in enumerate(MANY.splitlines())),
            "a b",
            (0.5, 0.25),
            says=("column 'id'",),
        ),
        Oddity(
            "A column that sorts the classes",
            "a,b,score,label\n"
            + "".join(
                f"{line[:-1]}{i + 30 * (line[-1] == 'y')}.5,{line[-1]}\n" for i, line in enumerate(MANY.splitlines())
            ),
            "a b score",
            (0.5, 0.25, 0.5),
            says=("column 'score' sorts the classes", "--must-drop"),
        ),
        Oddity(
            "A copy of the target",
            "a,b,code,label\n"
            + "".join(f"{line[:-1]}{'xy'.index(line[-1])},{line[-1]}\n" for line in MANY.splitlines()),
            "a b code",
            (0.5, 0.25, 0),
            says=("column 'code' determines the class",),
        ),
        Oddity(
            "Sample weights",
            "a,event_weight,label\n" + MANY,
            "a event_weight",
            (0.5, 0.25),
            says=("column 'event_weight' looks like sample weights", "--sample-weight event_weight"),
        ),
        Oddity(
            "Dates as whole numbers",
            "day,b,label\n"
            + "".join(
                f"2026{1 + (5 * i) % 12:02d}{1 + (7 * i) % 28:02d},{line.split(',', 1)[1]}\n"
                for i, line in enumerate(MANY.splitlines())
            ),
            "day b",
            (20260101, 0.25),
            says=("column 'day' holds dates as whole numbers", "--must-drop"),
        ),
        Oddity(
            "A column of texts",
            "a,color,label\n" + rows("1,red,x", "2,blue,y", "4,red,y", "5,blue,x", "8,grey,x", "6,red,y") * 4,
            "a|color=blue|color=red|color is another",
            (1, 0, 1, 0),
            says=("categories (values): 'color' (2)", "kept or dropped together", "Values in fewer than 5 rows"),
        ),
        Oddity(
            "Texts that hardly repeat",
            "a,comment,label\n"
            + rows("1,fine,x", "2,rather good,y", "4,fine,y", "5,bad,x", "8,not bad,x", "6,worse,y"),
            "a",
            (1,),
            says=("left out, because all cells are missing, equal, or values of few rows: 'comment'",),
        ),
        Oddity(
            "Numbers with a unit in each row",
            "a,weight,label\n" + rows("1,4 kg,x", "2,5 kg,y", "4,6 kg,y", "5,6.5 kg,x"),
            says=("'weight' holds '4 kg' in row 1 (line 2), where a number is needed",),
        ),
    ],
    "Rows that belong together": [
        Oddity(
            "Several rows of each patient, with `--split-by patient`",
            "patient,a,b,label\n" + "".join(f"p{i // 4},{line}\n" for i, line in enumerate(MANY.splitlines())),
            "a b",
            (0.5, 0.25),
            says=("split by 'patient': 6 entities, none of them in two parts",),
            options={"split_by": "patient"},
        ),
        Oddity(
            "Rows of several days, with `--split-time day`",
            "day,a,b,label\n" + "".join(f"2026-01-{i + 1:02d},{line}\n" for i, line in enumerate(MANY.splitlines())),
            "a b",
            (0.5, 0.25),
            says=("split by time, in the order of 'day'",),
            options={"split_time": "day"},
        ),
        Oddity(
            "A time that is none, with `--split-time day`",
            "day,a,b,label\n" + "".join(f"{i + 1}. January,{line}\n" for i, line in enumerate(MANY.splitlines())),
            says=("the column 'day' of times holds '1. January' in row 1", "2026-01-31"),
            options={"split_time": "day"},
        ),
    ],
}


class Outcome(NamedTuple):
    """What happened: the data, None where the file was refused, and what was said."""

    dataset: Dataset | None
    says: tuple[str, ...]


def outcome(oddity: Oddity, folder: Path) -> Outcome:
    """Write the file of an oddity and load it."""
    path = folder / oddity.name
    content = oddity.content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        dataset = load(path, **oddity.options)
    except McpruneError as error:
        return Outcome(None, (str(error).replace(f"{folder}/", ""),))
    return Outcome(dataset, (*dataset.notes, *(doubt.text for doubt in dataset.doubts)))


def page() -> str:
    """Return the page."""
    count = sum(map(len, ODDITIES.values()))
    lines = [
        "# Tables as people have them",
        "",
        f"You will know how mcprune reads {count} kinds of irregular tables: it reads them and prints a note, or it refuses them",
        "with an error that says what to do. The tests run every row of these tables (`tests/shared/oddities.py`).",
        "`--separator`, `--decimal`, `--encoding`, `--header`, `--target` and `--ignore` override what is detected in a file",
        "([options](options.md)).",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for title, oddities in ODDITIES.items():
            lines += [f"## {title}", "", "| file | begins | what happens |", "|---|---|---|"]
            lines += [f"| {one.title} | {_begin(one)} | {_end(outcome(one, Path(folder)))} |" for one in oddities]
            lines.append("")
    return "\n".join(lines)


def _begin(oddity: Oddity) -> str:
    if isinstance(oddity.content, bytes):
        return f"`{oddity.name}`"
    lines = oddity.content.replace("\r", "\n").replace("\t", "⇥").replace("|", "¦").split("\n")[:3]
    return "<br>".join(f"`{line[:LETTERS]}`" for line in lines if line.strip()) or "nothing"


def _end(result: Outcome) -> str:
    text = "<br>".join(result.says).replace("|", "¦")
    return f"refused: {text}" if result.dataset is None else f"read<br>{text}" if text else "read"


if __name__ == "__main__":
    print(page(), end="")
