/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Adapting a deployed model: which samples are worth collecting, and when and how much to learn.
 */
#ifndef KML_ADAPT_H
#define KML_ADAPT_H

#include "kml/drift.h"
#include "kml/train.h"

/*
 * Active sampling: keep the samples that the model is unsure of, within a share of all, and a few of the others, so
 * that what it is wrongly sure of is seen, too.
 */
struct kml_sampler {
	kml_fx share;     /* of the samples to keep, above 0 to 1 */
	kml_fx explore;   /* of the samples kept whatever the model says, 0 to share */
	kml_fx threshold; /* of uncertainty; follows the stream so that the share comes out */
	uint64_t random;  /* state of xorshift64* (Marsaglia 2003, Vigna 2016) */
	uint64_t seen;
	uint64_t kept;
};

/* -EINVAL: shares out of range. */
int kml_sampler_init(struct kml_sampler *sampler, kml_fx share, kml_fx explore, uint64_t seed);

/* How unsure a prediction is, 0 to 1: 1 - (best - second best) of probabilities; of one output 1 - |2 p - 1|. */
kml_fx kml_uncertainty(const kml_fx *probabilities, unsigned int count);

bool kml_sampler_keep(struct kml_sampler *sampler, kml_fx uncertainty);

enum kml_adapter_state {
	KML_STEADY = 0,   /* the model is used as it is; errors are watched */
	KML_ADAPTING = 1, /* after drift: it learns, for `samples` samples */
};

/* What the adapter did with a sample. */
enum kml_adapter_action {
	KML_WATCHED = 0,
	KML_DRIFTED = 1, /* this error was one too many: it adapts from here on */
	KML_LEARNED = 2,
	KML_SETTLED = 3, /* the last sample of an adaptation */
};

/* Few-shot adaptation that starts by itself: drift of the loss lets the layers from `head` learn K samples. */
struct kml_adapter {
	struct kml_trainer *trainer;
	struct kml_drift drift;
	uint32_t samples;     /* K */
	uint32_t left;        /* of the K */
	uint8_t state;        /* enum kml_adapter_state */
	uint64_t adaptations; /* so far */
	uint64_t learned;     /* samples */
};

/* The trainer's own first_layer says which part learns.  -EINVAL: no samples. */
int kml_adapter_init(struct kml_adapter *adapter, struct kml_trainer *trainer, const struct kml_drift *drift,
		     uint32_t samples);

enum kml_adapter_action kml_adapter_feed(struct kml_adapter *adapter, const kml_fx *in, const kml_fx *target,
					 kml_fx *loss);

#endif
