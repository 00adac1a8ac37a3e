/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Whether acting on predictions pays, seen from what it does.
 *
 * kml_guard: long phases in which a rule acts take turns with short ones in which it does not.  Where requests that
 * somebody waits for take longer with the rule than without it, pair after pair, the rule is given up for a while.
 *
 * kml_score: how far predictions are off, beside those of the mean of what was seen.  A caller's lock guards both.
 */
#ifndef KML_GUARD_H
#define KML_GUARD_H

#include "kml/fixed.h"

enum kml_guard_phase { KML_GUARD_ACTS, KML_GUARD_RESTS, KML_GUARD_GAVE_UP };

struct kml_guard {
	enum kml_guard_phase phase;
	uint64_t ends;        /* ns */
	uint64_t counts_from; /* the phase's last part, as long as a rest: what takes longer counts in neither */
	uint64_t sum[2];      /* ns, of requests that came and went within that part: acting, resting */
	uint32_t count[2];
	uint32_t windows;     /* of the next phase that acts */
	uint32_t worse;       /* pairs in a row in which acting was worse */
	uint64_t pause;       /* ns, of the next time it gives up */
	uint64_t comparisons;
	uint64_t fallbacks;
};

void kml_guard_begin(struct kml_guard *guard, uint64_t now);

/* Whether to act now: the clock decides. */
bool kml_guard_acts(struct kml_guard *guard, uint64_t now);

/* A request that somebody waited for has completed. */
void kml_guard_completed(struct kml_guard *guard, uint64_t arrived, uint64_t now);

#define KML_SCORE_BUCKETS 12 /* of |error|: below 1/4, 1/2, 3/4, ... of a doubling; the last has all above */

struct kml_score {
	uint64_t predictions;
	kml_fx mean;          /* of log2(1 + us), fading */
	kml_fx error;         /* |error| of the predictions, fading */
	kml_fx trivial_error; /* that of the mean, as it was before */
	uint64_t histogram[KML_SCORE_BUCKETS];
	uint64_t missed;           /* deadlines */
	uint64_t foretold_missed;
	uint64_t rightly_foretold;   /* both */
};

/* Targets are those of kml_latency_target, deadlines too. */
void kml_score_add(struct kml_score *score, kml_fx predicted, kml_fx actual, kml_fx deadline);

/* Not yet known to be worse than predicting the mean. */
bool kml_score_trusted(const struct kml_score *score);

#endif
