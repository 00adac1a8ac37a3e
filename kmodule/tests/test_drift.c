/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The Page-Hinkley test on streams whose drift is known. */
#include "check.h"
#include "kml/drift.h"
#include "random.h"

static kml_fx noise(uint64_t *random, kml_fx around)
{
	return around + (kml_fx)(kml_random_next(random) % KML_FX_HALF) - KML_FX_HALF / 2;
}

/* Values until drift is found, or `limit`. */
static unsigned int until_drift(struct kml_drift *drift, uint64_t *random, kml_fx around, unsigned int limit)
{
	unsigned int i;

	for (i = 0; i < limit; i++) {
		if (kml_drift_add(drift, noise(random, around)))
			return i;
	}
	return limit;
}

static struct kml_drift test_with(double tolerance, double threshold, uint32_t warm_up)
{
	struct kml_drift drift;

	CHECK_EQUAL(kml_drift_init(&drift, KML_FX(tolerance), KML_FX(threshold), warm_up), 0);
	return drift;
}

TEST(steady_noise_is_no_drift)
{
	struct kml_drift drift = test_with(0.05, 10, 30);
	uint64_t random = 1;

	CHECK_EQUAL(until_drift(&drift, &random, KML_FX_ONE, 1000000), 1000000);
	CHECK_EQUAL(drift.detections, 0);
}

/* A rise by r is found after about threshold / (r - tolerance) values. */
TEST(a_rise_is_found_as_soon_as_it_adds_up_to_the_threshold)
{
	uint64_t random = 2;
	unsigned int seed;

	for (seed = 0; seed < 50; seed++) {
		struct kml_drift drift = test_with(0.05, 10, 30);
		unsigned int found;

		until_drift(&drift, &random, KML_FX_ONE, 2000);
		found = until_drift(&drift, &random, 2 * KML_FX_ONE, 1000);
		CHECK(found >= 8 && found <= 20);
		CHECK_EQUAL(drift.detections, 1);
	}
}

TEST(a_fall_and_a_rise_within_the_tolerance_are_no_drift)
{
	struct kml_drift drift = test_with(0.2, 10, 30);
	uint64_t random = 3;

	until_drift(&drift, &random, KML_FX_ONE, 5000);
	CHECK_EQUAL(until_drift(&drift, &random, KML_FX(1.1), 100000), 100000);
	CHECK_EQUAL(until_drift(&drift, &random, KML_FX(0.5), 100000), 100000);
}

TEST(one_bad_value_is_no_drift)
{
	struct kml_drift drift = test_with(0.05, 10, 30);
	uint64_t random = 4;

	until_drift(&drift, &random, KML_FX_ONE, 1000);
	CHECK(!kml_drift_add(&drift, 9 * KML_FX_ONE));
	CHECK_EQUAL(until_drift(&drift, &random, KML_FX_ONE, 1000), 1000);
}

TEST(the_test_begins_anew_after_a_drift)
{
	struct kml_drift drift = test_with(0.05, 10, 30);
	uint64_t random = 5;

	until_drift(&drift, &random, KML_FX_ONE, 1000);
	CHECK(until_drift(&drift, &random, 3 * KML_FX_ONE, 1000) < 1000);
	CHECK_EQUAL(drift.count, 0);
	CHECK_EQUAL(until_drift(&drift, &random, 3 * KML_FX_ONE, 100000), 100000);
	CHECK(until_drift(&drift, &random, 5 * KML_FX_ONE, 1000) < 1000);
	CHECK_EQUAL(drift.detections, 2);
}

TEST(there_is_no_verdict_before_the_warm_up)
{
	struct kml_drift drift = test_with(0, 0.1, 100);
	unsigned int i;

	for (i = 0; i < 100; i++)
		CHECK(!kml_drift_add(&drift, (kml_fx)i * KML_FX_ONE));
	CHECK(kml_drift_add(&drift, 100 * KML_FX_ONE));
}

TEST(settings_that_make_no_sense_are_refused)
{
	struct kml_drift drift;

	CHECK_EQUAL(kml_drift_init(&drift, -1, KML_FX_ONE, 0), -EINVAL);
	CHECK_EQUAL(kml_drift_init(&drift, 0, 0, 0), -EINVAL);
	CHECK_EQUAL(kml_drift_init(&drift, 0, KML_FX_MIN, 0), -EINVAL);
	CHECK_EQUAL(kml_drift_init(&drift, KML_FX_MAX, KML_FX_MAX, 0xffffffff), 0);
}

/* The sum as such values leave it after years: neither end is passed. */
TEST(a_sum_saturates)
{
	struct kml_drift drift = test_with(32767, 32767, 0);
	unsigned int i;

	drift.sum = drift.lowest = -(int64_t)0x7fffffffffffffff;
	for (i = 0; i < 1000; i++)
		CHECK(!kml_drift_add(&drift, i % 2 ? KML_FX_MIN : 0));
	drift.tolerance = 0;
	drift.count = (uint64_t)1 << 62;
	drift.mean = 0;
	for (i = 0; i < 3 && !drift.detections; i++)
		kml_drift_add(&drift, KML_FX_MAX);
	CHECK_EQUAL(drift.detections, 1);

	drift.count = (uint64_t)1 << 62; /* so that the mean stays 0, far below what follows */
	drift.sum = 0x7fffffffffffff00;
	drift.lowest = -(int64_t)0x7fffffffffffffff;
	CHECK(kml_drift_add(&drift, KML_FX_MAX));
}

TEST(any_values_are_survived)
{
	uint64_t random = 6;
	unsigned int i;

	for (i = 0; i < 2000; i++) {
		struct kml_drift drift;
		unsigned int j;

		if (kml_drift_init(&drift, (kml_fx)kml_random_next(&random), (kml_fx)kml_random_next(&random), i % 50))
			continue;
		for (j = 0; j < 500; j++) {
			kml_drift_add(&drift, (kml_fx)kml_random_next(&random));
			CHECK(drift.lowest <= drift.sum || !drift.count);
		}
	}
}

TEST_MAIN()
