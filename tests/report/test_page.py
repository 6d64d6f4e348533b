from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from latlas.report.figure import (
    Axis,
    Bars,
    Chart,
    Drawing,
    Facts,
    Layer,
    Section,
    Series,
    Text,
    grid,
)
from latlas.report.page import page


class Tags(HTMLParser):
    """The elements of a page, and its text apart from ours."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.values: set[str] = set()
        self.inside = ""
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values |= {value or "" for _, value in attrs}
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data


def read(text: str) -> Tags:
    found = Tags()
    found.feed(text)
    return found


def everything(text: str) -> list[Section]:
    """Return a report with a text in every place that has one."""
    series = Series(text, [1.0, 2.0], [1.0, 2.0], [text, text])
    line = Series(text, [1.0, 2.0], [1.0, 2.0], [text, text], mark="line", colour=None)
    axis = Axis(text)
    return [
        Section(
            text,
            [
                Text(text, warning=True),
                Facts([(text, text)]),
                grid([text], [[text]], text),
                Chart(text, axis, axis, [series, line], text, diagonal=True),
                Bars(text, text, [text], [(text, [1.0])], [[text]], text),
                Drawing(text, [Layer(text, text, 3, 2.0, 2)], text),
            ],
            level=1,
        ),
        Section(text, [Text(text)], level=1),
    ]


PLAIN = read(page("a", everything("a")))


@given(st.text(max_size=40) | st.sampled_from(["<script>", "]]>", "</style>", '"><img src=x>']))
def test_no_text_becomes_markup(text: str) -> None:
    found = read(page(text, everything(text)))
    wanted = [
        tag for tag in PLAIN.tags if tag not in ("dt", "dd", "small", "caption", "title", "p")
    ]
    kept = [tag for tag in found.tags if tag not in ("dt", "dd", "small", "caption", "title", "p")]
    assert [t for t in kept if t in ("script", "style", "img", "svg")] == [
        t for t in wanted if t in ("script", "style", "img", "svg")
    ]
    assert set(found.tags) <= set(PLAIN.tags)
    assert found.attributes <= PLAIN.attributes


def test_the_page_needs_nothing_else() -> None:
    text = page("a", everything("a"))
    assert "http" not in text.replace("http-equiv", "")
    assert not {"src", "link", "import"} & PLAIN.attributes
    assert text.count("<script>") == 1
    assert any(value.startswith("default-src 'none'; ") for value in PLAIN.values)


def test_text_is_as_given() -> None:
    found = read(page("t", [Section("s", [Text("1 < 2 & <b>3</b>"), grid(["h"], [["<i>"]])])]))
    assert "1 < 2 & <b>3</b>" in found.text
    assert "<i>" in found.text


def test_long_texts_and_grids_are_cut() -> None:
    text = page("t", [Section("s", [Text("x" * 100_000), grid(["h"], [["y"]] * 10_000)])])
    assert len(text) < 40_000
    assert "… and 9940 more" in text
