/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which request a device gets next.
 *
 * No order makes all latencies shorter: their sum is the number of requests in the system, summed over time (Little),
 * so whoever goes first makes others wait.  What an order can do is spare those who wait the long waits: batches of
 * writes before a read, bulk before a log record, one program's writes that starve another's, large before small.
 */
#include "kml/dispatch.h"

#define NS_PER_MS 1000000ull

/* Times count below 2^62 ns (146 years), and what is added to them below 2^57.  Keys of late requests are below 0. */
#define LATE ((int64_t)1 << 62)
#define SPAN_MOST ((uint64_t)1 << 40) /* 18 minutes */
#define OVERTAKING_MOST ((uint32_t)1 << 16)
#define SHARE_BITS 10
#define SHARE_MOST ((uint32_t)1 << SHARE_BITS)

void kml_dispatch_defaults(struct kml_dispatch_settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->deadline[KML_CLASS_READ] = 500 * NS_PER_MS;
	settings->deadline[KML_CLASS_SYNC_WRITE] = 500 * NS_PER_MS;
	settings->deadline[KML_CLASS_WRITEBACK] = 5000 * NS_PER_MS;
	settings->lead = 10 * NS_PER_MS;
	settings->overtaking = 1;
	settings->share = SHARE_MOST / 2;
	settings->slow = 10 * NS_PER_MS;
	settings->calm = 20 * NS_PER_MS;
	settings->ahead = 2 * NS_PER_MS;
}
KML_EXPORT(kml_dispatch_defaults);

static uint64_t least(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

static uint64_t within(uint64_t value, uint64_t low, uint64_t high)
{
	return value < low ? low : least(value, high);
}

static uint64_t after(uint64_t time, uint64_t ns)
{
	return time + ns < time ? ~(uint64_t)0 : time + ns;
}

static uint64_t elapsed(uint64_t since, uint64_t now)
{
	return now > since ? now - since : 0;
}

void kml_dispatch_begin(struct kml_dispatch *dispatch, const struct kml_dispatch_settings *settings)
{
	struct kml_dispatch_settings *taken = &dispatch->settings;
	int class;

	memset(dispatch, 0, sizeof(*dispatch));
	*taken = *settings;
	for (class = 0; class < KML_CLASSES; class++)
		taken->deadline[class] = within(taken->deadline[class], 1, SPAN_MOST);
	taken->lead = least(taken->lead, SPAN_MOST);
	taken->calm = least(taken->calm, SPAN_MOST);
	taken->overtaking = (uint32_t)least(taken->overtaking, OVERTAKING_MOST);
	taken->share = (uint32_t)least(taken->share, SHARE_MOST);
}
KML_EXPORT(kml_dispatch_begin);

int64_t kml_dispatch_key(const struct kml_dispatch *dispatch, enum kml_class class, uint64_t arrived, uint64_t work,
			 uint64_t predicted)
{
	const struct kml_dispatch_settings *settings = &dispatch->settings;
	int64_t came = (int64_t)(arrived & ((uint64_t)LATE - 1));

	if (predicted > settings->deadline[class])
		return came + (int64_t)settings->deadline[class] - LATE - (int64_t)SPAN_MOST;
	if (class == KML_CLASS_SYNC_WRITE)
		came += (int64_t)settings->lead;
	return came + (int64_t)(least(work, SPAN_MOST) * settings->overtaking);
}
KML_EXPORT(kml_dispatch_key);

bool kml_dispatch_may_go_on(const struct kml_dispatch *dispatch, enum kml_class class, uint64_t oldest, uint64_t now)
{
	return elapsed(now, oldest) > dispatch->settings.deadline[class] / 2;
}
KML_EXPORT(kml_dispatch_may_go_on);

/* The class whose oldest is most overdue. */
static int overdue(const struct kml_waiting *waiting, uint64_t now)
{
	int class, found = KML_DISPATCH_NOTHING;

	for (class = 0; class < KML_CLASSES; class++)
		if (waiting[class].count && waiting[class].oldest <= now &&
		    (found < 0 || waiting[class].oldest < waiting[found].oldest))
			found = class;
	return found;
}

/* The class of the best that somebody waits for. */
static int best_waited(const struct kml_waiting *waiting)
{
	const struct kml_waiting *reads = &waiting[KML_CLASS_READ], *writes = &waiting[KML_CLASS_SYNC_WRITE];

	if (reads->count && writes->count)
		return writes->key < reads->key ? KML_CLASS_SYNC_WRITE : KML_CLASS_READ;
	return reads->count ? KML_CLASS_READ : writes->count ? KML_CLASS_SYNC_WRITE : KML_DISPATCH_NOTHING;
}

/* Writeback earns its share of the time in which it waits, up to what its next request takes. */
static void earn(struct kml_dispatch *dispatch, const struct kml_waiting *writeback, uint64_t now)
{
	uint64_t deadline = dispatch->settings.deadline[KML_CLASS_WRITEBACK], share = dispatch->settings.share, passed;

	if (!writeback->count) {
		dispatch->earned_at = 0;
		return;
	}
	passed = dispatch->earned_at ? elapsed(dispatch->earned_at, now) : 0;
	dispatch->earned_at = now;
	/* The part of its time that the oldest has waited, where that is more. */
	share = within(kml_divu64(elapsed(elapsed(now, writeback->oldest), deadline) << SHARE_BITS, deadline), share,
		       SHARE_MOST);
	dispatch->earned = least(dispatch->earned + ((least(passed, SPAN_MOST) * share) >> SHARE_BITS),
				 writeback->work);
}

/* Whether the next writeback is held back; if so, until when. */
static bool holds(struct kml_dispatch *dispatch, const struct kml_waiting *writeback, uint64_t now, uint64_t *until)
{
	uint64_t at = least(elapsed(dispatch->settings.ahead, dispatch->paced), dispatch->calm_at);

	if (!dispatch->in_device[KML_CLASS_WRITEBACK] || now >= at)
		return false;
	*until = least(at, writeback->oldest);
	dispatch->held++;
	return true;
}

int kml_dispatch_choose(struct kml_dispatch *dispatch, const struct kml_waiting waiting[KML_CLASSES], uint64_t now,
			uint64_t *until, bool *expired)
{
	const struct kml_waiting *writeback = &waiting[KML_CLASS_WRITEBACK];
	int late = overdue(waiting, now), waited = best_waited(waiting);

	earn(dispatch, writeback, now);
	*expired = late >= 0 && (!dispatch->took_turn || waited < 0);
	dispatch->took_turn = *expired;
	if (*expired)
		return late;
	if (waited >= 0)
		return writeback->count && dispatch->earned >= writeback->work ? KML_CLASS_WRITEBACK : waited;
	if (!writeback->count)
		return KML_DISPATCH_NOTHING;
	return holds(dispatch, writeback, now, until) ? KML_DISPATCH_HOLD : KML_CLASS_WRITEBACK;
}
KML_EXPORT(kml_dispatch_choose);

void kml_dispatch_arrived(struct kml_dispatch *dispatch, enum kml_class class, uint64_t predicted, uint64_t now)
{
	if (class == KML_CLASS_SYNC_WRITE || (class == KML_CLASS_READ && predicted > dispatch->settings.slow))
		dispatch->calm_at = after(now, dispatch->settings.calm);
}
KML_EXPORT(kml_dispatch_arrived);

void kml_dispatch_issued(struct kml_dispatch *dispatch, enum kml_class class, uint64_t work, uint64_t deadline,
			 uint64_t now)
{
	dispatch->in_device[class]++;
	if (class == KML_CLASS_WRITEBACK) {
		dispatch->earned -= least(dispatch->earned, work);
		dispatch->paced = after(dispatch->paced > now ? dispatch->paced : now, work);
	}
	if (deadline < now)
		dispatch->expired[class]++;
}
KML_EXPORT(kml_dispatch_issued);

void kml_dispatch_withdrawn(struct kml_dispatch *dispatch, enum kml_class class)
{
	if (dispatch->in_device[class])
		dispatch->in_device[class]--;
}
KML_EXPORT(kml_dispatch_withdrawn);

void kml_dispatch_completed(struct kml_dispatch *dispatch, enum kml_class class, uint64_t now)
{
	kml_dispatch_withdrawn(dispatch, class);
	if (class == KML_CLASS_SYNC_WRITE)
		dispatch->calm_at = after(now, dispatch->settings.calm);
}
KML_EXPORT(kml_dispatch_completed);
