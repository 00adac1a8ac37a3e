/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The guard over simulated time, and scores of predictions that are known to be good or bad. */
#include "check.h"
#include "kml/guard.h"
#include "random.h"

#define MS 1000000ull
#define S (1000 * MS)

struct seen {
	uint64_t acting_ms;
	uint64_t gave_up_ms;
};

/* A request each ms, which takes `acting` or `resting` ns. */
static struct seen run(struct kml_guard *guard, uint64_t *now, uint64_t lasts, uint64_t acting, uint64_t resting)
{
	struct seen seen = { 0, 0 };
	uint64_t end = *now + lasts;
	bool acts;

	for (; *now < end; *now += MS) {
		acts = kml_guard_acts(guard, *now);
		seen.acting_ms += acts;
		seen.gave_up_ms += guard->phase == KML_GUARD_GAVE_UP;
		kml_guard_completed(guard, *now, *now + (acts ? acting : resting));
	}
	return seen;
}

TEST(a_rule_that_helps_acts_nearly_all_the_time)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;
	struct seen seen;

	kml_guard_begin(&guard, now);
	seen = run(&guard, &now, 300 * S, 5 * MS, 6 * MS);
	CHECK(seen.acting_ms > 295000);
	CHECK_EQUAL(guard.fallbacks, 0);
	CHECK(guard.comparisons > 5);
}

TEST(a_difference_within_a_tenth_is_no_reason)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;

	kml_guard_begin(&guard, now);
	run(&guard, &now, 100 * S, 109 * MS / 100, MS);
	CHECK_EQUAL(guard.fallbacks, 0);
	CHECK(guard.comparisons > 3);
}

TEST(a_rule_that_harms_is_given_up_soon_and_for_longer_each_time)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;
	struct seen seen;

	kml_guard_begin(&guard, now);
	run(&guard, &now, 8 * S, 6 * MS, 5 * MS);
	CHECK_EQUAL(guard.fallbacks, 1);
	CHECK_EQUAL(guard.phase, KML_GUARD_GAVE_UP);
	seen = run(&guard, &now, 1000 * S, 6 * MS, 5 * MS);
	CHECK(guard.fallbacks >= 5 && guard.fallbacks <= 8);
	CHECK(seen.gave_up_ms > 950000);
}

TEST(a_rule_that_was_given_up_acts_again_when_it_helps)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;
	struct seen seen;

	kml_guard_begin(&guard, now);
	run(&guard, &now, 60 * S, 6 * MS, 5 * MS);
	run(&guard, &now, 60 * S, 4 * MS, 5 * MS);
	seen = run(&guard, &now, 100 * S, 4 * MS, 5 * MS);
	CHECK(seen.acting_ms > 95000);
}

TEST(one_bad_pair_is_chance)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;

	kml_guard_begin(&guard, now);
	run(&guard, &now, 4300 * MS, 9 * MS, MS);
	CHECK_EQUAL(guard.worse, 1);
	run(&guard, &now, 30 * S, 4 * MS, 5 * MS);
	CHECK_EQUAL(guard.worse, 0);
	CHECK_EQUAL(guard.fallbacks, 0);
}

TEST(where_nobody_waits_it_acts_without_a_rest)
{
	struct kml_guard guard;
	uint64_t now;

	kml_guard_begin(&guard, S);
	for (now = S; now < 100 * S; now += 10 * MS)
		CHECK(kml_guard_acts(&guard, now));
	CHECK_EQUAL(guard.comparisons, 0);
}

/* One that came while the rule acted and went while it rested tells about neither. */
TEST(requests_that_cross_phases_do_not_count)
{
	struct kml_guard guard;
	uint64_t now = S;
	uint32_t before;

	kml_guard_begin(&guard, now);
	run(&guard, &now, 5 * S, MS, MS);
	before = guard.count[guard.phase];
	kml_guard_completed(&guard, guard.counts_from - 1, guard.counts_from);
	kml_guard_completed(&guard, guard.counts_from, guard.ends);
	kml_guard_completed(&guard, guard.counts_from + 1, guard.counts_from);
	CHECK_EQUAL(guard.count[guard.phase], before);
}

/* A rest is too short to see requests that take longer; those of the rule must not count against it. */
TEST(slow_requests_count_on_neither_side)
{
	struct kml_guard guard;
	uint64_t now = 5 * S;
	int at;

	kml_guard_begin(&guard, now);
	for (at = 0; at < 100000; at++, now += MS) {
		kml_guard_acts(&guard, now);
		if (now % (10 * MS) == 0 && now > 300 * MS)
			kml_guard_completed(&guard, now - 300 * MS, now);
		kml_guard_completed(&guard, now - 5 * MS, now);
	}
	CHECK(guard.comparisons > 3);
	CHECK_EQUAL(guard.fallbacks, 0);
	CHECK_EQUAL(guard.worse, 0);
}

TEST(any_times_are_taken)
{
	struct kml_guard guard;
	uint64_t random = 1;
	int at;

	kml_guard_begin(&guard, ~0ull);
	for (at = 0; at < 1000000; at++) {
		kml_guard_acts(&guard, kml_random_next(&random));
		kml_guard_completed(&guard, kml_random_next(&random), kml_random_next(&random));
	}
	CHECK(guard.phase <= KML_GUARD_GAVE_UP);
}

static kml_fx noise(uint64_t *random)
{
	return (kml_fx)(kml_random_next(random) % (4 * KML_FX_ONE));
}

TEST(good_predictions_are_trusted_and_those_worse_than_the_mean_are_not)
{
	struct kml_score good, bad;
	uint64_t random = 1;
	kml_fx actual;
	int at;

	memset(&good, 0, sizeof(good));
	memset(&bad, 0, sizeof(bad));
	for (at = 0; at < 10000; at++) {
		actual = 8 * KML_FX_ONE + noise(&random);
		kml_score_add(&good, actual + KML_FX_ONE / 8, actual, 10 * KML_FX_ONE);
		kml_score_add(&bad, 8 * KML_FX_ONE + noise(&random), actual, 10 * KML_FX_ONE);
		CHECK(kml_score_trusted(&bad) || at >= 255);
		CHECK(kml_score_trusted(&good));
	}
	CHECK(!kml_score_trusted(&bad));
	CHECK_EQUAL(good.error, KML_FX_ONE / 8);
	CHECK_EQUAL(good.histogram[0], 10000);
	CHECK(good.trivial_error > KML_FX(0.8) && good.trivial_error < KML_FX(1.2));
	CHECK(good.missed > 4500 && good.missed < 5500);
	CHECK_EQUAL(good.rightly_foretold, good.missed);
	CHECK(good.foretold_missed > good.missed);
	CHECK(bad.rightly_foretold < bad.missed);
}

TEST(any_numbers_are_scored)
{
	static const kml_fx numbers[] = { KML_FX_MIN, -1, 0, 1, KML_FX_ONE, KML_FX_MAX };
	struct kml_score score;
	unsigned int at;

	memset(&score, 0, sizeof(score));
	for (at = 0; at < 216; at++)
		kml_score_add(&score, numbers[at % 6], numbers[at / 6 % 6], numbers[at / 36]);
	CHECK_EQUAL(score.predictions, 216);
	CHECK(score.error >= 0 && score.trivial_error >= 0);
	CHECK(score.histogram[KML_SCORE_BUCKETS - 1] > 0);
}

TEST_MAIN()
