/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Elementary functions in binary32, of additions, multiplications and divisions only, each rounded as IEEE 754 says:
 * the same bits everywhere, given -ffp-contract=off.  The tests state and prove their errors.
 */
#ifndef KML_FLOAT_MATH_H
#define KML_FLOAT_MATH_H

#include "kml_deps.h"

#define KML_FLOAT_LOG2_E 1.44269504f
/* ln 2 in two parts: the first has so few bits that its product with an exponent is exact. */
#define KML_FLOAT_LN2_HIGH (355.0f / 512.0f)
#define KML_FLOAT_LN2_LOW (-2.12194440e-4f)
#define KML_FLOAT_SQRT2 1.41421356f
#define KML_FLOAT_EXP_MAX 88.0f /* e^88 is still finite */
#define KML_FLOAT_EXP_MIN (-87.0f) /* e^-87 is still normal */

union kml_float {
	float value;
	uint32_t bits;
};

/* 2^exponent, for -126 to 127. */
static inline float kml_float_power(int exponent)
{
	union kml_float power;

	power.bits = (uint32_t)(exponent + 127) << 23;
	return power.value;
}

/*
 * e^x; 0 below KML_FLOAT_EXP_MIN, and from KML_FLOAT_EXP_MAX on what it is there.  2^k e^r with |r| <= ln 2 / 2.  Not
 * inline, since four callers would each have its code.
 */
static float kml_float_exp(float x)
{
	float rest, series;
	int k;

	if (x != x)
		return x;
	if (x < KML_FLOAT_EXP_MIN)
		return 0.0f;
	if (x > KML_FLOAT_EXP_MAX)
		x = KML_FLOAT_EXP_MAX;
	k = (int)(x * KML_FLOAT_LOG2_E + (x < 0.0f ? -0.5f : 0.5f));
	rest = x - (float)k * KML_FLOAT_LN2_HIGH - (float)k * KML_FLOAT_LN2_LOW;
	/* Taylor: the first term left out, r^8 / 8!, is below 6e-9. */
	series = 1.0f / 5040.0f;
	series = series * rest + 1.0f / 720.0f;
	series = series * rest + 1.0f / 120.0f;
	series = series * rest + 1.0f / 24.0f;
	series = series * rest + 1.0f / 6.0f;
	series = series * rest + 0.5f;
	series = series * rest * rest + rest;
	return (1.0f + series) * kml_float_power(k);
}

/* ln x of a normal number above 0.  x = 2^k m with m near 1; ln m = 2 artanh((m - 1) / (m + 1)). */
static inline float kml_float_log(float x)
{
	union kml_float mantissa;
	float s, square, series;
	int k;

	mantissa.value = x;
	k = (int)(mantissa.bits >> 23) - 127;
	mantissa.bits = (mantissa.bits & 0x7fffff) | 0x3f800000;
	if (mantissa.value > KML_FLOAT_SQRT2) {
		mantissa.value *= 0.5f;
		k++;
	}
	s = (mantissa.value - 1.0f) / (mantissa.value + 1.0f);
	square = s * s;
	/* The first term left out, 2 s^11 / 11, is below 7e-10. */
	series = 2.0f / 9.0f;
	series = series * square + 2.0f / 7.0f;
	series = series * square + 2.0f / 5.0f;
	series = series * square + 2.0f / 3.0f;
	series = series * square * s + 2.0f * s;
	return (float)k * KML_FLOAT_LN2_HIGH + (series + (float)k * KML_FLOAT_LN2_LOW);
}

static inline float kml_float_sigmoid(float x)
{
	float power;

	if (x >= 0.0f)
		return 1.0f / (1.0f + kml_float_exp(-x));
	power = kml_float_exp(x);
	return power / (1.0f + power);
}

/* By the exponential, but near 0, where that cancels, by its series. */
static inline float kml_float_tanh(float x)
{
	float power, square;

	if (x < 0.125f && x > -0.125f) {
		square = x * x;
		return x + x * square * (-1.0f / 3.0f + square * (2.0f / 15.0f - square * (17.0f / 315.0f)));
	}
	power = kml_float_exp(x < 0.0f ? 2.0f * x : -2.0f * x);
	return x < 0.0f ? (power - 1.0f) / (power + 1.0f) : (1.0f - power) / (1.0f + power);
}

#endif
