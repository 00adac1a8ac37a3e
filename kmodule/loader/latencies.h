/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* How long operations took: each is kept, so that quantiles are exact. */
#ifndef LOADER_LATENCIES_H
#define LOADER_LATENCIES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct latencies {
	uint64_t *ns;
	uint64_t count;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int by_length(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a > b) - (a < b);
}

/* The smallest latency that `permille` of them do not exceed. */
static double quantile_us(const struct latencies *sorted, uint64_t permille)
{
	uint64_t rank = (sorted->count * permille + 999) / 1000;

	return (double)sorted->ns[rank ? rank - 1 : 0] / 1e3;
}

/* Sorts them; there must be one at least. */
static void print_latencies(const char *name, struct latencies *latencies)
{
	uint64_t at;
	double sum = 0;

	qsort(latencies->ns, latencies->count, sizeof(latencies->ns[0]), by_length);
	for (at = 0; at < latencies->count; at++)
		sum += (double)latencies->ns[at] / 1e3;
	printf("\"%s\": {\"count\": %llu, \"mean_us\": %.3f, \"p50_us\": %.3f, \"p90_us\": %.3f, \"p99_us\": %.3f, "
	       "\"p999_us\": %.3f, \"max_us\": %.3f}",
	       name, (unsigned long long)latencies->count, sum / (double)latencies->count, quantile_us(latencies, 500),
	       quantile_us(latencies, 900), quantile_us(latencies, 990), quantile_us(latencies, 999),
	       quantile_us(latencies, 1000));
}

#endif
