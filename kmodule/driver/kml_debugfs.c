// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* /sys/kernel/debug/kml/NAME/: what a predictor is, serves and counts, one word and its value a line. */
#include <linux/debugfs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "kml_driver.h"

static struct dentry *kml_debugfs_root;

#define COUNTER(field) { #field, offsetof(struct kml_statistics, field) }
static const struct {
	char name[16];
	uint16_t offset;
} kml_counters[] = {
	COUNTER(models), COUNTER(loads), COUNTER(refused), COUNTER(predictions), COUNTER(without_model),
	COUNTER(pushed), COUNTER(popped), COUNTER(dropped), COUNTER(skipped), COUNTER(bad_tails), COUNTER(waits),
	COUNTER(trained), COUNTER(updates), COUNTER(publications), COUNTER(adaptations), COUNTER(train_ns),
	COUNTER(fpu_sections), COUNTER(fpu_longest_ns),
};
#undef COUNTER

static int kml_statistics_show(struct seq_file *out, void *unused)
{
	struct kml_statistics statistics;
	unsigned int at;

	kml_predictor_statistics(out->private, &statistics);
	for (at = 0; at < ARRAY_SIZE(kml_counters); at++)
		seq_printf(out, "%s %llu\n", kml_counters[at].name,
			   *(const uint64_t *)((const char *)&statistics + kml_counters[at].offset));
	seq_printf(out, "model_bytes %u\ntraining %u\nloss %d/65536\n", statistics.model_bytes, statistics.training,
		   statistics.loss);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(kml_statistics);

static int kml_rings_show(struct seq_file *out, void *unused)
{
	const struct kml_predictor *predictor = out->private;
	const struct kml_ring_writer *writer;
	int processor;

	seq_printf(out, "slots %u\nrecord_bytes %u\n", predictor->slots, predictor->record_bytes);
	for_each_possible_cpu(processor) {
		writer = &per_cpu_ptr(predictor->cpu_rings, processor)->writer;
		seq_printf(out, "cpu%d head %llu tail %llu dropped %llu\n", processor, READ_ONCE(writer->head),
			   READ_ONCE(writer->reader->tail), READ_ONCE(writer->dropped));
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(kml_rings);

/* Names come from a file that someone else wrote. */
static void kml_show_name(struct seq_file *out, const char *word, const char *name)
{
	seq_printf(out, "%s ", word);
	seq_escape(out, name, " \t\n\\");
	seq_putc(out, '\n');
}

static int kml_model_show(struct seq_file *out, void *unused)
{
	struct kml_predictor *predictor = out->private;
	const struct kml_served *served;
	unsigned int input;

	rcu_read_lock();
	served = rcu_dereference(predictor->served);
	if (served) {
		kml_show_name(out, "name", served->model->name);
		seq_printf(out, "number %llu\nkind %s\ninputs %u\noutputs %u\nparameters %u\n", served->number,
			   served->model->kind == KML_TREE ? "tree" : "network", served->model->inputs,
			   served->model->outputs, served->model->parameter_count);
		for (input = 0; input < served->model->inputs; input++)
			kml_show_name(out, "feature", served->model->features[input].name);
	}
	rcu_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(kml_model);

void kml_debugfs_add(struct kml_predictor *predictor)
{
	predictor->folder = debugfs_create_dir(predictor->name, kml_debugfs_root);
	debugfs_create_file("statistics", 0400, predictor->folder, predictor, &kml_statistics_fops);
	debugfs_create_file("rings", 0400, predictor->folder, predictor, &kml_rings_fops);
	debugfs_create_file("model", 0400, predictor->folder, predictor, &kml_model_fops);
}

void kml_debugfs_remove(struct kml_predictor *predictor)
{
	debugfs_remove_recursive(predictor->folder);
}

void kml_debugfs_init(void)
{
	kml_debugfs_root = debugfs_create_dir("kml", NULL);
}

void kml_debugfs_exit(void)
{
	debugfs_remove_recursive(kml_debugfs_root);
}
