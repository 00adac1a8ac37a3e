/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The binary logarithm of a 64-bit integer. */
#ifndef KML_LOG2_H
#define KML_LOG2_H

#include "kml/fixed.h"

#define KML_INVERSE_LN2_Q31 ((int64_t)3098164009) /* 1 / ln 2 */

/* Within 3 steps, and exact at powers of two; 0 for 0. */
static inline kml_fx kml_log2(uint64_t value)
{
	int exponent;
	kml_fx mantissa;

	if (!value)
		return 0;
	exponent = 63 - __builtin_clzll(value);
	if (exponent > KML_FX_BITS)
		mantissa = (kml_fx)(value >> (exponent - KML_FX_BITS));
	else
		mantissa = (kml_fx)(value << (KML_FX_BITS - exponent));
	return exponent * KML_FX_ONE + (kml_fx)((kml_fx_log(mantissa) * KML_INVERSE_LN2_Q31 + (1 << 30)) >> 31);
}

#endif
