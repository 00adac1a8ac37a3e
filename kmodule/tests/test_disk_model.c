/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The model of a flash disk: published speeds, sequential and random, garbage collection, no starvation, repetition. */

#include "check.h"
#include "../disk/disk_classes.c"
#include "../disk/disk_model.c"

#define MIB (1ull << 20)
#define SPAN (256 * MIB) /* of the random requests */
#define MOST_DEPTH 256

static const char *const names[] = { "sdcard", "emmc", "ssd", "nvme" };
#define CLASSES (sizeof(names) / sizeof(names[0]))

enum pattern { SEQUENTIAL, RANDOM };

static struct disk_parameters class_of(const char *name)
{
	struct disk_parameters parameters = { 0 };

	CHECK(disk_class(name, &parameters));
	return parameters;
}

/* A class in which every request takes its nominal time, and no garbage is collected. */
static struct disk_parameters plain(const char *name)
{
	struct disk_parameters parameters = class_of(name);

	parameters.jitter_permille = 0;
	parameters.gc_kib = 0;
	return parameters;
}

static struct disk_model begun(struct disk_parameters parameters, uint64_t seed)
{
	struct disk_model model;

	CHECK(disk_parameters_wrong(&parameters) == NULL);
	disk_model_begin(&model, &parameters, seed);
	return model;
}

/* As many requests, of which always `depth` are in flight: when the last ends, and the longest of them. */
struct load {
	uint64_t end;
	uint64_t longest;
	uint64_t sum;
};

static struct load run(struct disk_model *model, enum disk_operation operation, enum pattern pattern, uint32_t bytes,
		       uint32_t depth, uint32_t count)
{
	uint64_t ends[MOST_DEPTH] = { 0 }, random = kml_random_begin(7), now, offset, took;
	struct load load = { 0, 0, 0 };
	uint32_t number, at, first;

	for (number = 0; number < count; number++) {
		for (at = 1, first = 0; at < depth; at++)
			if (ends[at] < ends[first])
				first = at;
		now = ends[first];
		offset = pattern == SEQUENTIAL ? (uint64_t)number * bytes :
						 kml_random_next(&random) % (SPAN / bytes) * bytes;
		ends[first] = disk_model_end(model, operation, offset, bytes, now);
		CHECK(ends[first] >= now);
		took = ends[first] - now;
		load.sum += took;
		load.longest = took > load.longest ? took : load.longest;
		load.end = ends[first] > load.end ? ends[first] : load.end;
	}
	return load;
}

static uint64_t a_second(const struct load *load, uint64_t amount)
{
	return amount * 1000000000 / load->end;
}

TEST(classes_are_within_bounds_and_no_others_are_known)
{
	struct disk_parameters parameters;
	size_t at;

	for (at = 0; at < CLASSES; at++) {
		parameters = class_of(names[at]);
		CHECK(disk_parameters_wrong(&parameters) == NULL);
	}
	CHECK(!disk_class("floppy", &parameters));
	CHECK(!disk_class("", &parameters));
}

TEST(what_is_out_of_bounds_is_named)
{
	struct disk_parameters parameters = class_of("emmc");

	parameters.gc_units = 3;
	CHECK(strcmp(disk_parameters_wrong(&parameters), "gc_units") == 0);
	parameters.granule_ns = 0;
	CHECK(strcmp(disk_parameters_wrong(&parameters), "granule_ns") == 0);
	parameters.units = DISK_MOST_UNITS + 1;
	CHECK(strcmp(disk_parameters_wrong(&parameters), "units") == 0);
	parameters.units = 0;
	CHECK(strcmp(disk_parameters_wrong(&parameters), "units") == 0);
	parameters.queues = (uint32_t)-2;
	CHECK(strcmp(disk_parameters_wrong(&parameters), "queues") == 0);
}

/* docs/test-disk.md has the sources.  Those of the card are measured and so hold pauses, the others are maxima. */
TEST(classes_are_as_fast_as_was_published)
{
	static const struct {
		const char *name;
		enum disk_operation operation;
		enum pattern pattern;
		uint32_t bytes, depth, count;
		uint64_t published; /* requests of 4096 bytes a second; kB/s of others */
		uint32_t percent;
	} figures[] = {
		{ "sdcard", DISK_READ, RANDOM, 4096, 1, 20000, 2637, 3 },
		{ "sdcard", DISK_WRITE, RANDOM, 4096, 1, 20480, 940, 3 },
		{ "sdcard", DISK_READ, SEQUENTIAL, 131072, 1, 2000, 43920, 3 },
		{ "sdcard", DISK_WRITE, SEQUENTIAL, 131072, 1, 1280, 21300, 3 },
		{ "emmc", DISK_READ, RANDOM, 4096, 32, 20000, 11000, 5 },
		{ "emmc", DISK_WRITE, RANDOM, 4096, 32, 20000, 13000, 5 },
		{ "emmc", DISK_READ, SEQUENTIAL, 131072, 4, 2000, 250000, 5 },
		{ "emmc", DISK_WRITE, SEQUENTIAL, 131072, 4, 2000, 125000, 5 },
		{ "ssd", DISK_READ, RANDOM, 4096, 1, 20000, 10000, 5 },
		{ "ssd", DISK_READ, RANDOM, 4096, 32, 50000, 98000, 10 },
		{ "ssd", DISK_WRITE, RANDOM, 4096, 32, 100000, 90000, 10 },
		{ "ssd", DISK_READ, SEQUENTIAL, 131072, 4, 4000, 550000, 5 },
		{ "ssd", DISK_WRITE, SEQUENTIAL, 131072, 4, 8000, 520000, 5 },
		{ "nvme", DISK_READ, RANDOM, 4096, 1, 20000, 15000, 5 },
		{ "nvme", DISK_READ, RANDOM, 4096, 128, 100000, 500000, 10 },
		{ "nvme", DISK_WRITE, RANDOM, 4096, 1, 5000, 50000, 5 },
		{ "nvme", DISK_WRITE, RANDOM, 4096, 128, 200000, 450000, 10 },
		{ "nvme", DISK_READ, SEQUENTIAL, 131072, 8, 8000, 3400000, 5 },
		{ "nvme", DISK_WRITE, SEQUENTIAL, 131072, 8, 16000, 2500000, 5 },
	};
	struct disk_parameters parameters;
	struct disk_model model;
	uint64_t speed;
	struct load load;
	size_t at;

	for (at = 0; at < sizeof(figures) / sizeof(figures[0]); at++) {
		parameters = class_of(figures[at].name);
		if (strcmp(figures[at].name, "sdcard"))
			parameters.gc_kib = 0;
		model = begun(parameters, 1);
		load = run(&model, figures[at].operation, figures[at].pattern, figures[at].bytes, figures[at].depth,
			   figures[at].count);
		speed = figures[at].bytes == 4096 ?
				a_second(&load, figures[at].count) :
				a_second(&load, (uint64_t)figures[at].count * figures[at].bytes) / 1000;
		CHECK_NEAR(speed, figures[at].published,
			   (long long)(figures[at].published * figures[at].percent / 100));
	}
}

TEST(sequential_requests_are_faster_than_random_ones)
{
	struct disk_model one, other;
	struct load sequential, random;
	size_t at;

	for (at = 0; at < CLASSES; at++) {
		one = begun(class_of(names[at]), 1);
		other = begun(class_of(names[at]), 1);
		sequential = run(&one, DISK_READ, SEQUENTIAL, 4096, 1, 4000);
		random = run(&other, DISK_READ, RANDOM, 4096, 1, 4000);
		CHECK(sequential.end * 3 < random.end * 2);
		CHECK_EQUAL(one.counters[DISK_READ].sequential, 3999);
		CHECK(other.counters[DISK_READ].sequential < 4);
		/* More than any buffer holds; the interface of the fast ones is hardly faster than their flash. */
		one = begun(class_of(names[at]), 1);
		other = begun(class_of(names[at]), 1);
		sequential = run(&one, DISK_WRITE, SEQUENTIAL, 4096, 32, 100000);
		random = run(&other, DISK_WRITE, RANDOM, 4096, 32, 100000);
		CHECK(sequential.end < random.end);
	}
}

TEST(as_many_streams_are_told_apart_as_stated)
{
	struct disk_model model;
	uint32_t count, number, stream;
	uint64_t now;

	for (count = 1; count <= DISK_MOST_STREAMS + 1; count++) {
		model = begun(plain("ssd"), 1);
		for (number = 0, now = 0; number < 100; number++)
			for (stream = 0; stream < count; stream++)
				now = disk_model_end(&model, DISK_READ, stream * 16 * MIB + number * 4096ull, 4096,
						     now);
		CHECK_EQUAL(model.counters[DISK_READ].sequential, count <= model.parameters.streams ? 99 * count : 0);
	}
}

TEST(garbage_is_collected_after_the_stated_bytes)
{
	struct disk_parameters parameters;
	struct disk_model model;
	uint64_t now, written;
	size_t at;

	for (at = 0; at < CLASSES; at++) {
		parameters = plain(names[at]);
		parameters.gc_kib = class_of(names[at]).gc_kib;
		model = begun(parameters, 1);
		for (now = 0, written = 0; written < 5 * 1024ull * parameters.gc_kib / 2; written += 131072) {
			CHECK_EQUAL(model.gc_pauses, written / (1024ull * parameters.gc_kib));
			now = disk_model_end(&model, DISK_WRITE, written, 131072, now);
		}
		CHECK_EQUAL(model.gc_pauses, 2);
	}
}

TEST(a_pause_stalls_reads_and_writes_for_the_stated_time)
{
	struct disk_parameters parameters = plain("sdcard");
	struct disk_model pausing, steady;
	enum disk_operation operation;
	uint64_t now, other;

	for (operation = DISK_READ; operation <= DISK_WRITE; operation++) {
		steady = begun(parameters, 1);
		parameters.gc_kib = 8;
		pausing = begun(parameters, 1);
		parameters.gc_kib = 0;
		now = disk_model_end(&pausing, DISK_WRITE, 0, 8192, 0);
		other = disk_model_end(&steady, DISK_WRITE, 0, 8192, 0);
		CHECK_EQUAL(now, other); /* the write that brings it about has gone before */
		now = disk_model_end(&pausing, operation, 8 * MIB, 4096, now);
		other = disk_model_end(&steady, operation, 8 * MIB, 4096, other);
		/* The interface takes the next request during the pause. */
		CHECK_EQUAL(now + parameters.command_ns + 4 * parameters.bus_ns_per_kib, other + parameters.gc_ns);
	}
}

TEST(units_pause_in_turn)
{
	struct disk_parameters parameters = plain("ssd");
	struct disk_model model;
	uint32_t at, paused = 0;

	parameters.gc_kib = 4;
	model = begun(parameters, 1);
	disk_model_end(&model, DISK_WRITE, 0, 4096, 0);
	for (at = 0; at < parameters.units; at++)
		paused += model.units[at].reads_until >= parameters.gc_ns;
	CHECK_EQUAL(paused, parameters.gc_units);
	for (at = 1; at < parameters.units / parameters.gc_units; at++)
		disk_model_end(&model, DISK_WRITE, 0, 4096, 0);
	for (at = 0; at < parameters.units; at++)
		CHECK(model.units[at].reads_until >= parameters.gc_ns);
}

TEST(a_buffered_write_ends_at_once_until_the_buffer_is_full)
{
	struct disk_parameters parameters = plain("ssd");
	struct disk_model model = begun(parameters, 1);
	uint64_t at_once = parameters.command_ns + 4 * parameters.bus_ns_per_kib + parameters.write_ns;
	uint32_t kib = 0;

	CHECK_EQUAL(disk_model_end(&model, DISK_WRITE, 0, 4096, 5000), 5000 + at_once);
	/* All at the same time, so that the flash has no time to program any. */
	parameters.command_ns = 0;
	parameters.bus_ns_per_kib = 0;
	model = begun(parameters, 1);
	while (kib <= 2 * parameters.buffer_kib &&
	       disk_model_end(&model, DISK_WRITE, (uint64_t)kib << 10, 4096, 0) == parameters.write_ns)
		kib += 4;
	/* The first is not sequential, and so takes up more of its unit's share. */
	CHECK_NEAR(kib, parameters.buffer_kib, 4);
}

TEST(a_flush_ends_when_everything_is_programmed)
{
	struct disk_parameters parameters = plain("emmc");
	struct disk_model model = begun(parameters, 1);
	uint64_t programmed = 0, end;
	uint32_t at;

	run(&model, DISK_WRITE, RANDOM, 4096, 32, 100);
	for (at = 0; at < parameters.units; at++)
		programmed = later(programmed, model.units[at].programs_until);
	end = disk_model_end(&model, DISK_FLUSH, 0, 0, 0);
	CHECK_EQUAL(end, programmed + parameters.flush_ns);
	CHECK_EQUAL(disk_model_end(&model, DISK_FLUSH, 0, 0, end), end + parameters.command_ns + parameters.flush_ns);
}

TEST(a_read_waits_for_a_part_of_the_programming_and_not_for_all)
{
	struct disk_parameters parameters = plain("emmc");
	struct disk_model model;
	uint64_t alone, behind;

	model = begun(parameters, 1);
	alone = disk_model_end(&model, DISK_READ, 64 * MIB, 4096, 0);
	model = begun(parameters, 1);
	run(&model, DISK_WRITE, RANDOM, 131072, 8, 8);
	behind = disk_model_end(&model, DISK_READ, 64 * MIB, 4096, model.bus_until) - model.bus_until;
	CHECK(model.units[0].programs_until > model.bus_until + 2 * parameters.granule_ns);
	CHECK(behind <= alone + parameters.granule_ns);
}

/* Whoever comes at the worst time, among the worst others, waits for what those others take, and no longer. */
TEST(no_request_starves)
{
	struct disk_parameters parameters;
	uint64_t ends[32], random = kml_random_begin(3), now, took, longest[2], most, offset;
	struct disk_model model;
	uint32_t number, at, first;
	enum disk_operation operation;
	size_t class;

	for (class = 0; class < CLASSES; class++) {
		parameters = class_of(names[class]);
		model = begun(parameters, 1);
		memset(ends, 0, sizeof(ends));
		memset(longest, 0, sizeof(longest));
		for (number = 0; number < 100000; number++) {
			for (at = 1, first = 0; at < 32; at++)
				if (ends[at] < ends[first])
					first = at;
			now = ends[first];
			/* Reads of one unit by 31, writes by 1; then the other way round. */
			operation = (first == 0) == (number < 50000) ? DISK_WRITE : DISK_READ;
			offset = (kml_random_next(&random) % 64) * parameters.units * parameters.stripe_kib << 10;
			ends[first] = disk_model_end(&model, operation, offset, 4096, now);
			took = ends[first] - now;
			longest[operation] = took > longest[operation] ? took : longest[operation];
		}
		most = parameters.command_ns + 4 * parameters.bus_ns_per_kib + parameters.read_random_ns +
		       4 * parameters.program_ns_per_kib + parameters.program_random_ns + parameters.granule_ns;
		most = 32 * 2 * most + 2 * parameters.gc_ns + parameters.write_ns +
		       (uint64_t)parameters.buffer_kib * parameters.program_ns_per_kib / parameters.units;
		CHECK(longest[DISK_READ] > 0 && longest[DISK_READ] <= most);
		CHECK(longest[DISK_WRITE] > 0 && longest[DISK_WRITE] <= most);
	}
}

TEST(the_same_seed_gives_the_same_times_and_another_does_not)
{
	struct disk_model one, same, other;
	uint64_t random = kml_random_begin(5), drawn, now = 0, end;
	uint32_t number, different = 0;

	one = begun(class_of("ssd"), 11);
	same = begun(class_of("ssd"), 11);
	other = begun(class_of("ssd"), 12);
	for (number = 0; number < 100000; number++) {
		drawn = kml_random_next(&random);
		now += drawn % 50000;
		end = disk_model_end(&one, drawn >> 63, (drawn >> 20) % 65536 * 4096, 4096 << (drawn >> 61 & 1), now);
		CHECK_EQUAL(disk_model_end(&same, drawn >> 63, (drawn >> 20) % 65536 * 4096,
					   4096 << (drawn >> 61 & 1), now),
			    end);
		different += disk_model_end(&other, drawn >> 63, (drawn >> 20) % 65536 * 4096,
					    4096 << (drawn >> 61 & 1), now) != end;
	}
	CHECK(memcmp(&one, &same, sizeof(one)) == 0);
	CHECK(different > 40000);
}

/* A sum of two uniform numbers: its variance is a sixth of the greatest deviation's square. */
TEST(jitter_is_triangular_around_0)
{
	struct disk_parameters parameters = class_of("nvme");
	int64_t sum = 0, squares = 0, deviation, least = 0, most = 0;
	struct disk_model model;
	uint32_t number;

	parameters.read_random_ns = 1000000;
	parameters.jitter_permille = 100;
	model = begun(parameters, 1);
	for (number = 0; number < 100000; number++) {
		deviation = (int64_t)jittered(&model, 1000000) - 1000000;
		sum += deviation;
		squares += deviation * deviation;
		least = deviation < least ? deviation : least;
		most = deviation > most ? deviation : most;
	}
	CHECK(least >= -100000 && least < -98000);
	CHECK(most <= 100000 && most > 98000);
	CHECK_NEAR(sum / 100000, 0, 400); /* three standard errors */
	CHECK_NEAR(squares / 100000, 10000000000 / 6, 10000000000 / 600);
}

TEST(the_greatest_parameters_and_addresses_do_no_harm)
{
	struct disk_parameters parameters;
	struct disk_model model;
	uint64_t random = kml_random_begin(9), drawn, now = 0, end;
	uint32_t number;
	enum disk_operation operation;

#define GREATEST(name, least, most, text) parameters.name = (most);
	DISK_PARAMETERS(GREATEST)
	parameters.stripe_kib = 1; /* as many stripes as can be */
	model = begun(parameters, ~0ull);
	for (number = 0; number < 20000; number++) {
		drawn = kml_random_next(&random);
		operation = drawn % DISK_OPERATIONS;
		end = disk_model_end(&model, operation, drawn >> 1, operation == DISK_FLUSH ? 0 : DISK_MOST_BYTES, now);
		CHECK(end >= now);
		now += drawn & 0xffffffff;
	}
}

TEST_MAIN()
