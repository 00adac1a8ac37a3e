/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What is known of a block device when a request arrives: the features that models of request latency take.
 *
 * Everything is of the past: what arrived and completed before the request did.  The names, in this order, are those of
 * enum kml_latency_feature in lower case without the prefix; a model that names other features is for something else.
 * The caller's lock guards a state.
 */
#ifndef KML_LATENCY_H
#define KML_LATENCY_H

#include "kml/fixed.h"

#define KML_LATENCY_VERSION 2 /* raised when a feature changes its meaning or its place */
#define KML_LATENCY_HISTORY 3

/* Logarithms are log2(1 + x); what is not known, as nothing of the kind has been seen yet, is -1. */
enum kml_latency_feature {
	KML_LATENCY_WRITE,           /* 1: a write, 0: anything else */
	KML_LATENCY_SYNCHRONOUS,     /* 1: somebody waits for it: a read, or flagged sync, FUA or preflush */
	KML_LATENCY_BYTES,           /* log2 of KiB */
	KML_LATENCY_SECTOR_DISTANCE, /* log2 of sectors from the end of the last request, either way; 0: it goes on */
	KML_LATENCY_QUEUE,           /* log2 of requests that have arrived and not completed */
	KML_LATENCY_QUEUE_1,         /* the same at the last arrival, the one before, and the third last */
	KML_LATENCY_QUEUE_2,
	KML_LATENCY_QUEUE_3,
	KML_LATENCY_READ_LATENCY_1, /* log2 of us that the last reads took, from arrival to completion */
	KML_LATENCY_READ_LATENCY_2,
	KML_LATENCY_READ_LATENCY_3,
	KML_LATENCY_WRITE_LATENCY_1,
	KML_LATENCY_WRITE_LATENCY_2,
	KML_LATENCY_WRITE_LATENCY_3,
	KML_LATENCY_SINCE_WRITE,   /* log2 of us since the last write arrived */
	KML_LATENCY_WRITTEN_100MS, /* log2 of KiB of the writes that completed in the last 93.75 to 100 ms */
	KML_LATENCY_AHEAD,         /* log2 of KiB of the requests that have arrived and not completed */
	KML_LATENCY_FEATURES
};

extern const char *const kml_latency_names[KML_LATENCY_FEATURES];

enum kml_latency_operation { KML_LATENCY_OF_READ, KML_LATENCY_OF_WRITE, KML_LATENCY_OF_OTHER };

#define KML_LATENCY_NO_SECTOR (~(uint64_t)0) /* a flush has no place */
#define KML_LATENCY_SLICE_NS 6250000u        /* written bytes are added up in slices of the last 100 ms */
#define KML_LATENCY_SLICES 16

/* The last of something, newest first.  Logarithms are taken of them when features are asked for. */
struct kml_latency_history {
	uint64_t numbers[KML_LATENCY_HISTORY];
	kml_fx features[KML_LATENCY_HISTORY];
	uint32_t fresh; /* so many of the numbers are newer than the features */
};

struct kml_latency_state {
	uint64_t begun;                           /* ns */
	uint64_t last_end;                        /* sector; KML_LATENCY_NO_SECTOR: none yet */
	uint64_t last_write;                      /* ns; 0: none yet */
	uint64_t slice;                           /* number of the newest */
	uint32_t written[KML_LATENCY_SLICES];     /* sectors, in the slice of that number modulo the slices */
	uint64_t ahead;                           /* bytes that arrived less those that completed */
	uint32_t queue;                           /* requests */
	struct kml_latency_history queues;
	struct kml_latency_history latencies[2]; /* ns, of reads and of writes */
};

struct kml_latency_arrival {
	uint64_t now;    /* ns, any clock that never goes back, and is not 0 */
	uint64_t sector; /* or KML_LATENCY_NO_SECTOR */
	uint32_t bytes;
	enum kml_latency_operation operation;
	bool synchronous;
};

void kml_latency_begin(struct kml_latency_state *state, uint64_t now);

/* The features of a request that arrives now; the next one's are those that they would be without this call. */
void kml_latency_features(struct kml_latency_state *state, const struct kml_latency_arrival *arrival, kml_fx *out);

/* It has arrived: later ones see it.  Cheap: called for each request, also where no features are asked for. */
void kml_latency_arrived(struct kml_latency_state *state, const struct kml_latency_arrival *arrival);

/* It has completed, with the bytes it had then. */
void kml_latency_completed(struct kml_latency_state *state, enum kml_latency_operation operation, uint32_t bytes,
			   uint64_t arrived, uint64_t now);

/* It left without completing in the device: merged into another, or withdrawn. */
void kml_latency_withdrawn(struct kml_latency_state *state);

/*
 * What a state would have answered at each of `count` arrivals, in the order of time: KML_LATENCY_FEATURES numbers a
 * request in `out`.  An arrival knows only of what came or completed strictly before its nanosecond.  `order`: the
 * numbers of those that completed, `completions` many, by the time in `completed`.  False, with nothing said of `out`:
 * times go back, or a number is none of an arrival's.
 */
bool kml_latency_replay(const struct kml_latency_arrival *arrivals, const uint64_t *completed,
			const uint32_t *final_bytes, uint32_t count, const uint32_t *order, uint32_t completions,
			uint64_t begun, kml_fx *out);

/* A target of such a model: log2(1 + us), and back to ns. */
kml_fx kml_latency_target(uint64_t ns);
uint64_t kml_latency_from_target(kml_fx target);

#endif
