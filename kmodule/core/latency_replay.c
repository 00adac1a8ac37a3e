/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The features of a recorded table of requests, by the code that answers in the kernel; no module has this. */
#include "kml/latency.h"

/* Those that completed before a time. */
static bool complete_until(struct kml_latency_state *state, const struct kml_latency_arrival *arrivals,
			   const uint64_t *completed, const uint32_t *final_bytes, uint32_t count,
			   const uint32_t *order, uint32_t completions, uint32_t *next, uint64_t until)
{
	uint64_t last = 0;
	uint32_t number;

	for (; *next < completions; ++*next) {
		number = order[*next];
		if (number >= count || completed[number] < last)
			return false;
		if (completed[number] >= until)
			return true;
		last = completed[number];
		kml_latency_completed(state, arrivals[number].operation, final_bytes[number], arrivals[number].now,
				      last);
	}
	return true;
}

bool kml_latency_replay(const struct kml_latency_arrival *arrivals, const uint64_t *completed,
			const uint32_t *final_bytes, uint32_t count, const uint32_t *order, uint32_t completions,
			uint64_t begun, kml_fx *out)
{
	struct kml_latency_state state;
	uint32_t first, at, next = 0, queue;

	kml_latency_begin(&state, begun);
	for (first = 0; first < count; first = at) {
		if (first && arrivals[first].now < arrivals[first - 1].now)
			return false;
		if (!complete_until(&state, arrivals, completed, final_bytes, count, order, completions, &next,
				    arrivals[first].now))
			return false;
		for (at = first; at < count && arrivals[at].now == arrivals[first].now; at++)
			kml_latency_features(&state, &arrivals[at], out + (size_t)at * KML_LATENCY_FEATURES);
		/* Those that come together see the same queue, also as the history of later ones. */
		queue = state.queue;
		for (at = first; at < count && arrivals[at].now == arrivals[first].now; at++) {
			state.queue = queue;
			kml_latency_arrived(&state, &arrivals[at]);
		}
		state.queue = queue + (at - first);
	}
	return true;
}
KML_EXPORT(kml_latency_replay);
