/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What schedulers of kernels from 5.10 on are called with, and call, differently; Kbuild finds the features. */
#ifndef MQ_KMLIB_COMPAT_H
#define MQ_KMLIB_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/sbitmap.h>
#include <trace/events/block.h>

#include "blk.h"
#include "blk-mq.h"
#include "blk-mq-debugfs.h"
#include "blk-mq-sched.h"

/* 6.0 gave operations with flags a type. */
#ifdef KML_HAS_BLK_OPF_T
typedef blk_opf_t kml_opf;
#else
typedef unsigned int kml_opf;
#endif

/* 6.5 turned whether requests are inserted at the head into a flag. */
#ifdef BLK_MQ_INSERT_AT_HEAD
typedef blk_insert_t kml_insert;
#define KML_INSERT_AT_HEAD(insert) ((bool)((insert) & BLK_MQ_INSERT_AT_HEAD))
#else
typedef bool kml_insert;
#define KML_INSERT_AT_HEAD(insert) (insert)
#endif

/* Requests that prepare_request has seen: of others, elv.priv may be another's. */
#ifdef RQF_ELVPRIV
#define KML_PREPARED RQF_ELVPRIV
#else
#define KML_PREPARED RQF_USE_SCHED
#endif

/* A scheduler that dispatches for the whole device says so since 6.0 (4d337cebcb1c): one hardware queue is run then. */
static inline void kml_dispatches_for_all(struct request_queue *queue)
{
#ifdef KML_HAS_SQ_SCHED
	blk_queue_flag_set(QUEUE_FLAG_SQ_SCHED, queue);
#endif
}

/* Tells what traces block_rq_insert. */
static inline void kml_trace_insert(struct request *rq)
{
#ifdef KML_HAS_REQUEST_INSERTED
	blk_mq_sched_request_inserted(rq);
#else
	trace_block_rq_insert(rq);
#endif
}

/*
 * Merge a request that is to be inserted into one that waits.  A request that was merged away is freed: since 5.14
 * (fd2ef39cc9a6) by the caller, from `free`, before at once, within the caller's lock.
 */
static inline bool kml_try_insert_merge(struct request_queue *queue, struct request *rq, struct list_head *free)
{
#ifdef KML_HAS_FREE_LIST
	return blk_mq_sched_try_insert_merge(queue, rq, free);
#else
	return blk_mq_sched_try_insert_merge(queue, rq);
#endif
}

static inline struct sbitmap_queue *kml_scheduler_tags(struct blk_mq_hw_ctx *hctx)
{
#ifdef KML_HAS_POINTER_TO_TAGS
	return hctx->sched_tags->bitmap_tags;
#else
	return &hctx->sched_tags->bitmap_tags;
#endif
}

#endif
