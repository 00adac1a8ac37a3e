// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What is predicted of requests, and learned from how they went: by the service model, and by kml.ko's predictor. */
#include <linux/err.h>
#include <linux/moduleparam.h>

#include "kml/predictor.h"
#include "mq_kmlib.h"

#define SLOTS 1024

static char *trainer = "kernel";
module_param(trainer, charp, 0444);
MODULE_PARM_DESC(trainer, "who trains on the samples: kernel (fixed point), float (binary32 in the kernel) or user");

static unsigned int share;
module_param(share, uint, 0444);
MODULE_PARM_DESC(share, "thousandths of the samples to keep, those nearest to what counts as slow; 0: all");

/* One model serves all devices. */
static struct kml_predictor *predictor;
static struct kml_cpu_ring __percpu *rings;

int kml_learn_init(void)
{
	struct kml_predictor_spec spec = {
		.name = KML_ELEVATOR_NAME,
		.inputs = KML_LATENCY_FEATURES,
		.outputs = 1,
		.mode = KML_DROPPING,
		.slots = SLOTS,
		.share = KML_FX_ONE / 1000 * min(share, 1000u),
	};

	if (!strcmp(trainer, "kernel"))
		spec.consumer = KML_CONSUMER_KERNEL_FIXED;
	else if (!strcmp(trainer, "float"))
		spec.consumer = KML_CONSUMER_KERNEL_FLOAT;
	else if (!strcmp(trainer, "user"))
		spec.consumer = KML_CONSUMER_USER;
	else
		return -EINVAL;
	predictor = kml_predictor_create(&spec);
	if (IS_ERR(predictor))
		return PTR_ERR(predictor);
	rings = kml_predictor_rings(predictor);
	return 0;
}

void kml_learn_exit(void)
{
	kml_predictor_destroy(predictor);
}

void kml_learn_begin(struct kml_queue *queue, u64 now)
{
	struct kml_dispatch_settings settings;

	kml_dispatch_defaults(&settings);
	kml_dispatch_begin(&queue->dispatch, &settings);
	kml_service_begin(&queue->service);
	kml_latency_begin(&queue->latency, now);
	kml_guard_begin(&queue->guard, now);
}

bool kml_learn_acts(struct kml_queue *queue, u64 now)
{
	return queue->mode == KML_MODE_ACT && (!queue->fallback || kml_guard_acts(&queue->guard, now));
}

void kml_learn_weigh(struct kml_queue *queue, struct kml_io *io)
{
	enum kml_service_kind kind = kml_service_kind(kml_is_write(io->request), false);

	io->work = kml_service_predict(&queue->service, kind, blk_rq_bytes(io->request));
	io->key = kml_dispatch_key(&queue->dispatch, io->class, io->arrived, io->work, io->predicted);
}

/* What the rule uses a prediction for: a read that will be slow has writeback wait. */
static bool has_writeback(const struct kml_queue *queue)
{
	int level;

	for (level = 0; level < KML_LEVELS; level++)
		if (!list_empty(&queue->lists[level][KML_CLASS_WRITEBACK].by_deadline))
			return true;
	return queue->dispatch.in_device[KML_CLASS_WRITEBACK] > 0;
}

/*
 * Where no writeback is about a prediction changes nothing, and without a model there is none: then features are taken
 * of some requests only, for who trains and for the scores.
 */
static bool wants_features(struct kml_queue *queue)
{
	if (queue->mode == KML_MODE_OFF || !queue->learn)
		return false;
	if (++queue->unseen < queue->predict_every && !(queue->has_model && has_writeback(queue)))
		return false;
	queue->unseen = 0;
	return true;
}

static void predict(struct kml_queue *queue, struct kml_io *io)
{
	io->foretold = !kml_predict(predictor, io->features, &io->prediction);
	queue->has_model = io->foretold;
	if (!io->foretold)
		return;
	queue->predictions++;
	if (kml_score_trusted(&queue->scores[io->class]))
		io->predicted = kml_latency_from_target(io->prediction);
}

void kml_learn_arrived(struct kml_queue *queue, struct kml_io *io, u64 now)
{
	struct request *rq = io->request;
	const struct kml_latency_arrival arrival = {
		.now = now,
		.sector = blk_rq_pos(rq),
		.bytes = blk_rq_bytes(rq),
		.operation = kml_operation_of(rq),
		.synchronous = io->class != KML_CLASS_WRITEBACK,
	};

	io->arrived = now;
	io->deadline = now + queue->dispatch.settings.deadline[io->class];
	if (wants_features(queue)) {
		io->seen = true;
		kml_latency_features(&queue->latency, &arrival, io->features);
		predict(queue, io);
	}
	kml_latency_arrived(&queue->latency, &arrival);
	kml_dispatch_arrived(&queue->dispatch, io->class, io->predicted, now);
	kml_learn_weigh(queue, io);
	queue->counters[io->class].inserted++;
}

void kml_learn_gone(struct kml_queue *queue, struct kml_io *io)
{
	if (io->arrived)
		kml_latency_withdrawn(&queue->latency);
	io->arrived = 0;
}

void kml_learn_issued(struct kml_queue *queue, struct kml_io *io, u64 now)
{
	struct request *rq = io->request;
	bool write = kml_is_write(rq);

	io->state = KML_IO_IN_DEVICE;
	io->issued = now;
	io->bytes = blk_rq_bytes(rq);
	io->kind = kml_service_kind(write, blk_rq_pos(rq) == queue->last_end[write]);
	queue->last_end[write] = blk_rq_pos(rq) + blk_rq_sectors(rq);
	queue->in_device++;
	queue->counters[io->class].dispatched++;
	kml_service_issued(&queue->service);
	kml_dispatch_issued(&queue->dispatch, io->class, io->work, io->deadline, now);
}

void kml_learn_returned(struct kml_queue *queue, struct kml_io *io)
{
	io->state = KML_IO_NEW;
	queue->in_device--;
	queue->requeued++;
	kml_service_withdrawn(&queue->service);
	kml_dispatch_withdrawn(&queue->dispatch, io->class);
}

static void score(struct kml_queue *queue, const struct kml_io *io, u64 latency)
{
	kml_score_add(&queue->scores[io->class], io->prediction, kml_latency_target(latency),
		      kml_latency_target(io->deadline - io->arrived));
}

void kml_learn_completed(struct kml_queue *queue, struct kml_io *io, u64 now)
{
	enum kml_latency_operation operation = kml_operation_of(io->request);
	struct kml_counters *counters = &queue->counters[io->class];
	u64 latency = now > io->arrived ? now - io->arrived : 0;

	io->state = KML_IO_DONE;
	queue->in_device--;
	if (operation == KML_LATENCY_OF_OTHER || !queue->learn)
		kml_service_withdrawn(&queue->service);
	else
		kml_service_completed(&queue->service, io->kind, io->bytes, io->issued, now);
	kml_dispatch_completed(&queue->dispatch, io->class, now);
	kml_latency_completed(&queue->latency, operation, io->bytes, io->arrived, now);
	if (io->class != KML_CLASS_WRITEBACK)
		kml_guard_completed(&queue->guard, io->arrived, now);
	if (io->foretold)
		score(queue, io, latency);
	counters->completed++;
	counters->latency_ns += latency;
	counters->missed += now > io->deadline;
}

/* How likely a request is slow: a probability, of which a sampler can tell how sure it is. */
static kml_fx slowness(const struct kml_queue *queue, kml_fx prediction)
{
	return kml_fx_sigmoid(kml_fx_sub(prediction, kml_latency_target(READ_ONCE(queue->dispatch.settings.slow))));
}

void kml_learn_collect(struct kml_queue *queue, struct kml_io *io, u64 now)
{
	kml_fx target, slow;

	if (now < io->arrived)
		return;
	target = kml_latency_target(now - io->arrived);
	if (!io->foretold) {
		kml_collect(rings, io->features, &target);
		return;
	}
	slow = slowness(queue, io->prediction);
	kml_collect_sampled(predictor, io->features, &target, &slow);
}
