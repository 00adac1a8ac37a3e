// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Learners: a kernel thread that empties a predictor's rings, learns from the samples, and publishes what it learned.
 *
 * It trains a copy of the served model.  All its memory is taken when it starts: to publish, it copies into a spare
 * model that takes the served one's place, and the one that was served is the next spare, once no reader can be left
 * of it.  Until then publication waits for a later chunk of samples.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "kml/float_train.h"
#include "kml_driver.h"
#include "kml_fpu.h"

#define KML_CHUNK 16 /* samples between two offers to others to run */
/*
 * An FPU section begins no sample after so long.  The last one, and a publication, are bounded by the model's size: the
 * largest takes some 3 us and 6 us on a 3 GHz x86-64, so that a section stays under 50 us on one five times slower.
 */
#define KML_FPU_BUDGET_NS 20000
#define KML_FLOAT_MAX_PARAMETERS 1024
#define KML_LOSS_SHIFT 8 /* the loss told is a mean over about 2^8 samples */
/* It sleeps so long when the rings are empty: shorter while they fill fast. */
#define KML_NAP_MIN_NS (100 * NSEC_PER_USEC)
#define KML_NAP_MAX_NS (16 * NSEC_PER_MSEC)
#define KML_NICE 10 /* training gives way to those who wait for their I/O */

struct kml_learner {
	struct kml_predictor *predictor;
	struct task_struct *thread;
	struct completion begun;
	void *model_memory;
	struct kml_model *model;     /* the copy */
	void *trainer_memory;
	struct kml_trainer *fixed;   /* one of these two */
	struct kml_float_trainer *floating;
	struct kml_adapter adapter;
	bool adapts;
	bool settled;                /* an adaptation has ended since the last publication */
	struct kml_served *spare;
	uint32_t publish_every;
	uint64_t updates;
	uint64_t published;          /* updates at the last publication */
	uint64_t updates_before;     /* of the predictor's earlier learners */
	struct kml_fading loss;
};

static void kml_progress_add(uint64_t *counter, uint64_t count)
{
	WRITE_ONCE(*counter, *counter + count); /* one writer */
}

/* Learning */

static kml_fx kml_learn_sample(struct kml_learner *learner, const kml_fx *in, const kml_fx *target)
{
	struct kml_progress *progress = &learner->predictor->progress;
	kml_fx loss;

	if (!learner->adapts) {
		kml_progress_add(&progress->trained, 1);
		return kml_train(learner->fixed, in, target);
	}
	switch (kml_adapter_feed(&learner->adapter, in, target, &loss)) {
	case KML_WATCHED:
		break;
	case KML_DRIFTED:
		kml_progress_add(&progress->adaptations, 1);
		break;
	case KML_SETTLED:
		learner->settled = true;
		fallthrough;
	case KML_LEARNED:
		kml_progress_add(&progress->trained, 1);
		break;
	}
	return loss;
}

static void kml_learn_fixed(struct kml_learner *learner, struct kml_ring_reader *reader)
{
	const struct kml_record *record;
	unsigned int left;

	for (left = KML_CHUNK; left && (record = kml_ring_peek(reader)); left--) {
		kml_fading_add(&learner->loss, kml_learn_sample(learner, record->values,
								record->values + learner->predictor->inputs));
		kml_ring_release(reader);
	}
	learner->updates = kml_trainer_updates(learner->fixed);
}

/* Call within an FPU section. */
static void kml_learn_float(struct kml_learner *learner, struct kml_ring_reader *reader, uint64_t start)
{
	struct kml_predictor *predictor = learner->predictor;
	const struct kml_record *record;
	unsigned int left;

	for (left = KML_CHUNK; left && (record = kml_ring_peek(reader)); left--) {
		kml_fading_add(&learner->loss, kml_float_train(learner->floating, record->values,
							       record->values + predictor->inputs));
		kml_progress_add(&predictor->progress.trained, 1);
		kml_ring_release(reader);
		if (ktime_get_ns() - start > KML_FPU_BUDGET_NS)
			break;
	}
	learner->updates = kml_float_trainer_updates(learner->floating);
}

static uint64_t kml_section_begin(void)
{
	uint64_t start = ktime_get_ns();

	kml_fpu_begin();
	return start;
}

static void kml_section_end(struct kml_learner *learner, uint64_t start)
{
	struct kml_progress *progress = &learner->predictor->progress;
	uint64_t took;

	kml_fpu_end();
	took = ktime_get_ns() - start;
	kml_progress_add(&progress->fpu_sections, 1);
	if (took > progress->fpu_longest_ns)
		WRITE_ONCE(progress->fpu_longest_ns, took);
}

static void kml_learn_chunk(struct kml_learner *learner, struct kml_ring_reader *reader)
{
	struct kml_progress *progress = &learner->predictor->progress;
	uint64_t start;

	if (learner->floating) {
		start = kml_section_begin();
		kml_learn_float(learner, reader, start);
		kml_section_end(learner, start);
	} else {
		start = ktime_get_ns();
		kml_learn_fixed(learner, reader);
	}
	kml_progress_add(&progress->train_ns, ktime_get_ns() - start);
	WRITE_ONCE(progress->updates, learner->updates_before + learner->updates);
	WRITE_ONCE(progress->loss, kml_fading_mean(&learner->loss));
}

/* Apply what is left of a batch, and bring the copy up to date with a float trainer's own numbers. */
static void kml_learn_rest(struct kml_learner *learner)
{
	uint64_t start;

	if (learner->floating) {
		start = kml_section_begin();
		kml_float_trainer_flush(learner->floating);
		learner->updates = kml_float_trainer_updates(learner->floating);
		kml_section_end(learner, start);
	} else {
		kml_trainer_flush(learner->fixed);
		learner->updates = kml_trainer_updates(learner->fixed);
	}
	WRITE_ONCE(learner->predictor->progress.updates, learner->updates_before + learner->updates);
}

/* Publishing */

static void kml_spare_is_idle(struct rcu_head *rcu)
{
	struct kml_served *spare = container_of(rcu, struct kml_served, rcu);

	smp_store_release(&spare->idle, true);
}

/* Not now, if a reader may be left of the spare model. */
static void kml_publish(struct kml_learner *learner)
{
	struct kml_predictor *predictor = learner->predictor;
	struct kml_served *next = learner->spare, *old;
	uint64_t start;

	if (!smp_load_acquire(&next->idle))
		return;
	if (learner->floating) {
		start = kml_section_begin();
		kml_float_publish(learner->floating, learner->model);
		kml_section_end(learner, start);
	}
	if (WARN_ON_ONCE(kml_model_copy(next->memory, next->size, learner->model, &next->model)))
		return;
	next->number = predictor->models + 1;
	WRITE_ONCE(predictor->models, next->number);
	next->idle = false;
	old = rcu_replace_pointer(predictor->served, next, true); /* nobody else may while there is a learner */
	learner->spare = old;
	call_rcu(&old->rcu, kml_spare_is_idle);
	learner->published = learner->updates;
	learner->settled = false;
	kml_progress_add(&predictor->progress.publications, 1);
}

static void kml_publish_if_due(struct kml_learner *learner)
{
	if (learner->settled || learner->updates - learner->published >= learner->publish_every)
		kml_publish(learner);
}

/* The thread */

/* Learn what is in a ring now; what comes meanwhile is for the next round.  Gives how much it was. */
static uint64_t kml_learn_ring(struct kml_learner *learner, struct kml_ring_reader *reader)
{
	uint64_t begin = reader->tail;
	uint64_t end = smp_load_acquire(&reader->shared->head);

	while (reader->tail < end && !kml_is_dead(learner->predictor)) {
		kml_learn_chunk(learner, reader);
		kml_publish_if_due(learner);
		cond_resched();
	}
	return reader->tail - begin;
}

static uint64_t kml_learn_round(struct kml_learner *learner)
{
	struct kml_predictor *predictor = learner->predictor;
	uint64_t most = 0;
	unsigned int ring;

	for (ring = 0; ring < predictor->rings; ring++)
		most = max(most, kml_learn_ring(learner, &predictor->memory[ring].reader));
	return most;
}

static void kml_nap(uint64_t ns)
{
	ktime_t time = ns_to_ktime(ns);

	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop())
		schedule_hrtimeout_range(&time, ns / 4, HRTIMER_MODE_REL);
	__set_current_state(TASK_RUNNING);
}

/* Nobody wakes the learner, since collecting must stay cheap: its naps follow how full it finds the fullest ring. */
static int kml_learner_thread(void *data)
{
	struct kml_learner *learner = data;
	struct kml_predictor *predictor = learner->predictor;
	uint64_t nap = KML_NAP_MIN_NS, most;

	complete(&learner->begun);
	set_user_nice(current, KML_NICE);
	while (!kthread_should_stop()) {
		most = kml_learn_round(learner);
		if (most > predictor->slots / 4)
			nap = max_t(uint64_t, nap / 2, KML_NAP_MIN_NS);
		else if (most < predictor->slots / 16)
			nap = min_t(uint64_t, nap * 2, KML_NAP_MAX_NS);
		kml_nap(nap);
	}
	if (!kml_is_dead(predictor)) {
		kml_learn_round(learner);
		kml_learn_rest(learner);
		rcu_barrier(); /* makes the spare idle */
		kml_publish(learner);
	}
	return 0;
}

/* Starting and stopping */

static void kml_learner_free(struct kml_learner *learner)
{
	rcu_barrier(); /* the callback of the spare model */
	kvfree(learner->spare);
	kvfree(learner->trainer_memory);
	kvfree(learner->model_memory);
	kfree(learner);
}

static int kml_learner_make_fixed(struct kml_learner *learner, const struct kml_train_call *call)
{
	size_t size = kml_trainer_size(learner->model);
	struct kml_drift drift;
	int status;

	learner->trainer_memory = kvzalloc(size, GFP_KERNEL);
	if (!learner->trainer_memory)
		return -ENOMEM;
	status = kml_trainer_create(learner->trainer_memory, size, learner->model, &call->training, &learner->fixed);
	if (status || !call->adapt_samples)
		return status;
	learner->adapts = true;
	status = kml_drift_init(&drift, call->drift_tolerance, call->drift_threshold, call->drift_warm_up);
	if (status)
		return status;
	return kml_adapter_init(&learner->adapter, learner->fixed, &drift, call->adapt_samples);
}

static int kml_learner_make_float(struct kml_learner *learner, const struct kml_train_call *call, const char **reason)
{
	uint64_t start;
	size_t size;
	int status;

	if (!kml_fpu_available()) {
		*reason = "this processor has no floating point";
		return -EOPNOTSUPP;
	}
	if (call->adapt_samples) {
		*reason = "adaptation after drift learns in fixed point";
		return -EOPNOTSUPP;
	}
	if (learner->model->parameter_count > KML_FLOAT_MAX_PARAMETERS) {
		*reason = "the model has too many parameters for a short FPU section";
		return -E2BIG;
	}
	start = kml_section_begin(); /* the compiler may use the FPU's registers for anything in that file */
	size = kml_float_trainer_size(learner->model);
	kml_section_end(learner, start);
	learner->trainer_memory = kvzalloc(size, GFP_KERNEL);
	if (!learner->trainer_memory)
		return -ENOMEM;
	start = kml_section_begin();
	status = kml_float_trainer_create(learner->trainer_memory, size, learner->model, &call->training,
					  &learner->floating);
	kml_section_end(learner, start);
	return status;
}

static int kml_learner_prepare(struct kml_learner *learner, const struct kml_model *model,
			       const struct kml_train_call *call, const char **reason)
{
	struct kml_predictor *predictor = learner->predictor;
	int status;

	learner->publish_every = call->publish_every;
	learner->updates_before = predictor->progress.updates;
	learner->spare = kml_served_alloc(model->bytes);
	learner->model_memory = kvmalloc(model->bytes, GFP_KERNEL);
	if (!learner->spare || !learner->model_memory)
		return -ENOMEM;
	learner->spare->idle = true;
	status = kml_model_copy(learner->model_memory, model->bytes, model, &learner->model);
	if (!status)
		status = kml_fading_init(&learner->loss, KML_LOSS_SHIFT);
	if (status)
		return status;
	if (predictor->consumer == KML_CONSUMER_KERNEL_FLOAT)
		status = kml_learner_make_float(learner, call, reason);
	else
		status = kml_learner_make_fixed(learner, call);
	if (status)
		return status;
	learner->thread = kthread_create(kml_learner_thread, learner, "kml/%s", predictor->name);
	return PTR_ERR_OR_ZERO(learner->thread);
}

static int kml_learner_start_locked(struct kml_predictor *predictor, const struct kml_train_call *call,
				    const char **reason)
{
	const struct kml_served *served =
		rcu_dereference_protected(predictor->served, lockdep_is_held(&predictor->lock));
	struct kml_learner *learner;
	int status;

	if (kml_is_dead(predictor))
		return -ENODEV;
	if (predictor->learner) {
		*reason = "it trains already";
		return -EBUSY;
	}
	if (!served) {
		*reason = "there is no model to train";
		return -ENODATA;
	}
	status = kml_training_check(&call->training, served->model, reason);
	if (status)
		return status;
	learner = kzalloc(sizeof(*learner), GFP_KERNEL);
	if (!learner)
		return -ENOMEM;
	learner->predictor = predictor;
	init_completion(&learner->begun);
	status = kml_learner_prepare(learner, served->model, call, reason);
	if (status) {
		kml_learner_free(learner);
		return status;
	}
	WRITE_ONCE(predictor->learner, learner);
	wake_up_process(learner->thread);
	wait_for_completion(&learner->begun); /* a thread that is stopped before it begins never runs, not even to the end */
	return 0;
}

int kml_learner_start(struct kml_predictor *predictor, const struct kml_train_call *call, const char **reason)
{
	int status;

	if (predictor->consumer == KML_CONSUMER_USER) {
		*reason = "its rings are read by a process";
		return -EOPNOTSUPP;
	}
	mutex_lock(&predictor->lock);
	status = kml_learner_start_locked(predictor, call, reason);
	mutex_unlock(&predictor->lock);
	return status;
}

int kml_learner_stop(struct kml_predictor *predictor)
{
	struct kml_learner *learner;

	mutex_lock(&predictor->lock);
	learner = predictor->learner;
	if (learner) {
		kthread_stop(learner->thread);
		WRITE_ONCE(predictor->learner, NULL);
		kml_learner_free(learner);
	}
	mutex_unlock(&predictor->lock);
	return learner ? 0 : -ENODATA;
}
