/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What block drivers of kernels from 5.10 on call differently, told apart by feature; Kbuild finds the features. */
#ifndef KML_DISK_COMPAT_H
#define KML_DISK_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/err.h>

#define KML_DISK_SECTORS 1024 /* most of one request */
#define KML_DISK_BLOCK 512
#define KML_DISK_PAGE 4096

/* 5.13 numbered budgets. */
#ifdef KML_HAS_BOOL_BUDGET
typedef bool kml_budget;
#define KML_BUDGET(granted) (granted)
#define KML_BUDGET_TOKEN
#else
typedef int kml_budget;
#define KML_BUDGET(granted) ((granted) ? 0 : -1)
#define KML_BUDGET_TOKEN , int token
#endif

/* 6.9 takes the limits with the new disk, 6.11 has the write cache among them. */
#ifdef KML_HAS_LIMITS_OF_NEW_DISK
static inline struct gendisk *kml_alloc_disk(struct blk_mq_tag_set *tags, void *data, bool write_cache, int major)
{
	struct queue_limits limits = {
		.logical_block_size = KML_DISK_BLOCK,
		.physical_block_size = KML_DISK_PAGE,
		.max_hw_sectors = KML_DISK_SECTORS,
#ifdef BLK_FEAT_WRITE_CACHE
		.features = write_cache ? BLK_FEAT_WRITE_CACHE : 0,
#endif
	};
	struct gendisk *disk = blk_mq_alloc_disk(tags, &limits, data);

#ifndef BLK_FEAT_WRITE_CACHE
	if (!IS_ERR(disk)) {
		blk_queue_write_cache(disk->queue, write_cache, false);
		blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	}
#endif
	return disk;
}
#else
static inline struct gendisk *kml_alloc_disk(struct blk_mq_tag_set *tags, void *data, bool write_cache, int major)
{
	struct gendisk *disk;
	struct request_queue *queue;

	/* 5.14 makes both at once. */
#ifdef KML_HAS_BLK_MQ_ALLOC_DISK
	disk = blk_mq_alloc_disk(tags, data);
	if (IS_ERR(disk))
		return disk;
	queue = disk->queue;
#else
	queue = blk_mq_init_queue(tags);
	if (IS_ERR(queue))
		return ERR_CAST(queue);
	disk = alloc_disk(1);
	if (!disk) {
		blk_cleanup_queue(queue);
		return ERR_PTR(-ENOMEM);
	}
	queue->queuedata = data;
	disk->queue = queue;
#endif
	blk_queue_logical_block_size(queue, KML_DISK_BLOCK);
	blk_queue_physical_block_size(queue, KML_DISK_PAGE);
	blk_queue_max_hw_sectors(queue, KML_DISK_SECTORS);
	blk_queue_write_cache(queue, write_cache, false);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, queue);
	return disk;
}
#endif

/* 5.15 tells errors. */
static inline int kml_add_disk(struct gendisk *disk)
{
#ifdef KML_HAS_ADD_DISK_ERROR
	return add_disk(disk);
#else
	add_disk(disk);
	return 0;
#endif
}

/* Of a disk that was never added, or was deleted. */
static inline void kml_free_disk(struct gendisk *disk)
{
#if defined(KML_HAS_BLK_CLEANUP_DISK)
	blk_cleanup_disk(disk);
#elif defined(KML_HAS_BLK_MQ_ALLOC_DISK)
	put_disk(disk);
#else
	blk_cleanup_queue(disk->queue);
	put_disk(disk);
#endif
}

#endif
