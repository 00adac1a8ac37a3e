/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each kind of job does to its files: how deep-learning programs load, keep and take data. */
#ifndef LOADER_KINDS_H
#define LOADER_KINDS_H

#include <sys/mman.h>

#include "job.h"

#define HAS(option) (1u << (option))
#define HAS_ALL (HAS(OPS) | HAS(WORKERS) | HAS(THINK))
#define KIB 1024ull
#define MIB (1024 * KIB)

static uint64_t records_of_shard(const struct job *job)
{
	return job->options[SIZE] / job->options[SHARDS] / job->options[RECORD];
}

static uint64_t records(const struct job *job)
{
	return records_of_shard(job) * job->options[SHARDS];
}

static uint64_t shard_size(const struct job *job, uint64_t file)
{
	return file < job->options[SHARDS] ? records_of_shard(job) * job->options[RECORD] : 0;
}

static void save_checkpoint(struct worker *worker)
{
	char path[PATH_ROOM], partial[PATH_ROOM];
	uint64_t left, bytes, began = now_ns();
	int file;

	file_path(path, worker->job, "checkpoint", worker->number);
	file_path(partial, worker->job, "partial", worker->number);
	file = open_file(partial, O_WRONLY | O_CREAT | O_TRUNC);
	for (left = worker->job->options[WRITE]; left; left -= bytes) {
		bytes = left < CHUNK ? left : CHUNK;
		write_whole(file, partial, worker->buffer, bytes);
		worker->bytes_written += bytes;
	}
	note(worker, OPERATION_WRITE, began);
	began = now_ns();
	if (fsync(file))
		fail_at(partial, "fsync");
	if (rename(partial, path))
		fail_at(path, "rename");
	note(worker, OPERATION_FSYNC, began);
	close(file);
}

/* Records of shards in order; `every` so many of them the state of the training is saved, if the kind does that. */
static void run_records(struct worker *worker)
{
	const struct job *job = worker->job;
	uint64_t at, record, shard, opened = UINT64_MAX, began, each = records_of_shard(job);
	uint64_t every = job->options[EVERY];
	char path[PATH_ROOM];
	int file = -1;

	for (at = 0; at < worker->operations; at++) {
		record = (worker->first + at) % records(job);
		shard = record / each;
		began = now_ns();
		if (shard != opened) {
			if (file >= 0)
				close(file);
			file_path(path, job, "data", shard);
			file = open_file(path, O_RDONLY);
			opened = shard;
		}
		read_whole(file, path, worker->buffer, job->options[RECORD], record % each * job->options[RECORD]);
		note(worker, OPERATION_READ, began);
		worker->bytes_read += job->options[RECORD];
		think(worker);
		if (every && (at + 1) % every == 0)
			save_checkpoint(worker);
	}
	close(file);
}

static uint64_t all_files(const struct job *job)
{
	return job->options[FILES];
}

static uint64_t image_size(const struct job *job, uint64_t file)
{
	return file < job->options[FILES] ? job->options[SIZE] : 0;
}

/* Small files, whole, in random order. */
static void run_shuffled(struct worker *worker)
{
	const struct job *job = worker->job;
	char path[PATH_ROOM];
	uint64_t at, began;
	int file;

	for (at = 0; at < worker->operations; at++) {
		file_path(path, job, "data", job->order[worker->first + at]);
		began = now_ns();
		file = open_file(path, O_RDONLY);
		read_whole(file, path, worker->buffer, job->options[SIZE], 0);
		close(file);
		note(worker, OPERATION_READ, began);
		worker->bytes_read += job->options[SIZE];
		think(worker);
	}
}

static uint64_t one_file(const struct job *job, uint64_t file)
{
	return file ? 0 : job->options[SIZE];
}

/* Random rows of a mapped file, such as embeddings or an index of samples. */
static void run_mmap(struct worker *worker)
{
	const struct job *job = worker->job;
	uint64_t at, byte, offset, began, row = job->options[ROW], rows = job->options[SIZE] / row;
	long page = sysconf(_SC_PAGESIZE);
	char path[PATH_ROOM];
	const char *data;
	int file;

	file_path(path, job, "data", 0);
	file = open_file(path, O_RDONLY);
	if (lseek(file, 0, SEEK_END) < (off_t)job->options[SIZE])
		fail("%s: shorter than what was prepared", path);
	data = mmap(NULL, job->options[SIZE], PROT_READ, MAP_SHARED, file, 0);
	if (data == MAP_FAILED)
		fail_at(path, "mmap");
	for (at = 0; at < worker->operations; at++) {
		offset = kml_random_next(&worker->random) % rows * row;
		began = now_ns();
		for (byte = offset; byte < offset + row; byte = (byte / (uint64_t)page + 1) * (uint64_t)page)
			worker->sum += *(const volatile unsigned char *)&data[byte];
		note(worker, OPERATION_READ, began);
		worker->bytes_read += row;
		think(worker);
	}
	munmap((void *)data, job->options[SIZE]);
	close(file);
}

/* Frames are appended as they come, and made durable now and then. */
static void run_camera(struct worker *worker)
{
	const struct job *job = worker->job;
	char path[PATH_ROOM];
	uint64_t at, began;
	int file;

	file_path(path, job, "frames", worker->number);
	file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
	for (at = 0; at < worker->operations; at++) {
		began = wait_until_due(worker, at);
		write_whole(file, path, worker->buffer, job->options[FRAME]);
		note(worker, OPERATION_WRITE, began);
		worker->bytes_written += job->options[FRAME];
		if ((at + 1) % job->options[SYNC] == 0) {
			began = now_ns();
			if (fsync(file))
				fail_at(path, "fsync");
			note(worker, OPERATION_FSYNC, began);
		}
		think(worker);
	}
	close(file);
}

/* Reads at random places, as requests come. */
static void run_inference(struct worker *worker)
{
	const struct job *job = worker->job;
	uint64_t at, began, places = job->options[SIZE] / job->options[READ];
	char path[PATH_ROOM];
	int file;

	file_path(path, job, "data", 0);
	file = open_file(path, O_RDONLY);
	for (at = 0; at < worker->operations; at++) {
		began = wait_until_due(worker, at);
		read_whole(file, path, worker->buffer, job->options[READ],
			   kml_random_next(&worker->random) % places * job->options[READ]);
		note(worker, OPERATION_READ, began);
		worker->bytes_read += job->options[READ];
		think(worker);
	}
	close(file);
}

static const struct kind kinds[] = {
	{
		.name = "sequential",
		.has = HAS_ALL | HAS(SIZE) | HAS(SHARDS) | HAS(RECORD),
		.defaults = { [WORKERS] = 1, [SIZE] = 64 * MIB, [SHARDS] = 4, [RECORD] = 128 * KIB },
		.pass = records,
		.file_size = shard_size,
		.run = run_records,
	},
	{
		.name = "shuffled",
		.has = HAS_ALL | HAS(SIZE) | HAS(FILES),
		.defaults = { [WORKERS] = 1, [SIZE] = 110 * KIB, [FILES] = 512 },
		.pass = all_files,
		.file_size = image_size,
		.run = run_shuffled,
	},
	{
		.name = "mmap",
		.has = HAS_ALL | HAS(SIZE) | HAS(ROW),
		.defaults = { [OPS] = 2000, [WORKERS] = 1, [SIZE] = 64 * MIB, [ROW] = 4 * KIB },
		.file_size = one_file,
		.run = run_mmap,
	},
	{
		.name = "checkpoint",
		.has = HAS_ALL | HAS(SIZE) | HAS(SHARDS) | HAS(RECORD) | HAS(EVERY) | HAS(WRITE),
		.defaults = { [WORKERS] = 1, [SIZE] = 64 * MIB, [SHARDS] = 4, [RECORD] = 128 * KIB, [EVERY] = 128,
			      [WRITE] = 16 * MIB },
		.pass = records,
		.file_size = shard_size,
		.run = run_records,
	},
	{
		.name = "camera",
		.has = HAS_ALL | HAS(FRAME) | HAS(RATE) | HAS(SYNC),
		.defaults = { [OPS] = 300, [WORKERS] = 1, [FRAME] = 100 * KIB, [RATE] = 30, [SYNC] = 30 },
		.run = run_camera,
	},
	{
		.name = "inference",
		.has = HAS_ALL | HAS(SIZE) | HAS(READ) | HAS(RATE),
		.defaults = { [OPS] = 200, [WORKERS] = 1, [SIZE] = 64 * MIB, [READ] = 64 * KIB, [RATE] = 20 },
		.file_size = one_file,
		.run = run_inference,
	},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

#endif
