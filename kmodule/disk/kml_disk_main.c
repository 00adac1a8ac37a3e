/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * kml_disk.ko: /dev/kml_disk, whose data lie in memory and whose times are those of a modelled flash disk.
 *
 * The model tells when a request ends as soon as it comes; a timer of the request ends it then.  So the disk is as
 * fast or slow as the machine's own clock says, which a virtual machine may let follow its instructions.
 */

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "compat.h"
#include "disk_model.h"

#define LEAST_TAGS 64u /* fewer, and schedulers get no requests to choose from, as they get twice the tags */

struct kml_disk {
	struct blk_mq_tag_set tags;
	struct gendisk *disk;
	struct dentry *folder;
	struct xarray pages; /* data by page of the disk; what is missing is zeros */
	atomic_t in_flight;
	atomic_t failed; /* requests, since it was pulled out */
	spinlock_t lock; /* of the model */
	unsigned long removed; /* bit 0: pulled out, all requests fail */
	struct disk_model model;
};

struct kml_disk_command {
	struct hrtimer timer;
	int budget; /* negative: none that the block layer would have to give back */
};

static char *class = "ssd";
module_param(class, charp, 0444);
MODULE_PARM_DESC(class, "sdcard, emmc, ssd or nvme: what the other parameters are by default");

static unsigned int size_mib = 256;
module_param(size_mib, uint, 0444);
MODULE_PARM_DESC(size_mib, "size; memory is taken for what is written");

static ulong seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the jitter");

#define GIVEN_FIELD(name, least, most, text) int name;
#define NOT_GIVEN(name, least, most, text) .name = -1,
static struct {
	DISK_PARAMETERS(GIVEN_FIELD)
} given = { DISK_PARAMETERS(NOT_GIVEN) };

#define GIVEN_PARAMETER(name, least, most, text)     \
	module_param_named(name, given.name, int, 0444); \
	MODULE_PARM_DESC(name, text);
DISK_PARAMETERS(GIVEN_PARAMETER)

static struct kml_disk *the_disk;
static int major;

/* The page of the disk that holds a byte; NULL: there is none, or no memory to make one. */
static struct page *page_of(struct kml_disk *disk, u64 offset, bool make)
{
	unsigned long index = offset >> PAGE_SHIFT;
	struct page *page = xa_load(&disk->pages, index);
	struct page *made, *other;

	if (page || !make)
		return page;
	made = alloc_page(GFP_ATOMIC | __GFP_ZERO | __GFP_NOWARN);
	if (!made)
		return NULL;
	other = xa_cmpxchg(&disk->pages, index, NULL, made, GFP_ATOMIC);
	if (!other)
		return made;
	__free_page(made);
	return xa_is_err(other) ? NULL : other;
}

static int copy_part(struct kml_disk *disk, char *data, u64 offset, unsigned int length, bool write)
{
	/* Zeros need no page: data sets of zeros may be larger than memory. */
	bool make = write && memchr_inv(data, 0, length);
	struct page *page = page_of(disk, offset, make);
	char *stored;

	if (!page) {
		if (make)
			return -ENOMEM;
		if (!write)
			memset(data, 0, length);
		return 0;
	}
	stored = (char *)page_address(page) + offset_in_page(offset);
	if (write)
		memcpy(stored, data, length);
	else
		memcpy(data, stored, length);
	return 0;
}

static int copy_data(struct kml_disk *disk, struct request *request)
{
	u64 offset = blk_rq_pos(request) << SECTOR_SHIFT;
	bool write = req_op(request) == REQ_OP_WRITE;
	struct req_iterator iterator;
	struct bio_vec vector;
	unsigned int done, length;
	int error = 0;
	char *data;

	rq_for_each_segment(vector, request, iterator) {
		data = kmap_atomic(vector.bv_page);
		for (done = 0; done < vector.bv_len && !error; done += length) {
			length = min_t(unsigned int, vector.bv_len - done, PAGE_SIZE - offset_in_page(offset));
			error = copy_part(disk, data + vector.bv_offset + done, offset, length, write);
			offset += length;
		}
		if (!write)
			flush_dcache_page(vector.bv_page);
		kunmap_atomic(data);
		if (error)
			return error;
	}
	return 0;
}

/* No more requests at once than the disk's depth; the others stay with the scheduler. */
static kml_budget get_budget(struct request_queue *queue)
{
	struct kml_disk *disk = queue->queuedata;

	return KML_BUDGET(atomic_add_unless(&disk->in_flight, 1, disk->model.parameters.depth));
}

static void put_budget(struct request_queue *queue KML_BUDGET_TOKEN)
{
	struct kml_disk *disk = queue->queuedata;

	atomic_dec(&disk->in_flight);
}

#ifndef KML_HAS_BOOL_BUDGET
/* Without these the block layer keeps the budgets of requests that were to go after one that was refused. */
static void set_budget_token(struct request *request, int token)
{
	struct kml_disk_command *command = blk_mq_rq_to_pdu(request);

	command->budget = token;
}

static int get_budget_token(struct request *request)
{
	const struct kml_disk_command *command = blk_mq_rq_to_pdu(request);

	return command->budget;
}
#endif

static bool is_removed(const struct kml_disk *disk)
{
	return test_bit(0, &disk->removed);
}

/* Whether a request fails because the disk is gone; it is counted then. */
static bool fails(struct kml_disk *disk)
{
	if (likely(!is_removed(disk)))
		return false;
	atomic_inc(&disk->failed);
	return true;
}

/* A command's room is free again; true: others may wait for it, who are not called by the block layer. */
static bool leaves_room(struct kml_disk *disk)
{
	return atomic_dec_return(&disk->in_flight) + 1 >= (int)disk->model.parameters.depth;
}

static enum hrtimer_restart command_ends(struct hrtimer *timer)
{
	struct kml_disk_command *command = container_of(timer, struct kml_disk_command, timer);
	struct request *request = blk_mq_rq_from_pdu(command);
	struct kml_disk *disk = request->q->queuedata;

	/* Before the request ends: after it the queue may be gone. */
	if (leaves_room(disk))
		blk_mq_run_hw_queues(request->q, true);
	blk_mq_end_request(request, fails(disk) ? BLK_STS_IOERR : BLK_STS_OK);
	return HRTIMER_NORESTART;
}

static int init_command(struct blk_mq_tag_set *tags, struct request *request, unsigned int queue, unsigned int node)
{
	struct kml_disk_command *command = blk_mq_rq_to_pdu(request);

	hrtimer_init(&command->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	command->timer.function = command_ends;
	return 0;
}

static blk_status_t refuse(struct kml_disk *disk, struct request *request, blk_status_t status)
{
	struct kml_disk_command *command = blk_mq_rq_to_pdu(request);

	command->budget = -1;
	if (leaves_room(disk) && status != BLK_STS_RESOURCE) /* then the block layer tries again itself, later */
		blk_mq_run_hw_queues(request->q, true);
	return status;
}

static blk_status_t queue_command(struct blk_mq_hw_ctx *context, const struct blk_mq_queue_data *data)
{
	struct request *request = data->rq;
	struct kml_disk *disk = request->q->queuedata;
	struct kml_disk_command *command = blk_mq_rq_to_pdu(request);
	enum disk_operation operation;
	u64 now = ktime_get_ns(), end;

	switch (req_op(request)) {
	case REQ_OP_READ:
		operation = DISK_READ;
		break;
	case REQ_OP_WRITE:
		operation = DISK_WRITE;
		break;
	case REQ_OP_FLUSH:
		operation = DISK_FLUSH;
		break;
	default:
		return refuse(disk, request, BLK_STS_NOTSUPP);
	}
	if (fails(disk))
		return refuse(disk, request, BLK_STS_IOERR);
	blk_mq_start_request(request);
	if (operation != DISK_FLUSH && copy_data(disk, request))
		return refuse(disk, request, BLK_STS_RESOURCE); /* tried again when there may be memory */
	spin_lock(&disk->lock);
	end = disk_model_end(&disk->model, operation, blk_rq_pos(request) << SECTOR_SHIFT,
			     operation == DISK_FLUSH ? 0 : blk_rq_bytes(request), now);
	spin_unlock(&disk->lock);
	hrtimer_start(&command->timer, ns_to_ktime(end), HRTIMER_MODE_ABS);
	return BLK_STS_OK;
}

static const struct blk_mq_ops queue_operations = {
	.queue_rq = queue_command,
	.get_budget = get_budget,
	.put_budget = put_budget,
#ifndef KML_HAS_BOOL_BUDGET
	.set_rq_budget_token = set_budget_token,
	.get_rq_budget_token = get_budget_token,
#endif
	.init_request = init_command,
};

static const struct block_device_operations disk_operations = {
	.owner = THIS_MODULE,
};

static int counters_show(struct seq_file *file, void *unused)
{
	static const char *const names[DISK_OPERATIONS] = { "read", "write", "flush" };
	struct kml_disk *disk = file->private;
	struct disk_counter counters[DISK_OPERATIONS];
	u64 pauses;
	int at;

	spin_lock(&disk->lock);
	memcpy(counters, disk->model.counters, sizeof(counters));
	pauses = disk->model.gc_pauses;
	spin_unlock(&disk->lock);
	for (at = 0; at < DISK_OPERATIONS; at++) {
		seq_printf(file, "%s_requests %llu\n", names[at], (unsigned long long)counters[at].requests);
		seq_printf(file, "%s_sequential %llu\n", names[at], (unsigned long long)counters[at].sequential);
		seq_printf(file, "%s_bytes %llu\n", names[at], (unsigned long long)counters[at].bytes);
		seq_printf(file, "%s_ns %llu\n", names[at], (unsigned long long)counters[at].service_ns);
	}
	seq_printf(file, "gc_pauses %llu\n", (unsigned long long)pauses);
	seq_printf(file, "failed_requests %d\n", atomic_read(&disk->failed));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

/*
 * The disk is pulled out: what is in flight ends at its time with an error, what comes later at once; then the kernel
 * forgets the disk.  The module stays until whoever has the disk open lets it go.
 */
static ssize_t remove_write(struct file *file, const char __user *text, size_t length, loff_t *position)
{
	struct kml_disk *disk = file->private_data;

	if (test_and_set_bit(0, &disk->removed))
		return -ENODEV;
	del_gendisk(disk->disk);
	return length;
}

static const struct file_operations remove_operations = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = remove_write,
};

static int choose_parameters(struct disk_parameters *parameters)
{
	const char *wrong;

	if (!disk_class(class, parameters)) {
		pr_err("kml_disk: no class %s: there are sdcard, emmc, ssd and nvme\n", class);
		return -EINVAL;
	}
	/* What is in effect can then be read from /sys/module/kml_disk/parameters. */
#define CHOOSE(name, least, most, text)           \
	if (given.name != -1)                     \
		parameters->name = given.name;    \
	given.name = parameters->name;
	DISK_PARAMETERS(CHOOSE)
#undef CHOOSE
	wrong = size_mib ? disk_parameters_wrong(parameters) : "size_mib";
	if (wrong) {
		pr_err("kml_disk: %s is out of its bounds\n", wrong);
		return -EINVAL;
	}
	return 0;
}

static void free_pages_of(struct kml_disk *disk)
{
	unsigned long index;
	struct page *page;

	xa_for_each(&disk->pages, index, page) {
		__free_page(page);
		cond_resched();
	}
	xa_destroy(&disk->pages);
}

static int add_disk_to_system(struct kml_disk *disk)
{
	const struct disk_parameters *parameters = &disk->model.parameters;
	int error;

	disk->tags.ops = &queue_operations;
	disk->tags.nr_hw_queues = parameters->queues;
	disk->tags.queue_depth = max(parameters->depth, LEAST_TAGS);
	disk->tags.numa_node = NUMA_NO_NODE;
	disk->tags.cmd_size = sizeof(struct kml_disk_command);
	disk->tags.flags = BLK_MQ_F_SHOULD_MERGE;
	error = blk_mq_alloc_tag_set(&disk->tags);
	if (error)
		return error;
	disk->disk = kml_alloc_disk(&disk->tags, disk, parameters->buffer_kib > 0, major);
	if (IS_ERR(disk->disk)) {
		error = PTR_ERR(disk->disk);
		goto free_tags;
	}
	disk->disk->major = major;
	disk->disk->first_minor = 0;
	disk->disk->minors = 1;
	disk->disk->fops = &disk_operations;
	disk->disk->private_data = disk;
	strscpy(disk->disk->disk_name, "kml_disk", DISK_NAME_LEN);
	set_capacity(disk->disk, (sector_t)size_mib << (20 - SECTOR_SHIFT));
	error = kml_add_disk(disk->disk);
	if (!error)
		return 0;
	kml_free_disk(disk->disk);
free_tags:
	blk_mq_free_tag_set(&disk->tags);
	return error;
}

static int __init kml_disk_init(void)
{
	struct disk_parameters parameters;
	struct kml_disk *disk;
	int error = choose_parameters(&parameters);

	if (error)
		return error;
	disk = kzalloc(sizeof(*disk), GFP_KERNEL);
	if (!disk)
		return -ENOMEM;
	spin_lock_init(&disk->lock);
	xa_init(&disk->pages);
	disk_model_begin(&disk->model, &parameters, seed);
	major = register_blkdev(0, "kml_disk");
	error = major < 0 ? major : add_disk_to_system(disk);
	if (error) {
		if (major > 0)
			unregister_blkdev(major, "kml_disk");
		kfree(disk);
		return error;
	}
	disk->folder = debugfs_create_dir("kml_disk", NULL);
	debugfs_create_file("counters", 0444, disk->folder, disk, &counters_fops);
	debugfs_create_file("remove", 0200, disk->folder, disk, &remove_operations);
	the_disk = disk;
	return 0;
}

static void __exit kml_disk_exit(void)
{
	struct kml_disk *disk = the_disk;

	debugfs_remove_recursive(disk->folder);
	if (!is_removed(disk))
		del_gendisk(disk->disk); /* waits for what is in flight */
	kml_free_disk(disk->disk);
	blk_mq_free_tag_set(&disk->tags);
	unregister_blkdev(major, "kml_disk");
	free_pages_of(disk);
	kfree(disk);
}

module_init(kml_disk_init);
module_exit(kml_disk_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A RAM disk with the service times of a modelled flash disk, for tests");
