/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The features of a request's latency: what each is after a few requests, and no harm from any.  That they are those of
 * the training sets is held by tests/unit/test_kml_latency.py.
 */
#include <math.h>

#include "check.h"
#include "kml/latency.h"
#include "random.h"

#define MS 1000000ull
#define BEGUN (1000 * MS)
#define STEPS 4

static kml_fx log2_of(double value)
{
	return (kml_fx)lround(log2(1 + value) * KML_FX_ONE);
}

static struct kml_latency_arrival request(uint64_t now, enum kml_latency_operation operation, uint64_t sector,
					  uint32_t bytes)
{
	struct kml_latency_arrival arrival = { now, sector, bytes, operation, operation == KML_LATENCY_OF_READ };

	return arrival;
}

static kml_fx feature(struct kml_latency_state *state, const struct kml_latency_arrival *arrival,
		      enum kml_latency_feature number)
{
	kml_fx all[KML_LATENCY_FEATURES];

	kml_latency_features(state, arrival, all);
	return all[number];
}

TEST(nothing_is_known_of_a_device_that_was_not_used)
{
	struct kml_latency_arrival arrival = request(BEGUN + 5, KML_LATENCY_OF_READ, 100, 4096);
	struct kml_latency_state state;
	kml_fx all[KML_LATENCY_FEATURES];
	unsigned int i;

	kml_latency_begin(&state, BEGUN);
	kml_latency_features(&state, &arrival, all);
	CHECK_EQUAL(all[KML_LATENCY_WRITE], 0);
	CHECK_EQUAL(all[KML_LATENCY_SYNCHRONOUS], KML_FX_ONE);
	CHECK_NEAR(all[KML_LATENCY_BYTES], log2_of(4), STEPS);
	CHECK_EQUAL(all[KML_LATENCY_QUEUE], 0);
	CHECK_EQUAL(all[KML_LATENCY_SECTOR_DISTANCE], -KML_FX_ONE);
	CHECK_EQUAL(all[KML_LATENCY_AHEAD], 0);
	for (i = KML_LATENCY_QUEUE_1; i < KML_LATENCY_AHEAD; i++)
		CHECK_EQUAL(all[i], -KML_FX_ONE);
}

TEST(queues_and_distances_are_those_of_the_requests_before)
{
	struct kml_latency_arrival first = request(BEGUN, KML_LATENCY_OF_READ, 1000, 4096);
	struct kml_latency_arrival on = request(BEGUN + 1, KML_LATENCY_OF_READ, 1008, 8192);
	struct kml_latency_arrival back = request(BEGUN + 2, KML_LATENCY_OF_READ, 24, 512);
	struct kml_latency_arrival flush = request(BEGUN + 3, KML_LATENCY_OF_OTHER, KML_LATENCY_NO_SECTOR, 0);
	struct kml_latency_state state;

	kml_latency_begin(&state, BEGUN);
	kml_latency_arrived(&state, &first);
	CHECK_EQUAL(feature(&state, &on, KML_LATENCY_SECTOR_DISTANCE), 0);
	CHECK_EQUAL(feature(&state, &on, KML_LATENCY_QUEUE), KML_FX_ONE);
	CHECK_EQUAL(feature(&state, &on, KML_LATENCY_QUEUE_1), 0);
	kml_latency_arrived(&state, &on);
	CHECK_NEAR(feature(&state, &back, KML_LATENCY_SECTOR_DISTANCE), log2_of(1024 - 24), STEPS);
	kml_latency_arrived(&state, &flush);
	CHECK_EQUAL(feature(&state, &flush, KML_LATENCY_SECTOR_DISTANCE), -KML_FX_ONE);
	CHECK_NEAR(feature(&state, &back, KML_LATENCY_SECTOR_DISTANCE), log2_of(1024 - 24), STEPS);
	CHECK_EQUAL(feature(&state, &back, KML_LATENCY_QUEUE), 2 * KML_FX_ONE);
	CHECK_NEAR(feature(&state, &back, KML_LATENCY_QUEUE_1), log2_of(2), STEPS);
	CHECK_EQUAL(feature(&state, &back, KML_LATENCY_QUEUE_2), KML_FX_ONE);
	CHECK_EQUAL(feature(&state, &back, KML_LATENCY_QUEUE_3), 0);
	kml_latency_withdrawn(&state);
	CHECK_NEAR(feature(&state, &back, KML_LATENCY_QUEUE), log2_of(2), STEPS);
	state.queue = ~(uint32_t)0;
	kml_latency_arrived(&state, &back);
	CHECK_EQUAL(state.queue, ~(uint32_t)0);
}

TEST(bytes_ahead_are_those_that_have_not_completed)
{
	struct kml_latency_arrival write = request(BEGUN, KML_LATENCY_OF_WRITE, 0, 64 << 10);
	struct kml_latency_state state;

	kml_latency_begin(&state, BEGUN);
	kml_latency_arrived(&state, &write);
	kml_latency_arrived(&state, &write);
	kml_latency_arrived(&state, &write);
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_AHEAD), log2_of(192), STEPS);
	/* The third was merged into the second. */
	kml_latency_withdrawn(&state);
	kml_latency_completed(&state, KML_LATENCY_OF_WRITE, 64 << 10, BEGUN, BEGUN + MS);
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_AHEAD), log2_of(128), STEPS);
	kml_latency_completed(&state, KML_LATENCY_OF_WRITE, 256 << 10, BEGUN, BEGUN + MS);
	CHECK_EQUAL(feature(&state, &write, KML_LATENCY_AHEAD), 0);
	kml_latency_arrived(&state, &write);
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_AHEAD), log2_of(64), STEPS);
}

TEST(latencies_are_kept_apart_by_operation_newest_first)
{
	struct kml_latency_arrival read = request(BEGUN + 90 * MS, KML_LATENCY_OF_READ, 0, 4096);
	struct kml_latency_state state;
	uint64_t took;

	kml_latency_begin(&state, BEGUN);
	for (took = 1; took <= 4; took++)
		kml_latency_completed(&state, KML_LATENCY_OF_READ, 4096, BEGUN, BEGUN + took * MS);
	kml_latency_completed(&state, KML_LATENCY_OF_WRITE, 4096, BEGUN, BEGUN + 9 * MS);
	kml_latency_completed(&state, KML_LATENCY_OF_OTHER, 0, BEGUN, BEGUN + 50 * MS);
	CHECK_NEAR(feature(&state, &read, KML_LATENCY_READ_LATENCY_1), log2_of(4000), STEPS);
	CHECK_NEAR(feature(&state, &read, KML_LATENCY_READ_LATENCY_2), log2_of(3000), STEPS);
	CHECK_NEAR(feature(&state, &read, KML_LATENCY_READ_LATENCY_3), log2_of(2000), STEPS);
	CHECK_NEAR(feature(&state, &read, KML_LATENCY_WRITE_LATENCY_1), log2_of(9000), STEPS);
	CHECK_EQUAL(feature(&state, &read, KML_LATENCY_WRITE_LATENCY_2), -KML_FX_ONE);
	CHECK_EQUAL(state.queue, 0);
}

TEST(written_bytes_are_forgotten_after_100_ms)
{
	struct kml_latency_arrival write = request(BEGUN, KML_LATENCY_OF_WRITE, 0, 4096);
	struct kml_latency_state state;
	uint64_t now;

	kml_latency_begin(&state, BEGUN);
	kml_latency_arrived(&state, &write);
	write.now = BEGUN + 99 * MS;
	CHECK_EQUAL(feature(&state, &write, KML_LATENCY_WRITTEN_100MS), -KML_FX_ONE);
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_SINCE_WRITE), log2_of(99000), STEPS);
	for (now = BEGUN + 100 * MS; now < BEGUN + 200 * MS; now += 10 * MS)
		kml_latency_completed(&state, KML_LATENCY_OF_WRITE, 1 << 20, BEGUN, now);
	write.now = BEGUN + 191 * MS;
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_WRITTEN_100MS), log2_of(10 * 1024), STEPS);
	write.now = BEGUN + 235 * MS;
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_WRITTEN_100MS), log2_of(6 * 1024), STEPS);
	write.now = BEGUN + 300 * MS;
	CHECK_EQUAL(feature(&state, &write, KML_LATENCY_WRITTEN_100MS), 0);
	kml_latency_completed(&state, KML_LATENCY_OF_WRITE, 512, BEGUN, BEGUN + 9000 * MS);
	write.now = BEGUN + 9000 * MS;
	CHECK_NEAR(feature(&state, &write, KML_LATENCY_WRITTEN_100MS), log2_of(0.5), STEPS);
}

TEST(targets_go_there_and_back)
{
	uint64_t ns;

	for (ns = 0; ns < 36000000 * MS; ns = ns * 5 / 4 + 1)
		CHECK_NEAR(kml_latency_target(ns), log2_of((double)ns / 1000), STEPS);
	for (ns = 100000; ns < 36000000 * MS; ns += ns / 4)
		CHECK_NEAR(kml_latency_from_target(kml_latency_target(ns)), ns, (int64_t)(ns / 4000));
	CHECK_EQUAL(kml_latency_from_target(0), 0);
	CHECK_EQUAL(kml_latency_from_target(KML_FX_MIN), 0);
	CHECK(kml_latency_from_target(KML_FX_MAX) >= kml_latency_from_target(36 * KML_FX_ONE));
	CHECK(kml_latency_target(~(uint64_t)0) >= 53 * KML_FX_ONE);
}

/* Any numbers, in any order: the sanitizers watch. */
TEST(no_request_does_harm)
{
	static const uint64_t odd[] = { 0, 1, 511, 1ull << 31, 1ull << 32, 1ull << 63, ~(uint64_t)0 };
	struct kml_latency_arrival arrival;
	struct kml_latency_state state;
	uint64_t random = kml_random_begin(1), times[2];
	kml_fx all[KML_LATENCY_FEATURES];
	unsigned int round, i;

	kml_latency_begin(&state, BEGUN);
	for (round = 0; round < 100000; round++) {
		for (i = 0; i < 2; i++)
			times[i] = kml_random_next(&random) & 1 ? odd[kml_random_next(&random) % 7] :
								  kml_random_next(&random);
		arrival = request(times[0], (enum kml_latency_operation)(kml_random_next(&random) % 5), times[1],
				  (uint32_t)kml_random_next(&random));
		kml_latency_features(&state, &arrival, all);
		for (i = 0; i < KML_LATENCY_FEATURES; i++)
			CHECK(all[i] >= -KML_FX_ONE && all[i] <= 65 * KML_FX_ONE);
		kml_latency_arrived(&state, &arrival);
		kml_latency_completed(&state, arrival.operation, arrival.bytes, times[1], times[0]);
		kml_latency_from_target((kml_fx)kml_random_next(&random));
	}
}

/* The state's answers and the replay's, for arrivals and completions that never fall together. */
TEST(a_replay_answers_as_the_state_did)
{
	static struct kml_latency_arrival arrivals[100];
	static kml_fx asked[100][KML_LATENCY_FEATURES], replayed[100][KML_LATENCY_FEATURES];
	uint64_t completed[100];
	uint32_t lengths[100], order[100], at;
	struct kml_latency_state state;

	kml_latency_begin(&state, BEGUN);
	for (at = 0; at < 100; at++) {
		arrivals[at] = request(BEGUN + at * 5 * MS, at % 3 ? KML_LATENCY_OF_READ : KML_LATENCY_OF_WRITE,
				       at * 7919 % 512, (1 + at % 8) * 4096);
		completed[at] = arrivals[at].now + 12 * MS;
		lengths[at] = arrivals[at].bytes;
		order[at] = at;
		if (at >= 3)
			kml_latency_completed(&state, arrivals[at - 3].operation, lengths[at - 3],
					      arrivals[at - 3].now, completed[at - 3]);
		kml_latency_features(&state, &arrivals[at], asked[at]);
		kml_latency_arrived(&state, &arrivals[at]);
	}
	CHECK(kml_latency_replay(arrivals, completed, lengths, 100, order, 100, BEGUN, replayed[0]));
	CHECK(memcmp(asked, replayed, sizeof(asked)) == 0);
	order[7] = 100;
	CHECK(!kml_latency_replay(arrivals, completed, lengths, 100, order, 100, BEGUN, replayed[0]));
	order[7] = 3;
	CHECK(!kml_latency_replay(arrivals, completed, lengths, 100, order, 100, BEGUN, replayed[0]));
	arrivals[50].now = BEGUN;
	CHECK(!kml_latency_replay(arrivals, completed, lengths, 100, order, 0, BEGUN, replayed[0]));
}

TEST_MAIN()
