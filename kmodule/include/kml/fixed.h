/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Q16.16 fixed-point numbers: all that runs on the I/O path computes with them.
 *
 * A number is value * 65536 in a signed 32-bit word: from -32768 to 32767.99998 in steps of 0.0000153.  Whatever
 * leaves that range saturates at its ends.  Results are rounded to the nearest step, halves upwards.  There is no
 * undefined behaviour for any input, and so the bits are the same from every compiler and processor.
 */
#ifndef KML_FIXED_H
#define KML_FIXED_H

#include "kml_deps.h"

typedef int32_t kml_fx;

#define KML_FX_BITS 16
#define KML_FX_ONE ((kml_fx)1 << KML_FX_BITS)
#define KML_FX_HALF (KML_FX_ONE / 2)
#define KML_FX_MAX ((kml_fx)0x7fffffff)
#define KML_FX_MIN (-KML_FX_MAX - 1)

/* A constant that is known to the compiler: no floating point is left in the object. */
#define KML_FX(constant) ((kml_fx)((constant) * 65536.0 + ((constant) < 0 ? -0.5 : 0.5)))

/* So likely that compilers keep the branch: without one it takes longer. */
static inline kml_fx kml_fx_saturate(int64_t value)
{
	if (__builtin_expect_with_probability(value == (kml_fx)value, 1, 0.999))
		return (kml_fx)value;
	return value < 0 ? KML_FX_MIN : KML_FX_MAX;
}

/* A sum of products (Q32.32) as a number. */
static inline kml_fx kml_fx_from_products(int64_t sum)
{
	return kml_fx_saturate(((sum >> (KML_FX_BITS - 1)) + 1) >> 1);
}

static inline kml_fx kml_fx_add(kml_fx a, kml_fx b)
{
	return kml_fx_saturate((int64_t)a + b);
}

static inline kml_fx kml_fx_sub(kml_fx a, kml_fx b)
{
	return kml_fx_saturate((int64_t)a - b);
}

static inline kml_fx kml_fx_mul(kml_fx a, kml_fx b)
{
	return kml_fx_from_products((int64_t)a * b);
}

static inline kml_fx kml_fx_from_int(int64_t value)
{
	if (value > 32767)
		return KML_FX_MAX;
	if (value < -32768)
		return KML_FX_MIN;
	return (kml_fx)(value * KML_FX_ONE);
}

/* Division by zero saturates by the dividend's sign; 0/0 is 0. */
kml_fx kml_fx_div(kml_fx dividend, kml_fx divisor);

/*
 * The elementary functions.  Each header line of core/fixed.c states the largest absolute error over all inputs;
 * tests go through all 2^32 of them, or a stated part.
 *
 * exp saturates above 10.397; log of a number that is not positive is KML_FX_MIN; sqrt of one is 0.
 */
kml_fx kml_fx_exp(kml_fx x);
kml_fx kml_fx_log(kml_fx x);
kml_fx kml_fx_sqrt(kml_fx x);
kml_fx kml_fx_sigmoid(kml_fx x);
kml_fx kml_fx_tanh(kml_fx x);

/* The same of count numbers in place: a layer takes one call. */
void kml_fx_sigmoid_each(kml_fx *values, unsigned int count);
void kml_fx_tanh_each(kml_fx *values, unsigned int count);

/* count numbers, at least 1; in and out may be the same.  The results add up to 1 within count steps. */
void kml_fx_softmax(const kml_fx *in, kml_fx *out, unsigned int count);

/*
 * The number nearest to an IEEE 754 binary32, given as its bits, with integer operations only.
 * -EINVAL for NaN and infinities, -ERANGE (and the saturated number) for what does not fit.
 */
int kml_fx_from_float_bits(uint32_t bits, kml_fx *out);

#endif
