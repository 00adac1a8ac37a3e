/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * For kernel modules that use kml.ko: a model in use, its rings, its trainer, its counters.
 *
 *   static const struct kml_predictor_spec spec = { .name = "latency", .inputs = 5, .outputs = 1, ... };
 *   predictor = kml_predictor_create(&spec);            may sleep; ERR_PTR
 *   rings = kml_predictor_rings(predictor);
 *   if (!kml_predict(predictor, features, &out)) ...    any context but NMI
 *   kml_collect(rings, features, &target);              any context but NMI
 *   kml_predictor_destroy(predictor);                   may sleep; after the last call to it has returned
 */
#ifndef KML_PREDICTOR_H
#define KML_PREDICTOR_H

#include "kml/device_abi.h"
#include "kml/fixed.h"
#include "kml/ring.h"

#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/preempt.h>

struct module;
struct kml_predictor;

struct kml_predictor_spec {
	const char *name;
	uint16_t inputs;
	uint16_t outputs;
	enum kml_ring_mode mode;
	enum kml_consumer consumer;
	uint32_t slots;
	kml_fx share;   /* of the samples that kml_collect_sampled keeps; 0: all */
	kml_fx explore;
};

struct kml_predictor *kml_predictor_create(const struct kml_predictor_spec *spec);
void kml_predictor_destroy(struct kml_predictor *predictor);

/* Predict; -ENODATA: there is no model yet.  The model may be swapped at any time: a call sees one of them whole. */
int kml_predict(struct kml_predictor *predictor, const kml_fx *features, kml_fx *out);

/* One processor's ring.  Public only for the inline function below. */
struct kml_cpu_ring {
	struct kml_ring_writer writer;
	uint32_t inputs;
	uint32_t outputs;
	bool blocking;
};
struct kml_cpu_ring __percpu *kml_predictor_rings(struct kml_predictor *predictor);

/* A sample is a few words: a copy that the compiler may not turn into a call of memcpy. */
static inline void kml_copy_numbers(kml_fx *to, const kml_fx *from, uint32_t count)
{
	uint32_t at;

	for (at = 0; at < count; at++)
		WRITE_ONCE(to[at], from[at]);
}

/*
 * Save a sample for training: never sleeps, takes no lock.  -ENOSPC: dropped and counted; -EAGAIN in blocking mode:
 * no room, try again later or use kml_collect_wait.  `rings` is what kml_predictor_rings gave.
 */
static inline int kml_collect(struct kml_cpu_ring __percpu *rings, const kml_fx *features, const kml_fx *targets)
{
	struct kml_cpu_ring *ring;
	struct kml_record *record;
	unsigned long flags;
	int status = 0;

	local_irq_save(flags);
	ring = this_cpu_ptr(rings);
	record = kml_ring_reserve(&ring->writer);
	if (likely(record)) {
		kml_copy_numbers(record->values, features, ring->inputs);
		kml_copy_numbers(record->values + ring->inputs, targets, ring->outputs);
		kml_ring_commit(&ring->writer);
	} else if (ring->blocking) {
		status = -EAGAIN;
	} else {
		kml_ring_drop(&ring->writer);
		status = -ENOSPC;
	}
	local_irq_restore(flags);
	return status;
}

/* The same in blocking mode, sleeping until there is room; -EINTR: a fatal signal came. */
int kml_collect_wait(struct kml_predictor *predictor, const kml_fx *features, const kml_fx *targets);

/* Collect only what the model was unsure of, given what it predicted; 1: skipped, else as kml_collect. */
int kml_collect_sampled(struct kml_predictor *predictor, const kml_fx *features, const kml_fx *targets,
			const kml_fx *prediction);

#endif
