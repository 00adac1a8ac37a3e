/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Jobs that wait for their requests, played against the modelled disk: events in the order of time, nothing between. */
#ifndef SIMULATED_JOBS_H
#define SIMULATED_JOBS_H

#include <stdlib.h>

#include "random.h"
#include "simulated_schedulers.h"

#define US 1000ull
#define AREA (512ull << 20) /* of the disk, for each job */
#define MOST_JOBS 12
#define MOST_KINDS 4
/* The kernel gives mq-deadline twice the tags of a disk that has 64, and asynchronous writes three quarters of them. */
#define ASYNC_DEPTH 96

enum pattern { RANDOM, SEQUENTIAL };

/*
 * A job keeps `depth` requests in flight, pauses after each group of them, and ends after `count`.  Programs pause
 * after a group has ended; the kernel's writeback begins one after the other at given times, or late.
 */
struct job_kind {
	const char *name;
	enum kml_class class;
	enum pattern pattern;
	uint32_t least, most; /* bytes; powers of two between, each as likely */
	uint32_t depth;
	uint32_t group; /* requests between pauses */
	uint64_t think; /* ns; half to one and a half times, at random */
	uint32_t count;
	bool flush; /* at the end of each group, as fsync does */
	uint32_t copies;
};

struct workload {
	const char *name;
	struct job_kind kinds[MOST_KINDS];
};

struct job {
	const struct job_kind *kind;
	uint32_t asked, done, in_flight, group_left;
	bool flushing;
	uint64_t random[2]; /* of what it asks for, and of its pauses: the same work whatever comes in between */
	uint64_t wakes, begun, position, base, completed;
};

struct samples {
	uint64_t *values;
	size_t count, room;
};

static struct {
	struct disk_model model;
	struct job jobs[MOST_JOBS];
	uint32_t jobs_count;
	struct request *in_device[DISK_MOST_UNITS * 16];
	uint32_t in_device_count;
	uint32_t async_count;
	struct samples *latencies; /* by class */
	uint64_t late[KML_CLASSES];
} run;

static void *grown(void *memory, size_t bytes)
{
	void *now = realloc(memory, bytes);

	if (!now)
		abort();
	return now;
}

static void add(struct samples *samples, uint64_t value)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? 2 * samples->room : 1024;
		samples->values = grown(samples->values, samples->room * sizeof(uint64_t));
	}
	samples->values[samples->count++] = value;
}

static uint64_t drawn(uint64_t *random, uint64_t below)
{
	return (kml_random_next(random) >> 11) % below;
}

static void start_jobs(const struct workload *workload, uint64_t seed)
{
	uint32_t kind, copy;
	struct job *job;

	for (kind = 0; kind < MOST_KINDS && workload->kinds[kind].name; kind++) {
		for (copy = 0; copy < workload->kinds[kind].copies; copy++) {
			job = &run.jobs[run.jobs_count];
			job->kind = &workload->kinds[kind];
			job->group_left = job->kind->group;
			job->base = run.jobs_count++ * AREA;
			job->random[0] = kml_random_begin(1000 * seed + 2 * run.jobs_count);
			job->random[1] = kml_random_begin(1000 * seed + 2 * run.jobs_count + 1);
			job->wakes = drawn(&job->random[1], job->kind->think + 1);
		}
	}
}

static void to_device(struct request *request, uint64_t now)
{
	request->issued = now;
	request->end = disk_model_end(&run.model, request->operation, request->offset, request->bytes, now);
	run.in_device[run.in_device_count++] = request;
}

static struct request *made(struct job *job, enum disk_operation operation, uint64_t now)
{
	struct request *request = grown(NULL, sizeof(*request));
	uint32_t bytes = job->kind->least;

	memset(request, 0, sizeof(*request));
	while (bytes < job->kind->most && drawn(&job->random[0], 2))
		bytes *= 2;
	request->class = job->kind->class;
	request->operation = operation;
	request->job = (uint32_t)(job - run.jobs);
	request->arrived = now;
	job->in_flight++;
	if (operation == DISK_FLUSH)
		return request;
	request->bytes = bytes;
	request->offset = job->base;
	request->offset += job->kind->pattern == RANDOM ? drawn(&job->random[0], AREA / bytes) * bytes : job->position;
	job->position = (job->position + bytes) % (AREA / 2);
	return request;
}

/* All that a job may ask for now. */
static void ask(struct job *job, const struct scheduler *scheduler, uint64_t now)
{
	bool async = job->kind->class == KML_CLASS_WRITEBACK;
	struct request *request;

	while (job->wakes <= now && !job->flushing && job->in_flight < job->kind->depth &&
	       job->asked < job->kind->count && job->group_left && waiting_count < MOST_WAITING &&
	       !(async && run.async_count >= ASYNC_DEPTH)) {
		request = made(job, job->kind->class == KML_CLASS_READ ? DISK_READ : DISK_WRITE, now);
		job->begun = job->group_left == job->kind->group ? now : job->begun;
		job->asked++;
		job->group_left -= job->kind->group > 1;
		run.async_count += async;
		waiting[waiting_count++] = request;
		scheduler->insert(request, now);
	}
}

static void rest(struct job *job, uint64_t now)
{
	job->group_left = job->kind->group;
	job->wakes = (job->kind->class == KML_CLASS_WRITEBACK ? job->begun : now) + job->kind->think / 2 +
		     drawn(&job->random[1], job->kind->think + 1);
}

/* A group of requests has ended, and what makes it durable, too. */
static void end_group(struct job *job, enum disk_operation operation, uint64_t now)
{
	job->flushing = job->kind->flush && operation != DISK_FLUSH;
	if (job->flushing)
		to_device(made(job, DISK_FLUSH, now), now);
	else
		rest(job, now);
}

static void complete(struct request *request, const struct scheduler *scheduler, uint64_t now)
{
	struct job *job = &run.jobs[request->job];
	uint64_t latency = now - request->arrived;

	job->in_flight--;
	if (request->operation != DISK_FLUSH) {
		job->done++;
		run.async_count -= request->class == KML_CLASS_WRITEBACK;
		add(&run.latencies[request->class], latency);
		run.late[request->class] += latency > settings.deadline[request->class];
		scheduler->completed(request, now);
	}
	if (job->kind->group == 1 || (!job->in_flight && (!job->group_left || job->done == job->kind->count)))
		end_group(job, request->operation, now);
	if (job->done == job->kind->count && !job->in_flight)
		job->completed = now;
	free(request);
}

/* Until all jobs have ended; the time. */
static uint64_t play(const struct scheduler *scheduler)
{
	uint64_t now = 0, next, until;
	struct request *request;
	uint32_t at;
	bool going;

	for (;;) {
		for (at = 0; at < run.in_device_count; at++) {
			if (run.in_device[at]->end <= now) {
				request = run.in_device[at];
				run.in_device[at--] = run.in_device[--run.in_device_count];
				complete(request, scheduler, now);
			}
		}
		for (at = 0; at < run.jobs_count; at++)
			ask(&run.jobs[at], scheduler, now);
		until = NEVER;
		while (run.in_device_count < run.model.parameters.depth) {
			request = scheduler->next(now, &until);
			if (!request)
				break;
			to_device(request, now);
		}
		next = until > now ? until : now + 1;
		going = run.in_device_count || waiting_count;
		for (at = 0; at < run.in_device_count; at++)
			next = run.in_device[at]->end < next ? run.in_device[at]->end : next;
		for (at = 0; at < run.jobs_count; at++) {
			if (run.jobs[at].asked == run.jobs[at].kind->count)
				continue;
			going = true;
			if (run.jobs[at].wakes > now && run.jobs[at].wakes < next)
				next = run.jobs[at].wakes;
		}
		if (!going)
			return now;
		now = next;
	}
}

#endif
