/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The online model of service times: known lines are found again, pauses leave them alone, changes are followed. */
#include "check.h"
#include "kml/service.h"
#include "random.h"

#define US 1000
#define MS ((int64_t)1000000)
#define KIB 1024u

/* One request at a time that takes base + slope * KiB, +-10 %. */
static uint64_t serve(struct kml_service *service, enum kml_service_kind kind, uint64_t now, uint32_t kib,
		      uint64_t base, uint64_t slope, uint64_t *random)
{
	uint64_t took = (base + slope * kib) * (900 + kml_random_next(random) % 200) / 1000;

	kml_service_issued(service);
	kml_service_completed(service, kind, kib * KIB, now, now + took);
	return now + took + 50 * US;
}

static uint64_t serve_many(struct kml_service *service, enum kml_service_kind kind, uint64_t now, uint32_t count,
			   uint64_t base, uint64_t slope)
{
	uint64_t random = kml_random_begin(count);

	while (count--)
		now = serve(service, kind, now, 4u << (kml_random_next(&random) >> 32) % 8, base, slope, &random);
	return now;
}

TEST(kinds_are_told_apart)
{
	CHECK_EQUAL(kml_service_kind(false, false), KML_SERVICE_READ);
	CHECK_EQUAL(kml_service_kind(false, true), KML_SERVICE_READ_ON);
	CHECK_EQUAL(kml_service_kind(true, false), KML_SERVICE_WRITE);
	CHECK_EQUAL(kml_service_kind(true, true), KML_SERVICE_WRITE_ON);
}

TEST(a_line_is_found_again)
{
	struct kml_service service;
	uint32_t kib;

	kml_service_begin(&service);
	serve_many(&service, KML_SERVICE_WRITE, MS, 2000, 800 * US, 40 * US);
	for (kib = 4; kib <= 512; kib *= 2)
		CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_WRITE, kib * KIB), 800 * US + 40 * US * kib,
			   (800 * US + 40 * US * kib) / 8);
	CHECK(service.lines[KML_SERVICE_WRITE].error_ns < 600 * US);
	CHECK_EQUAL(service.lines[KML_SERVICE_WRITE].samples, 2000);
	CHECK_EQUAL(service.lines[KML_SERVICE_WRITE].outliers, 0);
	CHECK_EQUAL(service.in_device, 0);
}

TEST(a_kind_never_seen_is_guessed_from_its_sibling)
{
	struct kml_service service;
	uint64_t guess;

	kml_service_begin(&service);
	guess = kml_service_predict(&service, KML_SERVICE_READ_ON, 4 * KIB);
	CHECK(guess > 50 * US && guess < MS);
	serve_many(&service, KML_SERVICE_READ, MS, 500, 5 * MS, 0);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ_ON, 4 * KIB), 5 * MS, MS / 2);
	CHECK_EQUAL(kml_service_predict(&service, KML_SERVICE_WRITE_ON, 4 * KIB), guess);
}

/* Nothing is known of other sizes then: a larger request is neither free nor of another world. */
TEST(requests_of_one_size_give_their_time)
{
	struct kml_service service;
	uint64_t random = kml_random_begin(3), now = MS, large;
	int i;

	kml_service_begin(&service);
	for (i = 0; i < 500; i++)
		now = serve(&service, KML_SERVICE_READ, now, 4, 300 * US, 0, &random);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ, 4 * KIB), 300 * US, 20 * US);
	large = kml_service_predict(&service, KML_SERVICE_READ, 512 * KIB);
	CHECK(large > MS && large < 50 * MS);
}

TEST(pauses_are_counted_and_hardly_learned)
{
	struct kml_service service;
	uint64_t now;
	int64_t before;

	kml_service_begin(&service);
	now = serve_many(&service, KML_SERVICE_WRITE, MS, 500, MS, 0);
	before = (int64_t)kml_service_predict(&service, KML_SERVICE_WRITE, 64 * KIB);
	kml_service_issued(&service);
	kml_service_completed(&service, KML_SERVICE_WRITE, 64 * KIB, now, now + 100 * MS);
	CHECK_EQUAL(service.lines[KML_SERVICE_WRITE].outliers, 1);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_WRITE, 64 * KIB), before, before / 20);
}

TEST(the_first_requests_of_a_slow_device_are_no_pauses)
{
	struct kml_service service;

	kml_service_begin(&service);
	kml_service_issued(&service);
	kml_service_completed(&service, KML_SERVICE_READ, 4 * KIB, MS, 51 * MS);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ, 4 * KIB), 50 * MS, MS / 10);
	CHECK_EQUAL(service.lines[KML_SERVICE_READ].outliers, 0);
}

TEST(a_device_that_became_slower_or_faster_is_followed)
{
	struct kml_service service;
	uint64_t now;

	kml_service_begin(&service);
	now = serve_many(&service, KML_SERVICE_READ, MS, 500, 200 * US, 10 * US);
	now = serve_many(&service, KML_SERVICE_READ, now, 1500, 4000 * US, 200 * US);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ, 64 * KIB), 16800 * US, 3000 * US);
	serve_many(&service, KML_SERVICE_READ, now, 1500, 200 * US, 10 * US);
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ, 64 * KIB), 840 * US, 150 * US);
}

/* Eight at once that all end every 8 ms: the device does one a millisecond. */
TEST(a_parallel_device_is_charged_by_its_throughput)
{
	struct kml_service service;
	uint64_t now = MS;
	int round, i;

	kml_service_begin(&service);
	for (round = 0; round < 100; round++, now += 8 * MS) {
		for (i = 0; i < 8; i++)
			kml_service_issued(&service);
		CHECK_EQUAL(service.in_device, 8);
		for (i = 1; i <= 8; i++)
			kml_service_completed(&service, KML_SERVICE_READ, 16 * KIB, now, now + (uint64_t)i * MS);
	}
	CHECK_NEAR(kml_service_predict(&service, KML_SERVICE_READ, 16 * KIB), MS, MS / 20);
}

TEST(what_came_back_is_not_learned)
{
	struct kml_service service;

	kml_service_begin(&service);
	kml_service_issued(&service);
	kml_service_withdrawn(&service);
	kml_service_withdrawn(&service);
	CHECK_EQUAL(service.in_device, 0);
	CHECK_EQUAL(service.lines[KML_SERVICE_READ].samples, 0);
}

TEST(no_completion_does_harm)
{
	static const uint64_t odd[] = { 0, 1, 1ull << 31, 1ull << 32, 1ull << 62, ~(uint64_t)0 };
	struct kml_service service;
	uint64_t random = kml_random_begin(1), issued, now;
	enum kml_service_kind kind;
	uint32_t bytes;
	int round;

	kml_service_begin(&service);
	for (round = 0; round < 200000; round++) {
		issued = kml_random_next(&random) & 1 ? odd[kml_random_next(&random) % 6] : kml_random_next(&random);
		now = kml_random_next(&random) & 1 ? odd[kml_random_next(&random) % 6] : kml_random_next(&random);
		kind = (enum kml_service_kind)(kml_random_next(&random) % KML_SERVICE_KINDS);
		bytes = (uint32_t)kml_random_next(&random) >> kml_random_next(&random) % 32;
		if (round % 1000 == 0)
			kml_service_begin(&service);
		kml_service_completed(&service, kind, bytes, issued, now);
		CHECK(kml_service_predict(&service, kind, bytes) >= 1);
		CHECK(kml_service_predict(&service, kind, ~0u) < 1ull << 55);
		CHECK(service.lines[kind].ns_per_kib <= 1ull << 31);
	}
}

TEST_MAIN()
