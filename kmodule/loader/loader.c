/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Plays the loaders of deep-learning programs at fixed work: `loader [--prepare|--forget] [--seed N] [--zeros] FOLDER
 * JOB...`, where a JOB is KIND[,OPTION=VALUE]...; docs/test-disk.md has the kinds and their options.
 *
 * The jobs run side by side, each its number of operations on files of its own, and JSON of what they took is printed.
 * Before that, --prepare must have written the files of the same jobs; it leaves them out of the page cache, as
 * --forget does for files that are there.  What else is cached is the caller's to drop.
 */
#define _GNU_SOURCE /* syncfs */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/stat.h>

#include "job.h"
#include "kinds.h"

#define MOST_JOBS 64
#define OPTION_NAME(number, name, least, most) name,
#define OPTION_LEAST(number, name, least, most) least,
#define OPTION_MOST(number, name, least, most) most,

static const char *const option_names[OPTION_COUNT] = { OPTIONS(OPTION_NAME) };
static const uint64_t option_least[OPTION_COUNT] = { OPTIONS(OPTION_LEAST) };
static const uint64_t option_most[OPTION_COUNT] = { OPTIONS(OPTION_MOST) };
static const char *const operation_names[OPERATION_COUNT] = { "read", "write", "fsync" };

static pthread_barrier_t start;

static uint64_t parse_number(const char *text, const char *word)
{
	static const char suffixes[] = "kmg";
	const char *suffix;
	uint64_t value, most = 1ull << 40;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	suffix = *end ? strchr(suffixes, *end) : NULL;
	if (suffix) {
		most >>= 10 * (suffix - suffixes + 1);
		end++;
	}
	if (end == text || *text == '-' || *end || errno || value > most)
		fail("%s: %s is no number up to 1024g", word, text);
	return suffix ? value << 10 * (suffix - suffixes + 1) : value;
}

static void parse_option(struct job *job, const char *word, char *text)
{
	char *value = strchr(text, '=');
	unsigned int at;

	if (!value)
		fail("%s: %s is no OPTION=VALUE", word, text);
	*value++ = 0;
	for (at = 0; at < OPTION_COUNT; at++)
		if (job->kind->has & HAS(at) && !strcmp(option_names[at], text))
			break;
	if (at == OPTION_COUNT)
		fail("%s: %s has no option %s", word, job->kind->name, text);
	job->options[at] = parse_number(value, word);
	if (job->options[at] < option_least[at] || job->options[at] > option_most[at])
		fail("%s: %s is from %" PRIu64 " to %" PRIu64, word, text, option_least[at], option_most[at]);
}

static void parse_job(struct job *job, const char *word)
{
	char *text = strdup(word), *rest = text, *name = text ? strsep(&rest, ",") : NULL;
	uint64_t least;
	unsigned int at;

	if (!text)
		fail("no memory for %s", word);
	for (at = 0; at < KIND_COUNT && strcmp(kinds[at].name, name); at++)
		;
	if (at == KIND_COUNT)
		fail("%s: no such job; there are sequential, shuffled, mmap, checkpoint, camera and inference", name);
	job->kind = &kinds[at];
	memcpy(job->options, job->kind->defaults, sizeof(job->options));
	while (rest)
		parse_option(job, word, strsep(&rest, ","));
	free(text);
	/* A part of a file that is read must fit into it. */
	least = job->options[RECORD] * (job->options[SHARDS] ? job->options[SHARDS] : 1);
	least = job->options[ROW] > least ? job->options[ROW] : least;
	least = job->options[READ] > least ? job->options[READ] : least;
	if (job->kind->file_size && job->options[SIZE] < least)
		fail("%s: size must be %" PRIu64 " at least", word, least);
	job->operations = job->options[OPS];
	if (!job->operations && job->kind->pass)
		job->operations = job->kind->pass(job);
	if (job->operations < job->options[WORKERS])
		fail("%s: more workers than operations", word);
}

/* For each file of the job that is prepared. */
static void for_each_file(const struct job *job, void (*action)(const struct job *, const char *, uint64_t))
{
	char path[PATH_ROOM];
	uint64_t file, size;

	if (!job->kind->file_size)
		return;
	for (file = 0; (size = job->kind->file_size(job, file)) > 0; file++) {
		file_path(path, job, "data", file);
		action(job, path, size);
	}
}

static void write_file(const struct job *job, const char *path, uint64_t size)
{
	static char data[CHUNK];
	static uint64_t random;
	uint64_t bytes;
	int file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

	if (!random)
		random = kml_random_begin(job->seed);
	for (; size; size -= bytes) {
		bytes = size < CHUNK ? size : CHUNK;
		fill(data, bytes, &random, job->zeros);
		write_whole(file, path, data, bytes);
	}
	if (close(file))
		fail_at(path, "close");
}

static void forget_file(const struct job *job, const char *path, uint64_t size)
{
	int file = open_file(path, O_RDONLY);
	int error = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);

	(void)job;
	(void)size;
	if (error) {
		errno = error;
		fail_at(path, "fadvise");
	}
	close(file);
}

static void prepare(const struct job *jobs, unsigned int count, const char *folder)
{
	int directory = open_file(folder, O_RDONLY | O_DIRECTORY);
	unsigned int at;

	for (at = 0; at < count; at++) {
		if (mkdir(jobs[at].folder, 0755) && errno != EEXIST)
			fail_at(jobs[at].folder, "mkdir");
		for_each_file(&jobs[at], write_file);
	}
	if (syncfs(directory))
		fail_at(folder, "sync");
	close(directory);
}

/* Each pass over the files has an order of its own. */
static uint32_t *shuffle(const struct job *job)
{
	uint64_t at, other, within, random = kml_random_begin(job->seed + job->number);
	uint64_t files = job->options[FILES];
	uint32_t kept, *order = allocate(job->operations * sizeof(*order));

	for (at = 0; at < job->operations; at++)
		order[at] = (uint32_t)(at % files);
	for (at = 0; at < job->operations; at++) {
		within = at % files;
		other = at - kml_random_next(&random) % (within + 1);
		kept = order[at];
		order[at] = order[other];
		order[other] = kept;
	}
	return order;
}

static void begin_worker(struct worker *worker, struct job *job, unsigned int number)
{
	uint64_t workers = job->options[WORKERS], room = CHUNK, at;
	static const enum job_option buffered[] = { SIZE, RECORD, FRAME, READ };
	uint64_t data;

	worker->job = job;
	worker->number = number;
	worker->first = job->operations * number / workers;
	worker->operations = job->operations * (number + 1) / workers - worker->first;
	worker->random = kml_random_begin(job->seed * 4096 + job->number * 64 + number);
	for (at = job->kind->pass == all_files ? 0 : 1; at < sizeof(buffered) / sizeof(buffered[0]); at++)
		room = job->options[buffered[at]] > room ? job->options[buffered[at]] : room;
	worker->buffer = allocate(room);
	data = worker->random;
	fill(worker->buffer, room, &data, job->zeros);
	for (at = 0; at < OPERATION_COUNT; at++)
		worker->latencies[at].ns = allocate(worker->operations * sizeof(uint64_t));
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	pthread_barrier_wait(&start);
	worker->began = now_ns();
	worker->job->kind->run(worker);
	worker->ended = now_ns();
	return NULL;
}

/* The operations of all workers of a job; their number. */
static struct latencies gathered(const struct job *job, enum operation operation)
{
	struct latencies all = { .ns = allocate(job->operations * sizeof(uint64_t)) };
	const struct latencies *part;
	uint64_t at;

	for (at = 0; at < job->options[WORKERS]; at++) {
		part = &job->workers[at].latencies[operation];
		memcpy(all.ns + all.count, part->ns, part->count * sizeof(uint64_t));
		all.count += part->count;
	}
	return all;
}

struct span {
	uint64_t began, ended;
};

static void widen(struct span *span, uint64_t began, uint64_t ended)
{
	span->began = began < span->began ? began : span->began;
	span->ended = ended > span->ended ? ended : span->ended;
}

static struct span span_of(const struct job *job)
{
	struct span span = { .began = UINT64_MAX };
	uint64_t at;

	for (at = 0; at < job->options[WORKERS]; at++)
		widen(&span, job->workers[at].began, job->workers[at].ended);
	return span;
}

static double seconds(struct span span)
{
	return (double)(span.ended - span.began) / 1e9;
}

static void print_job(const struct job *job)
{
	uint64_t bytes_read = 0, bytes_written = 0;
	const char *comma = "";
	struct latencies all;
	unsigned int at;

	for (at = 0; at < job->options[WORKERS]; at++) {
		bytes_read += job->workers[at].bytes_read;
		bytes_written += job->workers[at].bytes_written;
	}
	printf("{\"name\": \"%u-%s\", \"kind\": \"%s\", \"options\": {", job->number, job->kind->name, job->kind->name);
	for (at = 0; at < OPTION_COUNT; at++) {
		if (!(job->kind->has & HAS(at)))
			continue;
		printf("%s\"%s\": %" PRIu64, comma, option_names[at], at == OPS ? job->operations : job->options[at]);
		comma = ", ";
	}
	printf("},\n  \"seconds\": %.9f, \"bytes_read\": %" PRIu64 ", \"bytes_written\": %" PRIu64 ", \"operations\": {",
	       seconds(span_of(job)), bytes_read, bytes_written);
	comma = "";
	for (at = 0; at < OPERATION_COUNT; at++) {
		all = gathered(job, at);
		if (all.count) {
			printf("%s\n    ", comma);
			print_latencies(operation_names[at], &all);
			comma = ",";
		}
		free(all.ns);
	}
	printf("}}");
}

static void run(struct job *jobs, unsigned int count)
{
	struct span span = { .began = UINT64_MAX }, part;
	unsigned int at, number, workers = 0, threads = 0;
	pthread_t thread[MOST_JOBS * 64];

	for (at = 0; at < count; at++)
		workers += (unsigned int)jobs[at].options[WORKERS];
	pthread_barrier_init(&start, NULL, workers);
	for (at = 0; at < count; at++) {
		jobs[at].workers = allocate(jobs[at].options[WORKERS] * sizeof(struct worker));
		if (jobs[at].kind->has & HAS(FILES))
			jobs[at].order = shuffle(&jobs[at]);
		for (number = 0; number < jobs[at].options[WORKERS]; number++)
			begin_worker(&jobs[at].workers[number], &jobs[at], number);
	}
	for (at = 0; at < count; at++)
		for (number = 0; number < jobs[at].options[WORKERS]; number++)
			if (pthread_create(&thread[threads++], NULL, work, &jobs[at].workers[number]))
				fail("no thread for %u workers", workers);
	for (at = 0; at < threads; at++)
		pthread_join(thread[at], NULL);
	for (at = 0; at < count; at++) {
		part = span_of(&jobs[at]);
		widen(&span, part.began, part.ended);
	}
	printf("{\"seed\": %" PRIu64 ", \"seconds\": %.9f, \"jobs\": [\n", jobs[0].seed, seconds(span));
	for (at = 0; at < count; at++) {
		printf("%s", at ? ",\n" : "");
		print_job(&jobs[at]);
	}
	printf("]}\n");
}

int main(int argc, char **argv)
{
	static struct job jobs[MOST_JOBS];
	static const struct option words[] = {
		{ "prepare", no_argument, NULL, 'p' },
		{ "forget", no_argument, NULL, 'f' },
		{ "seed", required_argument, NULL, 's' },
		{ "zeros", no_argument, NULL, 'z' },
		{ NULL, 0, NULL, 0 },
	};
	bool preparing = false, forgetting = false, zeros = false;
	unsigned int count, at;
	const char *folder;
	uint64_t seed = 1;
	int word;

	while ((word = getopt_long(argc, argv, "", words, NULL)) != -1) {
		switch (word) {
		case 'p':
			preparing = true;
			break;
		case 'f':
			forgetting = true;
			break;
		case 's':
			seed = parse_number(optarg, "--seed");
			break;
		case 'z':
			zeros = true;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 2 || argc - optind > MOST_JOBS + 1)
		fail("usage: loader [--prepare|--forget] [--seed N] [--zeros] FOLDER JOB[,OPTION=VALUE]...");
	folder = argv[optind];
	count = (unsigned int)(argc - optind) - 1;
	for (at = 0; at < count; at++) {
		parse_job(&jobs[at], argv[optind + 1 + (int)at]);
		jobs[at].number = at;
		jobs[at].seed = seed;
		jobs[at].zeros = zeros;
		if (snprintf(jobs[at].folder, sizeof(jobs[at].folder), "%s/%u-%s", folder, at, jobs[at].kind->name) >=
		    (int)sizeof(jobs[at].folder))
			fail("the folder's name is too long");
	}
	if (preparing)
		prepare(jobs, count, folder);
	for (at = 0; (preparing || forgetting) && at < count; at++)
		for_each_file(&jobs[at], forget_file);
	if (!preparing && !forgetting)
		run(jobs, count);
	if (fflush(stdout) || ferror(stdout))
		fail_at("the output", "write");
	return 0;
}
