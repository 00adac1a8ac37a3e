/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The schedulers that are simulated: first come, first served; mq-deadline, as the kernel documents it
 * (Documentation/block/deadline-iosched.rst: expiry, batches, starved writes); and the rule of kml/dispatch.h with the
 * service times that kml/service.h learns.  None merges requests.
 */
#ifndef SIMULATED_SCHEDULERS_H
#define SIMULATED_SCHEDULERS_H

#include <string.h>

#include "../disk/disk_model.h"
#include "kml/dispatch.h"
#include "kml/service.h"

#define MS 1000000ull
#define NEVER (~(uint64_t)0)
#define MOST_WAITING 256

struct request {
	enum kml_class class;
	enum disk_operation operation;
	uint64_t offset;
	uint32_t bytes;
	uint32_t job; /* its number */
	uint64_t arrived, issued, end, deadline, work;
	int64_t key;
	enum kml_service_kind kind;
};

struct scheduler {
	const char *name;
	void (*begin)(void);
	void (*insert)(struct request *request, uint64_t now);
	struct request *(*next)(uint64_t now, uint64_t *until);
	void (*completed)(struct request *request, uint64_t now);
};

static struct request *waiting[MOST_WAITING];
static uint32_t waiting_count;

static struct request *take(uint32_t at)
{
	struct request *taken = waiting[at];

	/* The order of arrival stays. */
	memmove(&waiting[at], &waiting[at + 1], (--waiting_count - at) * sizeof(waiting[0]));
	return taken;
}

static bool writes(const struct request *request)
{
	return request->operation != DISK_READ;
}

static void nothing_to_begin(void)
{
}

static void nothing_to_insert(struct request *request, uint64_t now)
{
	(void)request;
	(void)now;
}

static struct request *first_come(uint64_t now, uint64_t *until)
{
	(void)now;
	(void)until;
	return waiting_count ? take(0) : NULL;
}

static void nothing_to_complete(struct request *request, uint64_t now)
{
	(void)request;
	(void)now;
}

#define FIFO_BATCH 16
#define WRITES_STARVED 2
#define READ_EXPIRE (500 * MS)
#define WRITE_EXPIRE (5000 * MS)

static struct {
	bool direction; /* writes */
	uint32_t batch, starved;
	uint64_t position[2]; /* where the last request of each direction ended */
} deadline;

static void deadline_begin(void)
{
	memset(&deadline, 0, sizeof(deadline));
	deadline.batch = FIFO_BATCH;
	deadline.position[0] = deadline.position[1] = NEVER;
}

/* The next in the order of sectors behind the last one of that direction; -1: none. */
static int deadline_behind(bool direction)
{
	int found = -1;
	uint32_t at;

	if (deadline.position[direction] == NEVER)
		return -1;
	for (at = 0; at < waiting_count; at++)
		if (writes(waiting[at]) == direction && waiting[at]->offset >= deadline.position[direction] &&
		    (found < 0 || waiting[at]->offset < waiting[found]->offset))
			found = (int)at;
	return found;
}

static int deadline_oldest(bool direction)
{
	uint32_t at;

	for (at = 0; at < waiting_count; at++)
		if (writes(waiting[at]) == direction)
			return (int)at;
	return -1;
}

/* Reads, as long as writes have not starved; of them the next by sectors, unless the oldest has expired. */
static int deadline_new_batch(uint64_t now)
{
	bool reads = deadline_oldest(false) >= 0, written = deadline_oldest(true) >= 0;
	int oldest, at;

	deadline.direction = !(reads && (!written || deadline.starved++ < WRITES_STARVED));
	if (deadline.direction)
		deadline.starved = 0;
	deadline.batch = 0;
	oldest = deadline_oldest(deadline.direction);
	at = deadline_behind(deadline.direction);
	if (at < 0 || waiting[oldest]->arrived + (deadline.direction ? WRITE_EXPIRE : READ_EXPIRE) <= now)
		return oldest;
	return at;
}

static struct request *deadline_next(uint64_t now, uint64_t *until)
{
	int at = deadline_behind(deadline.direction);

	(void)until;
	if (!waiting_count)
		return NULL;
	if (at < 0 || deadline.batch >= FIFO_BATCH)
		at = deadline_new_batch(now);
	deadline.batch++;
	deadline.position[deadline.direction] = waiting[at]->offset + waiting[at]->bytes;
	return take((uint32_t)at);
}

static struct kml_dispatch_settings settings;
static struct kml_dispatch dispatch;
static struct kml_service service;
static uint64_t last_end[2];

static void rule_begin(void)
{
	kml_dispatch_begin(&dispatch, &settings);
	kml_service_begin(&service);
	last_end[0] = last_end[1] = NEVER;
}

static void rule_insert(struct request *request, uint64_t now)
{
	request->kind = kml_service_kind(writes(request), false);
	request->work = kml_service_predict(&service, request->kind, request->bytes);
	request->deadline = now + settings.deadline[request->class];
	request->key = kml_dispatch_key(&dispatch, request->class, now, request->work, 0);
	kml_dispatch_arrived(&dispatch, request->class, 0, now);
}

static struct request *rule_next(uint64_t now, uint64_t *until)
{
	struct kml_waiting waits[KML_CLASSES] = { 0 };
	int best[KML_CLASSES], oldest[KML_CLASSES], goes_on[KML_CLASSES] = { -1, -1, -1 }, class;
	struct request *request;
	bool expired;
	uint32_t at;

	for (at = 0; at < waiting_count; at++) {
		request = waiting[at];
		class = request->class;
		if (!waits[class].count++) {
			oldest[class] = best[class] = (int)at;
			waits[class].oldest = request->deadline;
		}
		if (request->key < waiting[best[class]]->key)
			best[class] = (int)at;
		if (request->offset == last_end[writes(request)])
			goes_on[class] = (int)at;
	}
	for (class = 0; class < KML_CLASSES; class++) {
		if (waits[class].count) {
			if (goes_on[class] >= 0 && kml_dispatch_may_go_on(&dispatch, class, waits[class].oldest, now))
				best[class] = goes_on[class];
			waits[class].work = waiting[best[class]]->work;
			waits[class].key = waiting[best[class]]->key;
		}
	}
	class = kml_dispatch_choose(&dispatch, waits, now, until, &expired);
	if (class < 0)
		return NULL;
	request = take((uint32_t)(expired ? oldest[class] : best[class]));
	request->kind = kml_service_kind(writes(request), last_end[writes(request)] == request->offset);
	last_end[writes(request)] = request->offset + request->bytes;
	kml_service_issued(&service);
	kml_dispatch_issued(&dispatch, request->class, request->work, request->deadline, now);
	return request;
}

static void rule_completed(struct request *request, uint64_t now)
{
	kml_service_completed(&service, request->kind, request->bytes, request->issued, now);
	kml_dispatch_completed(&dispatch, request->class, now);
}

enum { FIRST_COME, DEADLINE, RULE, SCHEDULERS };
static const struct scheduler schedulers[SCHEDULERS] = {
	[FIRST_COME] = { "first come", nothing_to_begin, nothing_to_insert, first_come, nothing_to_complete },
	[DEADLINE] = { "mq-deadline", deadline_begin, nothing_to_insert, deadline_next, nothing_to_complete },
	[RULE] = { "the rule", rule_begin, rule_insert, rule_next, rule_completed },
};

#endif
