/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is known of a block device when a request arrives: logarithms of its queue, its last latencies, its writes. */
#include "kml/latency.h"
#include "log2.h"

#define UNKNOWN (-KML_FX_ONE)
#define SECTOR_SHIFT 9
#define KIB_SHIFT 10
#define NS_PER_US 1000u
#define LOG2_NS_PER_US KML_FX(9.965784284662087)
#define LN_2 KML_FX(0.6931471805599453)
#define WINDOW_NS ((uint64_t)KML_LATENCY_SLICES * KML_LATENCY_SLICE_NS)
#define LONGEST_TARGET 36 /* 2^36 us are 19 hours; 2^36 * 1000 has yet 17 bits to the left, for a fraction */

const char *const kml_latency_names[KML_LATENCY_FEATURES] = {
	"write",          "synchronous",     "bytes",           "sector_distance", "queue",          "queue_1",
	"queue_2",        "queue_3",         "read_latency_1",  "read_latency_2",  "read_latency_3", "write_latency_1",
	"write_latency_2", "write_latency_3", "since_write",     "written_100ms",   "ahead",
};
KML_EXPORT(kml_latency_names);

/* log2(1 + value / 2^shift); values of which 2^shift more would not fit are taken for the greatest that does. */
static kml_fx log2_scaled(uint64_t value, unsigned int shift)
{
	uint64_t one = (uint64_t)1 << shift;

	return kml_log2(value + one < one ? ~(uint64_t)0 : value + one) - (kml_fx)shift * KML_FX_ONE;
}

kml_fx kml_latency_target(uint64_t ns)
{
	uint64_t later = ns + NS_PER_US;

	return kml_log2(later < ns ? ~(uint64_t)0 : later) - LOG2_NS_PER_US;
}
KML_EXPORT(kml_latency_target);

uint64_t kml_latency_from_target(kml_fx target)
{
	uint64_t ns;

	if (target <= 0)
		return 0;
	if (target >= LONGEST_TARGET * KML_FX_ONE)
		target = LONGEST_TARGET * KML_FX_ONE;
	/* 2^fraction, Q16.16, below 2^17. */
	ns = (uint64_t)kml_fx_exp(kml_fx_mul(target & (KML_FX_ONE - 1), LN_2)) * NS_PER_US;
	ns = (ns << (target >> KML_FX_BITS)) >> KML_FX_BITS;
	return ns < NS_PER_US ? 0 : ns - NS_PER_US;
}
KML_EXPORT(kml_latency_from_target);

void kml_latency_begin(struct kml_latency_state *state, uint64_t now)
{
	unsigned int i;

	memset(state, 0, sizeof(*state));
	state->begun = now;
	state->last_end = KML_LATENCY_NO_SECTOR;
	for (i = 0; i < KML_LATENCY_HISTORY; i++) {
		state->queues.features[i] = UNKNOWN;
		state->latencies[0].features[i] = UNKNOWN;
		state->latencies[1].features[i] = UNKNOWN;
	}
}
KML_EXPORT(kml_latency_begin);

static uint64_t elapsed(uint64_t since, uint64_t now)
{
	return now > since ? now - since : 0;
}

static kml_fx distance(const struct kml_latency_state *state, uint64_t sector)
{
	if (sector == KML_LATENCY_NO_SECTOR || state->last_end == KML_LATENCY_NO_SECTOR)
		return UNKNOWN;
	return log2_scaled(sector > state->last_end ? sector - state->last_end : state->last_end - sector, 0);
}

/* Of the slices that are not older than the window. */
static kml_fx recently_written(const struct kml_latency_state *state, uint64_t now)
{
	uint64_t passed = elapsed(state->slice, kml_divu64(now, KML_LATENCY_SLICE_NS)), sectors = 0, back;

	if (elapsed(state->begun, now) < WINDOW_NS)
		return UNKNOWN;
	for (back = 0; back + passed < KML_LATENCY_SLICES; back++)
		sectors += state->written[(state->slice - back) % KML_LATENCY_SLICES];
	return log2_scaled(sectors, KIB_SHIFT - SECTOR_SHIFT);
}

static void remember(struct kml_latency_history *history, uint64_t number)
{
	unsigned int i;

	for (i = KML_LATENCY_HISTORY - 1; i > 0; i--)
		history->numbers[i] = history->numbers[i - 1];
	history->numbers[0] = number;
	if (history->fresh < KML_LATENCY_HISTORY)
		history->fresh++;
}

static kml_fx log2_of(uint64_t number)
{
	return log2_scaled(number, 0);
}

static inline void recall(struct kml_latency_history *history, kml_fx (*feature)(uint64_t), kml_fx *out)
{
	unsigned int i;

	for (i = KML_LATENCY_HISTORY; i-- > history->fresh;)
		history->features[i] = history->features[i - history->fresh];
	for (i = 0; i < history->fresh; i++)
		history->features[i] = feature(history->numbers[i]);
	history->fresh = 0;
	memcpy(out, history->features, sizeof(history->features));
}

void kml_latency_features(struct kml_latency_state *state, const struct kml_latency_arrival *arrival, kml_fx *out)
{
	out[KML_LATENCY_WRITE] = arrival->operation == KML_LATENCY_OF_WRITE ? KML_FX_ONE : 0;
	out[KML_LATENCY_SYNCHRONOUS] = arrival->synchronous ? KML_FX_ONE : 0;
	out[KML_LATENCY_BYTES] = log2_scaled(arrival->bytes, KIB_SHIFT);
	out[KML_LATENCY_SECTOR_DISTANCE] = distance(state, arrival->sector);
	out[KML_LATENCY_QUEUE] = log2_scaled(state->queue, 0);
	recall(&state->queues, log2_of, out + KML_LATENCY_QUEUE_1);
	recall(&state->latencies[KML_LATENCY_OF_READ], kml_latency_target, out + KML_LATENCY_READ_LATENCY_1);
	recall(&state->latencies[KML_LATENCY_OF_WRITE], kml_latency_target, out + KML_LATENCY_WRITE_LATENCY_1);
	out[KML_LATENCY_SINCE_WRITE] =
		state->last_write ? kml_latency_target(elapsed(state->last_write, arrival->now)) : UNKNOWN;
	out[KML_LATENCY_WRITTEN_100MS] = recently_written(state, arrival->now);
	/* What was merged grew, and so more may have completed than arrived. */
	out[KML_LATENCY_AHEAD] = log2_scaled((int64_t)state->ahead < 0 ? 0 : state->ahead, KIB_SHIFT);
}
KML_EXPORT(kml_latency_features);

void kml_latency_arrived(struct kml_latency_state *state, const struct kml_latency_arrival *arrival)
{
	remember(&state->queues, state->queue);
	if (state->queue < ~(uint32_t)0)
		state->queue++;
	state->ahead += arrival->bytes;
	if (arrival->sector != KML_LATENCY_NO_SECTOR)
		state->last_end = arrival->sector + (arrival->bytes >> SECTOR_SHIFT);
	if (arrival->operation == KML_LATENCY_OF_WRITE)
		state->last_write = arrival->now;
}
KML_EXPORT(kml_latency_arrived);

static void written(struct kml_latency_state *state, uint32_t sectors, uint64_t now)
{
	uint64_t passed = elapsed(state->slice, kml_divu64(now, KML_LATENCY_SLICE_NS));
	uint32_t *slice;

	if (passed >= KML_LATENCY_SLICES) {
		memset(state->written, 0, sizeof(state->written));
		state->slice += passed;
	} else {
		for (; passed; passed--)
			state->written[++state->slice % KML_LATENCY_SLICES] = 0;
	}
	slice = &state->written[state->slice % KML_LATENCY_SLICES];
	*slice = *slice + sectors < sectors ? ~(uint32_t)0 : *slice + sectors;
}

void kml_latency_completed(struct kml_latency_state *state, enum kml_latency_operation operation, uint32_t bytes,
			   uint64_t arrived, uint64_t now)
{
	state->ahead -= bytes;
	kml_latency_withdrawn(state);
	if (operation >= KML_LATENCY_OF_OTHER)
		return;
	remember(&state->latencies[operation], elapsed(arrived, now));
	if (operation == KML_LATENCY_OF_WRITE)
		written(state, bytes >> SECTOR_SHIFT, now);
}
KML_EXPORT(kml_latency_completed);

void kml_latency_withdrawn(struct kml_latency_state *state)
{
	if (state->queue)
		state->queue--;
	if (!state->queue)
		state->ahead = 0;
}
KML_EXPORT(kml_latency_withdrawn);
