"""Text of a run that a spreadsheet must not take for a formula: a run can give itself any name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Both are understood alike by Python's and by Arrow's (RE2) regular expressions.
_FORMULA = "^[-=+@\t\n\r\uff0b\uff0d\uff1d\uff20]"
"""How a cell begins that a spreadsheet would compute; some take the wide forms of East Asia, too."""
_NUMBER = (
    "^[-+](?:[0-9][0-9\u202f]*(?:[.][0-9]+)?|[.][0-9]+)(?:[eE][-+]?[0-9]+)?(?: ?[%A-Za-zµ°]{1,4}(?:/[A-Za-z]{1,8})?)?$"
)
"""A number with a sign, as the pages write it: -1 234, +0.5, -3e-9, -5 %, +1.2 GB, -3 J/sample."""


def harmless(text: str) -> str:
    """Text as a cell; an apostrophe before it tells a spreadsheet that it is text."""
    return f"'{text}" if re.match(_FORMULA, text) and not re.fullmatch(_NUMBER, text) else text


def harmless_texts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """`harmless` of a text column; null stays."""
    import pyarrow.compute as pc

    formula = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
    if not pc.any(formula).as_py():
        return texts
    return pc.if_else(formula, pc.binary_join_element_wise("'", texts, ""), texts)
