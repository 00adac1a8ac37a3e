/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How a file (or a device) is read, seen from what is added to the page cache: the features that the read-ahead model
 * takes, over a window.  The names, in this order, are those of enum kml_readahead_feature in lower case without the
 * prefix.  Used by kml_readahead.ko, by `edgeprof tune` and when training sets are made, so that all see the same.
 */
#ifndef KML_READAHEAD_H
#define KML_READAHEAD_H

#include "kml/fixed.h"

#define KML_READAHEAD_VERSION 1 /* raised when a feature changes its meaning or its place */

/* Sizes to choose from, KiB: 8, 16, ... 1024. */
#define KML_READAHEAD_CHOICES 8
#define KML_READAHEAD_LEAST_KIB 8

enum kml_readahead_feature {
	KML_READAHEAD_RATE,        /* log2(1 + pages added a second) */
	KML_READAHEAD_SEQUENTIAL,  /* share of additions right behind the one before */
	KML_READAHEAD_FORWARD,     /* share of the jumps that go forward */
	KML_READAHEAD_JUMP,        /* mean of log2(pages) of the jumps */
	KML_READAHEAD_RUN,         /* log2 of the mean run of pages that follow each other */
	KML_READAHEAD_RUN_LONGEST, /* log2 of the longest */
	KML_READAHEAD_RUN_RATIO,   /* log2 of the mean run over the current read-ahead */
	KML_READAHEAD_CURRENT,     /* log2 of the current read-ahead in pages */
	KML_READAHEAD_FEATURES
};

extern const char *const kml_readahead_names[KML_READAHEAD_FEATURES];

struct kml_readahead_window {
	uint64_t begun;      /* ns */
	uint64_t last;       /* index of the last page added */
	uint64_t added;      /* pages */
	uint32_t sequential; /* additions right behind the one before */
	uint32_t jumps;
	uint32_t forward;    /* of the jumps */
	uint64_t run;        /* pages of the run that goes on */
	uint64_t longest;
	uint64_t jump_log;   /* sum of log2(pages) of the jumps, Q48.16 */
};

void kml_readahead_begin(struct kml_readahead_window *window, uint64_t now);
/* `pages` from `index` on were added to the page cache. */
void kml_readahead_added(struct kml_readahead_window *window, uint64_t index, uint32_t pages);
/* false: too few additions to say anything. */
bool kml_readahead_features(const struct kml_readahead_window *window, uint32_t current_pages, uint64_t now, kml_fx *out);

/*
 * From the model's output (log2 of KiB) to a choice in KiB, given the current one: it changes only when the model asks
 * for at least half a step, and `calm` windows in a row agree; the caller keeps `state` (0 at the start).
 */
uint32_t kml_readahead_choose(kml_fx output, uint32_t current_kib, uint32_t *state, uint32_t calm);

#endif
