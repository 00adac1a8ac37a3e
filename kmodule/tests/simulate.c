/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Compares the rule of mq-kmlib with mq-deadline at fixed work on modelled disks, without a kernel: in a second.
 *
 *   simulate [SETTING=NUMBER...]                 on each class of disks, each workload: a line of changes in percent
 *   simulate CLASS WORKLOAD [SETTING=NUMBER...]  one of them, by class of request
 *
 * The defaults of kml/dispatch.h were found with it.  Where the sum of all latencies is concerned, remember that it is
 * the integral of the requests in the system: a job that keeps 64 requests waiting weighs 64 times as much as one that
 * waits for each, and no order changes the time that the work takes altogether.
 */
#include <stdio.h>

#include "../disk/disk_classes.c"
#include "../disk/disk_model.c"
#include "simulated_jobs.h"

#define READ KML_CLASS_READ
#define SYNC KML_CLASS_SYNC_WRITE
#define BACK KML_CLASS_WRITEBACK
#define K 1024

#define SEEDS 3

static const struct workload workloads[] = {
	/* name class pattern least most depth group think count flush copies */
	{ "shuffled", { { "reader", READ, RANDOM, 64 * K, 64 * K, 1, 1, 50 * US, 500, false, 4 } } },
	{ "streams", { { "stream", READ, SEQUENTIAL, 128 * K, 128 * K, 2, 1, 50 * US, 500, false, 2 } } },
	{ "writeback", { { "writer", BACK, RANDOM, 4 * K, 64 * K, 64, 1, 0, 2000, false, 1 } } },
	{ "synced", { { "writer", SYNC, RANDOM, 4 * K, 64 * K, 4, 1, 100 * US, 2000, false, 1 } } },
	{ "sizes",
	  { { "small", READ, RANDOM, 4 * K, 4 * K, 1, 1, 100 * US, 600, false, 1 },
	    { "large", READ, RANDOM, 512 * K, 512 * K, 4, 1, 0, 100, false, 1 } } },
	{ "direct",
	  { { "reader", READ, RANDOM, 4 * K, 4 * K, 1, 1, 100 * US, 500, false, 1 },
	    { "writer", SYNC, RANDOM, 4 * K, 4 * K, 32, 1, 0, 4000, false, 1 } } },
	{ "fsynced",
	  { { "reader", READ, RANDOM, 16 * K, 16 * K, 1, 1, 100 * US, 1000, false, 1 },
	    { "writer", SYNC, RANDOM, 16 * K, 16 * K, 96, 800, 0, 800, true, 1 } } },
	{ "paced",
	  { { "reader", READ, RANDOM, 16 * K, 16 * K, 1, 1, 100 * US, 2000, false, 1 },
	    { "writer", BACK, RANDOM, 16 * K, 16 * K, 64, 64, 250 * MS, 800, false, 1 } } },
	{ "log",
	  { { "log", SYNC, SEQUENTIAL, 4 * K, 8 * K, 1, 2, 100 * US, 600, true, 1 },
	    { "writer", BACK, SEQUENTIAL, 256 * K, 256 * K, 8, 8, 500 * MS, 96, false, 1 } } },
	{ "checkpoint",
	  { { "loader", READ, RANDOM, 128 * K, 128 * K, 1, 1, 2 * MS, 500, false, 4 },
	    { "checkpoint", BACK, SEQUENTIAL, 512 * K, 512 * K, 64, 16, 1000 * MS, 128, false, 1 } } },
	{ "saved",
	  { { "loader", READ, RANDOM, 128 * K, 128 * K, 1, 1, 1 * MS, 300, false, 4 },
	    { "checkpoint", SYNC, SEQUENTIAL, 512 * K, 512 * K, 16, 8, 300 * MS, 40, true, 1 } } },
	{ "camera",
	  { { "inference", READ, RANDOM, 64 * K, 64 * K, 1, 1, 200 * US, 1500, false, 1 },
	    { "frames", BACK, SEQUENTIAL, 256 * K, 256 * K, 8, 8, 200 * MS, 160, false, 1 },
	    { "journal", SYNC, SEQUENTIAL, 4 * K, 16 * K, 1, 2, 100 * MS, 60, true, 1 } } },
	{ "rows",
	  { { "rows", READ, RANDOM, 128 * K, 128 * K, 1, 1, 50 * US, 800, false, 1 },
	    { "copied", READ, SEQUENTIAL, 512 * K, 512 * K, 2, 1, 1 * MS, 100, false, 1 },
	    { "copy", BACK, SEQUENTIAL, 512 * K, 512 * K, 16, 8, 500 * MS, 80, false, 1 } } },
	{ "database",
	  { { "query", READ, RANDOM, 4 * K, 16 * K, 1, 1, 2 * MS, 2000, false, 4 },
	    { "journal", SYNC, SEQUENTIAL, 4 * K, 16 * K, 1, 2, 10 * MS, 600, true, 1 },
	    { "pages", BACK, RANDOM, 4 * K, 64 * K, 64, 128, 1000 * MS, 768, false, 1 } } },
	{ "everything",
	  { { "loader", READ, SEQUENTIAL, 128 * K, 256 * K, 2, 1, 20 * MS, 300, false, 2 },
	    { "inference", READ, RANDOM, 4 * K, 64 * K, 1, 1, 4 * MS, 1500, false, 2 },
	    { "camera", SYNC, SEQUENTIAL, 16 * K, 64 * K, 2, 4, 50 * MS, 300, true, 1 },
	    { "checkpoint", BACK, SEQUENTIAL, 512 * K, 512 * K, 64, 32, 3000 * MS, 128, false, 1 } } },
};
#define WORKLOADS (sizeof(workloads) / sizeof(workloads[0]))

enum { ALL = KML_CLASSES, WAITED_FOR, MEANS };

/* Of all seeds together; latencies are us, other times ms. */
struct figures {
	double mean[MEANS], p50[KML_CLASSES], p99[KML_CLASSES], most[KML_CLASSES];
	double requests[MEANS], late[KML_CLASSES];
	double jobs[MOST_JOBS], end;
	uint32_t jobs_count;
};

static int by_value(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return a < b ? -1 : a > b;
}

static void sum_up(struct figures *figures, int class, struct samples *samples)
{
	double sum = 0;
	size_t at;
	int of;

	if (!samples->count)
		return;
	qsort(samples->values, samples->count, sizeof(uint64_t), by_value);
	for (at = 0; at < samples->count; at++)
		sum += (double)samples->values[at] / US;
	figures->p50[class] = (double)samples->values[samples->count / 2] / US;
	figures->p99[class] = (double)samples->values[samples->count * 99 / 100] / US;
	figures->most[class] = (double)samples->values[samples->count - 1] / US;
	for (of = 0; of < MEANS; of++) {
		if (of != class && of != ALL && !(of == WAITED_FOR && class != KML_CLASS_WRITEBACK))
			continue;
		figures->mean[of] = figures->mean[of] * figures->requests[of] + sum;
		figures->requests[of] += (double)samples->count;
		figures->mean[of] /= figures->requests[of];
	}
	free(samples->values);
}

static struct figures simulate(const char *disk, const struct workload *workload, const struct scheduler *scheduler,
			       uint64_t seeds)
{
	struct samples latencies[KML_CLASSES] = { 0 };
	struct figures figures = { 0 };
	struct disk_parameters parameters;
	uint64_t seed;
	uint32_t job;
	int class;

	disk_class(disk, &parameters);
	for (seed = 1; seed <= seeds; seed++) {
		memset(&run, 0, sizeof(run));
		run.latencies = latencies;
		disk_model_begin(&run.model, &parameters, seed);
		start_jobs(workload, seed);
		scheduler->begin();
		figures.end += (double)play(scheduler) / MS;
		for (job = 0; job < run.jobs_count; job++)
			figures.jobs[job] += (double)run.jobs[job].completed / MS;
		for (class = 0; class < KML_CLASSES; class++)
			figures.late[class] += (double)run.late[class];
	}
	figures.jobs_count = run.jobs_count;
	for (class = 0; class < KML_CLASSES; class++)
		sum_up(&figures, class, &latencies[class]);
	return figures;
}

static void print_one(const char *disk, const struct workload *workload)
{
	static const char *const names[MEANS] = { "read", "sync write", "writeback", "all", "waited for" };
	struct figures figures;
	uint32_t job;
	int at, of;

	for (at = 0; at < SCHEDULERS; at++) {
		figures = simulate(disk, workload, &schedulers[at], 1);
		printf("%s, %s, %s: %.1f ms, jobs", disk, workload->name, schedulers[at].name, figures.end);
		for (job = 0; job < figures.jobs_count; job++)
			printf(" %.0f", figures.jobs[job]);
		printf(" ms\n");
		for (of = 0; of < MEANS; of++) {
			if (figures.requests[of] == 0)
				continue;
			printf("  %-11s %6.0f  mean %9.0f", names[of], figures.requests[of], figures.mean[of]);
			if (of < KML_CLASSES)
				printf("  p50 %9.0f  p99 %9.0f  most %9.0f us, %.0f late", figures.p50[of],
				       figures.p99[of], figures.most[of], figures.late[of]);
			printf("\n");
		}
	}
}

/* Percent. */
static double change(double now, double before)
{
	return before > 0 ? 100 * (now / before - 1) : 0;
}

static void print_changes(const char *disk, const struct workload *workload)
{
	struct figures before = simulate(disk, workload, &schedulers[DEADLINE], SEEDS);
	struct figures now = simulate(disk, workload, &schedulers[RULE], SEEDS);
	double worst = change(now.jobs[0], before.jobs[0]), late = 0;
	uint32_t job;
	int class;

	for (job = 1; job < now.jobs_count; job++)
		if (change(now.jobs[job], before.jobs[job]) > worst)
			worst = change(now.jobs[job], before.jobs[job]);
	printf("%-7s %-10s %6.1f %7.1f |", disk, workload->name, change(now.mean[ALL], before.mean[ALL]),
	       change(now.mean[WAITED_FOR], before.mean[WAITED_FOR]));
	for (class = 0; class < KML_CLASSES; class++)
		printf(" %6.1f", change(now.mean[class], before.mean[class]));
	printf(" |");
	for (class = 0; class < KML_CLASSES; class++)
		printf(" %6.1f", change(now.p99[class], before.p99[class]));
	for (class = 0; class < KML_CLASSES; class++)
		late += now.late[class] - before.late[class];
	printf(" | %6.1f %6.1f %5.0f\n", change(now.end, before.end), worst, late);
}

static void print_all(void)
{
	static const char *const disks[] = { "sdcard", "emmc", "ssd", "nvme" };
	size_t disk, workload;

	printf("The rule against mq-deadline, percent; late: requests beyond their deadline, more than there.\n"
	       "%-7s %-10s %6s %7s | %6s %6s %6s | %6s %6s %6s | %6s %6s %5s\n",
	       "disk", "workload", "all", "waited", "read", "sync", "back", "r p99", "s p99", "b p99", "end", "job",
	       "late");
	for (disk = 0; disk < sizeof(disks) / sizeof(disks[0]); disk++)
		for (workload = 0; workload < WORKLOADS; workload++)
			print_changes(disks[disk], &workloads[workload]);
}

/* NAME=NUMBER; times are us. */
static bool set(const char *word)
{
	static const struct {
		const char *name;
		uint64_t *time;
		uint32_t *number;
	} names[] = {
		{ "read_expire", &settings.deadline[KML_CLASS_READ], NULL },
		{ "sync_write_expire", &settings.deadline[KML_CLASS_SYNC_WRITE], NULL },
		{ "write_expire", &settings.deadline[KML_CLASS_WRITEBACK], NULL },
		{ "lead", &settings.lead, NULL },
		{ "calm", &settings.calm, NULL },
		{ "ahead", &settings.ahead, NULL },
		{ "overtaking", NULL, &settings.overtaking },
		{ "share", NULL, &settings.share },
	};
	size_t length = strcspn(word, "="), at;
	uint64_t number;
	char *end;

	if (!word[length] || !word[length + 1])
		return false;
	number = strtoull(word + length + 1, &end, 10);
	for (at = 0; at < sizeof(names) / sizeof(names[0]) && !*end; at++) {
		if (strlen(names[at].name) != length || strncmp(word, names[at].name, length))
			continue;
		if (names[at].time)
			*names[at].time = number * US;
		else
			*names[at].number = (uint32_t)number;
		return true;
	}
	return false;
}

static const struct workload *workload_named(const char *name)
{
	size_t at;

	for (at = 0; at < WORKLOADS; at++)
		if (strcmp(name, workloads[at].name) == 0)
			return &workloads[at];
	return NULL;
}

int main(int count, char **words)
{
	const struct workload *workload = NULL;
	struct disk_parameters parameters;
	const char *disk = NULL;
	int at;

	kml_dispatch_defaults(&settings);
	for (at = 1; at < count; at++) {
		if (disk_class(words[at], &parameters))
			disk = words[at];
		else if (workload_named(words[at]))
			workload = workload_named(words[at]);
		else if (!set(words[at]))
			break;
	}
	if (at < count || !disk != !workload) {
		fprintf(stderr, "simulate [CLASS WORKLOAD] [SETTING=NUMBER...]; the source has their names\n");
		return 2;
	}
	if (disk)
		print_one(disk, workload);
	else
		print_all();
	return 0;
}
