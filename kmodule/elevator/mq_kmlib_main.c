// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* mq-kmlib: an I/O scheduler that predicts what each request takes, and so which of them are better let go first. */
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "mq_kmlib.h"

#define ASYNC_PERCENT 75 /* of the tags that writeback may take, so that the others always find some */

static struct kmem_cache *records;

static struct kml_queue *queue_of(struct request_queue *queue)
{
	return queue->elevator->elevator_data;
}

static void prepare_request(struct request *rq)
{
	rq->elv.priv[0] = NULL;
}

/* Under the lock. */
static struct kml_io *take_record(struct kml_queue *queue, struct request *rq)
{
	struct kml_io *io = queue->unused;

	if (io)
		queue->unused = io->next;
	else
		io = kmem_cache_alloc(records, GFP_NOWAIT | __GFP_NOWARN);
	rq->elv.priv[0] = io;
	if (!io)
		return NULL;
	io->request = rq;
	io->arrived = 0;
	io->predicted = 0;
	io->state = KML_IO_NEW;
	io->seen = false;
	io->foretold = false;
	return io;
}

/* Under the lock. */
static void return_record(struct kml_queue *queue, struct kml_io *io)
{
	io->request->elv.priv[0] = NULL;
	io->next = queue->unused;
	queue->unused = io;
}

static void finish_request(struct request *rq)
{
	struct kml_queue *queue = queue_of(rq->q);
	struct kml_io *io = kml_io_of(rq);
	unsigned long flags;

	if (io) {
		WARN_ON_ONCE(io->state == KML_IO_WAITS || io->state == KML_IO_AT_HEAD);
		spin_lock_irqsave(&queue->lock, flags);
		if (io->state == KML_IO_IN_DEVICE) {
			kml_learn_returned(queue, io);
			kml_learn_gone(queue, io);
		}
		return_record(queue, io);
		spin_unlock_irqrestore(&queue->lock, flags);
	}
	/* There may be room now for what was held back. */
	if (READ_ONCE(queue->held))
		blk_mq_sched_mark_restart_hctx(rq->mq_hctx);
}

static void requeue_request(struct request *rq)
{
	struct kml_queue *queue = queue_of(rq->q);
	struct kml_io *io = kml_io_of(rq);
	unsigned long flags;

	if (!io)
		return;
	spin_lock_irqsave(&queue->lock, flags);
	if (io->state == KML_IO_IN_DEVICE)
		kml_learn_returned(queue, io);
	spin_unlock_irqrestore(&queue->lock, flags);
}

static void completed_request(struct request *rq, u64 now)
{
	struct kml_queue *queue = queue_of(rq->q);
	struct kml_io *io = kml_io_of(rq);
	unsigned long flags;
	bool seen;

	if (!io || io->state != KML_IO_IN_DEVICE)
		return;
	spin_lock_irqsave(&queue->lock, flags);
	kml_learn_completed(queue, io, now);
	seen = io->seen;
	if (!seen)
		return_record(queue, io);
	spin_unlock_irqrestore(&queue->lock, flags);
	if (seen)
		kml_learn_collect(queue, io, now);
}

/* Under the lock. */
static void insert_request(struct kml_queue *queue, struct request *rq, bool at_head, u64 now, struct list_head *free)
{
	struct kml_io *io = NULL;

	if (rq->rq_flags & KML_PREPARED) {
		if (!at_head && kml_try_insert_merge(queue->queue, rq, free))
			return;
		io = rq->elv.priv[0] ? rq->elv.priv[0] : take_record(queue, rq);
	}
	if (!io) {
		queue->without_record++;
		kml_trace_insert(rq);
		if (at_head)
			list_add(&rq->queuelist, &queue->head);
		else
			list_add_tail(&rq->queuelist, &queue->head);
		return;
	}
	if (!io->arrived) {
		io->class = kml_class_of(rq->cmd_flags);
		io->level = kml_level_of(req_get_ioprio(rq));
		kml_learn_arrived(queue, io, now);
	}
	kml_trace_insert(rq);
	if (at_head) {
		io->state = KML_IO_AT_HEAD;
		list_add(&rq->queuelist, &queue->head);
	} else {
		kml_list_add(queue, io);
	}
}

static void insert_requests(struct blk_mq_hw_ctx *hctx, struct list_head *list, kml_insert insert)
{
	struct kml_queue *queue = queue_of(hctx->queue);
	u64 now = ktime_get_ns();
	struct request *rq;
	LIST_HEAD(free);

	spin_lock_irq(&queue->lock);
	while (!list_empty(list)) {
		rq = list_first_entry(list, struct request, queuelist);
		list_del_init(&rq->queuelist);
		insert_request(queue, rq, KML_INSERT_AT_HEAD(insert), now, &free);
	}
	spin_unlock_irq(&queue->lock);
	while (!list_empty(&free)) {
		rq = list_first_entry(&free, struct request, queuelist);
		list_del_init(&rq->queuelist);
		blk_mq_free_request(rq);
	}
}

/* Under the lock. */
static struct request *next_to_dispatch(struct kml_queue *queue)
{
	struct request *rq = list_first_entry_or_null(&queue->head, struct request, queuelist);
	u64 now = ktime_get_ns();
	struct kml_io *io;

	if (rq) {
		list_del_init(&rq->queuelist);
		io = kml_io_of(rq);
	} else {
		io = kml_lists_next(queue, now, kml_learn_acts(queue, now));
	}
	if (!io)
		return rq;
	kml_learn_issued(queue, io, now);
	return io->request;
}

static struct request *dispatch_request(struct blk_mq_hw_ctx *hctx)
{
	struct kml_queue *queue = queue_of(hctx->queue);
	struct request *rq;

	spin_lock_irq(&queue->lock);
	rq = next_to_dispatch(queue);
	spin_unlock_irq(&queue->lock);
	if (rq)
		rq->rq_flags |= RQF_STARTED;
	return rq;
}

static bool has_work(struct blk_mq_hw_ctx *hctx)
{
	struct kml_queue *queue = queue_of(hctx->queue);

	return !list_empty_careful(&queue->head) || READ_ONCE(queue->waiting);
}

/* A bio goes only with requests of its own class: writeback must not take along what somebody waits for. */
static bool allow_merge(struct request_queue *q, struct request *rq, struct bio *bio)
{
	return kml_class_of(rq->cmd_flags) == kml_class_of(bio->bi_opf);
}

static bool bio_merge(struct request_queue *q, struct bio *bio, unsigned int segments)
{
	struct kml_queue *queue = queue_of(q);
	struct request *free = NULL;
	bool merged;

	spin_lock_irq(&queue->lock);
	merged = blk_mq_sched_try_merge(q, bio, segments, &free);
	spin_unlock_irq(&queue->lock);
	if (free)
		blk_mq_free_request(free);
	return merged;
}

/* Whether a bio ends where a request begins; the block layer itself finds those that it begins behind. */
static int request_merge(struct request_queue *q, struct request **found, struct bio *bio)
{
	struct kml_queue *queue = queue_of(q);
	struct kml_list *list = &queue->lists[kml_level_of(bio->bi_ioprio)][kml_class_of(bio->bi_opf)];
	struct request *rq = elv_rb_find(&list->by_sector, bio_end_sector(bio));

	if (!rq || !elv_bio_merge_ok(rq, bio))
		return ELEVATOR_NO_MERGE;
	*found = rq;
	return blk_discard_mergable(rq) ? ELEVATOR_DISCARD_MERGE : ELEVATOR_FRONT_MERGE;
}

static void request_merged(struct request_queue *q, struct request *rq, enum elv_merge type)
{
	struct kml_queue *queue = queue_of(q);
	struct kml_io *io = rq->elv.priv[0];

	queue->counters[io->class].merged++;
	kml_list_grown(queue, io, type == ELEVATOR_FRONT_MERGE);
}

/* `next` is gone: it waited, or was to be inserted. */
static void requests_merged(struct request_queue *q, struct request *rq, struct request *next)
{
	struct kml_queue *queue = queue_of(q);
	struct kml_io *io = rq->elv.priv[0], *other = kml_io_of(next);

	queue->counters[io->class].merged++;
	kml_list_inherit(queue, io, other, kml_class_of(next->cmd_flags));
	if (!other)
		return;
	if (other->state == KML_IO_WAITS)
		kml_list_remove(queue, other);
	kml_learn_gone(queue, other);
	return_record(queue, other);
}

static void limit_depth(kml_opf flags, struct blk_mq_alloc_data *data)
{
	struct sbitmap_queue *tags = kml_scheduler_tags(data->hctx);

	if (kml_class_of(flags) == KML_CLASS_WRITEBACK)
		data->shallow_depth = max(1u, (1u << tags->sb.shift) * ASYNC_PERCENT / 100);
}

static void depth_updated(struct blk_mq_hw_ctx *hctx)
{
	struct sbitmap_queue *tags = kml_scheduler_tags(hctx);

	sbitmap_queue_min_shallow_depth(tags, max(1u, (1u << tags->sb.shift) * ASYNC_PERCENT / 100));
}

static int init_hctx(struct blk_mq_hw_ctx *hctx, unsigned int index)
{
	depth_updated(hctx);
	return 0;
}

static enum hrtimer_restart held_long_enough(struct hrtimer *timer)
{
	struct kml_queue *queue = container_of(timer, struct kml_queue, timer);

	blk_mq_run_hw_queues(queue->queue, true);
	return HRTIMER_NORESTART;
}

static int init_sched(struct request_queue *q, struct elevator_type *type)
{
	struct elevator_queue *elevator = elevator_alloc(q, type);
	struct kml_queue *queue;

	if (!elevator)
		return -ENOMEM;
	queue = kzalloc_node(sizeof(*queue), GFP_KERNEL, q->node);
	if (!queue) {
		kobject_put(&elevator->kobj);
		return -ENOMEM;
	}
	spin_lock_init(&queue->lock);
	hrtimer_init(&queue->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	queue->timer.function = held_long_enough;
	queue->queue = q;
	queue->mode = KML_MODE_ACT;
	queue->learn = 1;
	queue->fallback = 1;
	queue->predict_every = 16;
	queue->priority_ageing = 10ull * NSEC_PER_SEC;
	kml_lists_begin(queue);
	kml_learn_begin(queue, ktime_get_ns());
	kml_dispatches_for_all(q);
	elevator->elevator_data = queue;
	q->elevator = elevator;
	return 0;
}

static void exit_sched(struct elevator_queue *elevator)
{
	struct kml_queue *queue = elevator->elevator_data;
	struct kml_io *io;

	WARN_ON_ONCE(!kml_lists_empty(queue) || queue->in_device);
	hrtimer_cancel(&queue->timer);
	while ((io = queue->unused)) {
		queue->unused = io->next;
		kmem_cache_free(records, io);
	}
	kfree(queue);
}

static struct elevator_type mq_kmlib = {
	.ops = {
		.init_sched = init_sched,
		.exit_sched = exit_sched,
		.init_hctx = init_hctx,
		.depth_updated = depth_updated,
		.limit_depth = limit_depth,
		.prepare_request = prepare_request,
		.finish_request = finish_request,
		.insert_requests = insert_requests,
		.dispatch_request = dispatch_request,
		.has_work = has_work,
		.completed_request = completed_request,
		.requeue_request = requeue_request,
		.allow_merge = allow_merge,
		.bio_merge = bio_merge,
		.request_merge = request_merge,
		.request_merged = request_merged,
		.requests_merged = requests_merged,
		.former_request = elv_rb_former_request,
		.next_request = elv_rb_latter_request,
	},
	.elevator_attrs = kml_attributes,
#ifdef CONFIG_BLK_DEBUG_FS
	.queue_debugfs_attrs = kml_debugfs,
#endif
	.elevator_name = KML_ELEVATOR_NAME,
	.elevator_owner = THIS_MODULE,
};

static int __init mq_kmlib_init(void)
{
	int status;

	records = KMEM_CACHE(kml_io, 0);
	if (!records)
		return -ENOMEM;
	status = kml_learn_init();
	if (status)
		goto free_records;
	status = elv_register(&mq_kmlib);
	if (!status)
		return 0;
	kml_learn_exit();
free_records:
	kmem_cache_destroy(records);
	return status;
}

static void __exit mq_kmlib_exit(void)
{
	elv_unregister(&mq_kmlib);
	kml_learn_exit();
	kmem_cache_destroy(records);
}

module_init(mq_kmlib_init);
module_exit(mq_kmlib_exit);
MODULE_ALIAS(KML_ELEVATOR_NAME "-iosched");
MODULE_DESCRIPTION("An I/O scheduler that acts on predicted latency");
MODULE_LICENSE("Dual MIT/GPL");
