/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Stochastic gradient descent in fixed point, with momentum as Sutskever et al. (2013) write it for a sum of gradients:
 *
 *   velocity = momentum * velocity + gradients of the batch       parameter -= rate / batch * velocity
 *
 * Deltas (derivatives of the loss by what a layer gives) are Q8.24 and clipped at 32: their products with activations
 * then add up over the largest batch without overflow, and one wild sample cannot throw the parameters off.
 */
#include "kml/tensor.h"
#include "kml/train.h"
#include "network.h"
#include "refuse.h"
#include "schedule.h"

#define DELTA_BITS 24
#define DELTA_MAX ((32 << DELTA_BITS) - 1)
#define BATCH_MAX 1024

struct kml_trainer {
	struct kml_model *model;
	struct kml_training training;
	struct kml_rate rate;
	uint64_t updates;
	uint32_t pending;     /* samples of the batch so far */
	int64_t *velocity;    /* [parameters], Q32.32 */
	kml_fx *activations;  /* [inputs], then [outputs] of each layer */
	int32_t *delta;       /* [width], of what the present layer gives */
	int32_t *delta_below; /* [width], of what it gets */
	int16_t *rest;        /* [parameters]: what each has in Q32.32 beyond the model's Q16.16 */
};


static int check_loss(uint8_t loss, const struct kml_model *model, const char **reason)
{
	uint16_t last = model->layers[model->parts - 1].type;

	switch (loss) {
	case KML_MSE:
		if (last == KML_SOFTMAX)
			return kml_refuse(reason, -EINVAL, "a softmax is trained by cross-entropy");
		return 0;
	case KML_CROSS_ENTROPY:
		if (last != KML_SOFTMAX)
			return kml_refuse(reason, -EINVAL, "cross-entropy needs a softmax as the last layer");
		return 0;
	case KML_LOGISTIC:
		if (last != KML_SIGMOID)
			return kml_refuse(reason, -EINVAL, "the logistic loss needs a sigmoid as the last layer");
		return 0;
	}
	return kml_refuse(reason, -EINVAL, "its loss is unknown");
}

int kml_training_check(const struct kml_training *training, const struct kml_model *model, const char **reason)
{
	if (model->kind != KML_NETWORK)
		return kml_refuse(reason, -EINVAL, "only networks are trained");
	if (training->schedule < KML_RATE_CONSTANT || training->schedule > KML_RATE_INVERSE)
		return kml_refuse(reason, -EINVAL, "its schedule is unknown");
	if (!training->batch || training->batch > BATCH_MAX)
		return kml_refuse(reason, -EINVAL, "its batch is not 1 to 1024 samples");
	if (training->rate <= 0)
		return kml_refuse(reason, -EINVAL, "its rate is not above 0");
	if (training->momentum < 0 || training->momentum >= KML_FX_ONE)
		return kml_refuse(reason, -EINVAL, "its momentum is not from 0 to below 1");
	if (training->decay < 0)
		return kml_refuse(reason, -EINVAL, "its decay is negative");
	if (!training->decay_every)
		return kml_refuse(reason, -EINVAL, "its decay has no period");
	if (training->reserved)
		return kml_refuse(reason, -EINVAL, "a reserved field is not 0");
	if (!kml_first_linear(model, training->first_layer))
		return kml_refuse(reason, -EINVAL, "it leaves no layer to learn");
	return check_loss(training->loss, model, reason);
}
KML_EXPORT(kml_training_check);


/* 0 for a model that is not trained. */
size_t kml_trainer_size(const struct kml_model *model)
{
	size_t bytes;

	if (model->kind != KML_NETWORK)
		return 0;
	bytes = sizeof(struct kml_trainer) + model->parameter_count * (sizeof(int64_t) + sizeof(int16_t)) +
		(kml_count_activations(model) + 2 * (size_t)model->width) * sizeof(kml_fx);
	return (bytes + 7) / 8 * 8;
}
KML_EXPORT(kml_trainer_size);

int kml_trainer_create(void *memory, size_t size, struct kml_model *model, const struct kml_training *training,
		       struct kml_trainer **trainer)
{
	struct kml_trainer *made = memory;
	int status = kml_training_check(training, model, NULL);

	if (status)
		return status;
	if ((uintptr_t)memory % 8)
		return -EINVAL;
	if (size < kml_trainer_size(model))
		return -ENOSPC;

	memset(memory, 0, kml_trainer_size(model));
	made->model = model;
	made->training = *training;
	kml_rate_start(&made->rate, training->rate);
	made->velocity = (int64_t *)(made + 1);
	made->activations = (kml_fx *)(made->velocity + model->parameter_count);
	made->delta = made->activations + kml_count_activations(model);
	made->delta_below = made->delta + model->width;
	made->rest = (int16_t *)(made->delta_below + model->width);
	*trainer = made;
	return 0;
}
KML_EXPORT(kml_trainer_create);

/* Gives the last layer's activations. */
static kml_fx *forward(struct kml_trainer *trainer, const kml_fx *in)
{
	const struct kml_model *model = trainer->model;
	kml_fx *from = trainer->activations;
	unsigned int i;

	kml_normalise(model, in, from);
	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];
		kml_fx *to = from + layer->inputs;

		if (layer->type == KML_LINEAR) {
			kml_linear_forward(layer, from, to);
		} else {
			memcpy(to, from, layer->inputs * sizeof(*to));
			kml_activate(layer, to);
		}
		from = to;
	}
	return from;
}

/* weight * -log(probability), Q32.32; a probability of 0 counts as the smallest there is. */
static int64_t surprise(kml_fx weight, kml_fx probability)
{
	return (int64_t)weight * -kml_fx_log(probability > 0 ? probability : 1);
}

static kml_fx loss_of(const struct kml_trainer *trainer, const kml_fx *out, const kml_fx *target)
{
	unsigned int i, count = trainer->model->outputs;
	kml_fx difference;
	int64_t sum = 0; /* Q32.32: of a term up to 2^62 only the saturated part, or 256 of them overflow */

	for (i = 0; i < count; i++) {
		switch (trainer->training.loss) {
		case KML_MSE:
			difference = kml_fx_sub(out[i], target[i]);
			sum += kml_q32(kml_fx_mul(difference, difference));
			break;
		case KML_CROSS_ENTROPY:
			sum += surprise(target[i], out[i]);
			break;
		case KML_LOGISTIC:
			sum += surprise(target[i], out[i]) +
			       surprise(kml_fx_sub(KML_FX_ONE, target[i]), kml_fx_sub(KML_FX_ONE, out[i]));
			break;
		}
	}
	if (trainer->training.loss != KML_CROSS_ENTROPY && count > 1)
		sum = kml_div64(sum, count);
	return kml_fx_from_products(sum);
}

static int32_t clip(int64_t delta)
{
	return (int32_t)kml_q32_clamp(delta, DELTA_MAX);
}

/* By the last layer's output; for cross-entropy and the logistic loss by its input, where they are as simple. */
static void loss_deltas(struct kml_trainer *trainer, const kml_fx *out, const kml_fx *target)
{
	unsigned int i, count = trainer->model->outputs;

	for (i = 0; i < count; i++) {
		int64_t difference = ((int64_t)out[i] - target[i]) * (1 << (DELTA_BITS - KML_FX_BITS));

		if (trainer->training.loss == KML_MSE)
			difference *= 2;
		if (trainer->training.loss != KML_CROSS_ENTROPY && count > 1)
			difference = kml_div64(difference, count);
		trainer->delta[i] = clip(difference);
	}
}

/* delta times a slope in Q32.32, at most 1. */
static int32_t through(int32_t delta, int64_t slope)
{
	return (int32_t)((delta * slope + (1u << 31)) >> 32);
}

/* An activation's derivative follows from what it gave. */
static void activation_backward(uint16_t type, const kml_fx *out, unsigned int count, int32_t *delta)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		switch (type) {
		case KML_RELU:
			delta[i] = out[i] > 0 ? delta[i] : 0;
			break;
		case KML_SIGMOID:
			delta[i] = through(delta[i], (int64_t)out[i] * (KML_FX_ONE - out[i]));
			break;
		case KML_TANH:
			delta[i] = through(delta[i], (int64_t)KML_FX_ONE * KML_FX_ONE - (int64_t)out[i] * out[i]);
			break;
		}
	}
}

/* Add up gradients, Q8.24 * Q16.16, in Q32.32. */
static void add_gradients(int64_t *sum, int64_t delta, const kml_fx *in, unsigned int count)
{
	const int half = 1 << (DELTA_BITS - KML_FX_BITS - 1);
	unsigned int i;

	for (i = 0; i < count; i++)
		sum[i] += (delta * in[i] + half) >> (DELTA_BITS - KML_FX_BITS);
}

static void linear_gradients(struct kml_trainer *trainer, const struct kml_layer *layer, const kml_fx *in)
{
	int64_t *weights = trainer->velocity + (layer->weights - trainer->model->parameters);
	int64_t *bias = trainer->velocity + (layer->bias - trainer->model->parameters);
	const kml_fx one = KML_FX_ONE;
	unsigned int i;

	for (i = 0; i < layer->outputs; i++, weights += layer->inputs) {
		if (!trainer->delta[i])
			continue;
		add_gradients(weights, trainer->delta[i], in, layer->inputs);
		add_gradients(&bias[i], trainer->delta[i], &one, 1);
	}
}

static void linear_backward(struct kml_trainer *trainer, const struct kml_layer *layer)
{
	struct kml_tensor weights = { layer->outputs, layer->inputs, layer->weights };
	int32_t *below = trainer->delta_below;
	unsigned int i;

	kml_tensor_multiply_transposed(&weights, trainer->delta, below);
	for (i = 0; i < layer->inputs; i++)
		below[i] = clip(below[i]);
	trainer->delta_below = trainer->delta;
	trainer->delta = below;
}

static void backward(struct kml_trainer *trainer, const kml_fx *out)
{
	const struct kml_model *model = trainer->model;
	unsigned int i;

	for (i = model->parts; i-- > trainer->training.first_layer;) {
		const struct kml_layer *layer = &model->layers[i];
		const kml_fx *in = out - layer->inputs;

		if (layer->type == KML_LINEAR) {
			linear_gradients(trainer, layer, in);
			if (i > trainer->training.first_layer)
				linear_backward(trainer, layer);
		} else if (i + 1 < model->parts || trainer->training.loss == KML_MSE) {
			activation_backward(layer->type, out, layer->outputs, trainer->delta);
		}
		out = in;
	}
}

static void update_parameters(struct kml_trainer *trainer, kml_fx *parameters, size_t count, int64_t limit)
{
	const uint32_t batch = trainer->training.batch;
	const int64_t step = batch == 1 ? trainer->rate.now : kml_div64(trainer->rate.now, batch);
	const int64_t momentum = kml_q32(trainer->training.momentum);
	int64_t *velocity = trainer->velocity + (parameters - trainer->model->parameters);
	int16_t *rest = trainer->rest + (parameters - trainer->model->parameters);
	size_t i;

	for (i = 0; i < count; i++) {
		int64_t speed = kml_q32_clamp(velocity[i], KML_Q32_MAX * batch);
		int64_t value = kml_q32(parameters[i]) + rest[i] - kml_q32_multiply(speed, step);

		value = kml_q32_clamp(value, limit);
		parameters[i] = (kml_fx)((value + KML_FX_HALF) >> KML_FX_BITS);
		rest[i] = (int16_t)(value - kml_q32(parameters[i]));
		velocity[i] = kml_q32_multiply(speed, momentum);
	}
}

static void update(struct kml_trainer *trainer)
{
	const struct kml_model *model = trainer->model;
	unsigned int i;

	for (i = trainer->training.first_layer; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];

		if (layer->type != KML_LINEAR)
			continue;
		update_parameters(trainer, layer->weights, (size_t)layer->outputs * layer->inputs,
				  kml_q32(KML_WEIGHT_MAX));
		update_parameters(trainer, layer->bias, layer->outputs, KML_Q32_MAX);
	}
	trainer->pending = 0;
	trainer->updates++;
	kml_rate_advance(&trainer->rate, &trainer->training);
}

kml_fx kml_train(struct kml_trainer *trainer, const kml_fx *in, const kml_fx *target)
{
	const kml_fx *out = forward(trainer, in);
	kml_fx loss = loss_of(trainer, out, target);

	loss_deltas(trainer, out, target);
	backward(trainer, out);
	if (++trainer->pending >= trainer->training.batch)
		update(trainer);
	return loss;
}
KML_EXPORT(kml_train);

kml_fx kml_trainer_evaluate(struct kml_trainer *trainer, const kml_fx *in, const kml_fx *target)
{
	return loss_of(trainer, forward(trainer, in), target);
}
KML_EXPORT(kml_trainer_evaluate);

void kml_trainer_flush(struct kml_trainer *trainer)
{
	if (trainer->pending)
		update(trainer);
}
KML_EXPORT(kml_trainer_flush);

uint64_t kml_trainer_updates(const struct kml_trainer *trainer)
{
	return trainer->updates;
}
KML_EXPORT(kml_trainer_updates);

/* What frozen layers have gathered is dropped, lest they jump when they are let go again. */
int kml_trainer_freeze(struct kml_trainer *trainer, uint16_t first_layer)
{
	const struct kml_layer *first = kml_first_linear(trainer->model, first_layer);

	if (!first)
		return -EINVAL;
	trainer->training.first_layer = first_layer;
	memset(trainer->velocity, 0,
	       (size_t)(first->weights - trainer->model->parameters) * sizeof(*trainer->velocity));
	return 0;
}
KML_EXPORT(kml_trainer_freeze);

int kml_trainer_set_rate(struct kml_trainer *trainer, kml_fx rate)
{
	if (rate <= 0)
		return -EINVAL;
	kml_rate_start(&trainer->rate, rate);
	return 0;
}
KML_EXPORT(kml_trainer_set_rate);
