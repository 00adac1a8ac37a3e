// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A device's windows: one for each file that was read lately, in a table of fixed size, and the device's own.
 *
 * What a file's window saw under the device's read-ahead says something of the device, too, and is added to its window;
 * what it saw under a read-ahead of its own does not.
 */
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "readahead.h"

int kra_windows_init(struct kra_device *device, u32 file_count)
{
	u32 at;

	spin_lock_init(&device->lock);
	INIT_LIST_HEAD(&device->by_age);
	INIT_LIST_HEAD(&device->active);
	hash_init(device->by_key);
	device->files = kvcalloc(file_count, sizeof(*device->files), GFP_KERNEL);
	if (!device->files)
		return -ENOMEM;
	device->file_count = file_count;
	for (at = 0; at < file_count; at++) {
		list_add(&device->files[at].by_age, &device->by_age);
		INIT_LIST_HEAD(&device->files[at].active);
	}
	return 0;
}

void kra_windows_exit(struct kra_device *device)
{
	kvfree(device->files);
}

static void forget(struct kra_file *file)
{
	if (!file->used)
		return;
	hash_del(&file->by_key);
	list_del_init(&file->active);
	file->used = false;
}

/* Begin all windows anew, and forget what files were given. */
void kra_windows_begin(struct kra_device *device, u64 now)
{
	u32 at;

	spin_lock(&device->lock);
	for (at = 0; at < device->file_count; at++)
		forget(&device->files[at]);
	kml_readahead_begin(&device->window, kra_pages(device->tuned.kib), now);
	spin_unlock(&device->lock);
}

static struct kra_file *find(struct kra_device *device, struct kra_key key)
{
	struct kra_file *file;

	hash_for_each_possible(device->by_key, file, by_key, key.inode)
		if (kra_same_key(file->key, key))
			return file;
	return NULL;
}

/* Reads of a block device itself are mostly those of its file system's own data. */
static void tell_device(struct kra_device *device, const struct kra_file *file)
{
	if (!file->own && file->key.super)
		kml_readahead_merge(&device->window, &file->window);
}

static void begin_window(struct kra_file *file, u64 now)
{
	kml_readahead_begin(&file->window, kra_pages(file->tuned.kib), now);
	file->added_before = 0;
}

static struct kra_file *take(struct kra_device *device, struct kra_key key)
{
	struct kra_file *file = list_first_entry(&device->by_age, struct kra_file, by_age);

	if (file->used) {
		tell_device(device, file);
		forget(file);
		device->evicted++;
	}
	file->used = true;
	file->own = false;
	file->key = key;
	file->next_reader = 0;
	memset(file->readers, 0, sizeof(file->readers));
	memset(&file->tuned, 0, sizeof(file->tuned));
	file->tuned.kib = READ_ONCE(device->tuned.kib);
	begin_window(file, ktime_get_ns());
	hash_add(device->by_key, &file->by_key, key.inode);
	return file;
}

/* Whether it is a new one. */
static bool note_reader(struct kra_file *file)
{
	pid_t reader = task_tgid_nr(current);
	u32 at;

	for (at = 0; at < KRA_READERS; at++)
		if (file->readers[at] == reader)
			return false;
	file->readers[file->next_reader++ % KRA_READERS] = reader;
	return true;
}

/* Not more often than twice between two looks, however many processes come. */
static bool may_hurry(struct kra_device *device)
{
	u64 now = ktime_get_ns();

	if (now - device->hurried < (u64)READ_ONCE(kra_interval_ms) * (NSEC_PER_MSEC / 2))
		return false;
	device->hurried = now;
	return true;
}

/*
 * Whether there is no time to lose: a process that begins to read a file has mostly opened it anew, and so has the
 * device's read-ahead, not the file's own.
 */
bool kra_added(struct kra_device *device, struct kra_key key, u64 index, u32 pages)
{
	struct kra_file *file;
	bool hurry;

	spin_lock(&device->lock);
	file = list_last_entry(&device->by_age, struct kra_file, by_age); /* mostly the same one again */
	if (!file->used || !kra_same_key(file->key, key)) {
		file = find(device, key);
		if (!file)
			file = take(device, key);
		list_move_tail(&file->by_age, &device->by_age);
	}
	if (list_empty(&file->active))
		list_add_tail(&file->active, &device->active);
	hurry = note_reader(file) && file->own && may_hurry(device);
	kml_readahead_added(&file->window, index, pages);
	device->added += pages;
	spin_unlock(&device->lock);
	return hurry;
}

/*
 * The next of the files that were added to, `round` being what is left of them: those that have seen enough are copied,
 * with their features, and their window is begun anew.  What was added to files that are no longer read, too little to
 * judge them by, goes to the device.
 */
bool kra_next_window(struct kra_device *device, struct list_head *round, u64 now, struct kra_file *copy,
		     kml_fx *features)
{
	bool found = false;
	struct kra_file *file;

	spin_lock(&device->lock);
	while (!found && !list_empty(round)) {
		file = list_first_entry(round, struct kra_file, active);
		list_del_init(&file->active);
		found = kml_readahead_features(&file->window, now, features);
		if (found) {
			*copy = *file;
		} else if (file->window.added != file->added_before) {
			file->added_before = file->window.added;
			list_add_tail(&file->active, &device->active);
			continue;
		}
		tell_device(device, file);
		begin_window(file, now);
	}
	spin_unlock(&device->lock);
	return found;
}

/* What was decided for a file, unless it made room for another meanwhile. */
void kra_update_file(struct kra_device *device, const struct kra_file *copy, bool begin, u64 now)
{
	struct kra_file *file;

	spin_lock(&device->lock);
	file = find(device, copy->key);
	if (file) {
		file->tuned = copy->tuned;
		file->own = copy->own;
		if (begin)
			begin_window(file, now);
	}
	spin_unlock(&device->lock);
}

bool kra_device_window(struct kra_device *device, u64 now, kml_fx *features)
{
	bool enough;

	spin_lock(&device->lock);
	enough = kml_readahead_features(&device->window, now, features);
	if (enough)
		kml_readahead_begin(&device->window, kra_pages(device->tuned.kib), now);
	spin_unlock(&device->lock);
	return enough;
}
