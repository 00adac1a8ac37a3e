/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Windows of page-cache additions: patterns of reading are told apart, under any read-ahead, and nothing overflows. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "kml/readahead.h"
#include "log2.h"
#include "random.h"

#define SECOND 1000000000ull

static struct kml_readahead_window window;
static kml_fx features[KML_READAHEAD_FEATURES];
static uint64_t seed;

static void begin(uint32_t current)
{
	kml_readahead_begin(&window, current, 5 * SECOND);
	seed = 1;
}

/* The features a second later. */
static const kml_fx *seen(void)
{
	CHECK(kml_readahead_features(&window, 6 * SECOND, features));
	return features;
}

static uint64_t anywhere(void)
{
	return kml_random_next(&seed) >> 40;
}

/* A page is missed: read-around adds those around it. */
static void add_around(uint64_t page, uint32_t readahead)
{
	uint32_t at;

	for (at = 0; at < readahead; at++)
		kml_readahead_added(&window, page + at, 1);
}

TEST(logarithms_are_near_those_of_libm)
{
	unsigned int at;

	CHECK_EQUAL(kml_log2(0), 0);
	for (at = 0; at < 64; at++)
		CHECK_EQUAL(kml_log2((uint64_t)1 << at), at * KML_FX_ONE);
	CHECK_NEAR(kml_log2(UINT64_MAX), 64 * KML_FX_ONE, 1);
	seed = 1;
	for (at = 0; at < 100000; at++) {
		uint64_t value = kml_random_next(&seed) >> (at % 64) | 1;

		CHECK(fabs(kml_log2(value) - log2((double)value) * KML_FX_ONE) <= 3);
	}
}

TEST(reading_on_is_one_long_run)
{
	uint64_t page;

	begin(32);
	for (page = 0; page < 4096; page++)
		kml_readahead_added(&window, page, 1);
	CHECK_EQUAL(seen()[KML_READAHEAD_RUN], 12 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_RUN_WEIGHTED], 12 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_RUN_RATIO], 7 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_SHORT], 0);
	CHECK_EQUAL(features[KML_READAHEAD_WHOLE], KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_INTERLEAVED], 0);
	CHECK_EQUAL(features[KML_READAHEAD_FORWARD], KML_FX_HALF);
	CHECK_EQUAL(features[KML_READAHEAD_JUMP], 0);
	CHECK_EQUAL(features[KML_READAHEAD_FILES], 0);
	CHECK_EQUAL(features[KML_READAHEAD_CURRENT], 5 * KML_FX_ONE);
	CHECK_NEAR(features[KML_READAHEAD_RATE], 12 * KML_FX_ONE, 30);
	CHECK_NEAR(features[KML_READAHEAD_SEQUENTIAL], KML_FX_ONE, 17);
}

/* The same, whatever the kernel adds at once (large folios). */
TEST(many_pages_at_once_are_as_each_by_itself)
{
	kml_fx single[KML_READAHEAD_FEATURES];
	unsigned int at, page;
	uint64_t place;

	for (at = 0; at < 2; at++) {
		begin(16);
		for (page = 0; page < 50; page++) {
			place = anywhere();
			if (at)
				kml_readahead_added(&window, place, 16);
			else
				add_around(place, 16);
		}
		memcpy(at ? features : single, seen(), sizeof(features));
	}
	CHECK(!memcmp(single, features, sizeof(single)));
}

TEST(random_reading_is_short_under_any_readahead)
{
	uint32_t current, at;

	for (current = 1; current <= 256; current *= 2) {
		begin(current);
		for (at = 0; at < 200; at++)
			add_around(anywhere(), current);
		CHECK(seen()[KML_READAHEAD_SHORT] == KML_FX_ONE);
		CHECK_NEAR(features[KML_READAHEAD_RUN_RATIO], 0, 2);
		CHECK_NEAR(features[KML_READAHEAD_FORWARD], KML_FX_HALF, KML_FX_ONE / 8);
		CHECK(features[KML_READAHEAD_JUMP] > 20 * KML_FX_ONE && features[KML_READAHEAD_JUMP] < 24 * KML_FX_ONE);
	}
}

/* Readers that take turns, each reading on: as many as are remembered, and no jump is counted between them. */
TEST(readers_that_take_turns_make_long_runs)
{
	uint32_t turn, reader;

	begin(32);
	for (turn = 0; turn < 64; turn++)
		for (reader = 0; reader < KML_READAHEAD_STREAMS; reader++)
			add_around(reader * 1000000ull + turn * 32, 32);
	CHECK_EQUAL(seen()[KML_READAHEAD_RUN], 11 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_SHORT], 0);
	CHECK_EQUAL(window.jumps, KML_READAHEAD_STREAMS - 1);
	CHECK_NEAR(features[KML_READAHEAD_INTERLEAVED], KML_FX_ONE / 32, 64);

	begin(32); /* more than are remembered: each time the longest waiting one was forgotten */
	for (turn = 0; turn < 64; turn++)
		for (reader = 0; reader <= KML_READAHEAD_STREAMS; reader++)
			add_around(reader * 1000000ull + turn * 32, 32);
	CHECK_EQUAL(seen()[KML_READAHEAD_SHORT], KML_FX_ONE);
}

TEST(jumps_have_a_direction)
{
	uint64_t at;

	begin(8);
	for (at = 0; at < 100; at++)
		kml_readahead_added(&window, 100 + 50 * at, 8);
	CHECK_EQUAL(seen()[KML_READAHEAD_FORWARD], KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_JUMP], kml_log2(43));
	begin(8);
	for (at = 0; at < 100; at++)
		kml_readahead_added(&window, 10000 - 50 * at, 8);
	CHECK_EQUAL(seen()[KML_READAHEAD_FORWARD], 0);
	CHECK_EQUAL(features[KML_READAHEAD_JUMP], kml_log2(59));
}

/* One long run among many short ones: the mean hides it. */
TEST(a_few_long_runs_show_in_the_weighted_mean)
{
	uint32_t at;

	begin(2);
	for (at = 0; at < 1000; at++)
		add_around(anywhere(), 2);
	kml_readahead_added(&window, 1ull << 40, 2000);
	CHECK(seen()[KML_READAHEAD_RUN] < KML_FX(2.1));
	CHECK(features[KML_READAHEAD_RUN_WEIGHTED] > 9 * KML_FX_ONE);
}

TEST(a_device_is_the_sum_of_its_files)
{
	struct kml_readahead_window device;
	uint32_t file;

	kml_readahead_begin(&device, 32, 5 * SECOND);
	for (file = 0; file < 64; file++) {
		begin(32);
		kml_readahead_added(&window, 0, 16 + file % 2 * 32);
		kml_readahead_merge(&device, &window);
	}
	window = device;
	CHECK_EQUAL(seen()[KML_READAHEAD_FILES], 6 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_WHOLE], KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_RUN], 5 * KML_FX_ONE);
	CHECK_EQUAL(features[KML_READAHEAD_SHORT], KML_FX_HALF);
	CHECK_EQUAL(features[KML_READAHEAD_RUN_WEIGHTED], kml_log2(40));
	CHECK_EQUAL(window.added, 2048);
}

TEST(an_empty_file_adds_nothing)
{
	struct kml_readahead_window device, before;

	begin(32);
	kml_readahead_begin(&device, 32, 0);
	before = device;
	kml_readahead_merge(&device, &window);
	CHECK(!memcmp(&device, &before, sizeof(device)));
}

TEST(too_little_says_nothing)
{
	begin(2);
	kml_readahead_added(&window, 3, 15);
	CHECK(!kml_readahead_features(&window, 6 * SECOND, features));
	kml_readahead_added(&window, 18, 0);
	CHECK(!kml_readahead_features(&window, 6 * SECOND, features));
	kml_readahead_added(&window, 18, 1);
	CHECK(kml_readahead_features(&window, 6 * SECOND, features));
	begin(256);
	kml_readahead_added(&window, 3, 1023);
	CHECK(!kml_readahead_features(&window, 6 * SECOND, features));
	kml_readahead_added(&window, 2000, 1);
	CHECK(kml_readahead_features(&window, 6 * SECOND, features));
}

TEST(many_at_once_go_to_their_windows)
{
	const uint32_t which[] = { 1, 0, 2, 1, UINT32_MAX };
	const uint64_t index[] = { 7, 9, 1, 8, 1 };
	const uint32_t pages[] = { 1, 2, 3, 4, 5 };
	struct kml_readahead_window windows[2], alone;

	kml_readahead_begin(&windows[0], 4, 0);
	kml_readahead_begin(&windows[1], 4, 0);
	CHECK_EQUAL(kml_readahead_add_each(windows, 2, which, index, pages, 5), 2);
	CHECK_EQUAL(windows[0].added, 2);
	kml_readahead_begin(&alone, 4, 0);
	kml_readahead_added(&alone, 7, 1);
	kml_readahead_added(&alone, 8, 4);
	CHECK(!memcmp(&windows[1], &alone, sizeof(alone)));
}

/* Any additions at any times: shares stay shares, logarithms below 64, and the sanitizers find nothing. */
TEST(nothing_leaves_its_range)
{
	struct kml_readahead_window device;
	unsigned int round, at;

	kml_readahead_begin(&device, 1, UINT64_MAX);
	seed = 7;
	for (round = 0; round < 2000; round++) {
		unsigned int large = round % 64;

		kml_readahead_begin(&window, (uint32_t)(kml_random_next(&seed) >> 32 >> (round % 33)),
				    kml_random_next(&seed));
		for (at = 0; at < 100; at++)
			kml_readahead_added(&window, kml_random_next(&seed) >> large,
					    (uint32_t)(kml_random_next(&seed) >> 32 >> (at % 33)));
		kml_readahead_merge(&device, &window);
		if (round % 2)
			window = device;
		if (!kml_readahead_features(&window, kml_random_next(&seed), features))
			continue;
		for (at = 0; at < KML_READAHEAD_FEATURES; at++) {
			bool is_share = at == KML_READAHEAD_SEQUENTIAL || at == KML_READAHEAD_INTERLEAVED ||
					at == KML_READAHEAD_FORWARD || at == KML_READAHEAD_WHOLE ||
					at == KML_READAHEAD_SHORT;

			CHECK(features[at] <= (is_share ? 1 : 64) * KML_FX_ONE);
			CHECK(features[at] >= (at == KML_READAHEAD_RUN_RATIO ? -32 * KML_FX_ONE : 0));
		}
	}
}

/* Of `reads` places in a second, each of so many pages. */
static void read_places(kml_fx *out, uint32_t current, uint32_t reads, uint32_t run)
{
	uint32_t at;

	begin(current);
	for (at = 0; at < reads; at++)
		kml_readahead_added(&window, anywhere(), run);
	memcpy(out, seen(), sizeof(features));
}

TEST(the_same_reading_is_alike_under_another_readahead)
{
	kml_fx random[KML_READAHEAD_FEATURES], smaller[KML_READAHEAD_FEATURES], on[KML_READAHEAD_FEATURES];

	read_places(random, 256, 100, 256);
	read_places(smaller, 2, 400, 2);
	read_places(on, 32, 1, 8192);
	CHECK(kml_readahead_alike(random, smaller) && kml_readahead_alike(smaller, random));
	CHECK(!kml_readahead_alike(random, on) && !kml_readahead_alike(on, random));
	CHECK(kml_readahead_alike(on, on));
}

TEST(gain_counts_places_where_runs_are_short_and_pages_where_they_are_long)
{
	kml_fx before[KML_READAHEAD_FEATURES], after[KML_READAHEAD_FEATURES];

	read_places(before, 32, 100, 32);
	read_places(after, 2, 400, 2);
	CHECK_NEAR(kml_readahead_gain(before, after), 2 * KML_FX_ONE, KML_FX_ONE / 100);
	CHECK_NEAR(kml_readahead_gain(after, before), -2 * KML_FX_ONE, KML_FX_ONE / 100);
	read_places(before, 32, 3, 8192);
	read_places(after, 2, 12, 1024); /* as much in half of the runs' length */
	CHECK_NEAR(kml_readahead_gain(before, after), kml_log2(12 * 1024) - kml_log2(3 * 8192), 200);
}

TEST(a_choice_takes_three_quarters_of_a_step)
{
	uint32_t state = 0;

	CHECK_EQUAL(kml_readahead_choose(KML_FX(7.7), 128, 1, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(7.75), 128, 1, &state), 256);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(6.3), 128, 1, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(6.25), 128, 0, &state), 64);
	CHECK_EQUAL(kml_readahead_choose(KML_FX_MIN, 128, 1, &state), 8);
	CHECK_EQUAL(kml_readahead_choose(KML_FX_MAX, 128, 1, &state), 1024);
	CHECK_EQUAL(kml_readahead_choose(KML_FX_MAX, 1024, 1, &state), 1024);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(9.6), 4096, 1, &state), 4096);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(9.4), 4096, 1, &state), 512);
	CHECK_EQUAL(kml_readahead_choose(KML_FX_MIN, 0, 1, &state), 8);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(7.0), 100, 1, &state), 100);
}

TEST(a_choice_takes_windows_that_agree)
{
	uint32_t state = 0;

	CHECK_EQUAL(kml_readahead_choose(KML_FX(3), 128, 3, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(3), 128, 3, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 3, &state), 128); /* another choice */
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 3, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(7), 128, 3, &state), 128); /* as it is */
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 3, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 3, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 3, &state), 1024);
	CHECK_EQUAL(state, 0);
	state = UINT32_MAX;
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 2, &state), 128);
	CHECK_EQUAL(kml_readahead_choose(KML_FX(10), 128, 2, &state), 1024);
}

TEST(names_are_unique)
{
	unsigned int a, b;

	for (a = 0; a < KML_READAHEAD_FEATURES; a++) {
		CHECK(kml_readahead_names[a] && *kml_readahead_names[a]);
		for (b = 0; b < a; b++)
			CHECK(strcmp(kml_readahead_names[a], kml_readahead_names[b]));
	}
}

TEST_MAIN()
