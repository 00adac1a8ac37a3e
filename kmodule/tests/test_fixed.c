/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fixed-point functions against long double arithmetic.  exp, sigmoid and tanh are tried with every
 * number for which they are not constant, the others with every number up to 4, and then with one in KML_STRIDE (from
 * the environment); KML_STRIDE=1 takes minutes, leaves none out, and prints the errors that were found.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "kml/fixed.h"
#include "random.h"
#include "tables.h"
#include "wide.h"

#define STEPS 65536.0L

/* Prime, so that no interval or power of two is always missed or always met. */
static int64_t stride(void)
{
	const char *text = getenv("KML_STRIDE");

	return text ? atoll(text) : 10007;
}

static void report(const char *name, long double error)
{
	if (getenv("KML_STRIDE"))
		printf("%s: at most %.6Lf steps\n", name, error);
}

/* The real number in steps, as it should be rounded. */
static long double clamped(long double value)
{
	return fminl(fmaxl(value * STEPS, (long double)KML_FX_MIN), (long double)KML_FX_MAX);
}

/* Of one in `step` numbers. */
static long double worst(const char *name, kml_fx (*function)(kml_fx), long double (*reference)(long double),
			 int64_t from, int64_t to, int64_t step)
{
	long double worst = 0;
	int64_t x;

	for (x = from; x <= to; x += step)
		worst = fmaxl(worst, fabsl(function((kml_fx)x) - clamped(reference(x / STEPS))));
	report(name, worst);
	return worst;
}

static bool is_always(kml_fx value, kml_fx (*function)(kml_fx), int64_t from, int64_t to)
{
	int64_t x;

	for (x = from; x <= to; x += stride()) {
		if (function((kml_fx)x) != value)
			return false;
	}
	return function((kml_fx)to) == value;
}

static bool rises(kml_fx (*function)(kml_fx), int64_t from, int64_t to)
{
	for (; from < to; from++) {
		if (function((kml_fx)from) > function((kml_fx)(from + 1)))
			return false;
	}
	return true;
}

static long double sigmoid(long double x)
{
	return 1 / (1 + expl(-x));
}

TEST(sigmoid_errs_by_what_is_stated)
{
	CHECK(worst("sigmoid", kml_fx_sigmoid, sigmoid, -14 * KML_FX_ONE, 14 * KML_FX_ONE, 1) <= 0.583L);
	CHECK(is_always(0, kml_fx_sigmoid, KML_FX_MIN, -14 * KML_FX_ONE));
	CHECK(is_always(KML_FX_ONE, kml_fx_sigmoid, 14 * KML_FX_ONE, KML_FX_MAX));
	CHECK_EQUAL(kml_fx_sigmoid(0), KML_FX_HALF);
}

TEST(tanh_errs_by_what_is_stated)
{
	CHECK(worst("tanh", kml_fx_tanh, tanhl, -8 * KML_FX_ONE, 8 * KML_FX_ONE, 1) <= 0.666L);
	CHECK(is_always(-KML_FX_ONE, kml_fx_tanh, KML_FX_MIN, -8 * KML_FX_ONE));
	CHECK(is_always(KML_FX_ONE, kml_fx_tanh, 8 * KML_FX_ONE, KML_FX_MAX));
	CHECK_EQUAL(kml_fx_tanh(0), 0);
}

TEST(exp_errs_by_what_is_stated)
{
	CHECK(worst("exp", kml_fx_exp, expl, -12 * KML_FX_ONE, 11 * KML_FX_ONE, 1) <= 0.511L);
	CHECK(is_always(0, kml_fx_exp, KML_FX_MIN, EXP_LOWEST - 1));
	CHECK(is_always(KML_FX_MAX, kml_fx_exp, EXP_HIGHEST + 1, KML_FX_MAX));
	CHECK_EQUAL(kml_fx_exp(EXP_LOWEST), 1);
	CHECK(kml_fx_exp(EXP_HIGHEST) < KML_FX_MAX);
	CHECK_EQUAL(kml_fx_exp(0), KML_FX_ONE);
}

TEST(log_errs_by_what_is_stated)
{
	CHECK(worst("log", kml_fx_log, logl, 1, 4 * KML_FX_ONE, 1) <= 0.503L);
	CHECK(worst("log", kml_fx_log, logl, 4 * KML_FX_ONE, KML_FX_MAX, stride()) <= 0.503L);
	CHECK(is_always(KML_FX_MIN, kml_fx_log, KML_FX_MIN, 0));
	CHECK_EQUAL(kml_fx_log(KML_FX_ONE), 0);
}

TEST(sqrt_is_rounded_correctly)
{
	CHECK(worst("sqrt", kml_fx_sqrt, sqrtl, 0, 4 * KML_FX_ONE, 1) <= 0.5L);
	CHECK(worst("sqrt", kml_fx_sqrt, sqrtl, 4 * KML_FX_ONE, KML_FX_MAX, stride()) <= 0.5L);
	CHECK(is_always(0, kml_fx_sqrt, KML_FX_MIN, 0));
	CHECK_EQUAL(kml_fx_sqrt(4 * KML_FX_ONE), 2 * KML_FX_ONE);
}

TEST(functions_never_fall)
{
	CHECK(rises(kml_fx_sigmoid, -14 * KML_FX_ONE, 14 * KML_FX_ONE));
	CHECK(rises(kml_fx_tanh, -8 * KML_FX_ONE, 8 * KML_FX_ONE));
	CHECK(rises(kml_fx_exp, -12 * KML_FX_ONE, 11 * KML_FX_ONE));
	CHECK(rises(kml_fx_log, 0, 16 * KML_FX_ONE));
	CHECK(rises(kml_fx_sqrt, 0, 16 * KML_FX_ONE));
}

TEST(sigmoid_and_tanh_are_symmetric_to_a_step)
{
	kml_fx x;

	for (x = 0; x < 14 * KML_FX_ONE; x++) {
		CHECK_NEAR(kml_fx_sigmoid(-x), KML_FX_ONE - kml_fx_sigmoid(x), 1);
		CHECK_NEAR(kml_fx_tanh(-x), -kml_fx_tanh(x), 1);
	}
}

TEST(a_layer_gets_what_each_of_its_numbers_gets)
{
	kml_fx sigmoids[257], tanhs[257], x;
	unsigned int i;

	for (i = 0; i < 257; i++)
		sigmoids[i] = tanhs[i] = (kml_fx)(i * 12345u * 2777u);
	kml_fx_sigmoid_each(sigmoids, 256);
	kml_fx_tanh_each(tanhs, 256);
	for (i = 0; i < 257; i++) {
		x = (kml_fx)(i * 12345u * 2777u);
		CHECK_EQUAL(sigmoids[i], i < 256 ? kml_fx_sigmoid(x) : x);
		CHECK_EQUAL(tanhs[i], i < 256 ? kml_fx_tanh(x) : x);
	}
}

/* Numbers at which something may go wrong, and many others. */
static kml_fx number(uint64_t *random, unsigned int i)
{
	static const kml_fx edges[] = {
		KML_FX_MIN, KML_FX_MIN + 1, -KML_FX_ONE - 1, -KML_FX_ONE, -KML_FX_ONE + 1, -KML_FX_HALF, -2, -1, 0,
		KML_FX_MAX, KML_FX_MAX - 1, KML_FX_ONE + 1,  KML_FX_ONE,  KML_FX_ONE - 1,  KML_FX_HALF,  2,  1,
	};
	const unsigned int count = sizeof(edges) / sizeof(*edges);

	if (i < count)
		return edges[i];
	return (kml_fx)(uint32_t)kml_random_next(random) >> (kml_random_next(random) % 31);
}

static int64_t saturated(__int128 value)
{
	return value > KML_FX_MAX ? KML_FX_MAX : value < KML_FX_MIN ? KML_FX_MIN : (int64_t)value;
}

/* floor(dividend / divisor), of a positive divisor */
static __int128 floor_of(__int128 dividend, __int128 divisor)
{
	return dividend >= 0 ? dividend / divisor : -((-dividend + divisor - 1) / divisor);
}

TEST(arithmetic_rounds_halves_upwards_and_saturates)
{
	uint64_t random = 1;
	unsigned int i, j;

	for (i = 0; i < 1500; i++) {
		kml_fx a = number(&random, i);

		for (j = 0; j < 500; j++) {
			kml_fx b = number(&random, j);
			__int128 sign = b < 0 ? -1 : 1;

			CHECK_EQUAL(kml_fx_add(a, b), saturated((__int128)a + b));
			CHECK_EQUAL(kml_fx_sub(a, b), saturated((__int128)a - b));
			CHECK_EQUAL(kml_fx_mul(a, b), saturated(floor_of((__int128)a * b + 32768, 65536)));
			if (b)
				CHECK_EQUAL(kml_fx_div(a, b), saturated(floor_of(sign * a * 131072 + sign * b,
										 2 * sign * b)));
		}
	}
	CHECK_EQUAL(kml_fx_div(1, 0), KML_FX_MAX);
	CHECK_EQUAL(kml_fx_div(-1, 0), KML_FX_MIN);
	CHECK_EQUAL(kml_fx_div(0, 0), 0);
	CHECK_EQUAL(kml_fx_from_int(32767), 32767 * KML_FX_ONE);
	CHECK_EQUAL(kml_fx_from_int(32768), KML_FX_MAX);
	CHECK_EQUAL(kml_fx_from_int(-32768), KML_FX_MIN);
	CHECK_EQUAL(kml_fx_from_int(-32769), KML_FX_MIN);
	CHECK_EQUAL(kml_fx_from_products((int64_t)0x7fffffffffffffff), KML_FX_MAX);
	CHECK_EQUAL(kml_fx_from_products(-(int64_t)0x7fffffffffffffff - 1), KML_FX_MIN);
}

static void check_root(uint64_t square)
{
	unsigned __int128 root = kml_wide_root(square);

	/* (root - 1/2)^2 < square < (root + 1/2)^2 */
	CHECK(square <= root * root + root);
	CHECK(!root || square > root * root - root);
}

TEST(the_root_of_64_bits_is_rounded_correctly)
{
	uint64_t random = 2;
	unsigned int i;

	for (i = 0; i < 1000000; i++) {
		uint64_t any = kml_random_next(&random) >> (kml_random_next(&random) % 64);
		uint64_t root = any & 0xffffffff;

		check_root(any);
		check_root(i);
		check_root(~(uint64_t)i);
		check_root(root * root);
		check_root(root * root - 1);
		check_root(root * root + root);
		check_root(root * root + root + 1);
	}
}

TEST(float_bits_become_the_nearest_number)
{
	uint64_t bits;

	for (bits = 0; bits <= 0xffffffff; bits += stride()) {
		uint32_t word = (uint32_t)bits;
		kml_fx number = 12345;
		int status = kml_fx_from_float_bits(word, &number);
		float value;

		memcpy(&value, &word, sizeof(value));
		if (!isfinite(value)) {
			CHECK_EQUAL(status, -EINVAL);
			CHECK_EQUAL(number, 12345);
		} else {
			long double exact = floorl(value * STEPS + 0.5L);
			bool fits = exact >= KML_FX_MIN && exact <= KML_FX_MAX;

			CHECK_EQUAL(status, fits ? 0 : -ERANGE);
			CHECK_EQUAL(number, fits ? (kml_fx)exact : exact > 0 ? KML_FX_MAX : KML_FX_MIN);
		}
	}
}

TEST(the_ends_of_float_bits_are_told_apart)
{
	static const struct {
		uint32_t bits;
		int status;
		kml_fx number;
	} cases[] = {
		{ 0x00000000, 0, 0 },		    /* 0 */
		{ 0x80000000, 0, 0 },		    /* -0 */
		{ 0x00000001, 0, 0 },		    /* the least subnormal number */
		{ 0x37000000, 0, 1 },		    /* half a step: upwards */
		{ 0xb7000000, 0, 0 },		    /* minus half a step: upwards, too */
		{ 0x36ffffff, 0, 0 },
		{ 0xb7000001, 0, -1 },
		{ 0x3f800000, 0, KML_FX_ONE },
		{ 0x46ffffff, 0, 0x7fffff80 },	    /* the last below 32768 */
		{ 0x47000000, -ERANGE, KML_FX_MAX }, /* 32768 */
		{ 0xc7000000, 0, KML_FX_MIN },	    /* -32768 */
		{ 0xc7000001, -ERANGE, KML_FX_MIN },
		{ 0x7f7fffff, -ERANGE, KML_FX_MAX }, /* the greatest */
		{ 0xff7fffff, -ERANGE, KML_FX_MIN },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		kml_fx number;

		CHECK_EQUAL(kml_fx_from_float_bits(cases[i].bits, &number), cases[i].status);
		CHECK_EQUAL(number, cases[i].number);
	}
}

static long double softmax_error(const kml_fx *in, const kml_fx *out, unsigned int count)
{
	long double largest = in[0], sum = 0, worst = 0;
	unsigned int i;

	for (i = 0; i < count; i++)
		largest = fmaxl(largest, in[i]);
	for (i = 0; i < count; i++)
		sum += expl((in[i] - largest) / STEPS);
	for (i = 0; i < count; i++)
		worst = fmaxl(worst, fabsl(out[i] - expl((in[i] - largest) / STEPS) / sum * STEPS));
	return worst;
}

TEST(softmax_errs_by_what_is_stated)
{
	kml_fx in[256], out[256];
	long double error = 0;
	uint64_t random = 3;
	unsigned int round, count, i;

	for (round = 0; round < 8000; round++) {
		unsigned int spread = kml_random_next(&random) % 31;
		int64_t total = 0;

		count = 1 + kml_random_next(&random) % 256;
		for (i = 0; i < count; i++)
			in[i] = (kml_fx)(uint32_t)kml_random_next(&random) >> spread;
		kml_fx_softmax(in, out, count);
		error = fmaxl(error, softmax_error(in, out, count));
		for (i = 0; i < count; i++)
			total += out[i];
		CHECK_NEAR(total, KML_FX_ONE, count);
		kml_fx_softmax(in, in, count);
		CHECK(!memcmp(in, out, count * sizeof(*in)));
	}
	report("softmax", error);
	CHECK(error <= 0.51L);
}

TEST(softmax_of_one_number_is_1_and_of_equal_ones_their_share)
{
	kml_fx in[4] = { KML_FX_MIN, KML_FX_MIN, KML_FX_MIN, KML_FX_MIN }, out[4];

	kml_fx_softmax(in, out, 1);
	CHECK_EQUAL(out[0], KML_FX_ONE);
	kml_fx_softmax(in, out, 4);
	CHECK_EQUAL(out[3], KML_FX_ONE / 4);
	in[1] = KML_FX_MAX;
	kml_fx_softmax(in, out, 4);
	CHECK_EQUAL(out[0], 0);
	CHECK_EQUAL(out[1], KML_FX_ONE);
}

TEST_MAIN()
