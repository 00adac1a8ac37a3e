"""A view is what its address says: nothing is lost on the way there and back, and nothing else gets in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.dashboards.app.view import LONGEST_VALUE, MOST_PARAMETERS, View, link

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)


@given(st.lists(st.tuples(st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True), TEXT), max_size=10))
def test_a_link_shows_the_same_view_again(parameters: list[tuple[str, str]]) -> None:
    view = View("/run", tuple(parameters))
    assert View.parse(view.href) == view


@given(st.text(max_size=300))
def test_any_text_is_an_address(text: str) -> None:
    view = View.parse(text)
    assert view.path.startswith("/")
    assert View.parse(view.href).parameters == view.parameters


def test_addresses_are_easy_to_read() -> None:
    assert link("/run", run="study/runs/a-1", t="5,10") == "/run?run=study/runs/a-1&t=5,10"


def test_a_parameter_may_come_several_times() -> None:
    view = View.parse("/compare?run=a&run=b&by=model")
    assert (view.get("run"), view.all("run"), view.all("nosuch")) == ("a", ["a", "b"], [])
    assert view.having(run=["c"]).href == "/compare?by=model&run=c"
    assert view.having(run=None, by="").href == "/compare"
    assert view.at("/run", "by").href == "/run?by=model"


def test_what_the_application_did_not_make_is_left_out() -> None:
    assert View.parse("/?q=" + "x" * (LONGEST_VALUE + 1)).parameters == ()
    assert View.parse("/?" + "a=1&" * (MOST_PARAMETERS + 1)).parameters == ()
    assert View.parse("/?A=1&b-c=2&ok=3&__class__=4&d=%00").parameters == (("ok", "3"),)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("5,10", (5.0, 10.0)),
        ("-1,2.5e1", (-1.0, 25.0)),
        ("", None),
        ("5", None),
        ("10,5", None),
        ("5,5", None),
        ("nan,5", None),
        ("0,inf", None),
        ("a,b", None),
        ("1,2,3", None),
    ],
)
def test_the_window_is_two_numbers_in_order(text: str, window: tuple[float, float] | None) -> None:
    assert View.parse(f"/run?t={text}").window == window
