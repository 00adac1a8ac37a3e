/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Stochastic gradient descent in binary32: as train.c, but for the clipping, which a float's range makes needless. */
#include "float_math.h"
#include "kml/float_train.h"
#include "kml/tensor.h"
#include "network.h"
#include "schedule.h"

#define STEP (1.0f / 65536.0f)
#define SMALLEST_PROBABILITY (1.0f / 16777216.0f)
#define DUST 1e-30f

struct kml_float_trainer {
	const struct kml_model *model;
	struct kml_training training;
	struct kml_rate rate;
	uint64_t updates;
	uint32_t pending;   /* samples of the batch so far */
	float *parameters;  /* in the model's order */
	float *velocity;    /* [parameters] */
	float *activations; /* [inputs], then [outputs] of each layer */
	float *delta;       /* [width], of what the present layer gives */
	float *delta_below; /* [width], of what it gets */
};

static float from_fixed(kml_fx value)
{
	return (float)value * STEP;
}

/* An infinity saturates, too; a NaN is 0. */
static int to_fixed(float value, kml_fx *fixed)
{
	union kml_float number;
	int status;

	number.value = value;
	status = kml_fx_from_float_bits(number.bits, fixed);
	if (status == -EINVAL)
		*fixed = value > 0.0f ? KML_FX_MAX : value < 0.0f ? KML_FX_MIN : 0;
	return status;
}


/* 0 for a model that is not trained. */
size_t kml_float_trainer_size(const struct kml_model *model)
{
	size_t bytes;

	if (model->kind != KML_NETWORK)
		return 0;
	bytes = sizeof(struct kml_float_trainer) +
		(2 * (size_t)model->parameter_count + kml_count_activations(model) + 2 * (size_t)model->width) *
			sizeof(float);
	return (bytes + 7) / 8 * 8;
}

int kml_float_trainer_create(void *memory, size_t size, const struct kml_model *model,
			     const struct kml_training *training, struct kml_float_trainer **trainer)
{
	struct kml_float_trainer *made = memory;
	uint32_t i;
	int status = kml_training_check(training, model, NULL);

	if (status)
		return status;
	if ((uintptr_t)memory % 8)
		return -EINVAL;
	if (size < kml_float_trainer_size(model))
		return -ENOSPC;

	memset(memory, 0, kml_float_trainer_size(model));
	made->model = model;
	made->training = *training;
	kml_rate_start(&made->rate, training->rate);
	made->parameters = (float *)(made + 1);
	made->velocity = made->parameters + model->parameter_count;
	made->activations = made->velocity + model->parameter_count;
	made->delta = made->activations + kml_count_activations(model);
	made->delta_below = made->delta + model->width;
	for (i = 0; i < model->parameter_count; i++)
		made->parameters[i] = from_fixed(model->parameters[i]);
	*trainer = made;
	return 0;
}

static float *own(const struct kml_float_trainer *trainer, const kml_fx *parameters)
{
	return trainer->parameters + (parameters - trainer->model->parameters);
}

/* Four rows at a time: their sums do not wait for one another, and each still adds up in its own order. */
static void linear_forward(const struct kml_float_trainer *trainer, const struct kml_layer *layer, const float *in,
			   float *out)
{
	const unsigned int columns = layer->inputs;
	const float *weights = own(trainer, layer->weights);
	const float *bias = own(trainer, layer->bias);
	unsigned int i, j;

	for (i = 0; i + 4 <= layer->outputs; i += 4, weights += 4 * columns) {
		float first = bias[i], second = bias[i + 1], third = bias[i + 2], fourth = bias[i + 3];

		for (j = 0; j < columns; j++) {
			first += weights[j] * in[j];
			second += weights[columns + j] * in[j];
			third += weights[2 * columns + j] * in[j];
			fourth += weights[3 * columns + j] * in[j];
		}
		out[i] = first;
		out[i + 1] = second;
		out[i + 2] = third;
		out[i + 3] = fourth;
	}
	for (; i < layer->outputs; i++, weights += columns) {
		float sum = bias[i];

		for (j = 0; j < columns; j++)
			sum += weights[j] * in[j];
		out[i] = sum;
	}
}

static void softmax(const float *in, float *out, unsigned int count)
{
	float most = in[0], sum = 0.0f;
	unsigned int i;

	for (i = 1; i < count; i++)
		if (in[i] > most)
			most = in[i];
	for (i = 0; i < count; i++) {
		out[i] = kml_float_exp(in[i] - most);
		sum += out[i];
	}
	for (i = 0; i < count; i++)
		out[i] /= sum;
}

static void activation_forward(const struct kml_layer *layer, const float *in, float *out)
{
	unsigned int i;

	if (layer->type == KML_SOFTMAX) {
		softmax(in, out, layer->outputs);
		return;
	}
	for (i = 0; i < layer->outputs; i++) {
		switch (layer->type) {
		case KML_RELU:
			out[i] = in[i] > 0.0f ? in[i] : 0.0f;
			break;
		case KML_SIGMOID:
			out[i] = kml_float_sigmoid(in[i]);
			break;
		case KML_TANH:
			out[i] = kml_float_tanh(in[i]);
			break;
		}
	}
}

/* Gives the last layer's activations. */
static float *forward(struct kml_float_trainer *trainer, const kml_fx *in)
{
	const struct kml_model *model = trainer->model;
	float *from = trainer->activations;
	unsigned int i;

	for (i = 0; i < model->inputs; i++)
		from[i] = (from_fixed(in[i]) - from_fixed(model->features[i].shift)) *
			  from_fixed(model->features[i].scale);
	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];
		float *to = from + layer->inputs;

		if (layer->type == KML_LINEAR)
			linear_forward(trainer, layer, from, to);
		else
			activation_forward(layer, from, to);
		from = to;
	}
	return from;
}

static float surprise(float weight, float probability)
{
	return -weight * kml_float_log(probability > SMALLEST_PROBABILITY ? probability : SMALLEST_PROBABILITY);
}

static float loss_of(const struct kml_float_trainer *trainer, const float *out, const kml_fx *target)
{
	unsigned int i, count = trainer->model->outputs;
	float wanted, sum = 0.0f;

	for (i = 0; i < count; i++) {
		wanted = from_fixed(target[i]);
		switch (trainer->training.loss) {
		case KML_MSE:
			sum += (out[i] - wanted) * (out[i] - wanted);
			break;
		case KML_CROSS_ENTROPY:
			sum += surprise(wanted, out[i]);
			break;
		case KML_LOGISTIC:
			sum += surprise(wanted, out[i]) + surprise(1.0f - wanted, 1.0f - out[i]);
			break;
		}
	}
	return trainer->training.loss == KML_CROSS_ENTROPY ? sum : sum / (float)count;
}

/* By the last layer's output; for cross-entropy and the logistic loss by its input, where they are as simple. */
static void loss_deltas(struct kml_float_trainer *trainer, const float *out, const kml_fx *target)
{
	unsigned int i, count = trainer->model->outputs;

	for (i = 0; i < count; i++) {
		float difference = out[i] - from_fixed(target[i]);

		if (trainer->training.loss == KML_MSE)
			difference *= 2.0f;
		if (trainer->training.loss != KML_CROSS_ENTROPY)
			difference /= (float)count;
		trainer->delta[i] = difference;
	}
}

/* An activation's derivative follows from what it gave. */
static void activation_backward(uint16_t type, const float *out, unsigned int count, float *delta)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		switch (type) {
		case KML_RELU:
			delta[i] = out[i] > 0.0f ? delta[i] : 0.0f;
			break;
		case KML_SIGMOID:
			delta[i] *= out[i] * (1.0f - out[i]);
			break;
		case KML_TANH:
			delta[i] *= 1.0f - out[i] * out[i];
			break;
		}
	}
}

static void linear_gradients(struct kml_float_trainer *trainer, const struct kml_layer *layer, const float *in)
{
	float *weights = trainer->velocity + (layer->weights - trainer->model->parameters);
	float *bias = trainer->velocity + (layer->bias - trainer->model->parameters);
	unsigned int i, j;

	for (i = 0; i < layer->outputs; i++, weights += layer->inputs) {
		const float delta = trainer->delta[i];

		for (j = 0; j < layer->inputs; j++)
			weights[j] += delta * in[j];
		bias[i] += delta;
	}
}

static void linear_backward(struct kml_float_trainer *trainer, const struct kml_layer *layer)
{
	const float *weights = own(trainer, layer->weights);
	float *below = trainer->delta_below;
	unsigned int i, j;

	for (j = 0; j < layer->inputs; j++)
		below[j] = 0.0f;
	for (i = 0; i < layer->outputs; i++, weights += layer->inputs)
		for (j = 0; j < layer->inputs; j++)
			below[j] += trainer->delta[i] * weights[j];
	trainer->delta_below = trainer->delta;
	trainer->delta = below;
}

static void backward(struct kml_float_trainer *trainer, const float *out)
{
	const struct kml_model *model = trainer->model;
	unsigned int i;

	for (i = model->parts; i-- > trainer->training.first_layer;) {
		const struct kml_layer *layer = &model->layers[i];
		const float *in = out - layer->inputs;

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

/* How many parameters frozen layers have: those before the first that learns. */
static size_t count_frozen(const struct kml_float_trainer *trainer)
{
	return (size_t)(kml_first_linear(trainer->model, trainer->training.first_layer)->weights -
			trainer->model->parameters);
}

/* A velocity that only fades would end as a subnormal number, each of which costs the processor a hundred cycles. */
static float without_dust(float value)
{
	return value < DUST && value > -DUST ? 0.0f : value;
}

static void update(struct kml_float_trainer *trainer)
{
	const float step = (float)trainer->rate.now * (STEP * STEP) / (float)trainer->training.batch;
	const float momentum = from_fixed(trainer->training.momentum);
	size_t i;

	for (i = count_frozen(trainer); i < trainer->model->parameter_count; i++) {
		trainer->parameters[i] -= step * trainer->velocity[i];
		trainer->velocity[i] = without_dust(momentum * trainer->velocity[i]);
	}
	trainer->pending = 0;
	trainer->updates++;
	kml_rate_advance(&trainer->rate, &trainer->training);
}

kml_fx kml_float_train(struct kml_float_trainer *trainer, const kml_fx *in, const kml_fx *target)
{
	const float *out = forward(trainer, in);
	float loss = loss_of(trainer, out, target);
	kml_fx fixed;

	loss_deltas(trainer, out, target);
	backward(trainer, out);
	if (++trainer->pending >= trainer->training.batch)
		update(trainer);
	to_fixed(loss, &fixed);
	return loss == loss ? fixed : KML_FX_MAX;
}

void kml_float_trainer_flush(struct kml_float_trainer *trainer)
{
	if (trainer->pending)
		update(trainer);
}

uint64_t kml_float_trainer_updates(const struct kml_float_trainer *trainer)
{
	return trainer->updates;
}

/* What frozen layers have gathered is dropped, lest they jump when they are let go again. */
int kml_float_trainer_freeze(struct kml_float_trainer *trainer, uint16_t first_layer)
{
	if (!kml_first_linear(trainer->model, first_layer))
		return -EINVAL;
	trainer->training.first_layer = first_layer;
	memset(trainer->velocity, 0, count_frozen(trainer) * sizeof(*trainer->velocity));
	return 0;
}

int kml_float_trainer_set_rate(struct kml_float_trainer *trainer, kml_fx rate)
{
	if (rate <= 0)
		return -EINVAL;
	kml_rate_start(&trainer->rate, rate);
	return 0;
}

void kml_float_infer(struct kml_float_trainer *trainer, const kml_fx *in, kml_fx *out)
{
	const float *last = forward(trainer, in);
	unsigned int i;

	for (i = 0; i < trainer->model->outputs; i++)
		to_fixed(last[i], &out[i]);
}

/* Gives how many did not fit. */
static uint32_t publish(const float *from, kml_fx *to, size_t count, kml_fx limit)
{
	uint32_t misfits = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		kml_fx value;
		bool fits = !to_fixed(from[i], &value);

		to[i] = value > limit ? limit : value < -limit ? -limit : value;
		misfits += !fits || to[i] != value;
	}
	return misfits;
}

uint32_t kml_float_publish(const struct kml_float_trainer *trainer, struct kml_model *model)
{
	uint32_t misfits = 0;
	unsigned int i;

	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &trainer->model->layers[i];
		const struct kml_layer *to = &model->layers[i];

		if (layer->type != KML_LINEAR)
			continue;
		misfits += publish(own(trainer, layer->weights), to->weights, (size_t)layer->outputs * layer->inputs,
				   KML_WEIGHT_MAX);
		misfits += publish(own(trainer, layer->bias), to->bias, layer->outputs, KML_FX_MAX);
	}
	return misfits;
}
