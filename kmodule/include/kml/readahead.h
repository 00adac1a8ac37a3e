/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How a file, or all files of a device, are read, seen from what is added to the page cache: the features that models
 * of the best read-ahead take, over a window of time.  Used by kml_readahead.ko, by `edgeprof tune` and for training
 * sets, so that all see the same.  The caller's lock guards a window.
 *
 * What is added is shaped by the read-ahead in use: each miss adds that many pages, wanted or not.  So lengths of runs
 * stand beside the read-ahead under which they were made, and a window is begun anew when that changes.
 */
#ifndef KML_READAHEAD_H
#define KML_READAHEAD_H

#include "kml/fixed.h"

#define KML_READAHEAD_VERSION 1 /* raised when a feature changes its meaning or its place */
#define KML_READAHEAD_STREAMS 8 /* readers of one file that are told apart */

/* Sizes to choose from, KiB: 8, 16, ... 1024. */
#define KML_READAHEAD_CHOICES 8
#define KML_READAHEAD_LEAST_KIB 8
#define KML_READAHEAD_MOST_KIB 1024

/* A model names them in this order, in lower case and without the prefix.  A run: pages that follow each other. */
enum kml_readahead_feature {
	KML_READAHEAD_RATE,         /* log2(1 + pages added a second) */
	KML_READAHEAD_SEQUENTIAL,   /* share of the pages that follow another of their run */
	KML_READAHEAD_INTERLEAVED,  /* share of the pages that go on with another run than the page before did */
	KML_READAHEAD_FORWARD,      /* share of the jumps, from a page to the next run, that go forward; 0.5: none */
	KML_READAHEAD_JUMP,         /* mean of log2(1 + pages) of the jumps */
	KML_READAHEAD_WHOLE,        /* share of the runs that begin a file */
	KML_READAHEAD_RUN,          /* log2 of the mean run */
	KML_READAHEAD_RUN_WEIGHTED, /* log2 of the run that a page lies in, on average: few long ones show */
	KML_READAHEAD_RUN_RATIO,    /* log2 of the mean run over the current read-ahead */
	KML_READAHEAD_SHORT,        /* share of the runs not longer than the current read-ahead: nobody went on */
	KML_READAHEAD_FILES,        /* log2 of the files that were read */
	KML_READAHEAD_CURRENT,      /* log2 of the current read-ahead in pages */
	KML_READAHEAD_FEATURES
};

extern const char *const kml_readahead_names[KML_READAHEAD_FEATURES];

struct kml_readahead_run {
	uint64_t next;  /* the page that would go on with it */
	uint64_t pages;
};

/* Sums over runs, but for those that may go on. */
struct kml_readahead_runs {
	uint64_t count;
	uint64_t pages;
	uint64_t squares; /* of their lengths; saturates */
	uint64_t none_went_on; /* no longer than the read-ahead */
};

struct kml_readahead_window {
	uint64_t begun;       /* ns */
	uint64_t added;       /* pages */
	uint64_t sequential;
	uint64_t interleaved;
	uint64_t jumps;
	uint64_t forward;     /* of the jumps */
	uint64_t jump_log;    /* sum of log2(1 + pages) of the jumps, Q48.16 */
	uint64_t whole;       /* runs that begin a file */
	uint64_t files;
	struct kml_readahead_runs ended;
	uint32_t readahead;   /* pages */
	uint32_t open;        /* runs that may go on */
	struct kml_readahead_run runs[KML_READAHEAD_STREAMS]; /* the latest first */
};

/* Begin a window, or begin it anew; `readahead` is the one in use, in pages. */
void kml_readahead_begin(struct kml_readahead_window *window, uint32_t readahead, uint64_t now);

/* `pages` from `index` on were added to the page cache. */
void kml_readahead_added(struct kml_readahead_window *window, uint64_t index, uint32_t pages);

/* The same for many at once, each to the window that `which` says; what is out of range is left out, and counted. */
uint64_t kml_readahead_add_each(struct kml_readahead_window *windows, uint32_t window_count, const uint32_t *which,
				const uint64_t *index, const uint32_t *pages, uint64_t count);

/* Add what a file's window has seen to its device's, which has one of its own read-ahead. */
void kml_readahead_merge(struct kml_readahead_window *device, const struct kml_readahead_window *file);

/*
 * false: too little was added to say anything (16 pages, and four times the read-ahead): let the window go on.
 * A window must not be older than 2^63 ns.
 */
bool kml_readahead_features(const struct kml_readahead_window *window, uint64_t now, kml_fx *out);

/*
 * Whether two windows show the same kind of reading, by what the read-ahead does not shape: where runs begin.  If not,
 * their speeds say nothing of a change between them.
 */
bool kml_readahead_alike(const kml_fx *before, const kml_fx *after);

/*
 * How much faster a file was read after its read-ahead changed, from the features of a window before and of one after:
 * log2 of the ratio.  Where runs are long under both, pages count, since all of them were wanted; elsewhere runs, since
 * most of their pages were the read-ahead's own.
 */
kml_fx kml_readahead_gain(const kml_fx *before, const kml_fx *after);

/*
 * From a model's output, log2 of KiB, to the read-ahead to use.  It leaves the current one only for a choice that is at
 * least three quarters of a step away, and only once `calm` windows in a row (0: as 1) made the same choice; `state` is
 * the caller's memory between windows, 0 at first.  One that is larger than all choices stays where the largest is
 * asked for.
 */
uint32_t kml_readahead_choose(kml_fx output, uint32_t current_kib, uint32_t calm, uint32_t *state);

#endif
