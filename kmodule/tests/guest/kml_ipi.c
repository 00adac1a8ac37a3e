// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A kernel user of kml.ko, as an example and for the tests: predicts how long a call to another processor takes.
 *
 * A thread calls all processors, again and again.  Each answers from its interrupt handler, where it knows how long the
 * call took (the target) and how long the one before it did (the only feature), predicts, and collects the sample.
 * The model comes from user space, by the predictor's name.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/smp.h>

#include "kml/predictor.h"

static const struct kml_predictor_spec spec = {
	.name = "ipi-latency",
	.inputs = 1,
	.outputs = 1,
	.mode = KML_DROPPING,
	.consumer = KML_CONSUMER_KERNEL_FIXED,
	.slots = 256,
};

static struct kml_predictor *predictor;
static struct kml_cpu_ring __percpu *rings;
static struct task_struct *caller;
static DEFINE_PER_CPU(kml_fx, last_us);

/* Runs on each processor with interrupts off: no locks, no sleeping, no floating point. */
static void answer(void *called_ns)
{
	kml_fx feature = __this_cpu_read(last_us), took_us, predicted_us;

	took_us = kml_fx_from_int(div_u64(ktime_get_ns() - *(const uint64_t *)called_ns, NSEC_PER_USEC));
	if (!kml_predict(predictor, &feature, &predicted_us))
		pr_debug("predicted %d us, took %d us\n", predicted_us >> KML_FX_BITS, took_us >> KML_FX_BITS);
	kml_collect(rings, &feature, &took_us);
	__this_cpu_write(last_us, took_us);
}

static int call_processors(void *unused)
{
	uint64_t called_ns;

	while (!kthread_should_stop()) {
		called_ns = ktime_get_ns();
		on_each_cpu(answer, &called_ns, 1);
		usleep_range(500, 1000);
	}
	return 0;
}

static int __init kml_ipi_init(void)
{
	predictor = kml_predictor_create(&spec);
	if (IS_ERR(predictor))
		return PTR_ERR(predictor);
	rings = kml_predictor_rings(predictor);
	caller = kthread_run(call_processors, NULL, "kml_ipi");
	if (IS_ERR(caller)) {
		kml_predictor_destroy(predictor);
		return PTR_ERR(caller);
	}
	return 0;
}

/* First whatever predicts and collects, then the predictor. */
static void __exit kml_ipi_exit(void)
{
	kthread_stop(caller);
	kml_predictor_destroy(predictor);
}

module_init(kml_ipi_init);
module_exit(kml_ipi_exit);
MODULE_DESCRIPTION("Predicts how long a call to another processor takes");
MODULE_LICENSE("Dual MIT/GPL");
