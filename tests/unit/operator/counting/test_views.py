"""One moment of the demo, in a terminal, in a line and on the page."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest
from rich.console import Console
from tests.architecture.tree import ROOT

from chatferry.operator.counting.page import Page, serve_page
from chatferry.operator.counting.picture import Picture, Row
from chatferry.operator.counting.terminal import Screen, plain, rendered

ROWS = (
    Row("Поддержка 6229", 4_999, 5_000, "provisional", 17.2, 0.4, None, right=False),
    Row("A room whose title is longer than any column", 24, 24, "fresh", 3.0, 12.0, 0.31, right=True),
    Row("Новости 1949", None, 57, "frozen", None, 700.0, 1.1, right=True),
)  # fmt: skip
PICTURE = Picture(
    phase="changing", done=0.25, left_s=41.6, chats=10_000, counted=10_000, replicas=3, events="on", changes=1_234,
    missed=37, calls_per_s=2.4, calls_most=27, calls_total=20_512, twice_at_once=0, right_share=0.99876,
    cached_share=1.0, lag_p50_s=0.14, lag_most_s=12.3, requests=4_321, failed=0, p99_ms=17.4, rows=ROWS,
    calls_series=(0.0, 27.0, 2.4), right_series=(None, 0.99, 1.0),
)  # fmt: skip
HTML = ROOT / "libs" / "operator" / "chatferry" / "operator" / "counting" / "page.html"


def shown(picture: Picture, width: int) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(rendered(picture, width))
    return capture.get()


@pytest.mark.parametrize("width", [80, 100, 130])
def test_every_figure_and_column_fits_the_width(width: int) -> None:
    lines = shown(PICTURE, width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for figure in (
        "1,234, 37 untold",
        "99.88%",
        "2.4/s, 20,512 in all",
        "27 of 30",
        "0.1 s, at most 12 s",
        "4,321, p99 17 ms",
    ):
        assert figure in text
    assert "42 s left" in text
    head = next(line for line in lines if "changed last" in line)
    assert re.split(r"\s{2,}", head.strip()) == [
        "changed last",
        "at MAX",
        "served",
        "state",
        "read",
        "changed",
        "shown in",
    ]


@pytest.mark.parametrize("width", [80, 130])
def test_a_row_shows_the_truth_beside_what_is_served(width: int) -> None:
    late, right, out = [line for line in shown(PICTURE, width).splitlines() if "✓" in line or "…  " in line]
    assert late.split()[2:] == ["4,999", "5,000", "…", "provisional", "17", "s", "0", "s"]
    assert right.split()[-10:] == ["24", "24", "✓", "fresh", "3", "s", "12", "s", "0.3", "s"]
    assert out.split()[2:7] == ["out", "57", "✓", "frozen", "never"]


def test_failed_calls_are_told() -> None:
    assert "4,321, p99 17 ms, 3 failed" in shown(replace(PICTURE, failed=3), 130)


def test_without_a_terminal_there_is_a_line_every_few_seconds() -> None:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture, Screen(console) as screen:
        for _ in range(5):
            screen.show(PICTURE)
    expected = "changing: 1234 changes, 99.88% of served counts right, 2.4 calls a second, p99 17 ms, 42 s left"
    assert capture.get().splitlines() == [expected]


def test_while_it_learns_the_line_says_how_far() -> None:
    learning = replace(PICTURE, phase="learning", counted=1_200)
    assert plain(learning) == "learning: 1200 of 10000 chats counted, 20512 calls"


def test_the_page_and_its_figures_are_served_on_loopback_and_nothing_else_is() -> None:
    page = Page()
    page.show(PICTURE)
    with serve_page(page) as url:
        assert url.startswith("http://127.0.0.1:")
        watched = [page.watched]
        html, state = httpx.get(url), httpx.get(f"{url}state.json")
        assert html.content == HTML.read_bytes()
        assert "default-src 'none'" in html.headers["content-security-policy"]
        assert state.json()["calls_total"] == 20_512
        assert state.json()["rows"][2]["truth"] is None
        watched.append(page.watched)
        assert watched == [False, True]
        assert httpx.get(f"{url}secrets/max.token").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert tag not in ("link", "iframe", "img", "object")


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = HTML.read_text(encoding="utf-8")
    links = _Links()
    links.feed(text)
    assert links.links == []
    assert re.findall(r"https?://[^\"'\s]+", text) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_reads_only_what_there_is() -> None:
    """A field that was renamed would show as nothing."""
    text = HTML.read_text(encoding="utf-8").replace("state.json", "")
    used, rows = (set(re.findall(rf"\b{name}\.([a-z_0-9]+)", text)) for name in ("state", "one"))
    assert len(used) > 15
    assert used <= PICTURE.as_json().keys()
    assert len(rows) > 5
    assert rows <= PICTURE.as_json()["rows"][0].keys()
