// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The module kml_readahead: the probe of the page cache, the worker, and the modes. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/err.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "kml/predictor.h"
#include "readahead.h"

#define TRACEPOINT "mm_filemap_add_to_page_cache"

DEFINE_MUTEX(kra_control);
enum kra_mode kra_mode;
struct kra_counters kra_counters;
struct kml_predictor *kra_predictor;

static struct tracepoint *tracepoint;
static bool watching;

static void run_round(struct work_struct *work);
static DECLARE_DELAYED_WORK(worker, run_round);

/* Runs for each page that is added: nothing more than a look at its device where that is not watched. */
static void page_added(void *unused, kml_added *added)
{
	struct inode *inode = added->mapping->host;
	struct backing_dev_info *bdi = inode_to_bdi(inode);
	struct kra_device *device;
	unsigned int at;

	rcu_read_lock();
	for (at = 0; at < KRA_DEVICES; at++) {
		device = rcu_dereference(kra_devices[at]);
		if (!device)
			break;
		if (device->bdi == bdi) {
			kra_wake_worker(kra_added(device, kra_key_of(inode), added->index, kml_added_pages(added)));
			break;
		}
	}
	rcu_read_unlock();
}

void kra_wake_worker(bool hurry)
{
	if (hurry)
		mod_delayed_work(system_unbound_wq, &worker, 1);
	else if (!delayed_work_pending(&worker))
		queue_delayed_work(system_unbound_wq, &worker, msecs_to_jiffies(READ_ONCE(kra_interval_ms)));
}

static void give_file(struct kra_device *device, struct kra_file *file, u32 kib)
{
	struct kra_found found;

	kra_mark_given(device, kib);
	found = kra_visit_readers(device, file, kib);
	kra_counters.files_changed += found.changed;
	kra_counters.files_left += found.left;
	if (found.left && !found.changed) {
		kra_hold(&file->tuned); /* somebody else chose its read-ahead */
		return;
	}
	file->tuned.kib = kib;
	file->own = true;
}

/* What a file's struct files really have may be other than thought: opened before the device's changed, or anew. */
static void judge_file(struct kra_device *device, struct kra_file *file, const kml_fx *features, u64 now)
{
	u32 kib = file->tuned.kib, decided;
	struct kra_found found = kra_visit_readers(device, file, file->own && kra_mode == KRA_ACT ? kib : 0);

	if (found.kib && found.kib != kib) {
		/* The window was not made under the read-ahead that it was judged by. */
		if (!file->own || found.left) {
			file->own = found.kib != device->tuned.kib;
			file->tuned.kib = found.kib;
			file->tuned.state = 0;
			file->tuned.trial.kib_before = 0;
		}
		kra_counters.files_changed += found.changed;
		kra_update_file(device, file, true, now);
		return;
	}
	decided = kra_decide(&file->tuned, features);
	kra_record(device, file, kib, decided, features, now);
	if (decided != kib && kra_mode == KRA_ACT)
		give_file(device, file, decided);
	kra_update_file(device, file, file->tuned.kib != kib, now);
}

static void judge_device(struct kra_device *device, u64 now)
{
	kml_fx features[KML_READAHEAD_FEATURES];
	u32 kib = device->tuned.kib, decided;

	if (!kra_device_window(device, now, features))
		return;
	decided = kra_decide(&device->tuned, features);
	kra_record(device, NULL, kib, decided, features, now);
	if (decided != kib && kra_mode == KRA_ACT) {
		kra_give_device(device, decided);
		kra_counters.devices_changed++;
		spin_lock(&device->lock);
		kml_readahead_begin(&device->window, kra_pages(decided), now);
		spin_unlock(&device->lock);
	}
}

static void judge(struct kra_device *device)
{
	static struct kra_file file; /* a copy; too large for the stack */
	kml_fx features[KML_READAHEAD_FEATURES];
	u64 now = ktime_get_ns();
	LIST_HEAD(round);
	u32 files = 0;

	if (kra_kib(READ_ONCE(device->bdi->ra_pages)) != device->tuned.kib)
		kra_restore(device); /* somebody set it: from there on anew */
	if (!device->tuned.kib)
		return; /* read-ahead is switched off */
	spin_lock(&device->lock);
	list_splice_init(&device->active, &round);
	spin_unlock(&device->lock);
	while (files++ < KRA_FILES_A_ROUND && kra_next_window(device, &round, now, &file, features)) {
		judge_file(device, &file, features, now);
		cond_resched();
	}
	spin_lock(&device->lock);
	list_splice(&round, &device->active);
	spin_unlock(&device->lock);
	judge_device(device, now);
}

static void run_round(struct work_struct *work)
{
	u64 begun = ktime_get_ns(), taken;
	struct kra_device *device;
	unsigned int at;
	bool more = false;

	mutex_lock(&kra_control);
	for (at = 0; at < KRA_DEVICES && watching; at++) {
		device = kra_device(at);
		if (!device || kra_device_is_gone(device))
			continue;
		judge(device);
		spin_lock(&device->lock);
		more |= device->tuned.kib && !list_empty(&device->active);
		spin_unlock(&device->lock);
	}
	taken = ktime_get_ns() - begun;
	kra_counters.rounds++;
	kra_counters.round_ns += taken;
	kra_counters.round_longest_ns = max(kra_counters.round_longest_ns, taken);
	if (more)
		kra_wake_worker(false);
	mutex_unlock(&kra_control);
}

/* Watch where there is a reason to. */
int kra_watch_or_not(void)
{
	bool wanted = kra_mode != KRA_OFF && kra_device(0);
	int status;

	if (wanted == watching)
		return 0;
	if (wanted) {
		status = tracepoint_probe_register(tracepoint, page_added, NULL);
		if (status)
			return status;
	} else {
		tracepoint_probe_unregister(tracepoint, page_added, NULL);
		tracepoint_synchronize_unregister();
	}
	watching = wanted;
	return 0;
}

int kra_set_mode(enum kra_mode mode)
{
	enum kra_mode before = kra_mode;
	unsigned int at;
	int status;

	kra_mode = mode;
	status = kra_watch_or_not();
	if (status) {
		kra_mode = before;
		return status;
	}
	for (at = 0; at < KRA_DEVICES && before == KRA_ACT && mode != KRA_ACT; at++)
		if (kra_device(at))
			kra_restore(kra_device(at));
	return 0;
}

static void look_for_tracepoint(struct tracepoint *candidate, void *unused)
{
	if (!strcmp(candidate->name, TRACEPOINT))
		tracepoint = candidate;
}

static int __init kra_init(void)
{
	static const struct kml_predictor_spec spec = {
		.name = "kml-readahead",
		.inputs = KML_READAHEAD_FEATURES,
		.outputs = 1,
		.mode = KML_DROPPING,
		.consumer = KML_CONSUMER_USER,
		.slots = 2, /* the least: nothing is collected, since no window knows what would have been best for it */
	};
	int status;

	for_each_kernel_tracepoint(look_for_tracepoint, NULL);
	if (!tracepoint) {
		pr_err("this kernel has no tracepoint " TRACEPOINT "\n");
		return -ENOENT;
	}
	kra_predictor = kml_predictor_create(&spec);
	if (IS_ERR(kra_predictor))
		return PTR_ERR(kra_predictor);
	kra_report_init();
	status = kra_parameters_init();
	if (status) {
		kra_report_exit();
		kml_predictor_destroy(kra_predictor);
	}
	return status;
}

static void __exit kra_exit(void)
{
	kra_parameters_exit(); /* restores everything, and watches nothing any more */
	cancel_delayed_work_sync(&worker);
	kra_report_exit();
	kml_predictor_destroy(kra_predictor);
}

module_init(kra_init);
module_exit(kra_exit);
MODULE_DESCRIPTION("Read-ahead by how files are read, with a model of kml.ko");
MODULE_LICENSE("Dual MIT/GPL");
