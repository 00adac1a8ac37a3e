/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fuzzer of the ring: a writer, and a reader that behaves or stores what it likes into its word.
 *
 * The first byte says how many slots, each later one is a step.  Whatever the reader stores, the writer stays within
 * the records (they are apart in memory) and its counts stay true; as long as it behaves, records arrive as written.
 */
#include <stdlib.h>

#include "fuzz.h"
#include "kml/ring.h"

#define RECORD_BYTES 16
#define MOST_SLOTS 8

struct world {
	struct kml_ring_writer_words words;
	struct kml_ring_reader_words reader_words;
	struct kml_ring_writer writer;
	struct kml_ring_reader reader;
	uint8_t *records;
	uint32_t slots;
	uint64_t wanted; /* pushes that were tried */
	bool honest;     /* whether the reader's word has only been stored by kml_ring_release and kml_ring_pop */
};

static void push(struct world *world)
{
	struct kml_record *record = kml_ring_reserve(&world->writer);

	world->wanted++;
	if (!record) {
		kml_ring_drop(&world->writer);
		return;
	}
	record->values[0] = (int32_t)record->sequence;
	record->values[1] = ~(int32_t)record->sequence;
	kml_ring_commit(&world->writer);
}

static void require_record(const struct world *world, const struct kml_record *record, uint64_t number)
{
	if (!world->honest)
		return;
	REQUIRE(record->sequence == number);
	REQUIRE(record->values[0] == (int32_t)number && record->values[1] == ~(int32_t)number);
}

static void peek(struct world *world)
{
	const struct kml_record *record = kml_ring_peek(&world->reader);

	if (!record) {
		REQUIRE(world->reader.tail == world->writer.head);
		return;
	}
	require_record(world, record, world->reader.tail);
	kml_ring_release(&world->reader);
}

static void pop(struct world *world, uint32_t count)
{
	uint64_t out[2 * MOST_SLOTS], number = world->reader.tail;
	uint32_t took = kml_ring_pop(&world->reader, out, count), at;

	REQUIRE(took <= count && took <= world->slots);
	for (at = 0; at < took; at++)
		require_record(world, (struct kml_record *)(out + 2 * at), number + at);
}

/* A process that opens the ring anew; what its predecessor stored may be refused. */
static void attach(struct world *world)
{
	struct kml_ring_reader reader;
	int status = kml_ring_reader_init(&reader, &world->words, &world->reader_words, world->records,
					  world->slots * RECORD_BYTES);

	REQUIRE(status == (world->writer.head - world->reader_words.tail <= world->slots ? 0 : -EINVAL));
	if (!status)
		world->reader = reader;
}

/* A ring that lies about its shape: what is accepted must fit the area. */
static void attach_forged(struct world *world, const uint8_t *bytes)
{
	struct kml_ring_writer_words words = { .magic = KML_RING_MAGIC };
	struct kml_ring_reader_words reader_words = { 0 };
	uint64_t out[MOST_SLOTS * RECORD_BYTES / sizeof(uint64_t)];
	struct kml_ring_reader reader;

	memcpy(&words.slots, bytes, sizeof(words.slots));
	memcpy(&words.record_bytes, bytes + 4, sizeof(words.record_bytes));
	memcpy(&words.head, bytes + 8, sizeof(words.head));
	if (kml_ring_reader_init(&reader, &words, &reader_words, world->records, world->slots * RECORD_BYTES))
		return;
	REQUIRE(words.slots <= world->slots * RECORD_BYTES / words.record_bytes);
	REQUIRE(kml_ring_pop(&reader, out, UINT32_MAX) == words.head);
	REQUIRE(!kml_ring_peek(&reader));
}

static void require_truth(const struct world *world)
{
	const struct kml_ring_writer *writer = &world->writer;

	REQUIRE(writer->head + writer->dropped == world->wanted);
	REQUIRE(writer->head - writer->tail <= world->slots);
	REQUIRE(world->words.head == writer->head && world->words.dropped == writer->dropped);
	REQUIRE(world->words.bad_tails == writer->bad_tails);
	REQUIRE(!world->honest || !writer->bad_tails);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = { .honest = true };
	size_t at;

	if (!size)
		return -1;
	world.slots = 2u << (data[0] % 3);
	world.records = calloc(world.slots, RECORD_BYTES);
	REQUIRE(!kml_ring_writer_init(&world.writer, &world.words, &world.reader_words, world.records, world.slots,
				      RECORD_BYTES));
	attach(&world);
	for (at = 1; at < size; at++) {
		uint8_t step = data[at] & 7, argument = data[at] >> 3;

		switch (step) {
		case 0:
		case 1:
			push(&world);
			break;
		case 2:
			peek(&world);
			break;
		case 3:
			pop(&world, argument % (MOST_SLOTS + 1));
			break;
		case 4: /* a tail near the truth */
			world.reader_words.tail = world.writer.head + 8 - argument;
			world.honest = false;
			break;
		case 5: /* any tail */
			if (size - at > sizeof(uint64_t)) {
				memcpy(&world.reader_words.tail, data + at + 1, sizeof(uint64_t));
				at += sizeof(uint64_t);
				world.honest = false;
			}
			break;
		case 6:
			if (size - at > 16) {
				attach_forged(&world, data + at + 1);
				at += 16;
			}
			break;
		default:
			attach(&world);
		}
		require_truth(&world);
	}
	free(world.records);
	return 0;
}
