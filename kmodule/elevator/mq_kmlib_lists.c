// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What waits, in order of sector (to merge and to go on), of key (the rule's choice) and of arrival (deadlines). */
#include "mq_kmlib.h"

#define LEAST_WAIT (20 * NSEC_PER_USEC)
#define MOST_WAIT (1ull * NSEC_PER_SEC)

void kml_lists_begin(struct kml_queue *queue)
{
	struct kml_list *list;

	INIT_LIST_HEAD(&queue->head);
	for (list = &queue->lists[0][0]; list <= &queue->lists[KML_LEVELS - 1][KML_CLASSES - 1]; list++) {
		list->by_sector = RB_ROOT;
		INIT_LIST_HEAD(&list->by_key);
		INIT_LIST_HEAD(&list->by_deadline);
	}
}

bool kml_lists_empty(const struct kml_queue *queue)
{
	return list_empty(&queue->head) && !queue->waiting;
}

static struct kml_list *list_of(struct kml_queue *queue, const struct kml_io *io)
{
	return &queue->lists[io->level][io->class];
}

static s64 key_of(const struct list_head *by_key)
{
	return list_entry(by_key, struct kml_io, by_key)->key;
}

/* Its place is looked for from `behind`, either way. */
static void place_by_key(struct kml_list *list, struct kml_io *io, struct list_head *behind)
{
	while (behind != &list->by_key && key_of(behind) > io->key)
		behind = behind->prev;
	while (behind->next != &list->by_key && key_of(behind->next) <= io->key)
		behind = behind->next;
	list_add(&io->by_key, behind);
}

/* From the end: most come in the order of their keys; but those below 0 go before all others. */
static void add_by_key(struct kml_list *list, struct kml_io *io)
{
	place_by_key(list, io, io->key < 0 ? &list->by_key : list->by_key.prev);
}

/* From the end, likewise. */
static void add_by_deadline(struct kml_list *list, struct kml_io *io)
{
	struct list_head *behind = list->by_deadline.prev;

	while (behind != &list->by_deadline && kml_io_waiting(behind)->deadline > io->deadline)
		behind = behind->prev;
	list_add(&io->request->queuelist, behind);
}

static void link_io(struct kml_queue *queue, struct kml_io *io)
{
	struct kml_list *list = list_of(queue, io);

	elv_rb_add(&list->by_sector, io->request);
	add_by_key(list, io);
	add_by_deadline(list, io);
	queue->at_level[io->level]++;
	WRITE_ONCE(queue->waiting, queue->waiting + 1);
}

static void unlink_io(struct kml_queue *queue, struct kml_io *io)
{
	struct kml_list *list = list_of(queue, io);

	elv_rb_del(&list->by_sector, io->request);
	list_del(&io->by_key);
	list_del_init(&io->request->queuelist);
	queue->at_level[io->level]--;
	WRITE_ONCE(queue->waiting, queue->waiting - 1);
}

void kml_list_add(struct kml_queue *queue, struct kml_io *io)
{
	struct request *rq = io->request;

	io->state = KML_IO_WAITS;
	link_io(queue, io);
	if (!rq_mergeable(rq))
		return;
	elv_rqhash_add(queue->queue, rq);
	if (!queue->queue->last_merge)
		queue->queue->last_merge = rq;
}

void kml_list_remove(struct kml_queue *queue, struct kml_io *io)
{
	struct request *rq = io->request;

	io->state = KML_IO_NEW;
	unlink_io(queue, io);
	elv_rqhash_del(queue->queue, rq);
	if (queue->queue->last_merge == rq)
		queue->queue->last_merge = NULL;
}

void kml_list_grown(struct kml_queue *queue, struct kml_io *io, bool in_front)
{
	struct kml_list *list = list_of(queue, io);
	struct list_head *behind;

	if (in_front) {
		elv_rb_del(&list->by_sector, io->request);
		elv_rb_add(&list->by_sector, io->request);
	}
	behind = io->by_key.prev;
	list_del(&io->by_key);
	kml_learn_weigh(queue, io);
	place_by_key(list, io, behind);
}

void kml_list_inherit(struct kml_queue *queue, struct kml_io *io, const struct kml_io *other, enum kml_class class)
{
	unlink_io(queue, io);
	if (other && other->state == KML_IO_WAITS) {
		io->arrived = min(io->arrived, other->arrived);
		io->deadline = min(io->deadline, other->deadline);
	}
	if (class < io->class) {
		io->class = class;
		io->deadline = min(io->deadline, io->arrived + queue->dispatch.settings.deadline[class]);
	}
	kml_learn_weigh(queue, io);
	link_io(queue, io);
}

static struct kml_io *oldest(const struct kml_list *list)
{
	return kml_io_waiting(list->by_deadline.next);
}

/* The request of the lowest key, or the one that goes on where the last of its direction ended. */
static struct kml_io *best(const struct kml_queue *queue, struct kml_list *list, enum kml_class class, u64 now)
{
	struct request *rq = NULL;

	if (kml_dispatch_may_go_on(&queue->dispatch, class, oldest(list)->deadline, now))
		rq = elv_rb_find(&list->by_sector, queue->last_end[class != KML_CLASS_READ]);
	return rq ? rq->elv.priv[0] : list_first_entry(&list->by_key, struct kml_io, by_key);
}

/* Nothing goes now: the queue is run again at a time, or when something arrives or completes before. */
static void hold(struct kml_queue *queue, u64 now, u64 until)
{
	WRITE_ONCE(queue->held, true);
	hrtimer_start(&queue->timer, ns_to_ktime(clamp(until, now + LEAST_WAIT, now + MOST_WAIT)), HRTIMER_MODE_ABS);
}

static struct kml_io *chosen(struct kml_queue *queue, struct kml_list *lists, u64 now)
{
	struct kml_waiting waiting[KML_CLASSES];
	struct kml_io *found[KML_CLASSES];
	bool expired;
	int class;
	u64 until;

	for (class = 0; class < KML_CLASSES; class++) {
		waiting[class].count = !list_empty(&lists[class].by_deadline);
		if (!waiting[class].count)
			continue;
		found[class] = best(queue, &lists[class], class, now);
		waiting[class].oldest = oldest(&lists[class])->deadline;
		waiting[class].work = found[class]->work;
		waiting[class].key = found[class]->key;
	}
	class = kml_dispatch_choose(&queue->dispatch, waiting, now, &until, &expired);
	if (class == KML_DISPATCH_HOLD)
		hold(queue, now, until);
	if (class < 0)
		return NULL;
	return expired ? oldest(&lists[class]) : found[class];
}

static struct kml_io *earliest(struct kml_list *lists)
{
	struct kml_io *found = NULL, *io;
	int class;

	for (class = 0; class < KML_CLASSES; class++) {
		if (list_empty(&lists[class].by_deadline))
			continue;
		io = oldest(&lists[class]);
		if (!found || io->deadline < found->deadline)
			found = io;
	}
	return found;
}

/* The highest priority of which something waits, or a lower one where something has waited for too long. */
static struct kml_list *level_to_serve(struct kml_queue *queue, u64 now)
{
	struct kml_list *found = NULL, *lists;
	int level;

	for (level = 0; level < KML_LEVELS; level++) {
		if (!queue->at_level[level])
			continue;
		lists = queue->lists[level];
		if (!found || now > earliest(lists)->deadline + queue->priority_ageing)
			found = lists;
	}
	return found;
}

struct kml_io *kml_lists_next(struct kml_queue *queue, u64 now, bool acts)
{
	struct kml_list *lists;
	struct kml_io *io;

	WRITE_ONCE(queue->held, false);
	if (!queue->waiting)
		return NULL;
	lists = level_to_serve(queue, now);
	io = acts ? chosen(queue, lists, now) : earliest(lists);
	if (io)
		kml_list_remove(queue, io);
	return io;
}
