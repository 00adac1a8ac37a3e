/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A ring of fixed-size records with one writer and one reader, as both sides share it.
 *
 * Three areas, each of whole pages when mapped: the writer's words (and the shape), the records (both read-only to the
 * reader), and the reader's word.  head and tail count records since the beginning and never wrap; record n lies in
 * slot n modulo slots.  What the writer wanted to write is head + dropped; what the reader has had is tail.
 */
#ifndef KML_RING_ABI_H
#define KML_RING_ABI_H

#include "kml_deps.h"

#define KML_RING_MAGIC 0x524c4d4bu /* "KMLR" */
#define KML_RING_MAX_SLOTS (1u << 20)
#define KML_RECORD_MAX_BYTES 2048

struct kml_ring_writer_words {
	uint32_t magic;
	uint32_t slots;        /* a power of two, 2 to KML_RING_MAX_SLOTS */
	uint32_t record_bytes; /* a multiple of 8, to KML_RECORD_MAX_BYTES */
	uint32_t reserved;
	uint64_t head;         /* stored with release */
	uint64_t dropped;      /* records for which there was no room */
	uint64_t bad_tails;    /* times that the reader's word made no sense */
};

struct kml_ring_reader_words {
	uint64_t tail; /* stored with release; the writer does not trust it */
};

/* Each record begins so; what follows is the writer's. */
struct kml_record {
	uint64_t sequence; /* number of the record, as counted by head */
	int32_t values[];
};
_Static_assert(sizeof(struct kml_record) == 8, "part of the ABI");
_Static_assert(sizeof(struct kml_ring_writer_words) == 40, "part of the ABI");

#endif
