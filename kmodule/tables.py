"""Make core/tables.h, the constants of the core's elementary functions: `python -m edgeprof.kmodule.tables`.

A function's table holds, for each of equal intervals of its argument, the coefficients of a quadratic in u = place
within the interval, 0 to 1: value + slope u + bend u^2.  It meets the function at the three Chebyshev nodes of the
interval, which keeps its error within some percent of the least that a quadratic can have: h^3 / 192 times the third
derivative, for intervals of length h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from pathlib import Path

Function = Callable[[Decimal], Decimal]

HEADER = Path(__file__).with_name("core") / "tables.h"
LN2 = Decimal(2).ln()
STEPS = 1 << 16  # of a Q16.16 number in 1
EXP_POWERS = 32  # 2^(0/32), 2^(1/32), ...
SIGMOID_END = 13  # from 12.5 on 2 sigmoid(x) - 1, which is tanh(x / 2), rounds to 1
SIGMOID_INTERVALS = 8  # in 1
LOG_INTERVALS = 64
ROOT_INTERVALS = 8
SIGMOID_BITS = 13  # of the place within an interval
LOG_BITS = 25
ROOT_BITS = 16

OPENING = """/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Constants of fixed.c, made by kmodule/tables.py: do not edit. */
#ifndef KML_TABLES_H
#define KML_TABLES_H

#include "kml_deps.h"

/* Of an interval: value + slope * u + bend * u^2, u from 0 to 1. */
struct quadratic {
	int64_t value;
	int32_t slope;
	int32_t bend;
};
"""


def nearest(value: Decimal, bits: int) -> int:
    """The value as an integer of `bits` bits of fraction."""
    return int((value * (1 << bits)).to_integral_value(ROUND_HALF_EVEN))


def sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def rounding_sigmoid(x: Decimal) -> Decimal:
    return sigmoid(x) + Decimal("0.5") / STEPS


def quadratic(function: Function, start: Decimal, length: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Coefficients of 1, u, u^2, by Newton's divided differences over the Chebyshev nodes."""
    a, b, c = (Decimal((1 - math.cos(math.pi * (2 * k + 1) / 6)) / 2) for k in range(3))
    at_a, at_b, at_c = (function(start + length * u) for u in (a, b, c))
    first = (at_b - at_a) / (b - a)
    second = ((at_c - at_b) / (c - b) - first) / (c - a)
    return at_a - a * first + a * b * second, first - (a + b) * second, second


def quadratics(name: str, function: Function, start: int, end: int, intervals_in_1: int, place_bits: int) -> str:
    """A table whose slopes and bends are Q30; u has `place_bits` bits, and so values have 30 + `place_bits`."""
    length = Decimal(1) / intervals_in_1
    rows = []
    for interval in range((end - start) * intervals_in_1):
        value, slope, bend = quadratic(function, start + interval * length, length)
        rows.append(f"{{ {nearest(value, 30 + place_bits)}, {nearest(slope, 30)}, {nearest(bend, 30)} }}")
    return array(f"struct quadratic {name}[{len(rows)}]", rows, 2)


def array(declaration: str, entries: list[str], in_a_line: int) -> str:
    lines = [", ".join(entries[at : at + in_a_line]) for at in range(0, len(entries), in_a_line)]
    return f"static const {declaration} = {{\n" + "".join(f"\t{line},\n" for line in lines) + "};\n"


def defines() -> Iterable[str]:
    """Constants; the bounds of exp are those of a result that rounds to at least 1 step, and that still fits."""
    yield f"#define SIGMOID_BITS {SIGMOID_BITS}"
    yield f"#define SIGMOID_END {SIGMOID_END * STEPS}"
    yield f"#define LOG_BITS {LOG_BITS}"
    yield f"#define LOG_INTERVALS {LOG_INTERVALS}"
    yield f"#define LN2 ((int64_t){nearest(LN2, 30 + LOG_BITS)}) /* as the table's values */"
    yield f"#define ROOT_BITS {ROOT_BITS}"
    yield f"#define ROOT_INTERVALS {ROOT_INTERVALS} /* in 1 */"
    yield f"#define ROOT_SHIFT {62 - ROOT_BITS - int(math.log2(ROOT_INTERVALS))} /* from 62 bits of fraction */"
    yield f"#define EXP_INVERSE_Q32 ((int64_t){nearest(EXP_POWERS / LN2, 32)}) /* {EXP_POWERS} / ln 2 */"
    yield f"#define EXP_STEP_Q54 ((int64_t){nearest(LN2 / EXP_POWERS, 54)}) /* ln 2 / {EXP_POWERS} */"
    yield f"#define EXP_SIXTH_Q38 ((int64_t){nearest(Decimal(1) / 6, 38)})"
    yield f"#define EXP_24TH_Q38 ((int64_t){nearest(Decimal(1) / 24, 38)})"
    yield f"#define EXP_LOWEST {int((-17 * LN2 * STEPS).to_integral_value(ROUND_CEILING))} /* -17 ln 2: half a step */"
    yield f"#define EXP_HIGHEST {int((15 * LN2 * STEPS).to_integral_value(ROUND_FLOOR))} /* 15 ln 2: 32768 */"
    yield f"#define EXP_LOWEST_Q30 {int((-31 * LN2 * STEPS).to_integral_value(ROUND_CEILING))} /* -31 ln 2 */"


def tables() -> Iterable[str]:
    powers = (nearest((LN2 * i / EXP_POWERS).exp(), 62) for i in range(EXP_POWERS))
    yield f"/* 2^(i / {EXP_POWERS}), Q62. */\n" + array(
        f"uint64_t exp_table[{EXP_POWERS}]", [f"0x{power:016x}" for power in powers], 4
    )
    yield f"/* sigmoid(x) and half a step, x from -{SIGMOID_END} to {SIGMOID_END}; slopes Q30. */\n" + quadratics(
        "sigmoid_table", rounding_sigmoid, -SIGMOID_END, SIGMOID_END, SIGMOID_INTERVALS, SIGMOID_BITS
    )
    yield "/* ln(x), x from 1 to 2; slopes Q30. */\n" + quadratics(
        "log_table", Decimal.ln, 1, 2, LOG_INTERVALS, LOG_BITS
    )
    yield "/* sqrt(x), x from 1 to 4; slopes Q30. */\n" + quadratics(
        "root_table", Decimal.sqrt, 1, 4, ROOT_INTERVALS, ROOT_BITS
    )


def text() -> str:
    return "\n".join([OPENING, "\n".join(defines()) + "\n", *tables(), "#endif\n"])


if __name__ == "__main__":
    HEADER.write_text(text())
