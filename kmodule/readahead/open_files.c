// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The struct files of a file: each has a read-ahead of its own, copied from the device's when it was opened.
 *
 * They are found where processes have them: among their descriptors, and behind their mappings (a file may be mapped
 * and its descriptor closed).  Nothing is held on to: a struct file is only touched while its process's table or
 * mappings are locked.  Those that only the kernel itself knows (of loop devices, overlayfs, io_uring) are not
 * found, and keep what they were opened with.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "readahead.h"

#define LOCK_TRIES 50 /* of a process's mappings, 2 ms apart */

struct visit {
	struct kra_device *device;
	void (*visit)(struct visit *visit, struct file *file, struct inode *host);
	struct kra_key key;
	u32 kib;
	struct kra_found found;
	u64 restored;
};

/* The host is the inode that has the pages: of a block device, not the one that was opened in /dev. */
static int visit_file(const void *data, struct file *file, unsigned int descriptor)
{
	struct visit *visit = (struct visit *)data;
	struct inode *host = file->f_mapping ? file->f_mapping->host : NULL;

	if (host && (S_ISREG(host->i_mode) || S_ISBLK(host->i_mode)) && inode_to_bdi(host) == visit->device->bdi)
		visit->visit(visit, file, host);
	return 0;
}

/* Threads mostly share one table; what a thread has to itself is visited, too. */
static void visit_descriptors(struct task_struct *process, struct visit *visit)
{
	struct files_struct *last = NULL;
	struct task_struct *thread;

	rcu_read_lock();
	for_each_thread(process, thread) {
		task_lock(thread);
		if (thread->files && thread->files != last) {
			last = thread->files;
			iterate_fd(thread->files, 0, visit_file, visit);
		}
		task_unlock(thread);
	}
	rcu_read_unlock();
}

static void visit_mappings(struct task_struct *process, struct visit *visit, unsigned int tries)
{
	struct mm_struct *mm = get_task_mm(process);
	struct vm_area_struct *vma;

	if (!mm)
		return;
	while (!mmap_read_trylock(mm)) {
		if (!--tries)
			goto put;
		msleep(2);
	}
	for (vma = find_vma(mm, 0); vma; vma = find_vma(mm, vma->vm_end))
		if (vma->vm_file)
			visit_file(visit, vma->vm_file, 0);
	mmap_read_unlock(mm);
put:
	mmput(mm);
}

/* Whatever the reader's lock is held for, the next round comes soon: one try. */
static void visit_reader(pid_t number, struct visit *visit)
{
	struct task_struct *process;
	struct pid *pid;

	rcu_read_lock();
	pid = get_pid(find_pid_ns(number, &init_pid_ns));
	rcu_read_unlock();
	process = get_pid_task(pid, PIDTYPE_TGID);
	put_pid(pid);
	if (!process)
		return;
	visit_descriptors(process, visit);
	visit_mappings(process, visit, 1);
	put_task_struct(process);
}

static void give(struct visit *visit, struct file *file, struct inode *host)
{
	u32 kib = kra_kib(READ_ONCE(file->f_ra.ra_pages));

	if (!kra_same_key(kra_key_of(host), visit->key) || (file->f_mode & FMODE_RANDOM))
		return;
	if (!visit->found.kib)
		visit->found.kib = kib;
	if (!visit->kib || kib == visit->kib)
		return;
	if (kra_is_ours(visit->device, kib)) {
		WRITE_ONCE(file->f_ra.ra_pages, kra_pages(visit->kib));
		visit->found.changed++;
	} else {
		visit->found.left++;
	}
}

struct kra_found kra_visit_readers(struct kra_device *device, const struct kra_file *file, u32 kib)
{
	struct visit visit = { .device = device, .visit = give, .key = file->key, .kib = kib };
	u32 at;

	for (at = 0; at < KRA_READERS && file->readers[at]; at++)
		visit_reader(file->readers[at], &visit);
	return visit.found;
}

static void restore(struct visit *visit, struct file *file, struct inode *host)
{
	u32 kib = kra_kib(READ_ONCE(file->f_ra.ra_pages));

	if (kib != visit->device->kib_original && kra_is_ours(visit->device, kib)) {
		WRITE_ONCE(file->f_ra.ra_pages, kra_pages(visit->device->kib_original));
		visit->restored++;
	}
}

/* All processes, with a reference each; the caller frees it.  NULL: no memory. */
static struct task_struct **all_processes(unsigned int *count)
{
	struct task_struct **processes, *process;
	unsigned int room = 64;

	rcu_read_lock();
	for_each_process(process)
		room++;
	rcu_read_unlock();
	processes = kvmalloc_array(room, sizeof(*processes), GFP_KERNEL);
	if (!processes)
		return NULL;
	*count = 0;
	rcu_read_lock();
	for_each_process(process) {
		if (*count == room)
			break; /* forked since: they share their struct files with those that forked them */
		get_task_struct(process);
		processes[(*count)++] = process;
	}
	rcu_read_unlock();
	return processes;
}

u64 kra_restore_files(struct kra_device *device)
{
	struct visit visit = { .device = device, .visit = restore };
	struct task_struct **processes;
	unsigned int count, at;

	processes = all_processes(&count);
	if (!processes) {
		pr_warn("%s: no memory to find its open files, which keep their read-ahead\n", device->name);
		return 0;
	}
	for (at = 0; at < count; at++) {
		visit_descriptors(processes[at], &visit);
		visit_mappings(processes[at], &visit, LOCK_TRIES);
		put_task_struct(processes[at]);
		cond_resched();
	}
	kvfree(processes);
	return visit.restored;
}
