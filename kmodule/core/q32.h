/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Q32.32 numbers, in which training adds up what a Q16.16 number would lose. */
#ifndef KML_Q32_H
#define KML_Q32_H

#include "kml/fixed.h"

#define KML_Q32_MAX ((int64_t)KML_FX_MAX << KML_FX_BITS)

static inline int64_t kml_q32(kml_fx value)
{
	return (int64_t)value * KML_FX_ONE;
}

static inline int64_t kml_q32_clamp(int64_t value, int64_t limit)
{
	if (value > limit)
		return limit;
	if (value < -limit)
		return -limit;
	return value;
}

/*
 * a * b, rounded; the caller sees to it that the result fits.  The product is taken unsigned, where its lower 128 bits
 * are the same: compilers check a signed one by a call into a library that the kernel does not have.
 */
static inline int64_t kml_q32_multiply(int64_t a, int64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * (unsigned __int128)b;

	return (int64_t)((product + (1u << 31)) >> 32);
}

#endif
