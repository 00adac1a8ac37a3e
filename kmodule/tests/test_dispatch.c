/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rule of the scheduler: who goes first, what writeback gets, when it is held back, and that nobody starves. */
#include "check.h"
#include "kml/dispatch.h"
#include "random.h"

#define MS ((int64_t)1000000)
#define BEGUN (1000 * MS)
#define READ KML_CLASS_READ
#define SYNC_WRITE KML_CLASS_SYNC_WRITE
#define WRITEBACK KML_CLASS_WRITEBACK

/* A device with nothing in it, and what waits for it. */
struct scene {
	struct kml_dispatch dispatch;
	struct kml_waiting waiting[KML_CLASSES];
	uint64_t until;
	bool expired;
};

static void begin(struct scene *scene)
{
	struct kml_dispatch_settings settings;

	memset(scene, 0, sizeof(*scene));
	kml_dispatch_defaults(&settings);
	kml_dispatch_begin(&scene->dispatch, &settings);
}

/* Requests of a class that came at `arrived` and take `work` each. */
static void wait_for_it(struct scene *scene, enum kml_class class, uint32_t count, int64_t arrived, int64_t work)
{
	struct kml_waiting *waiting = &scene->waiting[class];

	waiting->count = count;
	waiting->oldest = (uint64_t)arrived + scene->dispatch.settings.deadline[class];
	waiting->work = (uint64_t)work;
	waiting->key = kml_dispatch_key(&scene->dispatch, class, (uint64_t)arrived, (uint64_t)work, 0);
}

static int choose(struct scene *scene, int64_t now)
{
	scene->until = 0;
	return kml_dispatch_choose(&scene->dispatch, scene->waiting, (uint64_t)now, &scene->until, &scene->expired);
}

static void issue(struct scene *scene, enum kml_class class, int64_t now)
{
	kml_dispatch_issued(&scene->dispatch, class, scene->waiting[class].work, scene->waiting[class].oldest,
			    (uint64_t)now);
}

static int64_t key(const struct scene *scene, enum kml_class class, int64_t arrived, int64_t work, int64_t predicted)
{
	return kml_dispatch_key(&scene->dispatch, class, (uint64_t)arrived, (uint64_t)work, (uint64_t)predicted);
}

TEST(nothing_is_dispatched_of_nothing)
{
	struct scene scene;

	begin(&scene);
	CHECK_EQUAL(choose(&scene, BEGUN), KML_DISPATCH_NOTHING);
	CHECK(!scene.expired);
}

TEST(requests_go_as_they_came_but_short_ones_overtake_a_little)
{
	struct scene scene;

	begin(&scene);
	CHECK(key(&scene, READ, BEGUN, MS, 0) < key(&scene, READ, BEGUN + 1, MS, 0));
	CHECK(key(&scene, READ, BEGUN + 9 * MS, MS, 0) < key(&scene, READ, BEGUN, 20 * MS, 0));
	CHECK(key(&scene, READ, BEGUN, 20 * MS, 0) < key(&scene, READ, BEGUN + 20 * MS, MS, 0));
}

TEST(a_read_goes_before_a_write_that_came_a_moment_earlier)
{
	struct scene scene;

	begin(&scene);
	wait_for_it(&scene, SYNC_WRITE, 32, BEGUN, MS);
	wait_for_it(&scene, READ, 1, BEGUN + 9 * MS, MS);
	CHECK_EQUAL(choose(&scene, BEGUN + 9 * MS), READ);
	wait_for_it(&scene, READ, 1, BEGUN + 11 * MS, MS);
	CHECK_EQUAL(choose(&scene, BEGUN + 11 * MS), SYNC_WRITE);
}

TEST(what_is_predicted_to_miss_its_deadline_goes_first_by_deadline)
{
	struct scene scene;
	int64_t late_write, late_read;

	begin(&scene);
	late_write = key(&scene, SYNC_WRITE, BEGUN + 50 * MS, MS, 501 * MS);
	late_read = key(&scene, READ, BEGUN + 51 * MS, MS, 600 * MS);
	CHECK(late_write < late_read);
	CHECK(late_read < key(&scene, READ, 1, 1, 0));
	CHECK_EQUAL(key(&scene, READ, BEGUN, MS, 500 * MS), key(&scene, READ, BEGUN, MS, 0));
	scene.dispatch.settings.deadline[SYNC_WRITE] = 100 * MS;
	CHECK(key(&scene, SYNC_WRITE, BEGUN + 399 * MS, MS, 101 * MS) < key(&scene, READ, BEGUN, MS, 501 * MS));
}

TEST(writeback_goes_when_nobody_waits)
{
	struct scene scene;

	begin(&scene);
	wait_for_it(&scene, WRITEBACK, 5, BEGUN, MS);
	wait_for_it(&scene, READ, 1, BEGUN, MS);
	CHECK_EQUAL(choose(&scene, BEGUN), READ);
	scene.waiting[READ].count = 0;
	CHECK_EQUAL(choose(&scene, BEGUN), WRITEBACK);
}

/* Requests that somebody waits for never end: the part of the time that writeback gets from `age` on, in a thousand. */
static int64_t writeback_share(int64_t age)
{
	struct scene scene;
	int64_t now = BEGUN, end = BEGUN + 400 * MS, written = 0;
	int class;

	begin(&scene);
	while (now < end) {
		wait_for_it(&scene, READ, 3, now, MS / 10);
		wait_for_it(&scene, WRITEBACK, 50, now - age, 2 * MS);
		class = choose(&scene, now);
		issue(&scene, class, now);
		kml_dispatch_completed(&scene.dispatch, class, (uint64_t)now);
		written += class == WRITEBACK ? 2 * MS : 0;
		now += class == WRITEBACK ? 2 * MS : MS / 10;
	}
	return written * 1000 / (now - BEGUN);
}

TEST(writeback_gets_its_share_beside_others_and_more_as_its_deadline_nears)
{
	CHECK_NEAR(writeback_share(0), 500, 20);
	CHECK_NEAR(writeback_share(2000 * MS), 500, 20);
	CHECK_NEAR(writeback_share(4000 * MS), 800, 40);
	CHECK(writeback_share(4990 * MS) > 940);
}

TEST(what_is_past_its_deadline_takes_every_second_turn)
{
	struct scene scene;
	int turn;

	begin(&scene);
	wait_for_it(&scene, READ, 9, BEGUN + 6000 * MS, MS);
	wait_for_it(&scene, SYNC_WRITE, 9, BEGUN, 1000 * MS);
	for (turn = 0; turn < 6; turn++) {
		CHECK_EQUAL(choose(&scene, BEGUN + 6000 * MS), SYNC_WRITE);
		CHECK_EQUAL(scene.expired, turn % 2 == 0);
	}
	scene.waiting[SYNC_WRITE].count = 0;
	wait_for_it(&scene, WRITEBACK, 9, BEGUN, MS);
	CHECK_EQUAL(choose(&scene, BEGUN + 6000 * MS), WRITEBACK);
	CHECK(scene.expired);
	scene.dispatch.earned = 0;
	CHECK_EQUAL(choose(&scene, BEGUN + 6000 * MS), READ);
	CHECK(!scene.expired);
	issue(&scene, WRITEBACK, BEGUN + 6000 * MS);
	issue(&scene, READ, BEGUN + 6000 * MS);
	CHECK_EQUAL(scene.dispatch.expired[WRITEBACK], 1);
	CHECK_EQUAL(scene.dispatch.expired[READ], 0);
}

/* Writeback of 4 ms a request beside a program that waits for its writes. */
static void hand_over(struct scene *scene, int64_t now, int expected)
{
	int class;

	wait_for_it(scene, WRITEBACK, 9, now, 4 * MS);
	class = choose(scene, now);
	CHECK_EQUAL(class, expected);
	if (class == WRITEBACK)
		issue(scene, WRITEBACK, now);
}

TEST(writeback_is_paced_for_a_while_after_a_write_that_somebody_waits_for)
{
	struct scene scene;
	int64_t now = BEGUN;

	begin(&scene);
	hand_over(&scene, now, WRITEBACK);
	hand_over(&scene, now, WRITEBACK);
	kml_dispatch_arrived(&scene.dispatch, SYNC_WRITE, 0, (uint64_t)now);
	hand_over(&scene, now, KML_DISPATCH_HOLD);
	CHECK_EQUAL(scene.until, now + 6 * MS);
	CHECK_EQUAL(scene.dispatch.held, 1);
	hand_over(&scene, now + 6 * MS, WRITEBACK);
	hand_over(&scene, now + 7 * MS, KML_DISPATCH_HOLD);
	CHECK_EQUAL(scene.until, now + 10 * MS);
	/* The last sync write is long done. */
	hand_over(&scene, now + 20 * MS, WRITEBACK);
	hand_over(&scene, now + 20 * MS, WRITEBACK);
	hand_over(&scene, now + 20 * MS, WRITEBACK);
	/* One more: it is paced until that has been done for a while, and no longer. */
	kml_dispatch_completed(&scene.dispatch, SYNC_WRITE, (uint64_t)(now + 21 * MS));
	hand_over(&scene, now + 22 * MS, KML_DISPATCH_HOLD);
	CHECK_EQUAL(scene.until, now + 30 * MS);
}

TEST(an_empty_device_is_not_kept_from_writeback)
{
	struct scene scene;

	begin(&scene);
	kml_dispatch_arrived(&scene.dispatch, SYNC_WRITE, 0, BEGUN);
	hand_over(&scene, BEGUN, WRITEBACK);
	hand_over(&scene, BEGUN, KML_DISPATCH_HOLD);
	kml_dispatch_withdrawn(&scene.dispatch, WRITEBACK);
	kml_dispatch_withdrawn(&scene.dispatch, WRITEBACK);
	CHECK_EQUAL(scene.dispatch.in_device[WRITEBACK], 0);
	hand_over(&scene, BEGUN, WRITEBACK);
}

TEST(only_a_read_that_is_predicted_to_be_slow_paces_writeback)
{
	struct scene scene;

	begin(&scene);
	hand_over(&scene, BEGUN, WRITEBACK);
	kml_dispatch_arrived(&scene.dispatch, READ, 0, BEGUN);
	kml_dispatch_arrived(&scene.dispatch, READ, 10 * MS, BEGUN);
	kml_dispatch_arrived(&scene.dispatch, WRITEBACK, 900 * MS, BEGUN);
	kml_dispatch_completed(&scene.dispatch, READ, BEGUN);
	hand_over(&scene, BEGUN, WRITEBACK);
	kml_dispatch_arrived(&scene.dispatch, READ, 10 * MS + 1, BEGUN);
	hand_over(&scene, BEGUN, KML_DISPATCH_HOLD);
}

TEST(nothing_is_held_back_beyond_its_deadline)
{
	struct scene scene;

	begin(&scene);
	hand_over(&scene, BEGUN, WRITEBACK);
	kml_dispatch_arrived(&scene.dispatch, SYNC_WRITE, 0, BEGUN);
	wait_for_it(&scene, WRITEBACK, 1, BEGUN - 4999 * MS, 4 * MS);
	CHECK_EQUAL(choose(&scene, BEGUN), KML_DISPATCH_HOLD);
	CHECK_EQUAL(scene.until, BEGUN + MS);
	CHECK_EQUAL(choose(&scene, BEGUN + MS), WRITEBACK);
	CHECK(scene.expired);
}

TEST(a_stream_goes_on_until_another_has_waited_half_of_its_time)
{
	struct scene scene;

	begin(&scene);
	CHECK(kml_dispatch_may_go_on(&scene.dispatch, READ, BEGUN + 500 * MS, BEGUN + 249 * MS));
	CHECK(!kml_dispatch_may_go_on(&scene.dispatch, READ, BEGUN + 500 * MS, BEGUN + 250 * MS));
	CHECK(!kml_dispatch_may_go_on(&scene.dispatch, READ, BEGUN + 500 * MS, BEGUN + 900 * MS));
}

/* Any settings and times: the sanitizers watch, and what is chosen waits. */
TEST(no_request_and_no_setting_does_harm)
{
	static const uint64_t odd[] = { 0, 1, 1ull << 32, 1ull << 62, ~(uint64_t)0 };
	struct kml_dispatch_settings settings;
	struct scene scene;
	uint64_t random = kml_random_begin(1), number[8];
	int round, class;
	unsigned int i;

	begin(&scene);
	for (round = 0; round < 100000; round++) {
		for (i = 0; i < 8; i++)
			number[i] = kml_random_next(&random) & 1 ? odd[kml_random_next(&random) % 5] :
								    kml_random_next(&random);
		if (round % 100 == 0) {
			settings = (struct kml_dispatch_settings){ { number[0], number[1], number[2] },
								   number[3], (uint32_t)number[4], (uint32_t)number[5],
								   number[6], number[7], number[0] };
			kml_dispatch_begin(&scene.dispatch, &settings);
		}
		for (class = 0; class < KML_CLASSES; class++) {
			scene.waiting[class].count = (uint32_t)number[class] % 3;
			scene.waiting[class].oldest = number[class + 1];
			scene.waiting[class].work = number[class + 2];
			scene.waiting[class].key = kml_dispatch_key(&scene.dispatch, (enum kml_class)class,
								    number[class], number[4], number[5]);
			kml_dispatch_arrived(&scene.dispatch, (enum kml_class)class, number[6], number[7]);
			kml_dispatch_may_go_on(&scene.dispatch, (enum kml_class)class, number[0], number[1]);
		}
		class = choose(&scene, (int64_t)number[3]);
		if (class >= 0) {
			CHECK(class < KML_CLASSES && scene.waiting[class].count);
			issue(&scene, (enum kml_class)class, (int64_t)number[3]);
		} else if (class == KML_DISPATCH_HOLD) {
			CHECK(scene.waiting[WRITEBACK].count && scene.until > number[3]);
		} else {
			CHECK(!scene.waiting[READ].count && !scene.waiting[SYNC_WRITE].count &&
			      !scene.waiting[WRITEBACK].count);
		}
		kml_dispatch_completed(&scene.dispatch, (enum kml_class)(number[1] % KML_CLASSES), number[2]);
	}
}

TEST_MAIN()
