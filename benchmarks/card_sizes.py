"""Whether base + slope * size, as the test disk's model has it, holds on SD cards: published rates at five sizes.

    python benchmarks/card_sizes.py

A line through a card's times for 4 KiB and for 1 MiB is asked for those between.
"""

from __future__ import annotations

import statistics

from common import table

SOURCE = (
    "https://github.com/bretmlw/sbc-benchmarks, non-sbc-benchmark-data/official-raspberry-pi-microsd-card-review.md"
)
"""Requests a second, one at a time, on a Raspberry Pi, the cards' command queues off."""
KIB = (4, 8, 64, 512, 1024)
KNOWN = (4, 1024)
PATTERNS = ("read", "write", "randread", "randwrite")
CARDS = {
    "Amazon Basics 64 GB": (
        (6018, 4497, 1239, 178, 90), (1746, 1536, 663, 129, 73),
        (3841, 3200, 1099, 173, 88), (1418, 1374, 629, 128, 71),
    ),
    "Amazon Basics 128 GB": (
        (5910, 4270, 1218, 179, 90), (1208, 1137, 625, 107, 65),
        (3597, 3451, 1078, 175, 89), (1042, 1018, 585, 106, 63),
    ),
    "SanDisk Extreme 64 GB": (
        (3502, 2617, 1100, 165, 79), (769, 738, 428, 52, 60),
        (3389, 1659, 743, 149, 82), (1033, 998, 83, 99, 58),
    ),
    "SanDisk Extreme PRO 128 GB": (
        (3330, 2731, 885, 147, 80), (650, 651, 448, 132, 74),
        (3253, 1440, 712, 142, 85), (992, 933, 301, 112, 66),
    ),
    "Samsung PRO Plus 128 GB": (
        (5865, 6303, 1081, 176, 89), (784, 630, 268, 100, 62),
        (4239, 3384, 1036, 174, 89), (770, 646, 302, 96, 59),
    ),
    "Raspberry Pi 32 GB": (
        (6416, 4476, 1223, 178, 90), (851, 1007, 340, 77, 35),
        (4746, 3327, 1117, 176, 89), (1469, 1432, 657, 68, 35),
    ),
    "Raspberry Pi 64 GB": (
        (7221, 4884, 1046, 170, 87), (2882, 2000, 398, 116, 70),
        (5786, 3802, 921, 166, 88), (4109, 3500, 881, 144, 77),
    ),
    "Raspberry Pi 128 GB": (
        (7065, 4889, 948, 166, 88), (2889, 1976, 397, 114, 70),
        (5757, 3820, 909, 163, 87), (4186, 3573, 908, 152, 79),
    ),
}  # fmt: skip


def asked(rates: tuple[int, ...]) -> dict[int, float]:
    """What the line gives for the time of each size that it does not know, over what was measured."""
    times = dict(zip(KIB, (1 / rate for rate in rates), strict=True))
    small, large = KNOWN
    slope = (times[large] - times[small]) / (large - small)
    return {size: (times[small] + slope * (size - small)) / times[size] for size in KIB if size not in KNOWN}


def main() -> None:
    """Print the ratios."""
    rows = []
    for at, pattern in enumerate(PATTERNS):
        ratios = [asked(card[at]) for card in CARDS.values()]
        for size in ratios[0]:
            values = sorted(ratio[size] for ratio in ratios)
            rows.append(
                [pattern, f"{size}", f"{statistics.median(values):.2f}", f"{values[0]:.2f}", f"{values[-1]:.2f}"]
            )
    print(f"{len(CARDS)} cards, {SOURCE}\n")
    print(table(["pattern", "KiB", "line over measured: median", "least", "most"], rows))


if __name__ == "__main__":
    main()
