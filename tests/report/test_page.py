"""A page is made by templates: every text on it is escaped, and nothing of the style or the scripts is lost."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from mcprune.errors import FolderError
from mcprune.report import page as report_page
from mcprune.report.page import Page, layout

NAME = "</script></style><script>alert('1')</script><img src=x onerror=\"a\"> & {{ 7 * 7 }} {% raw %}"
TEMPLATES = Path(report_page.__file__).parent / "templates"


class Reader(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.scripts, self.inside = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        (self.scripts if self.inside in ("script", "style") else self.texts).append(data)


def written(tmp_path, name):
    """A page with one of every block, all texts of which are the same."""
    one = Page(name, name)
    one.heading(name)
    one.paragraph(name, quiet=False)
    one.table([name, name], [[name, name], [name, name]], 1, left=True)
    one.code(name)
    one.entries([(name, name)], name, "holds")
    one.figure({"data": [{"type": "scatter", "x": [1], "y": [1], "name": name}], "layout": layout(name, height=333)})
    one.write(tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_every_text_is_escaped(tmp_path):
    hostile, plain = Reader(written(tmp_path, NAME)), Reader(written(tmp_path, "a name"))
    assert hostile.tags == plain.tags  # no tag of the name's own, in any block
    assert len(hostile.scripts) == len(plain.scripts) == 3  # the style, plotly, the figures
    assert hostile.texts == [text.replace("a name", NAME) for text in plain.texts]
    assert sum(NAME in text for text in hostile.texts) == 15
    assert NAME.replace("</", "<\\/").replace('"', '\\"') in hostile.scripts[2]


def test_the_reader_notices_a_name_that_is_not_escaped(tmp_path):
    text = written(tmp_path, "a name").replace("<h2>a name</h2>", f"<h2>{NAME}</h2>")
    assert Reader(text).tags != Reader(written(tmp_path, "a name")).tags


def test_style_and_script_stand_on_the_page_as_they_are(tmp_path):
    text = written(tmp_path, "a name")
    for name in ("page.css", "page.js"):
        assert (TEMPLATES / name).read_text(encoding="utf-8") in text
    assert text.startswith("<!DOCTYPE html>\n<html")
    assert '<tr class="first">' in text
    assert '<div id="figure0" style="height:333px"></div>' in text
    assert "default-src 'none'" in text


def test_a_page_that_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(FolderError, match="cannot be written"):
        Page("a page").write(tmp_path / "missing" / "page.html")


def test_what_is_unknown_throughout_is_left_out_of_a_table(tmp_path):
    page = Page("title")
    page.table(["", "known", "unknown"], [["a", "1", "-"], ["b", "-", "-"], ["c", "2", ""]], 2)
    (block,) = page._blocks
    assert block.content[:3] == (["", "known"], [["a", "1"], ["c", "2"]], 1)


def test_an_empty_fold_is_left_out_and_a_full_one_closes(tmp_path):
    page = Page("title")
    with page.fold("empty"):
        pass
    with page.fold("full <b>"), page.row(), page.cell():
        page.paragraph("inside")
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    body = text[text.index("<h1>") :]
    assert "empty" not in body
    order = [
        body.index(part)
        for part in ("<summary>full &lt;b&gt;", '<div class="row">', "<section>", "inside", "</section>", "</details>")
    ]
    assert order == sorted(order)


def test_a_table_is_reached_by_the_keyboard_and_has_no_empty_titles(tmp_path):
    page = Page("title")
    page.table(["", "accuracy"], [["all sites", ".98"]])
    page.write(tmp_path / "page.html")
    tags = Reader((tmp_path / "page.html").read_text(encoding="utf-8")).tags
    assert [tag for tag, _ in tags].count("main") == 1
    assert [tag for tag, _ in tags].count("th") == 1
    (wide,) = [found for _, found in tags if found.get("class") == "wide"]  # it scrolls on a narrow screen
    assert wide["tabindex"] == "0"
    assert wide["aria-label"]
