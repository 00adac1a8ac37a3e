/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Training a network by stochastic gradient descent, in fixed point.
 *
 *   velocity = momentum * velocity + gradients of the batch       parameter -= rate / batch * velocity
 *
 * Each parameter has 16 more bits here than in the model (Q32.32), or steps smaller than 1/65536 would be lost; the
 * model's own follow by rounding.  Weights saturate at KML_WEIGHT_MAX, biases at the ends of Q16.16.  Derivatives of
 * the loss by what a layer gives are clipped at 32.  All memory is the caller's.
 */
#ifndef KML_TRAIN_H
#define KML_TRAIN_H

#include "kml/model.h"

enum kml_loss {
	KML_MSE = 1,           /* mean over outputs of (out - target)^2 */
	KML_CROSS_ENTROPY = 2, /* after KML_SOFTMAX; targets are probabilities */
	KML_LOGISTIC = 3,      /* after KML_SIGMOID; each target 0 to 1 */
};

enum kml_schedule {
	KML_RATE_CONSTANT = 1,
	KML_RATE_STEP = 2,    /* rate * decay ^ floor(updates / decay_every) */
	KML_RATE_INVERSE = 3, /* rate / (1 + decay * updates / decay_every) */
};

/* Part of the device's ABI, too: fixed widths, no holes. */
struct kml_training {
	uint8_t loss;         /* enum kml_loss */
	uint8_t schedule;     /* enum kml_schedule */
	uint16_t batch;       /* samples an update, 1 to 1024 */
	int32_t rate;         /* Q16.16, above 0 */
	int32_t momentum;     /* Q16.16, 0 to below 1 */
	int32_t decay;        /* Q16.16, 0 or more */
	uint32_t decay_every; /* updates, at least 1 */
	uint16_t first_layer; /* layers before it stay as they are (few-shot: only the head learns); 0: all learn */
	uint16_t reserved;    /* 0 */
};
_Static_assert(sizeof(struct kml_training) == 24, "part of the device's ABI");

struct kml_trainer;

/* -EINVAL (with the reason's clause) for settings out of range, or that do not fit the model (its last layer). */
int kml_training_check(const struct kml_training *training, const struct kml_model *model, const char **reason);

/* Bytes of memory that a trainer of this model needs, aligned to 8. */
size_t kml_trainer_size(const struct kml_model *model);

/* Make a trainer; it writes to the model at every update.  -EINVAL, -ENOSPC. */
int kml_trainer_create(void *memory, size_t size, struct kml_model *model, const struct kml_training *training,
		       struct kml_trainer **trainer);

/*
 * Learn one sample: forward, backward, and at the end of each batch an update.  in[inputs] as the user measures it
 * (normalised here), target[outputs].  Gives the sample's loss, before the update.
 */
kml_fx kml_train(struct kml_trainer *trainer, const kml_fx *in, const kml_fx *target);

/* Loss of a sample under the model as it is, without learning. */
kml_fx kml_trainer_evaluate(struct kml_trainer *trainer, const kml_fx *in, const kml_fx *target);

/* Apply what is left of a batch: each of its samples weighs 1/batch, as in a whole one. */
void kml_trainer_flush(struct kml_trainer *trainer);

/* Updates so far. */
uint64_t kml_trainer_updates(const struct kml_trainer *trainer);

/* Let layers before `first_layer` keep what they are from now on. */
int kml_trainer_freeze(struct kml_trainer *trainer, uint16_t first_layer);

/* Set the rate from now on (Q16.16, above 0); the schedule goes on from it. */
int kml_trainer_set_rate(struct kml_trainer *trainer, kml_fx rate);

#endif
