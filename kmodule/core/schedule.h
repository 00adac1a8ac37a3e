/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The learning rate, as its schedule lets it fall; of the fixed-point and of the float trainer. */
#ifndef KML_SCHEDULE_H
#define KML_SCHEDULE_H

#include "kml/train.h"
#include "q32.h"

struct kml_rate {
	int64_t first;    /* Q32.32: where the schedule started */
	int64_t now;      /* Q32.32 */
	uint64_t updates; /* since it started */
};

static inline void kml_rate_start(struct kml_rate *rate, kml_fx first)
{
	rate->first = kml_q32(first);
	rate->now = rate->first;
	rate->updates = 0;
}

/* first / (1 + decay * updates / decay_every) */
static inline int64_t kml_rate_inverse(const struct kml_rate *rate, const struct kml_training *training)
{
	uint64_t whole = kml_divu64(rate->updates, training->decay_every);
	uint64_t rest = rate->updates - whole * training->decay_every;
	uint64_t decay = (uint64_t)training->decay;
	uint64_t divisor;

	if (whole > KML_FX_MAX)
		whole = KML_FX_MAX;
	divisor = KML_FX_ONE + decay * whole + kml_divu64(decay * rest, training->decay_every);
	return (int64_t)kml_divu64((uint64_t)rate->first << KML_FX_BITS, divisor);
}

/* Another update was made. */
static inline void kml_rate_advance(struct kml_rate *rate, const struct kml_training *training)
{
	rate->updates++;
	if (training->schedule == KML_RATE_INVERSE)
		rate->now = kml_rate_inverse(rate, training);
	else if (training->schedule == KML_RATE_STEP &&
		 rate->updates == kml_divu64(rate->updates, training->decay_every) * training->decay_every)
		rate->now = kml_q32_clamp(kml_q32_multiply(rate->now, kml_q32(training->decay)), KML_Q32_MAX);
}

#endif
