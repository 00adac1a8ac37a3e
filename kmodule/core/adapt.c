/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which samples to collect, and when to learn. */
#include "kml/adapt.h"
#include "random.h"

/* The threshold moves by at most this much a sample: it forgets a stream's habits in a few hundred samples. */
#define THRESHOLD_STEP (KML_FX_ONE / 32)

/* Only where exploring alone keeps the whole share would it rise without end. */
#define THRESHOLD_MAX (KML_FX_ONE + KML_FX_ONE / 4)

int kml_sampler_init(struct kml_sampler *sampler, kml_fx share, kml_fx explore, uint64_t seed)
{
	if (share <= 0 || share > KML_FX_ONE || explore < 0 || explore > share)
		return -EINVAL;
	sampler->share = share;
	sampler->explore = explore;
	sampler->threshold = KML_FX_ONE - share - 1;
	sampler->random = kml_random_begin(seed);
	sampler->seen = 0;
	sampler->kept = 0;
	return 0;
}
KML_EXPORT(kml_sampler_init);

static kml_fx between_0_and_1(int64_t value)
{
	if (value < 0)
		return 0;
	return value > KML_FX_ONE ? KML_FX_ONE : (kml_fx)value;
}

kml_fx kml_uncertainty(const kml_fx *probabilities, unsigned int count)
{
	kml_fx best = KML_FX_MIN, second = KML_FX_MIN;
	int64_t lead;
	unsigned int i;

	if (count == 1) {
		lead = 2 * (int64_t)probabilities[0] - KML_FX_ONE;
		return between_0_and_1(KML_FX_ONE - (lead < 0 ? -lead : lead));
	}
	for (i = 0; i < count; i++) {
		if (probabilities[i] > best) {
			second = best;
			best = probabilities[i];
		} else if (probabilities[i] > second) {
			second = probabilities[i];
		}
	}
	return between_0_and_1(KML_FX_ONE - ((int64_t)best - second));
}
KML_EXPORT(kml_uncertainty);

/*
 * The threshold goes up after each sample that is kept and down after each other one, in the proportion (1 - share) to
 * share, so that it comes to rest where the share is kept (Robbins and Monro 1951), whatever uncertainties the stream
 * has.  Random bits decide how a step is rounded, or a small share would be off by what rounding takes away.
 */
bool kml_sampler_keep(struct kml_sampler *sampler, kml_fx uncertainty)
{
	uint64_t random = kml_random_next(&sampler->random);
	bool explored = (random >> 48) < (uint64_t)sampler->explore;
	bool keep = explored || between_0_and_1(uncertainty) > sampler->threshold;
	int64_t step = (int64_t)((keep ? KML_FX_ONE : 0) - sampler->share) * THRESHOLD_STEP;

	sampler->threshold += (kml_fx)((step + (int64_t)(random >> 32 & 0xffff)) >> KML_FX_BITS);
	if (sampler->threshold > THRESHOLD_MAX)
		sampler->threshold = THRESHOLD_MAX;
	sampler->seen++;
	sampler->kept += keep;
	return keep;
}
KML_EXPORT(kml_sampler_keep);

int kml_adapter_init(struct kml_adapter *adapter, struct kml_trainer *trainer, const struct kml_drift *drift,
		     uint32_t samples)
{
	if (!samples)
		return -EINVAL;
	adapter->trainer = trainer;
	adapter->drift = *drift;
	adapter->samples = samples;
	adapter->left = 0;
	adapter->state = KML_STEADY;
	adapter->adaptations = 0;
	adapter->learned = 0;
	return 0;
}
KML_EXPORT(kml_adapter_init);

static enum kml_adapter_action watch(struct kml_adapter *adapter, kml_fx loss)
{
	if (!kml_drift_add(&adapter->drift, loss))
		return KML_WATCHED;
	adapter->state = KML_ADAPTING;
	adapter->left = adapter->samples;
	adapter->adaptations++;
	return KML_DRIFTED;
}

/* Losses while it learns are no measure of the stream: the drift test, which began anew, waits until it has settled. */
enum kml_adapter_action kml_adapter_feed(struct kml_adapter *adapter, const kml_fx *in, const kml_fx *target,
					 kml_fx *loss)
{
	if (adapter->state == KML_STEADY) {
		*loss = kml_trainer_evaluate(adapter->trainer, in, target);
		return watch(adapter, *loss);
	}
	*loss = kml_train(adapter->trainer, in, target);
	adapter->learned++;
	if (--adapter->left)
		return KML_LEARNED;
	kml_trainer_flush(adapter->trainer);
	adapter->state = KML_STEADY;
	return KML_SETTLED;
}
KML_EXPORT(kml_adapter_feed);
