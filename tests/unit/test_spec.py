"""RunSpec: JSON in, the first wrong field named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.profiler.agent.spec import USAGE, CaptureError, RunSpec


def test_a_spec_survives_json() -> None:
    spec = RunSpec(
        command=["python", "train.py"],
        name="train",
        rate=20,
        collect=["procfs"],
        memory_limit=1 << 30,
        cpus=1.5,
        steady=60.0,
        power_mode="15W",
        idle=10.0,
        options={"block": {"backend": "blk"}},
        factors={"storage.format": "folder"},
        roots={"proc": "/recorded/proc"},
    )
    assert RunSpec.from_json(json.dumps(spec.to_dict())) == spec
    assert RunSpec.from_json('{"command": ["true"]}') == RunSpec(command=["true"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "the run's spec is not JSON"),
        ("[]", "the run's spec needs a 'command' list"),
        ("{}", "the run's spec needs a 'command' list"),
        ('{"command": [], "colour": 1}', "the run's spec has an unknown field 'colour'"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(CaptureError, match=sentence) as error:
        RunSpec.from_json(text)
    assert error.value.exit_code == USAGE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("command", "true"),
        ("command", ["a\0b"]),
        ("command", [1]),
        ("folder", None),
        ("rate", "10"),
        ("rate", 0),
        ("rate", True),
        ("rate", float("inf")),
        ("budget_cpu", -1),
        ("collect", "procfs"),
        ("deep", 1),
        ("memory_limit", 1.5),
        ("memory_limit", 0),
        ("cpus", "2"),
        ("steady", 0),
        ("steady", "60"),
        ("steady", 1e9),
        ("power_mode", None),
        ("power_mode", "x" * 300),
        ("idle", -1),
        ("idle", True),
        ("idle", None),
        ("options", {"block": 1}),
        ("factors", []),
        ("roots", {"usr": "/usr"}),
        ("roots", {"proc": 1}),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(field: str, value: object) -> None:
    with pytest.raises(CaptureError, match=f"wrong '{field}'"):
        RunSpec.from_json(json.dumps({"command": ["true"], field: value}))


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(RunSpec.__dataclass_fields__)), ANYTHING) | ANYTHING)
def test_any_json_is_a_spec_or_a_sentence(content: Any) -> None:
    try:
        spec = RunSpec.from_json(json.dumps(content))
    except CaptureError:
        return
    assert all(isinstance(word, str) for word in spec.command)
