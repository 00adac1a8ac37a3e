// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What is seen, decided and done, in /sys/kernel/debug/kml_readahead. */
#include <linux/debugfs.h>

#include "readahead.h"

#define RECORDS 128

static struct dentry *folder;
static struct kra_record records[RECORDS];
static u64 recorded;

void kra_record(const struct kra_device *device, const struct kra_file *file, u32 kib, u32 kib_decided,
		const kml_fx *features, u64 now)
{
	struct kra_record *record = &records[recorded++ % RECORDS];

	memset(record, 0, sizeof(*record));
	record->now = now;
	if (file)
		record->key = file->key;
	memcpy(record->device, device->name, sizeof(record->device));
	record->kib = kib;
	record->kib_decided = kib_decided;
	memcpy(record->features, features, sizeof(record->features));
}

static int counters_show(struct seq_file *out, void *unused)
{
	struct kra_counters *c = &kra_counters;

	mutex_lock(&kra_control);
	seq_printf(out, "windows %llu\npredictions %llu\nwithout_model %llu\nwanted %llu\n", c->windows, c->predictions,
		   c->without_model, c->wanted);
	seq_printf(out, "files_changed %llu\nfiles_left %llu\ndevices_changed %llu\n", c->files_changed, c->files_left,
		   c->devices_changed);
	seq_printf(out, "taken_back %llu\nrestored %llu\n", c->taken_back, c->restored);
	seq_printf(out, "rounds %llu\nround_ns %llu\nround_longest_ns %llu\n", c->rounds, c->round_ns,
		   c->round_longest_ns);
	mutex_unlock(&kra_control);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int devices_show(struct seq_file *out, void *unused)
{
	struct kra_device *device;
	u64 added, evicted;
	unsigned int at;

	mutex_lock(&kra_control);
	seq_puts(out, "device kib kib_original on_trial hold added evicted gone\n");
	for (at = 0; at < KRA_DEVICES && (device = kra_device(at)); at++) {
		spin_lock(&device->lock);
		added = device->added;
		evicted = device->evicted;
		spin_unlock(&device->lock);
		seq_printf(out, "%s %u %u %d %u %llu %llu %d\n", device->name, device->tuned.kib, device->kib_original,
			   !!device->tuned.trial.kib_before, device->tuned.hold, added, evicted,
			   kra_device_is_gone(device));
	}
	mutex_unlock(&kra_control);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devices);

/* The table may change between two files, but each line is of one moment. */
static int files_show(struct seq_file *out, void *unused)
{
	struct kra_device *device;
	struct kra_key key;
	unsigned int at;
	u32 kib, hold, index;
	bool own;

	mutex_lock(&kra_control);
	seq_puts(out, "device super inode kib own hold\n");
	for (at = 0; at < KRA_DEVICES && (device = kra_device(at)); at++) {
		for (index = 0; index < device->file_count; index++) {
			spin_lock(&device->lock);
			key = device->files[index].key;
			kib = device->files[index].used ? device->files[index].tuned.kib : 0;
			hold = device->files[index].tuned.hold;
			own = device->files[index].own;
			spin_unlock(&device->lock);
			if (kib)
				seq_printf(out, "%s %u:%u %llu %u %d %u\n", device->name, MAJOR(key.super),
					   MINOR(key.super), key.inode, kib, own, hold);
		}
	}
	mutex_unlock(&kra_control);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(files);

/* The newest last; features in steps of 1/65536. */
static int windows_show(struct seq_file *out, void *unused)
{
	const struct kra_record *record;
	unsigned int feature;
	u64 at;

	mutex_lock(&kra_control);
	seq_puts(out, "time_ns device super inode kib kib_decided");
	for (feature = 0; feature < KML_READAHEAD_FEATURES; feature++)
		seq_printf(out, " %s", kml_readahead_names[feature]);
	seq_putc(out, '\n');
	for (at = recorded > RECORDS ? recorded - RECORDS : 0; at < recorded; at++) {
		record = &records[at % RECORDS];
		seq_printf(out, "%llu %s %u:%u %llu %u %u", record->now, record->device, MAJOR(record->key.super),
			   MINOR(record->key.super), record->key.inode, record->kib, record->kib_decided);
		for (feature = 0; feature < KML_READAHEAD_FEATURES; feature++)
			seq_printf(out, " %d", record->features[feature]);
		seq_putc(out, '\n');
	}
	mutex_unlock(&kra_control);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(windows);

void kra_report_init(void)
{
	folder = debugfs_create_dir("kml_readahead", NULL);
	debugfs_create_file("counters", 0400, folder, NULL, &counters_fops);
	debugfs_create_file("devices", 0400, folder, NULL, &devices_fops);
	debugfs_create_file("files", 0400, folder, NULL, &files_fops);
	debugfs_create_file("windows", 0400, folder, NULL, &windows_fops);
}

void kra_report_exit(void)
{
	debugfs_remove_recursive(folder);
}
