/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Networks for tests, and the same networks in binary64 to compare them with. */
#ifndef KML_TESTS_NETWORKS_H
#define KML_TESTS_NETWORKS_H

#include <math.h>
#include <stdlib.h>

#include "kml/tensor.h"
#include "kml/train.h"

#define LAYERS(...) (const struct kml_layer[]){ __VA_ARGS__ }, \
		    sizeof((const struct kml_layer[]){ __VA_ARGS__ }) / sizeof(struct kml_layer)
#define LINEAR(in, out) { .type = KML_LINEAR, .inputs = (in), .outputs = (out) }
#define ACTIVATION(kind, width) { .type = (kind), .inputs = (width), .outputs = (width) }

static inline double real(kml_fx value)
{
	return value / 65536.0;
}

static inline kml_fx fixed(double value)
{
	double steps = floor(value * 65536.0 + 0.5);

	return steps > KML_FX_MAX ? KML_FX_MAX : steps < KML_FX_MIN ? KML_FX_MIN : (kml_fx)steps;
}

/* A random network in memory of exactly its size, so that the address sanitizer sees every step beyond; free() it. */
static inline struct kml_model *random_network(uint64_t seed, uint16_t inputs, const struct kml_layer *layers,
					       uint16_t count)
{
	int64_t size = kml_model_size(inputs, layers, count);
	struct kml_model *model;

	if (size < 0 || kml_model_create(malloc((size_t)size), (size_t)size, "random", inputs, layers, count, &model))
		abort();
	kml_model_randomise(model, seed);
	return model;
}

/* For numbers in tests; between low and high. */
static inline kml_fx random_between(uint64_t *state, double low, double high)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
	return fixed(low + (high - low) * (double)(*state >> 33) / 2147483648.0);
}

static inline void reference_softmax(double *values, unsigned int count)
{
	double most = values[0], sum = 0;
	unsigned int i;

	for (i = 1; i < count; i++)
		most = fmax(most, values[i]);
	for (i = 0; i < count; i++)
		sum += values[i] = exp(values[i] - most);
	for (i = 0; i < count; i++)
		values[i] /= sum;
}

static inline void reference_layer(const struct kml_layer *layer, const double *parameters, double *values)
{
	const double *bias = parameters + (size_t)layer->inputs * layer->outputs;
	double in[KML_MAX_WIDTH];
	unsigned int i, j;

	memcpy(in, values, layer->inputs * sizeof(*in));
	for (i = 0; i < layer->outputs; i++) {
		switch (layer->type) {
		case KML_LINEAR:
			values[i] = bias[i];
			for (j = 0; j < layer->inputs; j++)
				values[i] += parameters[i * layer->inputs + j] * in[j];
			break;
		case KML_RELU:
			values[i] = fmax(in[i], 0);
			break;
		case KML_SIGMOID:
			values[i] = 1 / (1 + exp(-in[i]));
			break;
		case KML_TANH:
			values[i] = tanh(in[i]);
			break;
		}
	}
	if (layer->type == KML_SOFTMAX)
		reference_softmax(values, layer->outputs);
}

/* The network with other parameters, in binary64.  values[KML_MAX_WIDTH] are the outputs. */
static inline void reference_infer(const struct kml_model *model, const double *parameters, const kml_fx *in,
				   double *values)
{
	unsigned int i;

	for (i = 0; i < model->inputs; i++)
		values[i] = (real(in[i]) - real(model->features[i].shift)) * real(model->features[i].scale);
	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];

		reference_layer(layer, parameters, values);
		if (layer->type == KML_LINEAR)
			parameters += ((size_t)layer->inputs + 1) * layer->outputs;
	}
}

static inline double reference_loss(const struct kml_model *model, const double *parameters, uint8_t loss,
				    const kml_fx *in, const kml_fx *target)
{
	double out[KML_MAX_WIDTH], sum = 0;
	unsigned int i;

	reference_infer(model, parameters, in, out);
	for (i = 0; i < model->outputs; i++) {
		double wanted = real(target[i]);

		if (loss == KML_MSE)
			sum += (out[i] - wanted) * (out[i] - wanted) / model->outputs;
		else if (loss == KML_LOGISTIC)
			sum -= (wanted * log(out[i]) + (1 - wanted) * log(1 - out[i])) / model->outputs;
		else
			sum -= wanted * log(out[i]);
	}
	return sum;
}

static inline double *reference_parameters(const struct kml_model *model)
{
	double *parameters = malloc(model->parameter_count * sizeof(*parameters));
	uint32_t i;

	for (i = 0; i < model->parameter_count; i++)
		parameters[i] = real(model->parameters[i]);
	return parameters;
}

/* Central differences: their error is about step^2, and rounding adds 1e-16 / step. */
static inline double reference_gradient(const struct kml_model *model, double *parameters, uint32_t which, uint8_t loss,
					const kml_fx *in, const kml_fx *target)
{
	const double step = 1e-5, was = parameters[which];
	double above, below;

	parameters[which] = was + step;
	above = reference_loss(model, parameters, loss, in, target);
	parameters[which] = was - step;
	below = reference_loss(model, parameters, loss, in, target);
	parameters[which] = was;
	return (above - below) / (2 * step);
}

#endif
