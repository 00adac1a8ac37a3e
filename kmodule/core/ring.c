/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The two ends of a ring with one writer and one reader.
 *
 * Each end owns one index, which it alone stores, and remembers how far the other was when it last looked, so that it
 * touches the other's cache line only when it would have to stop (Lamport 1983; the remembered index: Lee, Bu and
 * Chandranmenon 2010, MCRingBuffer).  Four orderings make it correct; tests/ring.pml shows that each is needed:
 *
 *   writer: load-acquire tail, then write the record, then store-release head
 *   reader: load-acquire head, then read the record, then store-release tail
 *
 * The reader's word may lie in memory that a process can write.  The writer takes from it only what a reader could
 * have done: a tail between the last one believed and head.  The slot it writes to follows from its own head alone.
 */
#include "kml/ring.h"

static bool shape_is_allowed(uint32_t slots, uint32_t record_bytes)
{
	return slots >= 2 && slots <= KML_RING_MAX_SLOTS && !(slots & (slots - 1)) &&
	       record_bytes >= sizeof(struct kml_record) && record_bytes <= KML_RECORD_MAX_BYTES && !(record_bytes % 8);
}

size_t kml_ring_bytes(uint32_t slots, uint32_t record_bytes)
{
	return shape_is_allowed(slots, record_bytes) ? (size_t)slots * record_bytes : 0;
}
KML_EXPORT(kml_ring_bytes);

int kml_ring_writer_init(struct kml_ring_writer *writer, struct kml_ring_writer_words *shared,
			 const struct kml_ring_reader_words *reader, void *records, uint32_t slots,
			 uint32_t record_bytes)
{
	if (!shape_is_allowed(slots, record_bytes))
		return -EINVAL;
	writer->shared = shared;
	writer->reader = reader;
	writer->records = records;
	writer->mask = slots - 1;
	writer->record_bytes = record_bytes;
	writer->head = 0;
	writer->tail = 0;
	writer->dropped = 0;
	writer->bad_tails = 0;
	shared->magic = KML_RING_MAGIC;
	shared->slots = slots;
	shared->record_bytes = record_bytes;
	return 0;
}
KML_EXPORT(kml_ring_writer_init);

bool kml_ring_refresh(struct kml_ring_writer *writer)
{
	uint64_t tail = kml_load_acquire(&writer->reader->tail);

	if (kml_unlikely(tail - writer->tail > writer->head - writer->tail)) {
		writer->bad_tails++;
		kml_store_once(&writer->shared->bad_tails, writer->bad_tails);
		return false;
	}
	writer->tail = tail;
	return writer->head - tail <= writer->mask;
}
KML_EXPORT(kml_ring_refresh);

int kml_ring_reader_init(struct kml_ring_reader *reader, const struct kml_ring_writer_words *shared,
			 struct kml_ring_reader_words *words, const void *records, size_t area)
{
	uint32_t slots = kml_load_once(&shared->slots);
	uint32_t record_bytes = kml_load_once(&shared->record_bytes);
	uint64_t tail = kml_load_once(&words->tail);
	uint64_t head = kml_load_acquire(&shared->head);

	if (kml_load_once(&shared->magic) != KML_RING_MAGIC || !shape_is_allowed(slots, record_bytes) ||
	    (size_t)slots * record_bytes > area || head - tail > slots)
		return -EINVAL;
	reader->shared = shared;
	reader->words = words;
	reader->records = records;
	reader->mask = slots - 1;
	reader->record_bytes = record_bytes;
	reader->tail = tail;
	reader->head = head;
	return 0;
}
KML_EXPORT(kml_ring_reader_init);

static const uint8_t *record_at(const struct kml_ring_reader *reader, uint64_t number)
{
	return reader->records + (size_t)(number & reader->mask) * reader->record_bytes;
}

static void release(struct kml_ring_reader *reader, uint64_t count)
{
	reader->tail += count;
	kml_store_release(&reader->words->tail, reader->tail);
}

const struct kml_record *kml_ring_peek(struct kml_ring_reader *reader)
{
	if (reader->tail == reader->head) {
		reader->head = kml_load_acquire(&reader->shared->head);
		if (reader->tail == reader->head)
			return NULL;
	}
	return (const struct kml_record *)record_at(reader, reader->tail);
}
KML_EXPORT(kml_ring_peek);

void kml_ring_release(struct kml_ring_reader *reader)
{
	release(reader, 1);
}
KML_EXPORT(kml_ring_release);

uint32_t kml_ring_pop(struct kml_ring_reader *reader, void *out, uint32_t count)
{
	uint32_t slots = reader->mask + 1;
	uint32_t to_end = slots - (uint32_t)(reader->tail & reader->mask);
	size_t bytes = reader->record_bytes;
	uint32_t here;

	if (count > slots)
		count = slots;
	if (reader->head - reader->tail < count)
		reader->head = kml_load_acquire(&reader->shared->head);
	if (reader->head - reader->tail < count)
		count = (uint32_t)(reader->head - reader->tail);
	if (!count)
		return 0;
	here = count < to_end ? count : to_end;
	memcpy(out, record_at(reader, reader->tail), here * bytes);
	memcpy((uint8_t *)out + here * bytes, reader->records, (count - here) * bytes);
	release(reader, count);
	return count;
}
KML_EXPORT(kml_ring_pop);
