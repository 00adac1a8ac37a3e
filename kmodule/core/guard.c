/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Whether acting on predictions pays. */
#include "kml/guard.h"

#define MS 1000000ull
#define WINDOW (250 * MS)
#define FEW_WINDOWS 4u
#define FIRST_WINDOWS 16u /* 4 s: a device's service times are learned meanwhile */
#define MOST_WINDOWS 128u /* 32 s */
#define LEAST_COUNT 16u   /* fewer requests tell nothing */
#define WORSE_PAIRS 3u
#define FIRST_PAUSE (10000 * MS)
#define MOST_PAUSE (320000 * MS)

#define FADE 6 /* a score's memory: 2^6 predictions */
#define LEAST_PREDICTIONS 256
#define BUCKET (KML_FX_ONE / 4)

static void enter(struct kml_guard *guard, enum kml_guard_phase phase, uint64_t lasts, uint64_t now)
{
	guard->phase = phase;
	guard->ends = now + lasts;
	guard->counts_from = guard->ends - WINDOW;
}

static void act(struct kml_guard *guard, uint32_t windows, uint64_t now)
{
	guard->windows = windows;
	memset(guard->sum, 0, sizeof(guard->sum));
	memset(guard->count, 0, sizeof(guard->count));
	enter(guard, KML_GUARD_ACTS, windows * WINDOW, now);
}

void kml_guard_begin(struct kml_guard *guard, uint64_t now)
{
	memset(guard, 0, sizeof(*guard));
	guard->pause = FIRST_PAUSE;
	act(guard, FIRST_WINDOWS, now);
}
KML_EXPORT(kml_guard_begin);

/* More than a tenth; requests take less than hours, and a phase sees less than 2^32 of them. */
static bool was_worse(const struct kml_guard *guard)
{
	uint64_t acting = kml_divu64(guard->sum[KML_GUARD_ACTS], guard->count[KML_GUARD_ACTS]);
	uint64_t resting = kml_divu64(guard->sum[KML_GUARD_RESTS], guard->count[KML_GUARD_RESTS]);

	return acting > resting + kml_divu64(resting, 10);
}

/* A phase without the rule ended. */
static void compare(struct kml_guard *guard, uint64_t now)
{
	if (guard->count[KML_GUARD_ACTS] < LEAST_COUNT || guard->count[KML_GUARD_RESTS] < LEAST_COUNT) {
		act(guard, guard->windows, now);
		return;
	}
	guard->comparisons++;
	if (!was_worse(guard)) {
		guard->worse = 0;
		guard->pause = FIRST_PAUSE;
		act(guard, guard->windows < MOST_WINDOWS ? 2 * guard->windows : MOST_WINDOWS, now);
		return;
	}
	guard->worse++;
	if (guard->worse < WORSE_PAIRS) {
		act(guard, FEW_WINDOWS, now);
		return;
	}
	guard->worse = 0;
	guard->fallbacks++;
	enter(guard, KML_GUARD_GAVE_UP, guard->pause, now);
	if (guard->pause < MOST_PAUSE)
		guard->pause *= 2;
}

bool kml_guard_acts(struct kml_guard *guard, uint64_t now)
{
	if (kml_unlikely(now >= guard->ends)) {
		switch (guard->phase) {
		case KML_GUARD_ACTS:
			/* Where nobody waited there is nothing to compare, and no need to rest. */
			if (guard->count[KML_GUARD_ACTS] < LEAST_COUNT)
				act(guard, guard->windows, now);
			else
				enter(guard, KML_GUARD_RESTS, WINDOW, now);
			break;
		case KML_GUARD_RESTS:
			compare(guard, now);
			break;
		case KML_GUARD_GAVE_UP:
			act(guard, FEW_WINDOWS, now);
			break;
		}
	}
	return guard->phase == KML_GUARD_ACTS;
}
KML_EXPORT(kml_guard_acts);

void kml_guard_completed(struct kml_guard *guard, uint64_t arrived, uint64_t now)
{
	if (guard->phase == KML_GUARD_GAVE_UP || arrived < guard->counts_from || now < arrived || now >= guard->ends)
		return;
	guard->sum[guard->phase] += now - arrived;
	guard->count[guard->phase]++;
}
KML_EXPORT(kml_guard_completed);

static kml_fx distance(kml_fx a, kml_fx b)
{
	return a > b ? kml_fx_sub(a, b) : kml_fx_sub(b, a);
}

/* The first samples count in full: the mean of a few, then a fading one. */
static kml_fx faded(kml_fx mean, kml_fx sample, uint64_t before)
{
	unsigned int fade = 0;

	while (fade < FADE && before >> fade)
		fade++;
	return (kml_fx)(mean + (((int64_t)sample - mean) >> fade));
}

void kml_score_add(struct kml_score *score, kml_fx predicted, kml_fx actual, kml_fx deadline)
{
	kml_fx error = distance(predicted, actual);
	unsigned int bucket = (unsigned int)error / BUCKET;

	score->histogram[bucket < KML_SCORE_BUCKETS ? bucket : KML_SCORE_BUCKETS - 1]++;
	score->error = faded(score->error, error, score->predictions);
	score->trivial_error = faded(score->trivial_error, distance(score->mean, actual), score->predictions);
	score->mean = faded(score->mean, actual, score->predictions);
	score->predictions++;
	score->missed += actual > deadline;
	score->foretold_missed += predicted > deadline;
	score->rightly_foretold += actual > deadline && predicted > deadline;
}
KML_EXPORT(kml_score_add);

bool kml_score_trusted(const struct kml_score *score)
{
	return score->predictions < LEAST_PREDICTIONS || score->error <= score->trivial_error;
}
KML_EXPORT(kml_score_trusted);
