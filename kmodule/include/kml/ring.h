/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The two ends of a ring.  Each end belongs to one thread (or to one processor with interrupts off) at a time. */
#ifndef KML_RING_H
#define KML_RING_H

#include "kml/ring_abi.h"

struct kml_ring_writer {
	struct kml_ring_writer_words *shared;
	const struct kml_ring_reader_words *reader;
	uint8_t *records;
	uint32_t mask;
	uint32_t record_bytes;
	uint64_t head; /* the truth; the shared one is a copy */
	uint64_t tail; /* of the reader, as last seen and believed */
	uint64_t dropped;
	uint64_t bad_tails;
};

struct kml_ring_reader {
	const struct kml_ring_writer_words *shared;
	struct kml_ring_reader_words *words;
	const uint8_t *records;
	uint32_t mask;
	uint32_t record_bytes;
	uint64_t tail;
	uint64_t head; /* of the writer, as last seen */
};

/* Bytes of the record area; 0 for a shape that is not allowed. */
size_t kml_ring_bytes(uint32_t slots, uint32_t record_bytes);

/* Make a ring over three areas of zeroed memory.  -EINVAL: the shape is not allowed. */
int kml_ring_writer_init(struct kml_ring_writer *writer, struct kml_ring_writer_words *shared,
			 const struct kml_ring_reader_words *reader, void *records, uint32_t slots,
			 uint32_t record_bytes);

/*
 * Take the reader's end of a ring that exists.  `area` is the mapped size of the record area: a shape that does not fit
 * it, a wrong magic, or words that contradict each other give -EINVAL.
 */
int kml_ring_reader_init(struct kml_ring_reader *reader, const struct kml_ring_writer_words *shared,
			 struct kml_ring_reader_words *words, const void *records, size_t area);

/* Look at the reader's word again; whether there is room then.  A tail that makes no sense is no room, and counted. */
bool kml_ring_refresh(struct kml_ring_writer *writer);

/* The slot for the next record, its sequence number set; or NULL when the ring is full (nothing is counted). */
static inline struct kml_record *kml_ring_reserve(struct kml_ring_writer *writer)
{
	struct kml_record *record;

	if (kml_unlikely(writer->head - writer->tail > writer->mask) && !kml_ring_refresh(writer))
		return NULL;
	record = (struct kml_record *)(writer->records + (size_t)(writer->head & writer->mask) * writer->record_bytes);
	record->sequence = writer->head;
	return record;
}

/* Show the reserved record to the reader. */
static inline void kml_ring_commit(struct kml_ring_writer *writer)
{
	writer->head++;
	kml_store_release(&writer->shared->head, writer->head);
}

/* Count a record that found no room and is given up. */
static inline void kml_ring_drop(struct kml_ring_writer *writer)
{
	writer->dropped++;
	kml_store_once(&writer->shared->dropped, writer->dropped);
}

/* The oldest record not yet released, or NULL.  It stays as it is until it is released. */
const struct kml_record *kml_ring_peek(struct kml_ring_reader *reader);

/* Give the peeked record's slot back to the writer. */
void kml_ring_release(struct kml_ring_reader *reader);

/* Copy up to `count` records to `out` (record_bytes each) and release them; gives how many. */
uint32_t kml_ring_pop(struct kml_ring_reader *reader, void *out, uint32_t count);

#endif
