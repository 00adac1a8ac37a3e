// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* What other modules call on their own paths: predicting and collecting. */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "kml_driver.h"

#define KML_WAIT_US 50 /* between two looks for room; the rings' writers and readers never wake anyone */

struct kml_cpu_ring __percpu *kml_predictor_rings(struct kml_predictor *predictor)
{
	return predictor->cpu_rings;
}
EXPORT_SYMBOL_GPL(kml_predictor_rings);

int kml_predict_numbered(struct kml_predictor *predictor, const kml_fx *features, kml_fx *out, uint64_t *number)
{
	kml_fx scratch[2 * KML_PREDICTOR_MAX_WIDTH] kml_uninitialised;
	const struct kml_served *served;

	rcu_read_lock();
	served = rcu_dereference(predictor->served);
	if (likely(served)) {
		kml_infer(served->model, features, out, scratch);
		*number = served->number;
	}
	rcu_read_unlock();
	if (unlikely(!served)) {
		this_cpu_inc(predictor->cpu->without_model);
		return -ENODATA;
	}
	this_cpu_inc(predictor->cpu->predictions);
	return 0;
}

int kml_predict(struct kml_predictor *predictor, const kml_fx *features, kml_fx *out)
{
	uint64_t number;

	return kml_predict_numbered(predictor, features, out, &number);
}
EXPORT_SYMBOL_GPL(kml_predict);

bool kml_predictor_wants(struct kml_predictor *predictor, const kml_fx *prediction)
{
	kml_fx uncertainty;
	unsigned long flags;
	struct kml_cpu *cpu;
	bool wants;

	if (!predictor->share)
		return true;
	uncertainty = kml_uncertainty(prediction, predictor->outputs);
	local_irq_save(flags);
	cpu = this_cpu_ptr(predictor->cpu);
	wants = kml_sampler_keep(&cpu->sampler, uncertainty);
	if (!wants)
		cpu->skipped++;
	local_irq_restore(flags);
	return wants;
}

int kml_collect_sampled(struct kml_predictor *predictor, const kml_fx *features, const kml_fx *targets,
			const kml_fx *prediction)
{
	if (!kml_predictor_wants(predictor, prediction))
		return 1;
	return kml_collect(predictor->cpu_rings, features, targets);
}
EXPORT_SYMBOL_GPL(kml_collect_sampled);

int kml_collect_wait(struct kml_predictor *predictor, const kml_fx *features, const kml_fx *targets)
{
	bool waited = false;
	int status;

	for (;;) {
		status = kml_collect(predictor->cpu_rings, features, targets);
		if (status != -EAGAIN)
			return status;
		if (kml_is_dead(predictor))
			return -ENODEV;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!waited)
			this_cpu_inc(predictor->cpu->waits);
		waited = true;
		usleep_range(KML_WAIT_US, 4 * KML_WAIT_US);
	}
}
EXPORT_SYMBOL_GPL(kml_collect_wait);
