"""Text from the run cannot act as markup anywhere in the report."""

from __future__ import annotations

import html
import json

from hypothesis import given
from hypothesis import strategies as st

from edgeprof.dashboards.report.text import clean, label, script_json, sentences


@given(st.text())
def test_json_in_a_script_element_means_the_same_and_cannot_end_it(text: str) -> None:
    written = script_json({"name": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"name": text}


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_can_be_written_as_utf_8(text: str) -> None:
    clean(text).encode("utf-8")


@given(st.text(alphabet="<>&;a\"'/ =", max_size=50))
def test_a_label_shows_tags_and_entities_as_themselves(text: str) -> None:
    written = label(text)
    assert "<" not in written
    assert html.unescape(written) == clean(text)


def test_bytes_that_are_no_text_and_control_characters_become_visible() -> None:
    assert clean(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\ufffd"
    assert clean("a\x1b[31mb\u202ec") == "a\ufffd[31mb\ufffdc"
    assert clean("\ud800") == "'\\ud800'"


def test_a_long_path_keeps_its_file_name() -> None:
    written = label("/data/" + "x" * 200 + "/train.py")
    assert len(written) <= 60
    assert written.startswith("/data/")
    assert written.endswith("/train.py")


def test_only_a_list_is_sentences() -> None:
    assert sentences(["a", 3]) == ["a", "3"]
    assert sentences("abc") == []
    assert sentences(None) == []
