/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Steps of 64-bit arithmetic that several units of the core share. */
#ifndef KML_WIDE_H
#define KML_WIDE_H

#include "kml/fixed.h"

/* value / 2^shift, rounded, halves upwards; shift 1 to 62, and value + 2^(shift - 1) must fit. */
static inline int64_t kml_wide_round(int64_t value, unsigned int shift)
{
	return (value + ((int64_t)1 << (shift - 1))) >> shift;
}

/*
 * dividend / divisor as a number.  Both below 2^46, of the same scale; divisor not 0.
 * Rounding is floor((n + floor(d / 2)) / d): for an odd d no integer lies between d / 2 and its floor.
 */
static inline kml_fx kml_wide_ratio(int64_t dividend, int64_t divisor)
{
	int64_t scaled = dividend * KML_FX_ONE;
	int64_t quotient;

	if (divisor < 0) {
		scaled = -scaled;
		divisor = -divisor;
	}
	scaled += divisor >> 1;
	quotient = kml_div64(scaled, divisor);
	if (quotient * divisor > scaled)
		quotient--;
	return kml_fx_saturate(quotient);
}

/*
 * Add a value to a mean: `count` counts it already, and it lies `distance` above (up) or below the mean so far.
 * `rest` is what the division leaves: mean * count + rest is the sum of all values, exactly and for ever.  A mean that
 * forgot it would stop moving once count exceeds distances: at 2^-32 a unit after some 10^8 values.
 */
static inline void kml_wide_mean(int64_t *mean, uint64_t *rest, uint64_t count, uint64_t distance, bool up)
{
	uint64_t step = kml_divu64(distance, count);
	uint64_t left = distance - step * count;

	if (up) {
		*mean += (int64_t)step;
		*rest += left;
		if (*rest >= count) {
			*rest -= count;
			*mean += 1;
		}
	} else {
		*mean -= (int64_t)step;
		if (*rest < left) {
			*rest += count;
			*mean -= 1;
		}
		*rest -= left;
	}
}

/* The integer nearest to the square root: 0 to 2^32. */
uint64_t kml_wide_root(uint64_t square);

#endif
