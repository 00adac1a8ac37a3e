"""Words to numbers, without a vocabulary file: the hashing trick (Weinberger et al., 2009)."""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+|[^\w\s]")


def tokenize(text: str, length: int, vocabulary: int) -> NDArray[np.int64]:
    """The ids of the first ``length`` words, int64 [length]; 0 pads, words have ids from 1 to ``vocabulary`` - 1."""
    tokens = np.zeros(length, np.int64)
    for place, match in zip(range(length), WORD.finditer(text.lower()), strict=False):
        tokens[place] = 1 + crc32(match[0].encode()) % (vocabulary - 1)
    return tokens
