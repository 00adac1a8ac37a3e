// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The devices whose read-ahead is tuned: those that were named, and no other. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/ktime.h>

#include "readahead.h"

struct kra_device __rcu *kra_devices[KRA_DEVICES];

struct kra_device *kra_device(unsigned int at)
{
	return rcu_dereference_protected(kra_devices[at], lockdep_is_held(&kra_control));
}

/* A disk that was removed takes its bdi's device away; the bdi itself stays as long as it is referred to. */
bool kra_device_is_gone(const struct kra_device *device)
{
	return !READ_ONCE(device->bdi->dev);
}

static u32 choice_bit(u32 kib)
{
	u32 at;

	for (at = 0; at < KML_READAHEAD_CHOICES; at++)
		if (kib == (u32)KML_READAHEAD_LEAST_KIB << at)
			return 1u << at;
	return 0;
}

void kra_mark_given(struct kra_device *device, u32 kib)
{
	device->choices_given |= choice_bit(kib);
}

/* Whether a struct file has its read-ahead from the device or from here: if not, somebody else chose it. */
bool kra_is_ours(const struct kra_device *device, u32 kib)
{
	return kib == device->kib_original || (device->choices_given & choice_bit(kib));
}

void kra_give_device(struct kra_device *device, u32 kib)
{
	kra_mark_given(device, kib);
	WRITE_ONCE(device->tuned.kib, kib);
	WRITE_ONCE(device->bdi->ra_pages, kra_pages(kib));
}

/* As it was; unless somebody else has set the device's read-ahead meanwhile, which then holds for its files, too. */
void kra_restore(struct kra_device *device)
{
	u32 now_kib = kra_kib(READ_ONCE(device->bdi->ra_pages));

	if (now_kib == device->tuned.kib)
		WRITE_ONCE(device->bdi->ra_pages, kra_pages(device->kib_original));
	else
		device->kib_original = now_kib;
	if (device->choices_given)
		kra_counters.restored += kra_restore_files(device);
	device->choices_given = 0;
	memset(&device->tuned, 0, sizeof(device->tuned));
	WRITE_ONCE(device->tuned.kib, device->kib_original);
	kra_windows_begin(device, ktime_get_ns());
}

static void free_device(struct kra_device *device)
{
	bdi_put(device->bdi);
	kra_windows_exit(device);
	kfree(device);
}

/* The bdi of the block device of this name, with a reference; the device is only open meanwhile. */
static struct backing_dev_info *find_bdi(const char *name)
{
	char path[KRA_NAME_BYTES + sizeof("/dev/")];
	struct backing_dev_info *bdi;
	struct file *file;

	snprintf(path, sizeof(path), "/dev/%s", name);
	file = filp_open(path, O_RDONLY | O_NONBLOCK | O_LARGEFILE, 0);
	if (IS_ERR(file))
		return ERR_CAST(file);
	if (S_ISBLK(file_inode(file)->i_mode))
		bdi = bdi_get(inode_to_bdi(file->f_mapping->host));
	else
		bdi = ERR_PTR(-ENOTBLK);
	filp_close(file, NULL);
	return bdi;
}

static struct kra_device *make_device(const char *name)
{
	struct kra_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int status;

	if (!device)
		return ERR_PTR(-ENOMEM);
	device->bdi = find_bdi(name);
	if (IS_ERR(device->bdi)) {
		status = PTR_ERR(device->bdi);
		goto free;
	}
	strscpy(device->name, name, sizeof(device->name));
	device->kib_original = kra_kib(device->bdi->ra_pages);
	device->tuned.kib = device->kib_original;
	status = kra_windows_init(device, kra_file_count);
	if (status)
		goto put;
	kra_windows_begin(device, ktime_get_ns());
	return device;
put:
	bdi_put(device->bdi);
free:
	kfree(device);
	return ERR_PTR(status);
}

/* Put new ones in the place of those there are; what is in both is made anew, too: its read-ahead was restored. */
static void replace_devices(struct kra_device *const *made)
{
	struct kra_device *old[KRA_DEVICES];
	unsigned int at;

	for (at = 0; at < KRA_DEVICES; at++) {
		old[at] = kra_device(at);
		rcu_assign_pointer(kra_devices[at], made[at]);
	}
	synchronize_rcu();
	for (at = 0; at < KRA_DEVICES; at++)
		if (old[at])
			free_device(old[at]);
}

static void restore_devices(void)
{
	unsigned int at;

	for (at = 0; at < KRA_DEVICES; at++)
		if (kra_device(at))
			kra_restore(kra_device(at));
}

/* Devices by their names, parted by commas or blanks.  A name that is wrong leaves everything as it is. */
int kra_set_devices(char *names)
{
	struct kra_device *made[KRA_DEVICES] = { NULL };
	unsigned int count = 0, at;
	const char *name;
	int status = 0;

	restore_devices(); /* before new ones take note of what is to be restored */
	while (!status && (name = strsep(&names, ", \t\n"))) {
		if (!*name)
			continue;
		if (strlen(name) >= KRA_NAME_BYTES) {
			status = -ENAMETOOLONG;
		} else if (strchr(name, '/')) {
			status = -EINVAL;
		} else if (count == KRA_DEVICES) {
			status = -ENOSPC;
		} else {
			struct kra_device *device = make_device(name);

			if (IS_ERR(device))
				status = PTR_ERR(device);
			for (at = 0; !status && at < count; at++) {
				if (made[at]->bdi == device->bdi) {
					free_device(device);
					status = -EEXIST;
				}
			}
			if (!status)
				made[count++] = device;
		}
		if (status)
			pr_notice("devices=%s refused (%d)\n", name, status);
	}
	if (!status) {
		replace_devices(made);
		return 0;
	}
	while (count)
		free_device(made[--count]);
	return status;
}
