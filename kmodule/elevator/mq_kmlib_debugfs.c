// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* /sys/kernel/debug/block/DEVICE/sched/statistics: what a queue counted and learned, a name and a number a line. */
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "mq_kmlib.h"

#ifdef CONFIG_BLK_DEBUG_FS

/* A number of 64 bits in a structure. */
struct kml_shown {
	const char *name;
	size_t place;
};
#define SHOWN(type, field) { #field, offsetof(struct type, field) }

static const struct kml_shown of_class[] = {
	SHOWN(kml_counters, inserted), SHOWN(kml_counters, merged), SHOWN(kml_counters, dispatched),
	SHOWN(kml_counters, completed), SHOWN(kml_counters, missed), SHOWN(kml_counters, latency_ns),
};

static const struct kml_shown of_score[] = {
	SHOWN(kml_score, predictions),
	SHOWN(kml_score, foretold_missed), SHOWN(kml_score, missed), SHOWN(kml_score, rightly_foretold),
};

static const struct kml_shown of_line[] = {
	SHOWN(kml_service_line, samples), SHOWN(kml_service_line, outliers), SHOWN(kml_service_line, base_ns),
	SHOWN(kml_service_line, ns_per_kib), SHOWN(kml_service_line, error_ns),
};

static const struct kml_shown of_queue[] = {
	SHOWN(kml_queue, predictions), SHOWN(kml_queue, requeued), SHOWN(kml_queue, without_record),
	{ "held", offsetof(struct kml_queue, dispatch.held) },
	{ "comparisons", offsetof(struct kml_queue, guard.comparisons) },
	{ "fallbacks", offsetof(struct kml_queue, guard.fallbacks) },
};

static void show(struct seq_file *file, const char *prefix, const char *name, u64 value)
{
	seq_printf(file, "%s%s %llu\n", prefix, name, (unsigned long long)value);
}

static void show_all(struct seq_file *file, const char *prefix, const struct kml_shown *shown, size_t count,
		     const void *structure)
{
	const struct kml_shown *end = shown + count;

	for (; shown < end; shown++)
		show(file, prefix, shown->name, *(const u64 *)((const char *)structure + shown->place));
}

static void show_score(struct seq_file *file, const char *prefix, const struct kml_score *score)
{
	int bucket;

	show_all(file, prefix, of_score, ARRAY_SIZE(of_score), score);
	show(file, prefix, "error_of_65536", score->error);
	show(file, prefix, "trivial_error_of_65536", score->trivial_error);
	show(file, prefix, "trusted", kml_score_trusted(score));
	seq_printf(file, "%serrors", prefix);
	for (bucket = 0; bucket < KML_SCORE_BUCKETS; bucket++)
		seq_printf(file, " %llu", (unsigned long long)score->histogram[bucket]);
	seq_putc(file, '\n');
}

static int statistics_show(void *data, struct seq_file *file)
{
	static const char *const classes[KML_CLASSES] = { "read_", "sync_write_", "writeback_" };
	static const char *const predicted[KML_CLASSES] = { "read_model_", "sync_write_model_", "writeback_model_" };
	static const char *const kinds[KML_SERVICE_KINDS] = {
		"service_read_", "service_read_on_", "service_write_", "service_write_on_"
	};
	struct request_queue *q = data;
	struct kml_queue *queue = q->elevator->elevator_data, *seen;
	int at;

	seen = kmalloc(sizeof(*seen), GFP_KERNEL);
	if (!seen)
		return -ENOMEM;
	spin_lock_irq(&queue->lock);
	memcpy(seen, queue, sizeof(*seen));
	spin_unlock_irq(&queue->lock);
	for (at = 0; at < KML_CLASSES; at++) {
		show_all(file, classes[at], of_class, ARRAY_SIZE(of_class), &seen->counters[at]);
		show(file, classes[at], "expired", seen->dispatch.expired[at]);
		show_score(file, predicted[at], &seen->scores[at]);
	}
	for (at = 0; at < KML_SERVICE_KINDS; at++)
		show_all(file, kinds[at], of_line, ARRAY_SIZE(of_line), &seen->service.lines[at]);
	show_all(file, "", of_queue, ARRAY_SIZE(of_queue), seen);
	show(file, "", "waiting", seen->waiting);
	show(file, "", "in_device", seen->in_device);
	kfree(seen);
	return 0;
}

const struct blk_mq_debugfs_attr kml_debugfs[] = {
	{ "statistics", 0400, statistics_show },
	{},
};

#endif
