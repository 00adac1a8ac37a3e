/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Elementary functions of Q16.16 numbers.  Largest absolute errors, in steps of 1/65536 (0.5 is correct rounding):
 *
 *   div, sqrt, from_float_bits   0.5
 *   exp                          0.511
 *   log                          0.503
 *   sigmoid                      0.583
 *   tanh                         0.666
 *   softmax                      0.51    of up to 256 numbers
 *
 * tests/test_fixed.c finds them, by trying every input against long double arithmetic.  softmax's is derived: 256
 * powers that are each wrong by half of 2^-30 make it 0.008 more than its rounding.
 *
 * sigmoid, tanh and log read a quadratic from a table for each small interval of the argument.  The tables are short,
 * since on an I/O path they are seldom in the cache; kmodule/tables.py says how each is made.
 */
#include "kml/fixed.h"
#include "tables.h"
#include "wide.h"

/* u is the place within the interval, with `bits` bits of fraction; the result has 30 more. */
static inline int64_t at(const struct quadratic *interval, uint32_t u, unsigned int bits)
{
	return interval->value + (interval->slope + (((int64_t)interval->bend * u) >> bits)) * u;
}

/* sigmoid(x) and half a step, in units of 2^-SIGMOID_UNIT of a step; where it is constant, that of the nearest x. */
#define SIGMOID_UNIT (30 + SIGMOID_BITS - KML_FX_BITS)
static inline int64_t rounding_sigmoid(int64_t x)
{
	uint64_t place = (uint64_t)(x + SIGMOID_END);

	if (kml_unlikely(place >= 2 * SIGMOID_END))
		place = x < 0 ? 0 : 2 * SIGMOID_END - 1;
	return at(&sigmoid_table[place >> SIGMOID_BITS], place & ((1u << SIGMOID_BITS) - 1), SIGMOID_BITS);
}

static inline kml_fx sigmoid(int64_t x)
{
	return (kml_fx)(rounding_sigmoid(x) >> SIGMOID_UNIT);
}

/* 2 sigmoid(2 x) - 1, with half a step instead of two halves */
static inline kml_fx hyperbolic_tangent(int64_t x)
{
	const int64_t one_and_half_a_step = ((int64_t)KML_FX_ONE << SIGMOID_UNIT) + ((int64_t)1 << (SIGMOID_UNIT - 1));

	return (kml_fx)((2 * rounding_sigmoid(2 * x) - one_and_half_a_step) >> SIGMOID_UNIT);
}

kml_fx kml_fx_sigmoid(kml_fx x)
{
	return sigmoid(x);
}
KML_EXPORT(kml_fx_sigmoid);

kml_fx kml_fx_tanh(kml_fx x)
{
	return hyperbolic_tangent(x);
}
KML_EXPORT(kml_fx_tanh);

void kml_fx_sigmoid_each(kml_fx *values, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		values[i] = sigmoid(values[i]);
}
KML_EXPORT(kml_fx_sigmoid_each);

void kml_fx_tanh_each(kml_fx *values, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		values[i] = hyperbolic_tangent(values[i]);
}
KML_EXPORT(kml_fx_tanh_each);

/*
 * exp(x) * 2^bits, rounded, for -(bits + 1) ln 2 <= x and a result below 2^31.  x = n ln(2)/32 + r with n the nearest
 * integer, so |r| <= ln(2)/64 = 0.0109, and exp(x) = 2^(n/32) exp(r): a table, and a polynomial of degree 4, whose
 * next term is below 2^-39.
 */
static uint64_t exponential(kml_fx x, unsigned int bits)
{
	int64_t n = kml_wide_round(x * EXP_INVERSE_Q32, 32 + KML_FX_BITS);
	int64_t r = kml_wide_round(x * ((int64_t)1 << (54 - KML_FX_BITS)) - n * EXP_STEP_Q54, 54 - 38);
	int64_t short_r = r >> 8; /* Q30: enough for the higher terms */
	int64_t factor, term;
	uint64_t power = exp_table[n & 31];

	factor = EXP_SIXTH_Q38 + ((EXP_24TH_Q38 * short_r) >> 30);
	factor = ((int64_t)1 << 37) + ((factor * short_r) >> 30);
	term = r + kml_wide_round(kml_wide_round(r * r, 38) * factor, 38); /* exp(r) - 1, Q38 */
	power += (uint64_t)(((int64_t)(power >> 31) * kml_wide_round(term, 1)) >> 6);
	bits = (unsigned int)(62 - (int64_t)bits - (n >> 5));
	return (power + ((uint64_t)1 << (bits - 1))) >> bits;
}

kml_fx kml_fx_exp(kml_fx x)
{
	if (x < EXP_LOWEST)
		return 0;
	if (x > EXP_HIGHEST)
		return KML_FX_MAX;
	return (kml_fx)exponential(x, KML_FX_BITS);
}
KML_EXPORT(kml_fx_exp);

kml_fx kml_fx_log(kml_fx x)
{
	const struct quadratic *interval;
	int64_t exponent;
	uint32_t mantissa;

	if (x <= 0)
		return KML_FX_MIN;
	exponent = __builtin_clz((uint32_t)x);
	mantissa = (uint32_t)x << exponent;
	exponent = 31 - KML_FX_BITS - exponent;
	interval = &log_table[(mantissa >> LOG_BITS) & (LOG_INTERVALS - 1)];
	return (kml_fx)kml_wide_round(exponent * LN2 + at(interval, mantissa & ((1u << LOG_BITS) - 1), LOG_BITS),
				      30 + LOG_BITS - KML_FX_BITS);
}
KML_EXPORT(kml_fx_log);

/*
 * A quadratic gives 18 bits, and one step of Newton's method 32.  Its integer form never falls below the root's floor
 * (a mean of r and n / r is at least their geometric one), so that the last bit can only be too large.  The first guess
 * is made one larger, and so never 0.
 */
uint64_t kml_wide_root(uint64_t square)
{
	unsigned int shift;
	uint64_t scaled, root;
	uint32_t place;

	if (!square)
		return 0;
	shift = (unsigned int)__builtin_clzll(square) & ~1u;
	scaled = (square << shift) >> ROOT_SHIFT; /* 1 to 4, in intervals */
	place = scaled & ((1u << ROOT_BITS) - 1);
	root = (uint64_t)at(&root_table[(scaled >> ROOT_BITS) - ROOT_INTERVALS], place, ROOT_BITS);
	root = (root >> (30 + ROOT_BITS - 31 + shift / 2)) + 1;
	root = (root + kml_divu64(square, root)) >> 1;
	if (root > 0xffffffff)
		root = 0xffffffff;
	if (root * root > square)
		root--;
	return root + (square - root * root > root);
}

kml_fx kml_fx_sqrt(kml_fx x)
{
	return x <= 0 ? 0 : (kml_fx)kml_wide_root((uint64_t)x << KML_FX_BITS);
}
KML_EXPORT(kml_fx_sqrt);

kml_fx kml_fx_div(kml_fx dividend, kml_fx divisor)
{
	if (kml_unlikely(!divisor))
		return dividend > 0 ? KML_FX_MAX : dividend < 0 ? KML_FX_MIN : 0;
	return kml_wide_ratio(dividend, divisor);
}
KML_EXPORT(kml_fx_div);

/* Powers are taken relative to the largest number, in Q30, so that what is lost of each does not add up. */
void kml_fx_softmax(const kml_fx *in, kml_fx *out, unsigned int count)
{
	kml_fx largest = KML_FX_MIN;
	uint64_t sum = 0, inverse;
	unsigned int i;

	if (!count)
		return;
	for (i = 0; i < count; i++)
		largest = in[i] > largest ? in[i] : largest;
	for (i = 0; i < count; i++) {
		int64_t below = (int64_t)in[i] - largest;

		out[i] = below < EXP_LOWEST_Q30 ? 0 : (kml_fx)exponential((kml_fx)below, 30);
		sum += (uint64_t)out[i];
	}
	inverse = kml_divu64((uint64_t)1 << 62, sum);
	for (i = 0; i < count; i++)
		out[i] = (kml_fx)kml_wide_round((int64_t)((uint64_t)out[i] * inverse), 62 - KML_FX_BITS);
}
KML_EXPORT(kml_fx_softmax);

int kml_fx_from_float_bits(uint32_t bits, kml_fx *out)
{
	int exponent = (bits >> 23) & 0xff;
	int64_t value = (int64_t)((bits & 0x7fffff) | 0x800000);
	int shift = exponent - 127 - 23 + KML_FX_BITS;

	if (exponent == 0xff)
		return -EINVAL;
	if (bits >> 31)
		value = -value;
	if (shift < -24)
		value = 0; /* below half a step; subnormal numbers, too */
	else if (shift < 0)
		value = kml_wide_round(value, (unsigned int)-shift);
	else
		value *= (int64_t)1 << (shift < 9 ? shift : 9); /* by 2^9 none fits any more */
	*out = kml_fx_saturate(value);
	return *out == value ? 0 : -ERANGE;
}
KML_EXPORT(kml_fx_from_float_bits);
