/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Plays requests to the test disk's model: `replay_disk TABLE SEED`.
 *
 * TABLE holds struct played.  A request is issued some time after an earlier one has ended, as programs issue them, so
 * that a slower disk is not flooded, and a faster one not left idle.  Each line of the standard input names a set of
 * parameters, all of DISK_PARAMETERS in their order; for each, the latency of every request is written, 64 bits of ns.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../kmodule/disk/disk_model.c"

#define NO_CAUSE UINT32_MAX

struct played {
	uint64_t after; /* ns from its cause's end, or from the beginning */
	uint64_t offset; /* bytes */
	uint32_t bytes;
	uint32_t operation;
	uint32_t cause; /* which request must end before, an earlier one of the table; NO_CAUSE: none */
	uint32_t unused;
};

struct requests {
	struct played *table;
	uint32_t count;
	uint32_t *first_effect; /* of each request; NO_CAUSE: none */
	uint32_t *next_effect; /* of the same cause */
};

/* What can be issued, the earliest first: a binary heap. */
struct pending {
	struct { uint64_t time; uint32_t request; } *entries;
	uint32_t count;
};

static void fail(const char *reason, const char *detail)
{
	fprintf(stderr, "replay_disk: %s %s\n", reason, detail);
	exit(1);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		fail("no memory for", "the requests");
	return memory;
}

static void read_table(struct requests *requests, const char *path)
{
	FILE *file = fopen(path, "rb");
	uint32_t at, cause;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) <= 0)
		fail("cannot read", path);
	requests->count = (uint32_t)((size_t)size / sizeof(struct played));
	requests->table = allocate(requests->count, sizeof(struct played));
	rewind(file);
	if (fread(requests->table, sizeof(struct played), requests->count, file) != requests->count)
		fail("cannot read", path);
	fclose(file);
	requests->first_effect = allocate(requests->count, sizeof(uint32_t));
	requests->next_effect = allocate(requests->count, sizeof(uint32_t));
	memset(requests->first_effect, 0xff, requests->count * sizeof(uint32_t));
	for (at = 0; at < requests->count; at++) {
		cause = requests->table[at].cause;
		if (cause == NO_CAUSE)
			continue;
		if (cause >= at)
			fail("a request comes before its cause in", path);
		requests->next_effect[at] = requests->first_effect[cause];
		requests->first_effect[cause] = at;
	}
}

static bool earlier(const struct pending *pending, uint32_t one, uint32_t other)
{
	if (pending->entries[one].time != pending->entries[other].time)
		return pending->entries[one].time < pending->entries[other].time;
	return pending->entries[one].request < pending->entries[other].request;
}

static void exchange(struct pending *pending, uint32_t one, uint32_t other)
{
	typeof(pending->entries[0]) kept = pending->entries[one];

	pending->entries[one] = pending->entries[other];
	pending->entries[other] = kept;
}

static void push(struct pending *pending, uint64_t time, uint32_t request)
{
	uint32_t at = pending->count++;

	pending->entries[at].time = time;
	pending->entries[at].request = request;
	for (; at && earlier(pending, at, (at - 1) / 2); at = (at - 1) / 2)
		exchange(pending, at, (at - 1) / 2);
}

static void drop_first(struct pending *pending)
{
	uint32_t at = 0, child;

	pending->entries[0] = pending->entries[--pending->count];
	for (child = 1; child < pending->count; child = 2 * at + 1) {
		if (child + 1 < pending->count && earlier(pending, child + 1, child))
			child++;
		if (!earlier(pending, child, at))
			break;
		exchange(pending, at, child);
		at = child;
	}
}

static void play(const struct requests *requests, struct pending *pending, struct disk_model *model,
		 uint64_t *latencies)
{
	const struct played *one;
	uint32_t at, effect;
	uint64_t now, end;

	for (at = 0; at < requests->count; at++)
		if (requests->table[at].cause == NO_CAUSE)
			push(pending, requests->table[at].after, at);
	while (pending->count) {
		at = pending->entries[0].request;
		now = pending->entries[0].time;
		drop_first(pending);
		one = &requests->table[at];
		end = disk_model_end(model, one->operation, one->offset, one->bytes, now);
		latencies[at] = end - now;
		for (effect = requests->first_effect[at]; effect != NO_CAUSE; effect = requests->next_effect[effect])
			push(pending, end + requests->table[effect].after, effect);
	}
}

static bool read_parameters(struct disk_parameters *parameters)
{
#define DISK_READ_PARAMETER(name, least, most, text)     \
	if (scanf("%u", &parameters->name) != 1) \
		return false;
	DISK_PARAMETERS(DISK_READ_PARAMETER)
#undef DISK_READ_PARAMETER
	return true;
}

int main(int argc, char **argv)
{
	static struct disk_model model;
	struct disk_parameters parameters;
	struct requests requests;
	struct pending pending = { .count = 0 };
	uint64_t *latencies;
	const char *wrong;

	if (argc != 3)
		fail("usage:", "replay_disk TABLE SEED");
	read_table(&requests, argv[1]);
	latencies = allocate(requests.count, sizeof(*latencies));
	pending.entries = allocate(requests.count, sizeof(*pending.entries));
	while (read_parameters(&parameters)) {
		wrong = disk_parameters_wrong(&parameters);
		if (wrong)
			fail("out of its bounds:", wrong);
		disk_model_begin(&model, &parameters, strtoull(argv[2], NULL, 10));
		play(&requests, &pending, &model, latencies);
		if (fwrite(latencies, sizeof(*latencies), requests.count, stdout) != requests.count || fflush(stdout))
			fail("cannot write", "latencies");
	}
	return 0;
}
