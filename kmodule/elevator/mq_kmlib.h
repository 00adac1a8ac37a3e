/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the files of mq_kmlib.ko share.
 *
 * A request's life.  Inserted, it may be merged into one that waits; else it gets a record, and waits in the lists of
 * its priority and class until it is dispatched.  It may come back (requeued), and then waits at the head; it completes,
 * and is freed.  A request without a record, for which there was no memory, waits at the head.  Records that are no
 * longer used are kept for the next requests, so there are as many as there ever were requests at once.
 *
 * Locks.  queue->lock guards all of a queue, and the records of requests that wait or are in the device; interrupts are
 * off, since requests complete in interrupts.  Nothing is waited for under it: where no record is left, one is
 * allocated that can be had at once.  Of the block layer only its merging is called.  (Kernels before 5.14 free a merged
 * request there: it has no record by then.)
 */
#ifndef MQ_KMLIB_H
#define MQ_KMLIB_H

#include <linux/hrtimer.h>
#include <linux/ioprio.h>
#include <linux/list.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>

#include "compat.h"
#include "kml/dispatch.h"
#include "kml/guard.h"
#include "kml/latency.h"
#include "kml/service.h"

#define KML_ELEVATOR_NAME "mq-kmlib"

enum kml_mode { KML_MODE_OFF, KML_MODE_OBSERVE, KML_MODE_ACT, KML_MODES };

/* Classes of I/O priority; what has none is best effort. */
enum kml_level { KML_REALTIME, KML_BEST_EFFORT, KML_IDLE, KML_LEVELS };

enum kml_io_state {
	KML_IO_NEW,       /* nowhere: allocated, requeued, or merged into another */
	KML_IO_AT_HEAD,   /* waits to be dispatched before all others */
	KML_IO_WAITS,     /* in the lists of its level and class */
	KML_IO_IN_DEVICE, /* dispatched */
	KML_IO_DONE
};

/* A request's record. */
struct kml_io {
	struct request *request;
	struct list_head by_key;
	struct kml_io *next; /* unused */
	s64 key;
	u64 arrived;        /* ns; 0: it has not yet */
	u64 deadline;
	u64 issued;
	u64 work;           /* ns in the device, predicted */
	u64 predicted;      /* ns from arrival to completion, by the trained model; 0: not trusted, not asked, or none */
	kml_fx prediction;  /* as the model gave it */
	u32 bytes;          /* when issued */
	u8 state;           /* enum kml_io_state */
	u8 class;           /* enum kml_class */
	u8 level;           /* enum kml_level */
	u8 kind;            /* enum kml_service_kind */
	bool seen;          /* features are those of its arrival */
	bool foretold;      /* prediction is one */
	kml_fx features[KML_LATENCY_FEATURES];
};

/* What waits of a class at a level: each request is in all three. */
struct kml_list {
	struct rb_root by_sector;
	struct list_head by_key;
	struct list_head by_deadline; /* request->queuelist */
};

struct kml_counters {
	u64 inserted;
	u64 merged; /* bios into requests, and requests into others */
	u64 dispatched;
	u64 completed;
	u64 missed;     /* completed after the deadline */
	u64 latency_ns; /* sum, from arrival to completion */
};

struct kml_queue {
	spinlock_t lock;
	struct request_queue *queue;
	struct list_head head; /* request->queuelist: what goes before all others */
	struct kml_io *unused; /* records */
	struct kml_list lists[KML_LEVELS][KML_CLASSES];
	u32 at_level[KML_LEVELS]; /* how many wait */
	u32 waiting;     /* in all lists; read without the lock */
	u32 in_device;
	bool held;       /* the last dispatch held writeback back; read without the lock */
	struct hrtimer timer; /* runs the queue when what was held back may go */
	u64 last_end[2]; /* sectors behind the read and the write dispatched last */

	struct kml_dispatch dispatch;
	struct kml_service service;
	struct kml_latency_state latency;
	struct kml_guard guard;
	struct kml_score scores[KML_CLASSES];
	struct kml_counters counters[KML_CLASSES];
	u64 without_record;
	u64 requeued;
	u64 predictions;
	u32 unseen;     /* requests since features were taken */
	bool has_model; /* when it was last asked */

	enum kml_mode mode;
	u64 priority_ageing; /* ns after its deadline that a request of a lower priority waits */
	u32 predict_every;   /* of the requests that come while no writeback is about */
	u32 learn;           /* 0: neither learns nor asks the trained model */
	u32 fallback;        /* the guard decides */
};

static inline struct kml_io *kml_io_of(struct request *rq)
{
	return rq->rq_flags & KML_PREPARED ? rq->elv.priv[0] : NULL;
}

static inline bool kml_is_write(const struct request *rq)
{
	return op_is_write(req_op(rq));
}

static inline enum kml_latency_operation kml_operation_of(const struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_READ:
		return KML_LATENCY_OF_READ;
	case REQ_OP_WRITE:
		return KML_LATENCY_OF_WRITE;
	default:
		return KML_LATENCY_OF_OTHER;
	}
}

static inline enum kml_class kml_class_of(kml_opf flags)
{
	if (!op_is_write(flags & REQ_OP_MASK))
		return KML_CLASS_READ;
	return op_is_sync(flags) ? KML_CLASS_SYNC_WRITE : KML_CLASS_WRITEBACK;
}

static inline enum kml_level kml_level_of(unsigned short ioprio)
{
	switch (IOPRIO_PRIO_CLASS(ioprio)) {
	case IOPRIO_CLASS_RT:
		return KML_REALTIME;
	case IOPRIO_CLASS_IDLE:
		return KML_IDLE;
	default:
		return KML_BEST_EFFORT;
	}
}

static inline struct kml_io *kml_io_waiting(const struct list_head *queuelist)
{
	return list_entry(queuelist, struct request, queuelist)->elv.priv[0];
}

/* mq_kmlib_lists.c; under the lock */
void kml_lists_begin(struct kml_queue *queue);
bool kml_lists_empty(const struct kml_queue *queue);
void kml_list_add(struct kml_queue *queue, struct kml_io *io);
void kml_list_remove(struct kml_queue *queue, struct kml_io *io);
/* A bio was merged into it. */
void kml_list_grown(struct kml_queue *queue, struct kml_io *io, bool in_front);
/* It took over another, which may wait for longer or be of a more urgent class; NULL: one without a record. */
void kml_list_inherit(struct kml_queue *queue, struct kml_io *io, const struct kml_io *other, enum kml_class class);
/* The request to dispatch next, removed; NULL: none, or writeback is held back, then the timer is set. */
struct kml_io *kml_lists_next(struct kml_queue *queue, u64 now, bool acts);

/* mq_kmlib_learn.c; under the lock but where said */
int kml_learn_init(void);
void kml_learn_exit(void);
void kml_learn_begin(struct kml_queue *queue, u64 now);
bool kml_learn_acts(struct kml_queue *queue, u64 now);
void kml_learn_arrived(struct kml_queue *queue, struct kml_io *io, u64 now);
void kml_learn_issued(struct kml_queue *queue, struct kml_io *io, u64 now);
/* It came back without being done. */
void kml_learn_returned(struct kml_queue *queue, struct kml_io *io);
/* It was merged into another. */
void kml_learn_gone(struct kml_queue *queue, struct kml_io *io);
void kml_learn_completed(struct kml_queue *queue, struct kml_io *io, u64 now);
/* Without the lock, of a request that completed: its sample goes to kml.ko. */
void kml_learn_collect(struct kml_queue *queue, struct kml_io *io, u64 now);
/* Its work and key, anew. */
void kml_learn_weigh(struct kml_queue *queue, struct kml_io *io);

/* mq_kmlib_sysfs.c, mq_kmlib_debugfs.c */
extern struct elv_fs_entry kml_attributes[];
#ifdef CONFIG_BLK_DEBUG_FS
extern const struct blk_mq_debugfs_attr kml_debugfs[];
#endif

#endif
