/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Windows of page-cache additions.
 *
 * A page that goes on where one of the last few runs ended belongs to that run: threads that each read on in their own
 * part of a file make long runs, though their pages come in turns.  Any other page begins a run, and the one that has
 * waited longest for its next page ends.
 */
#include "kml/readahead.h"
#include "log2.h"
#include "wide.h"

#define HIGHEST (~(uint64_t)0)
#define LEAST_PAGES 16 /* of a window that says something */
#define LEAST_READAHEADS 4
#define SQUARED_MOST ((uint64_t)1 << 31)
#define LONG_RATIO (2 * KML_FX_ONE) /* four times the read-ahead */
#define LEAST_CHANGE (KML_FX_ONE / 4 * 3)
#define COUNT_BITS 24 /* of a state: windows that made the choice; above, the choice and 1 */

const char *const kml_readahead_names[KML_READAHEAD_FEATURES] = {
	"rate",	 "sequential",	 "interleaved", "forward", "jump",  "whole",
	"run",	 "run_weighted", "run_ratio",	"short",   "files", "current",
};
KML_EXPORT(kml_readahead_names);

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a + b < a ? HIGHEST : a + b;
}

static void end_run(struct kml_readahead_runs *ended, uint64_t pages, uint32_t readahead)
{
	uint64_t squared = pages < SQUARED_MOST ? pages : SQUARED_MOST;

	ended->count++;
	ended->pages = add_saturating(ended->pages, pages);
	ended->squares = add_saturating(ended->squares, squared * squared);
	ended->none_went_on += pages <= readahead;
}

/* With the runs that may go on, as they are now. */
static struct kml_readahead_runs all_runs(const struct kml_readahead_window *window)
{
	struct kml_readahead_runs all = window->ended;
	uint32_t at;

	for (at = 0; at < window->open; at++)
		end_run(&all, window->runs[at].pages, window->readahead);
	return all;
}

void kml_readahead_begin(struct kml_readahead_window *window, uint32_t readahead, uint64_t now)
{
	memset(window, 0, sizeof(*window));
	window->begun = now;
	window->readahead = readahead;
}
KML_EXPORT(kml_readahead_begin);

/* Make room at the front for the run at `at`, or for one that is not there yet. */
static void make_first(struct kml_readahead_window *window, uint32_t at)
{
	struct kml_readahead_run run = window->runs[at];

	for (; at > 0; at--)
		window->runs[at] = window->runs[at - 1];
	window->runs[0] = run;
}

static void begin_run(struct kml_readahead_window *window, uint64_t index)
{
	uint64_t from;

	if (window->open) {
		from = window->runs[0].next;
		window->jumps++;
		window->forward += index > from;
		window->jump_log += (uint64_t)kml_log2(add_saturating(index > from ? index - from : from - index, 1));
	}
	if (window->open == KML_READAHEAD_STREAMS)
		end_run(&window->ended, window->runs[--window->open].pages, window->readahead);
	make_first(window, window->open++);
	window->runs[0].next = index;
	window->runs[0].pages = 0;
	window->whole += !index;
	window->files = 1;
}

void kml_readahead_added(struct kml_readahead_window *window, uint64_t index, uint32_t pages)
{
	uint32_t at;

	if (!pages)
		return;
	for (at = 0; at < window->open && window->runs[at].next != index; at++)
		;
	if (at == window->open) {
		begin_run(window, index);
		window->sequential += pages - 1;
	} else {
		if (at) {
			make_first(window, at);
			window->interleaved++;
		}
		window->sequential += pages;
	}
	window->runs[0].next += pages;
	window->runs[0].pages += pages;
	window->added += pages;
}
KML_EXPORT(kml_readahead_added);

uint64_t kml_readahead_add_each(struct kml_readahead_window *windows, uint32_t window_count, const uint32_t *which,
				const uint64_t *index, const uint32_t *pages, uint64_t count)
{
	uint64_t at, left_out = 0;

	for (at = 0; at < count; at++) {
		if (which[at] < window_count)
			kml_readahead_added(&windows[which[at]], index[at], pages[at]);
		else
			left_out++;
	}
	return left_out;
}
KML_EXPORT(kml_readahead_add_each);

void kml_readahead_merge(struct kml_readahead_window *device, const struct kml_readahead_window *file)
{
	struct kml_readahead_runs runs = all_runs(file);

	device->added = add_saturating(device->added, file->added);
	device->sequential += file->sequential;
	device->interleaved += file->interleaved;
	device->jumps += file->jumps;
	device->forward += file->forward;
	device->jump_log += file->jump_log;
	device->whole += file->whole;
	device->files += file->files;
	device->ended.count += runs.count;
	device->ended.pages = add_saturating(device->ended.pages, runs.pages);
	device->ended.squares = add_saturating(device->ended.squares, runs.squares);
	device->ended.none_went_on += runs.none_went_on;
}
KML_EXPORT(kml_readahead_merge);

/* At most 1, whatever sums that ran over say. */
static kml_fx share(uint64_t part, uint64_t whole)
{
	if (part >= whole)
		return whole ? KML_FX_ONE : 0;
	while (whole >= (uint64_t)1 << 46) {
		whole >>= 1;
		part >>= 1;
	}
	return kml_wide_ratio((int64_t)part, (int64_t)whole);
}

/* Pages a second. */
static uint64_t rate(uint64_t pages, uint64_t ns)
{
	const uint64_t second = 1000000000;

	if (!ns)
		ns = 1;
	while (pages > HIGHEST / second) { /* above 2^34 pages: what is lost of the time does not show */
		pages >>= 1;
		ns = ns > 1 ? ns >> 1 : 1;
	}
	return kml_divu64(pages * second, ns);
}

bool kml_readahead_features(const struct kml_readahead_window *window, uint64_t now, kml_fx *out)
{
	struct kml_readahead_runs runs;
	kml_fx readahead = kml_log2(window->readahead);

	if (window->added < LEAST_PAGES || window->added < (uint64_t)window->readahead * LEAST_READAHEADS)
		return false;
	runs = all_runs(window);
	out[KML_READAHEAD_RATE] = kml_log2(add_saturating(rate(window->added, now - window->begun), 1));
	out[KML_READAHEAD_SEQUENTIAL] = share(window->sequential, window->added);
	out[KML_READAHEAD_INTERLEAVED] = share(window->interleaved, window->added);
	out[KML_READAHEAD_FORWARD] = window->jumps ? share(window->forward, window->jumps) : KML_FX_HALF;
	out[KML_READAHEAD_JUMP] = window->jumps ? (kml_fx)kml_divu64(window->jump_log, window->jumps) : 0;
	out[KML_READAHEAD_WHOLE] = share(window->whole, runs.count);
	out[KML_READAHEAD_RUN] = kml_log2(runs.pages) - kml_log2(runs.count);
	out[KML_READAHEAD_RUN_WEIGHTED] = kml_log2(runs.squares) - kml_log2(runs.pages);
	out[KML_READAHEAD_RUN_RATIO] = out[KML_READAHEAD_RUN] - readahead;
	out[KML_READAHEAD_SHORT] = share(runs.none_went_on, runs.count);
	out[KML_READAHEAD_FILES] = kml_log2(window->files);
	out[KML_READAHEAD_CURRENT] = readahead;
	return true;
}
KML_EXPORT(kml_readahead_features);

static bool within(const kml_fx *before, const kml_fx *after, enum kml_readahead_feature feature, kml_fx most)
{
	kml_fx difference = kml_fx_sub(after[feature], before[feature]);

	return difference <= most && difference >= -most;
}

bool kml_readahead_alike(const kml_fx *before, const kml_fx *after)
{
	return within(before, after, KML_READAHEAD_JUMP, 3 * KML_FX_ONE) &&
	       within(before, after, KML_READAHEAD_FORWARD, KML_FX_ONE / 4) &&
	       within(before, after, KML_READAHEAD_FILES, 2 * KML_FX_ONE);
}
KML_EXPORT(kml_readahead_alike);

kml_fx kml_readahead_gain(const kml_fx *before, const kml_fx *after)
{
	kml_fx gain = kml_fx_sub(after[KML_READAHEAD_RATE], before[KML_READAHEAD_RATE]);

	if (before[KML_READAHEAD_RUN_RATIO] >= LONG_RATIO && after[KML_READAHEAD_RUN_RATIO] >= LONG_RATIO)
		return gain;
	return kml_fx_sub(gain, kml_fx_sub(after[KML_READAHEAD_RUN], before[KML_READAHEAD_RUN]));
}
KML_EXPORT(kml_readahead_gain);

/* The choice nearest to an output, 0 to KML_READAHEAD_CHOICES - 1. */
static uint32_t nearest_choice(kml_fx output)
{
	const kml_fx least = 3 * KML_FX_ONE, most = (KML_READAHEAD_CHOICES + 2) * KML_FX_ONE; /* log2 of KiB */

	if (output <= least)
		return 0;
	if (output >= most)
		return KML_READAHEAD_CHOICES - 1;
	return (uint32_t)(output - least + KML_FX_HALF) >> KML_FX_BITS;
}

uint32_t kml_readahead_choose(kml_fx output, uint32_t current_kib, uint32_t calm, uint32_t *state)
{
	uint32_t choice = nearest_choice(output), kib = KML_READAHEAD_LEAST_KIB << choice;
	uint32_t count = *state & ((1u << COUNT_BITS) - 1);
	kml_fx change = kml_fx_sub(output, kml_log2(current_kib));

	if (kib == KML_READAHEAD_MOST_KIB && current_kib > kib)
		kib = current_kib;
	if (kib == current_kib || (change < LEAST_CHANGE && change > -LEAST_CHANGE)) {
		*state = 0;
		return current_kib;
	}
	if (*state >> COUNT_BITS != choice + 1)
		count = 0;
	if (count < (1u << COUNT_BITS) - 1)
		count++;
	if (count >= calm) {
		*state = 0;
		return kib;
	}
	*state = (choice + 1) << COUNT_BITS | count;
	return current_kib;
}
KML_EXPORT(kml_readahead_choose);
