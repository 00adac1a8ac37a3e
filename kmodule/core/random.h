/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Reproducible random numbers: xorshift64* (Marsaglia 2003, Vigna 2016).  Not for secrets. */
#ifndef KML_RANDOM_H
#define KML_RANDOM_H

#include "kml_deps.h"

/* A state from any seed, never 0, and far apart for seeds such as 1, 2, 3: times 2^64 / golden ratio. */
static inline uint64_t kml_random_begin(uint64_t seed)
{
	uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;

	return state ? state : 1;
}

static inline uint64_t kml_random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

#endif
