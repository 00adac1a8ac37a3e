/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Running statistics against sums in long double. */
#include <math.h>

#include "check.h"
#include "kml/stats.h"
#include "random.h"

#define STEPS 65536.0L
#define VALUES 20000

static kml_fx values[VALUES];

/* Of the first `count` values, in steps. */
static long double mean_of(unsigned int count)
{
	long double sum = 0;
	unsigned int i;

	for (i = 0; i < count; i++)
		sum += values[i];
	return sum / count;
}

/* In numbers, not steps. */
static long double variance_of(unsigned int count)
{
	long double mean = mean_of(count), sum = 0;
	unsigned int i;

	for (i = 0; i < count; i++)
		sum += (values[i] - mean) * (values[i] - mean);
	return sum / count / STEPS / STEPS;
}

static void fill(uint64_t seed, unsigned int shift, kml_fx offset)
{
	unsigned int i;

	for (i = 0; i < VALUES; i++)
		values[i] = kml_fx_add(offset, (kml_fx)(uint32_t)kml_random_next(&seed) >> shift);
}

/* How near a deviation must be, in steps.  A unit of the variance, 2^-32, is a step squared: small ones show it. */
static long double near_root(long double variance)
{
	return 0.51L + 1 / fmaxl(sqrtl(variance) * STEPS, 1);
}

static void check_running(void)
{
	struct kml_running running;
	unsigned int i;

	kml_running_init(&running);
	for (i = 0; i < VALUES; i++) {
		kml_running_add(&running, values[i]);
		if (i < 5 || i % 1999 == 0 || i == VALUES - 1) {
			long double variance = variance_of(i + 1);

			CHECK(fabsl(kml_running_mean(&running) - mean_of(i + 1)) <= 0.51L);
			CHECK(fabsl(kml_running_variance(&running) - fminl(variance * STEPS, KML_FX_MAX)) <= 0.6L);
			CHECK(fabsl(kml_running_deviation(&running) - sqrtl(variance) * STEPS) <= near_root(variance));
		}
	}
}

TEST(running_mean_and_variance_are_those_of_all_values)
{
	unsigned int shift;

	for (shift = 0; shift < 32; shift += 3) {
		fill(shift + 1, shift, 0);
		check_running();
		fill(shift + 1, shift, -20000 * KML_FX_ONE);
		check_running();
	}
}

TEST(nothing_overflows_between_the_ends_of_the_range)
{
	unsigned int i;

	for (i = 0; i < VALUES; i++)
		values[i] = i % 2 ? KML_FX_MAX : KML_FX_MIN;
	check_running();
	for (i = 0; i < VALUES; i++)
		values[i] = i < VALUES - 1 ? KML_FX_MIN : KML_FX_MAX;
	check_running();
	for (i = 0; i < VALUES; i++)
		values[i] = i ? KML_FX_MAX : KML_FX_MIN;
	check_running();
}

/* A mean that only added rounded quotients would stay at 0: each value moves it by less than half a unit. */
TEST(the_mean_moves_even_after_a_billion_values)
{
	struct kml_running running = { .count = 1000000000 };
	const kml_fx value = KML_FX(0.1);
	unsigned int i;

	for (i = 0; i < 1000000; i++)
		kml_running_add(&running, value);
	CHECK_EQUAL(running.mean, (int64_t)((__int128)value * 65536 * 1000000 / running.count));
	CHECK(running.mean > 0);
	CHECK(running.variance > 0);
}

TEST(a_fading_mean_begins_as_a_running_one)
{
	struct kml_running running;
	struct kml_fading fading;
	unsigned int i;

	fill(5, 8, 0);
	kml_running_init(&running);
	CHECK_EQUAL(kml_fading_init(&fading, 8), 0);
	for (i = 0; i < 256; i++) {
		kml_running_add(&running, values[i]);
		kml_fading_add(&fading, values[i]);
		CHECK_EQUAL(kml_fading_mean(&fading), kml_running_mean(&running));
		CHECK_EQUAL(kml_fading_deviation(&fading), kml_running_deviation(&running));
	}
}

TEST(a_fading_mean_and_deviation_weigh_as_stated)
{
	unsigned int shift, i;

	for (shift = 1; shift <= 16; shift++) {
		long double mean = 0, variance = 0;
		struct kml_fading fading;

		fill(shift, 6, 1000 * KML_FX_ONE);
		kml_fading_init(&fading, (uint8_t)shift);
		for (i = 0; i < VALUES; i++) {
			long double weight = 1 / fminl(i + 1, 1 << shift);
			long double difference = values[i] - mean;

			kml_fading_add(&fading, values[i]);
			mean += weight * difference;
			variance = (1 - weight) * (variance + weight * difference * difference);
			CHECK(fabsl(kml_fading_mean(&fading) - mean) <= 0.51L);
			CHECK(fabsl(kml_fading_deviation(&fading) - sqrtl(variance)) <=
			      near_root(variance / STEPS / STEPS));
		}
	}
}

TEST(what_fades_is_forgotten)
{
	struct kml_fading fading;
	unsigned int i;

	kml_fading_init(&fading, 4);
	for (i = 0; i < 1000; i++)
		kml_fading_add(&fading, KML_FX_MIN);
	for (i = 0; i < 1000; i++)
		kml_fading_add(&fading, KML_FX_ONE);
	CHECK_NEAR(kml_fading_mean(&fading), KML_FX_ONE, 1);
	CHECK_NEAR(kml_fading_deviation(&fading), 0, 1);
}

TEST(a_weight_out_of_range_is_refused)
{
	struct kml_fading fading;

	CHECK_EQUAL(kml_fading_init(&fading, 0), -EINVAL);
	CHECK_EQUAL(kml_fading_init(&fading, 17), -EINVAL);
	CHECK_EQUAL(kml_fading_init(&fading, 255), -EINVAL);
}

TEST(a_range_normalises_to_0_and_1)
{
	struct kml_range range;

	kml_range_init(&range);
	CHECK_EQUAL(kml_range_normalise(&range, KML_FX_ONE), KML_FX_HALF);
	kml_range_add(&range, 2 * KML_FX_ONE);
	CHECK_EQUAL(kml_range_normalise(&range, 3 * KML_FX_ONE), KML_FX_HALF);
	kml_range_add(&range, 6 * KML_FX_ONE);
	CHECK_EQUAL(kml_range_normalise(&range, 3 * KML_FX_ONE), KML_FX_ONE / 4);
	CHECK_EQUAL(kml_range_normalise(&range, KML_FX_MIN), 0);
	CHECK_EQUAL(kml_range_normalise(&range, KML_FX_MAX), KML_FX_ONE);
	kml_range_add(&range, KML_FX_MIN);
	kml_range_add(&range, KML_FX_MAX);
	CHECK_EQUAL(kml_range_normalise(&range, 0), KML_FX_HALF);
	CHECK_EQUAL(kml_range_normalise(&range, KML_FX_MAX - 1), KML_FX_ONE);
}

TEST(a_z_score_is_a_number_of_deviations)
{
	CHECK_EQUAL(kml_zscore(7 * KML_FX_ONE, 4 * KML_FX_ONE, 2 * KML_FX_ONE), KML_FX(1.5));
	CHECK_EQUAL(kml_zscore(KML_FX_ONE, 4 * KML_FX_ONE, 2 * KML_FX_ONE), KML_FX(-1.5));
	CHECK_EQUAL(kml_zscore(KML_FX_ONE, 0, 0), 0);
	CHECK_EQUAL(kml_zscore(KML_FX_MAX, KML_FX_MIN, 1), KML_FX_MAX);
	CHECK_EQUAL(kml_zscore(KML_FX_MIN, KML_FX_MAX, 1), KML_FX_MIN);
	/* Further apart than a number can say, and yet right. */
	CHECK_EQUAL(kml_zscore(30000 * KML_FX_ONE, -30000 * KML_FX_ONE, 20000 * KML_FX_ONE), 3 * KML_FX_ONE);
}

TEST_MAIN()
