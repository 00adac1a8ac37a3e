/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The ring: what goes in comes out once, whole and in order; what found no room is counted; no reader can harm it. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "check.h"
#include "kml/ring.h"

#define SLOTS 8
#define VALUES 4
#define RECORD_BYTES (sizeof(struct kml_record) + VALUES * sizeof(int32_t))
#define RECORD_WORDS (RECORD_BYTES / sizeof(uint64_t))

/* A ring with both ends; its records are apart in memory, so that a sanitizer sees the first byte beyond them. */
struct ring {
	struct kml_ring_writer_words words;
	struct kml_ring_reader_words reader_words;
	uint8_t *records;
	struct kml_ring_writer writer;
	struct kml_ring_reader reader;
};

static void open_ring(struct ring *ring, uint32_t slots)
{
	memset(ring, 0, sizeof(*ring));
	ring->records = calloc(slots, RECORD_BYTES);
	CHECK(ring->records != NULL);
	CHECK_EQUAL(kml_ring_writer_init(&ring->writer, &ring->words, &ring->reader_words, ring->records, slots,
					 RECORD_BYTES), 0);
	CHECK_EQUAL(kml_ring_reader_init(&ring->reader, &ring->words, &ring->reader_words, ring->records,
					 slots * RECORD_BYTES), 0);
}

static void close_ring(struct ring *ring)
{
	free(ring->records);
}

/* Each value follows from the record's number and its own place: a torn or misplaced one shows. */
static int32_t value_of(uint64_t number, unsigned int at)
{
	return (int32_t)(number * 2654435761u + at * 40503u);
}

static void fill(struct kml_record *record, uint64_t number)
{
	unsigned int at;

	for (at = 0; at < VALUES; at++)
		record->values[at] = value_of(number, at);
}

static bool is_record(const struct kml_record *record, uint64_t sequence, uint64_t number)
{
	unsigned int at;

	for (at = 0; at < VALUES; at++)
		if (record->values[at] != value_of(number, at))
			return false;
	return record->sequence == sequence;
}

/* Of records that were popped. */
static const struct kml_record *nth(const uint64_t *records, uint32_t n)
{
	return (const struct kml_record *)(records + n * RECORD_WORDS);
}

static bool push(struct ring *ring, uint64_t number)
{
	struct kml_record *record = kml_ring_reserve(&ring->writer);

	if (!record)
		return false;
	fill(record, number);
	kml_ring_commit(&ring->writer);
	return true;
}

TEST(a_shape_out_of_range_is_refused)
{
	static const struct { uint32_t slots, record_bytes; } wrong[] = {
		{ 0, 24 }, { 1, 24 }, { 3, 24 }, { 6, 24 }, { KML_RING_MAX_SLOTS * 2, 24 }, { UINT32_MAX, 24 },
		{ 8, 0 }, { 8, 4 }, { 8, 20 }, { 8, KML_RECORD_MAX_BYTES + 8 }, { 8, UINT32_MAX - 7 },
	};
	struct kml_ring_writer_words words = { 0 };
	struct kml_ring_reader_words reader_words = { 0 };
	struct kml_ring_writer writer;
	uint64_t records[1];
	size_t at;

	for (at = 0; at < sizeof(wrong) / sizeof(wrong[0]); at++) {
		CHECK_EQUAL(kml_ring_bytes(wrong[at].slots, wrong[at].record_bytes), 0);
		CHECK_EQUAL(kml_ring_writer_init(&writer, &words, &reader_words, records, wrong[at].slots,
						 wrong[at].record_bytes), -EINVAL);
	}
	CHECK_EQUAL(kml_ring_bytes(2, 8), 16);
	CHECK_EQUAL(kml_ring_bytes(KML_RING_MAX_SLOTS, KML_RECORD_MAX_BYTES), (int64_t)1 << 31);
}

TEST(a_new_ring_is_empty)
{
	uint64_t out[RECORD_WORDS];
	struct ring ring;

	open_ring(&ring, SLOTS);
	CHECK(kml_ring_peek(&ring.reader) == NULL);
	CHECK_EQUAL(kml_ring_pop(&ring.reader, out, 1), 0);
	close_ring(&ring);
}

TEST(a_reserved_record_is_not_seen_before_it_is_committed)
{
	struct kml_record *record;
	struct ring ring;

	open_ring(&ring, SLOTS);
	record = kml_ring_reserve(&ring.writer);
	fill(record, 5);
	CHECK(kml_ring_peek(&ring.reader) == NULL);
	kml_ring_commit(&ring.writer);
	CHECK(is_record(kml_ring_peek(&ring.reader), 0, 5));
	close_ring(&ring);
}

TEST(a_peeked_record_stays_until_it_is_released)
{
	const struct kml_record *record;
	struct ring ring;
	int number;

	open_ring(&ring, SLOTS);
	for (number = 0; number < SLOTS; number++)
		CHECK(push(&ring, number));
	record = kml_ring_peek(&ring.reader);
	CHECK(!push(&ring, SLOTS));
	CHECK(kml_ring_peek(&ring.reader) == record && is_record(record, 0, 0));
	kml_ring_release(&ring.reader);
	CHECK(push(&ring, SLOTS));
	CHECK(is_record(kml_ring_peek(&ring.reader), 1, 1));
	close_ring(&ring);
}

TEST(a_full_ring_refuses_and_counts_only_what_is_dropped)
{
	struct ring ring;
	int number;

	open_ring(&ring, SLOTS);
	for (number = 0; push(&ring, number); number++)
		;
	CHECK_EQUAL(number, SLOTS);
	CHECK_EQUAL(ring.words.dropped, 0);
	kml_ring_drop(&ring.writer);
	kml_ring_drop(&ring.writer);
	CHECK_EQUAL(ring.words.dropped, 2);
	CHECK_EQUAL(ring.words.head, SLOTS);
	close_ring(&ring);
}

TEST(pop_takes_what_is_there_also_over_the_end_of_the_area)
{
	uint64_t out[SLOTS * RECORD_WORDS];
	struct ring ring;
	uint64_t pushed = 0, popped = 0;
	uint32_t took, at;

	open_ring(&ring, SLOTS);
	for (; pushed < 5; pushed++)
		push(&ring, pushed);
	CHECK_EQUAL(kml_ring_pop(&ring.reader, out, 3), 3);
	CHECK(is_record(nth(out, 2), 2, 2));
	popped = 3;
	while (push(&ring, pushed))
		pushed++;
	took = kml_ring_pop(&ring.reader, out, UINT32_MAX);
	CHECK_EQUAL(took, SLOTS);
	for (at = 0; at < took; at++)
		CHECK(is_record(nth(out, at), popped + at, popped + at));
	CHECK_EQUAL(ring.reader_words.tail, pushed);
	close_ring(&ring);
}

TEST(numbers_of_records_go_on_where_32_bits_end)
{
	uint64_t start = UINT32_MAX - 2, number;
	struct ring ring;

	open_ring(&ring, SLOTS);
	ring.writer.head = ring.writer.tail = ring.words.head = ring.reader_words.tail = start;
	CHECK_EQUAL(kml_ring_reader_init(&ring.reader, &ring.words, &ring.reader_words, ring.records,
					 SLOTS * RECORD_BYTES), 0);
	for (number = start; number < start + 3 * SLOTS; number++) {
		CHECK(push(&ring, number));
		CHECK(is_record(kml_ring_peek(&ring.reader), number, number));
		kml_ring_release(&ring.reader);
	}
	close_ring(&ring);
}

TEST(a_reader_goes_on_where_its_predecessor_stopped)
{
	struct kml_ring_reader next;
	struct ring ring;
	int number;

	open_ring(&ring, SLOTS);
	for (number = 0; number < 6; number++)
		push(&ring, number);
	kml_ring_peek(&ring.reader);
	kml_ring_release(&ring.reader);
	CHECK_EQUAL(kml_ring_reader_init(&next, &ring.words, &ring.reader_words, ring.records,
					 SLOTS * RECORD_BYTES), 0);
	CHECK(is_record(kml_ring_peek(&next), 1, 1));
	close_ring(&ring);
}

TEST(a_reader_refuses_what_is_not_a_ring)
{
	struct kml_ring_reader reader;
	struct ring ring;
	size_t area = SLOTS * RECORD_BYTES;

	open_ring(&ring, SLOTS);
#define CHECK_REFUSED(word, wrong)                                                                                 \
	do {                                                                                                       \
		uint64_t kept = ring.word;                                                                         \
		ring.word = (wrong);                                                                               \
		CHECK_EQUAL(kml_ring_reader_init(&reader, &ring.words, &ring.reader_words, ring.records, area),     \
			    -EINVAL);                                                                              \
		ring.word = kept;                                                                                  \
	} while (0)
	CHECK_REFUSED(words.magic, KML_RING_MAGIC + 1);
	CHECK_REFUSED(words.slots, 0);
	CHECK_REFUSED(words.slots, SLOTS + 1);
	CHECK_REFUSED(words.slots, SLOTS * 2);
	CHECK_REFUSED(words.record_bytes, 0);
	CHECK_REFUSED(words.record_bytes, RECORD_BYTES + 4);
	CHECK_REFUSED(words.record_bytes, RECORD_BYTES + 8);
	CHECK_REFUSED(words.head, SLOTS + 1);
	CHECK_REFUSED(reader_words.tail, 1);
	CHECK_REFUSED(reader_words.tail, UINT64_MAX - SLOTS);
	CHECK_EQUAL(kml_ring_reader_init(&reader, &ring.words, &ring.reader_words, ring.records, area - 1), -EINVAL);
	CHECK_EQUAL(kml_ring_reader_init(&reader, &ring.words, &ring.reader_words, ring.records, area), 0);
	close_ring(&ring);
}

TEST(a_tail_that_makes_no_sense_is_no_room_and_harms_nothing)
{
	static const uint64_t wrong[] = { 3, SLOTS + 4 + 1, 1000, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX };
	struct ring ring;
	uint64_t number;
	size_t at;

	open_ring(&ring, SLOTS);
	for (number = 0; number < SLOTS; number++)
		push(&ring, number);
	ring.reader_words.tail = 4;
	for (; number < SLOTS + 4; number++)
		CHECK(push(&ring, number));
	for (at = 0; at < sizeof(wrong) / sizeof(wrong[0]); at++) {
		ring.reader_words.tail = wrong[at];
		CHECK(!push(&ring, number));
		CHECK_EQUAL(ring.words.bad_tails, at + 1);
	}
	ring.reader_words.tail = 5;
	CHECK(push(&ring, number));
	CHECK_EQUAL(ring.words.bad_tails, at);
	CHECK_EQUAL(ring.words.head, SLOTS + 5);
	close_ring(&ring);
}

TEST(a_reader_that_was_overtaken_reads_no_further_than_the_area)
{
	uint64_t out[SLOTS * RECORD_WORDS];
	struct ring ring;
	uint64_t number;

	open_ring(&ring, SLOTS);
	for (number = 0; number < 3 * SLOTS; number++) {
		ring.reader_words.tail = ring.words.head; /* another thread of the process stores it */
		push(&ring, number);
	}
	CHECK_EQUAL(kml_ring_pop(&ring.reader, out, UINT32_MAX), SLOTS);
	close_ring(&ring);
}

/* A writer in a thread of its own; it wants to write `wanted` records. */
struct load {
	struct ring ring;
	uint64_t wanted;
	bool blocking;
};

static void *write_load(void *argument)
{
	struct load *load = argument;
	uint64_t number;

	for (number = 0; number < load->wanted; number++)
		while (!push(&load->ring, number)) {
			if (!load->blocking) {
				kml_ring_drop(&load->ring.writer);
				break;
			}
			sched_yield();
		}
	return NULL;
}

/* Which of the pushes gave this record: one after `number`; `wanted` if none could have. */
static uint64_t origin(const struct kml_record *record, uint64_t sequence, uint64_t number, uint64_t wanted)
{
	while (number < wanted && !is_record(record, sequence, number))
		number++;
	return number;
}

/*
 * Reads while the writer writes, one record and several in turn, and gives how many came.  Their values tell which
 * pushes they came from: these must rise, sequence numbers must have no gap.
 */
static uint64_t read_load(struct load *load, bool *in_order)
{
	uint64_t batch[SLOTS * RECORD_WORDS];
	uint64_t popped = 0, number = 0;
	const struct kml_record *record;
	uint32_t took, at;

	while (popped + kml_load_acquire(&load->ring.words.dropped) < load->wanted) {
		record = kml_ring_peek(&load->ring.reader);
		if (!record) {
			sched_yield();
			continue;
		}
		number = origin(record, popped++, number, load->wanted) + 1;
		kml_ring_release(&load->ring.reader);
		took = kml_ring_pop(&load->ring.reader, batch, popped % SLOTS);
		for (at = 0; at < took; at++)
			number = origin(nth(batch, at), popped++, number, load->wanted) + 1;
	}
	*in_order = number <= load->wanted;
	return popped;
}

static void run_load(struct load *load)
{
	bool in_order;
	uint64_t popped;
	pthread_t writer;

	open_ring(&load->ring, SLOTS);
	CHECK_EQUAL(pthread_create(&writer, NULL, write_load, load), 0);
	popped = read_load(load, &in_order);
	CHECK_EQUAL(pthread_join(writer, NULL), 0);
	CHECK(in_order);
	CHECK_EQUAL(popped, load->ring.words.head);
	CHECK_EQUAL(popped + load->ring.words.dropped, load->wanted);
	CHECK(kml_ring_peek(&load->ring.reader) == NULL);
	CHECK_EQUAL(load->ring.words.bad_tails, 0);
	close_ring(&load->ring);
}

TEST(under_overload_what_was_pushed_is_popped_or_counted_as_dropped)
{
	struct load load = { .wanted = 300000, .blocking = false };

	run_load(&load);
	CHECK(load.ring.words.dropped > 0);
}

TEST(a_writer_that_waits_loses_nothing)
{
	struct load load = { .wanted = 300000, .blocking = true };

	run_load(&load);
	CHECK_EQUAL(load.ring.words.dropped, 0);
}

TEST_MAIN()
