"""Student's t distribution, central and not, through SciPy's special functions."""

from __future__ import annotations

from typing import Any

from edgeprof.profiler.errors import EdgeprofError


def _special() -> Any:
    try:
        from scipy import special
    except ImportError:
        raise EdgeprofError("statistics of several runs need SciPy; `pip install 'edgeprof[matrix]'` gets it") from None
    return special


def quantile(share: float, df: float) -> float:
    """The value below which ``share`` of a t distribution with ``df`` degrees of freedom lies."""
    return float(_special().stdtrit(df, share))


def two_sided(t: float, df: float) -> float:
    """The probability of a value at least as far from 0 as ``t``."""
    return float(2 * _special().stdtr(df, -abs(t)))


def detectable(error: float, df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference that a two-sided t test finds with probability ``power``.

    The test rejects beyond t(1 - alpha/2); under a difference of d its statistic has a noncentral t distribution with
    noncentrality d / error (Cohen, *Statistical Power Analysis for the Behavioral Sciences*, 1988, chapter 2).  What
    the other tail adds to the power is below 1e-3 where the power is 0.8, and left out.

    Args:
        error: standard error of the difference, in the unit wanted.
    """
    border = quantile(1 - alpha / 2, df)
    return float(_special().nctdtrinc(df, 1 - power, border)) * error
