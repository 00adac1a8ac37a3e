"""Text: documents of invented words whose frequencies, order and lengths are like those of English."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeprof.workloads.data.sample import Sample

TEXT_CLASSES = ("world", "sports", "business", "science")
"""As the four of AG News (Zhang et al., 2015)."""

WORDS = 20_000
SUCCESSORS = 24
"""Words that often follow a word."""
TOPIC_WORDS = 400
MEAN_WORDS, SPREAD = 200, 0.5
"""Median words of a document, and the standard deviation of the length's logarithm; about those of IMDB's reviews."""


class _Language(NamedTuple):
    words: list[str]
    frequent: NDArray[np.float64]  # cumulated probability of the words
    after: NDArray[np.int32]  # [WORDS, SUCCESSORS]
    topics: NDArray[np.int32]  # [classes, TOPIC_WORDS]


@cache
def _language() -> _Language:
    """The same for every seed: data sets differ in what is said, not in the language."""
    rng = np.random.default_rng(20_000)
    # Zipf and Mandelbrot: the frequency of the word of rank r falls as 1 / (r + 2.7).
    weights = 1.0 / (np.arange(WORDS) + 3.7)
    frequent = np.cumsum(weights / weights.sum())
    frequent[-1] = 1.0
    after = np.searchsorted(frequent, rng.random((WORDS, SUCCESSORS))).astype(np.int32)
    topics = rng.permutation(np.arange(300, WORDS))[: len(TEXT_CLASSES) * TOPIC_WORDS]
    return _Language(_words(rng), frequent, after, topics.reshape(len(TEXT_CLASSES), -1).astype(np.int32))


def _words(rng: np.random.Generator) -> list[str]:
    """Words by rank; frequent ones are short (Zipf's law of abbreviation)."""
    onsets = ("t", "s", "w", "b", "c", "m", "h", "p", "d", "f", "r", "l", "n", "g", "th", "st", "pr", "tr", "ch", "")
    vowels = ("e", "a", "o", "i", "u", "ea", "ou", "io")
    codas = ("", "", "n", "s", "r", "t", "d", "l", "ng", "nt", "st")
    words: list[str] = []
    known: set[str] = set()
    while len(words) < WORDS:
        syllables = 1 + int(len(words) > 120) + int(rng.random() < 0.5 and len(words) > 1500)
        word = "".join(
            part[min(int(rng.random() ** 2 * len(part)), len(part) - 1)]
            for _ in range(syllables)
            for part in (onsets, vowels, codas)
        )
        if word not in known:
            known.add(word)
            words.append(word)
    return words


def make_texts(seed: int, number: int, count: int) -> list[Sample]:
    """Documents ``number * count`` and on: UTF-8 text and its class.

    A Markov chain: each word is one of its predecessor's usual successors, a word of the document's topic, or any word
    by its frequency.
    """
    language = _language()
    rng = np.random.default_rng((seed, number))
    labels = np.arange(number * count, (number + 1) * count) % len(TEXT_CLASSES)
    lengths = np.clip(np.exp(rng.normal(np.log(MEAN_WORDS), SPREAD, count)), 20, 1500).astype(np.int64)
    longest = int(lengths.max())
    chain = np.empty((longest, count), np.int32)
    word = np.searchsorted(language.frequent, rng.random(count)).astype(np.int32)
    topics = language.topics[labels]
    for place in range(longest):
        chain[place] = word
        draws = rng.random((3, count))
        # Low places of a list are likelier, here as in the whole language.
        usual = language.after[word, (draws[1] ** 3 * SUCCESSORS).astype(np.int32)]
        topical = topics[np.arange(count), (draws[1] ** 3 * TOPIC_WORDS).astype(np.int32)]
        any_word = np.searchsorted(language.frequent, draws[2]).astype(np.int32)
        word = np.where(draws[0] < 0.45, usual, np.where(draws[0] < 0.55, topical, any_word))
    ends = rng.random((longest, count))
    return [
        {"text": _document(language.words, chain[: lengths[one], one], ends[: lengths[one], one]), "label": int(label)}
        for one, label in enumerate(labels)
    ]


def _document(words: list[str], chain: NDArray[np.int32], ends: NDArray[np.float64]) -> bytes:
    """Words with commas and full stops: a sentence has about 17 words, a clause about 10."""
    text = [words[index] for index in chain]
    for place in np.flatnonzero(ends < 0.1):
        if ends[place] < 0.06:
            text[place] += "."
            if place + 1 < len(text):
                text[place + 1] = text[place + 1].capitalize()
        else:
            text[place] += ","
    text[0] = text[0].capitalize()
    return (" ".join(text).rstrip(".,") + ".\n").encode()
