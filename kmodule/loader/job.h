/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A job of the loader program: its kind, its options, its workers, and what they share with the kinds. */
#ifndef LOADER_JOB_H
#define LOADER_JOB_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "latencies.h"
#include "random.h"

#define PATH_ROOM 4096
#define CHUNK (1u << 20) /* bytes of one write() of a large file */

/* Each option: its name, the least and the most that it may be. */
#define OPTIONS(O)                                                \
	O(OPS, "ops", 0, 1 << 26)       /* 0: as many as a pass */ \
	O(WORKERS, "workers", 1, 64)                              \
	O(THINK, "think", 0, 60000000)  /* us after an operation */ \
	O(SIZE, "size", 1, 1ull << 40)                            \
	O(SHARDS, "shards", 1, 4096)                              \
	O(RECORD, "record", 1, 1 << 30)                           \
	O(FILES, "files", 1, 1 << 20)                             \
	O(ROW, "row", 1, 1 << 30)                                 \
	O(EVERY, "every", 1, 1 << 26)                             \
	O(WRITE, "write", 1, 1ull << 40)                          \
	O(FRAME, "frame", 1, 1 << 30)                             \
	O(RATE, "rate", 0, 1000000)     /* a second; 0: one after the other */ \
	O(SYNC, "sync", 1, 1 << 26)                               \
	O(READ, "read", 1, 1 << 30)

#define OPTION_NUMBER(number, name, least, most) number,
enum job_option { OPTIONS(OPTION_NUMBER) OPTION_COUNT };

enum operation { OPERATION_READ, OPERATION_WRITE, OPERATION_FSYNC, OPERATION_COUNT };

struct job;

struct worker {
	struct job *job;
	unsigned int number;
	uint64_t first, operations; /* its part of the job's */
	uint64_t began, ended;
	uint64_t bytes_read, bytes_written;
	struct latencies latencies[OPERATION_COUNT];
	uint64_t random;
	char *buffer;
	uint64_t sum; /* of what was mapped: or the compiler would leave the reading out */
};

struct kind {
	const char *name;
	uint64_t defaults[OPTION_COUNT]; /* of those that it has */
	uint32_t has;
	uint64_t (*pass)(const struct job *job); /* operations; NULL: ops says how many */
	uint64_t (*file_size)(const struct job *job, uint64_t file); /* of what is prepared; 0: there is no such file */
	void (*run)(struct worker *worker);
};

struct job {
	const struct kind *kind;
	unsigned int number;
	char folder[PATH_ROOM / 2];
	uint64_t options[OPTION_COUNT];
	uint64_t seed;
	uint64_t operations;
	bool zeros;
	uint32_t *order; /* of files, for each operation */
	struct worker *workers;
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("loader: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static void __attribute__((noreturn)) fail_at(const char *path, const char *action)
{
	fail("%s: %s: %s", path, action, strerror(errno));
}

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		fail("no memory for %zu bytes", size);
	return memory;
}

static void file_path(char *path, const struct job *job, const char *name, uint64_t number)
{
	snprintf(path, PATH_ROOM, "%s/%s-%06llu", job->folder, name, (unsigned long long)number);
}

static int open_file(const char *path, int flags)
{
	int file = open(path, flags | O_CLOEXEC, 0644);

	if (file < 0)
		fail_at(path, "open");
	return file;
}

/* All of it, however often it takes. */
static void read_whole(int file, const char *path, char *data, uint64_t bytes, uint64_t offset)
{
	ssize_t done;

	while (bytes) {
		done = pread(file, data, bytes, (off_t)offset);
		if (done < 0)
			fail_at(path, "read");
		if (!done)
			fail("%s: shorter than what was prepared", path);
		data += done;
		offset += (uint64_t)done;
		bytes -= (uint64_t)done;
	}
}

static void write_whole(int file, const char *path, const char *data, uint64_t bytes)
{
	ssize_t done;

	while (bytes) {
		done = write(file, data, bytes);
		if (done < 0)
			fail_at(path, "write");
		data += done;
		bytes -= (uint64_t)done;
	}
}

/* Bytes that no controller can compress, or zeros, for which a disk may take no room. */
static void fill(char *data, uint64_t bytes, uint64_t *random, bool zeros)
{
	uint64_t at, drawn;

	memset(data, 0, bytes);
	for (at = 0; !zeros && at < bytes; at += sizeof(drawn)) {
		drawn = kml_random_next(random);
		memcpy(data + at, &drawn, bytes - at < sizeof(drawn) ? bytes - at : sizeof(drawn));
	}
}

static void note(struct worker *worker, enum operation operation, uint64_t began)
{
	struct latencies *latencies = &worker->latencies[operation];

	latencies->ns[latencies->count++] = now_ns() - began;
}

/*
 * Waits until an operation is due, and tells when that was.  What counts from there does not hide that an operation
 * began late because the one before took long.
 */
static uint64_t wait_until_due(const struct worker *worker, uint64_t operation)
{
	const uint64_t *options = worker->job->options;
	uint64_t due, turn = operation * options[WORKERS] + worker->number;
	struct timespec time;

	if (!options[RATE])
		return now_ns();
	due = worker->began + turn * 1000000000 / options[RATE];
	time.tv_sec = (time_t)(due / 1000000000);
	time.tv_nsec = (long)(due % 1000000000);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
		;
	return due;
}

/* What the user of the data computes meanwhile elsewhere, as on a GPU. */
static void think(const struct worker *worker)
{
	uint64_t us = worker->job->options[THINK];
	struct timespec time = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	if (us)
		nanosleep(&time, NULL);
}

#endif
