/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Networks: construction in the caller's memory, and inference. */
#include "multiply.h"
#include "network.h"
#include "random.h"
#include "refuse.h"
#include "tree.h"

static int check_layer(const struct kml_layer *layer, bool last, const char **reason)
{
	if (layer->type < KML_LINEAR || layer->type > KML_SOFTMAX)
		return kml_refuse(reason, -EINVAL, "a layer is of an unknown type");
	if (!layer->outputs)
		return kml_refuse(reason, -EINVAL, "a layer has no outputs");
	if (layer->outputs > KML_MAX_WIDTH)
		return kml_refuse(reason, -E2BIG, "a layer has too many outputs");
	if (layer->type != KML_LINEAR && layer->inputs != layer->outputs)
		return kml_refuse(reason, -EINVAL, "an activation's outputs are not as many as its inputs");
	if (layer->type == KML_SOFTMAX && !last)
		return kml_refuse(reason, -EINVAL, "a softmax is not the last layer");
	return 0;
}

int kml_network_shape(struct kml_model *shape, const struct kml_layer *layers, const char **reason)
{
	unsigned int i;
	int status;

	if (!shape->inputs)
		return kml_refuse(reason, -EINVAL, "it has no inputs");
	if (shape->inputs > KML_MAX_WIDTH)
		return kml_refuse(reason, -E2BIG, "it has too many inputs");
	if (!shape->parts)
		return kml_refuse(reason, -EINVAL, "it has no layers");
	if (shape->parts > KML_MAX_LAYERS)
		return kml_refuse(reason, -E2BIG, "it has too many layers");

	shape->outputs = shape->inputs;
	shape->width = shape->inputs;
	shape->parameter_count = 0;
	for (i = 0; i < shape->parts; i++) {
		if (layers[i].inputs != shape->outputs)
			return kml_refuse(reason, -EINVAL, "a layer's inputs are not the outputs of the one before");
		status = check_layer(&layers[i], i + 1 == shape->parts, reason);
		if (status)
			return status;
		shape->outputs = layers[i].outputs;
		if (shape->width < shape->outputs)
			shape->width = shape->outputs;
		if (layers[i].type == KML_LINEAR)
			shape->parameter_count += ((uint32_t)layers[i].inputs + 1) * layers[i].outputs;
	}
	if (kml_model_file_size(shape) > KML_FILE_MAX_BYTES)
		return kml_refuse(reason, -E2BIG, "it has too many parameters");
	shape->bytes = kml_model_bytes(shape);
	return 0;
}

uint32_t kml_model_bytes(const struct kml_model *shape)
{
	size_t bytes = sizeof(*shape) + shape->inputs * sizeof(*shape->features);

	if (shape->kind == KML_NETWORK)
		bytes += shape->parts * sizeof(*shape->layers) + shape->parameter_count * sizeof(*shape->parameters);
	else
		bytes += shape->parts * sizeof(*shape->nodes) +
			 (size_t)shape->leaves * shape->outputs * sizeof(*shape->values);
	return (uint32_t)((bytes + 7) / 8 * 8);
}

static void arrange_layers(struct kml_model *model, const struct kml_layer *layers)
{
	kml_fx *next = model->parameters;
	unsigned int i;

	for (i = 0; i < model->parts; i++) {
		struct kml_layer *layer = &model->layers[i];

		layer->type = layers[i].type;
		layer->inputs = layers[i].inputs;
		layer->outputs = layers[i].outputs;
		layer->weights = NULL;
		layer->bias = NULL;
		if (layer->type != KML_LINEAR)
			continue;
		layer->weights = next;
		next += (size_t)layer->outputs * layer->inputs;
		layer->bias = next;
		next += layer->outputs;
	}
}

/* The arrays in order of falling alignment: no gaps. */
void kml_model_arrange(struct kml_model *model, const struct kml_layer *layers)
{
	void *next = model + 1;

	model->layers = NULL;
	model->parameters = NULL;
	model->nodes = NULL;
	model->values = NULL;
	if (model->kind == KML_NETWORK) {
		model->layers = next;
		next = model->layers + model->parts;
		model->features = next;
		model->parameters = (kml_fx *)(model->features + model->inputs);
		arrange_layers(model, layers);
	} else {
		model->features = next;
		model->nodes = (struct kml_tree_node *)(model->features + model->inputs);
		model->values = (kml_fx *)(model->nodes + model->parts);
	}
}

static int shape_of(struct kml_model *shape, uint16_t inputs, const struct kml_layer *layers, uint16_t count)
{
	memset(shape, 0, sizeof(*shape));
	shape->kind = KML_NETWORK;
	shape->inputs = inputs;
	shape->parts = count;
	return kml_network_shape(shape, layers, NULL);
}

int64_t kml_model_size(uint16_t inputs, const struct kml_layer *layers, uint16_t count)
{
	struct kml_model shape;
	int status = shape_of(&shape, inputs, layers, count);

	return status ? status : (int64_t)shape.bytes;
}
KML_EXPORT(kml_model_size);

/* -EINVAL for one that is too long; the rest of `to` is 0 already. */
static int copy_name(char *to, const char *from)
{
	unsigned int i;

	for (i = 0; from[i]; i++) {
		if (i == KML_NAME_BYTES - 1)
			return -EINVAL;
		to[i] = from[i];
	}
	return 0;
}

/* A feature's place as its name: "0", "1", ... */
static void number_feature(struct kml_feature *feature, unsigned int place)
{
	unsigned int digits = 1, rest;

	for (rest = place; rest >= 10; rest /= 10)
		digits++;
	do {
		feature->name[--digits] = (char)('0' + place % 10);
		place /= 10;
	} while (digits);
	feature->scale = KML_FX_ONE;
}

static bool is_aligned(const void *memory)
{
	return (uintptr_t)memory % 8 == 0;
}

int kml_model_create(void *memory, size_t size, const char *name, uint16_t inputs, const struct kml_layer *layers,
		     uint16_t count, struct kml_model **model)
{
	struct kml_model shape;
	unsigned int i;
	int status = shape_of(&shape, inputs, layers, count);

	if (status)
		return status;
	status = copy_name(shape.name, name);
	if (status)
		return status;
	if (!is_aligned(memory))
		return -EINVAL;
	if (size < shape.bytes)
		return -ENOSPC;

	memset(memory, 0, shape.bytes);
	*model = memory;
	**model = shape;
	kml_model_arrange(*model, layers);
	for (i = 0; i < inputs; i++)
		number_feature(&(*model)->features[i], i);
	return 0;
}
KML_EXPORT(kml_model_create);

int kml_model_copy(void *memory, size_t size, const struct kml_model *from, struct kml_model **model)
{
	if (!is_aligned(memory))
		return -EINVAL;
	if (size < from->bytes)
		return -ENOSPC;
	memcpy(memory, from, from->bytes);
	*model = memory;
	kml_model_arrange(*model, from->layers);
	return 0;
}
KML_EXPORT(kml_model_copy);

static void randomise_layer(struct kml_layer *layer, uint64_t *state)
{
	uint32_t limit = (uint32_t)kml_fx_sqrt(kml_fx_div(kml_fx_from_int(6),
							  kml_fx_from_int(layer->inputs + layer->outputs)));
	size_t count = (size_t)layer->outputs * layer->inputs;
	size_t i;

	for (i = 0; i < count; i++)
		layer->weights[i] = (kml_fx)((kml_random_next(state) >> 32) * (2 * limit + 1) >> 32) - (kml_fx)limit;
	memset(layer->bias, 0, layer->outputs * sizeof(*layer->bias));
}

void kml_model_randomise(struct kml_model *model, uint64_t seed)
{
	uint64_t state = kml_random_begin(seed);
	unsigned int i;

	if (model->kind != KML_NETWORK)
		return;
	for (i = 0; i < model->parts; i++)
		if (model->layers[i].type == KML_LINEAR)
			randomise_layer(&model->layers[i], &state);
}
KML_EXPORT(kml_model_randomise);

const struct kml_layer *kml_first_linear(const struct kml_model *model, unsigned int first)
{
	for (; first < model->parts; first++)
		if (model->layers[first].type == KML_LINEAR)
			return &model->layers[first];
	return NULL;
}

size_t kml_count_activations(const struct kml_model *model)
{
	size_t count = model->inputs;
	unsigned int i;

	for (i = 0; i < model->parts; i++)
		count += model->layers[i].outputs;
	return count;
}

/* A difference has 33 bits, and its product stays 2^31 below the 64-bit limit: it is only saturated at its end. */
void kml_normalise(const struct kml_model *model, const kml_fx *in, kml_fx *out)
{
	const struct kml_feature *feature = model->features;
	unsigned int i;

	for (i = 0; i < model->inputs; i++, feature++)
		out[i] = kml_fx_saturate((((int64_t)in[i] - feature->shift) * feature->scale + KML_FX_HALF) >>
					 KML_FX_BITS);
}

void kml_linear_forward(const struct kml_layer *layer, const kml_fx *in, kml_fx *out)
{
	kml_multiply(layer->weights, layer->outputs, layer->inputs, in, layer->bias, out);
}

void kml_activate(const struct kml_layer *layer, kml_fx *values)
{
	unsigned int i;

	switch (layer->type) {
	case KML_RELU:
		for (i = 0; i < layer->outputs; i++)
			values[i] = values[i] > 0 ? values[i] : 0;
		break;
	case KML_SIGMOID:
		kml_fx_sigmoid_each(values, layer->outputs);
		break;
	case KML_TANH:
		kml_fx_tanh_each(values, layer->outputs);
		break;
	case KML_SOFTMAX:
		kml_fx_softmax(values, values, layer->outputs);
		break;
	}
}

/* The halves of the scratch memory take turns as a linear layer's input and output. */
void kml_infer(const struct kml_model *model, const kml_fx *in, kml_fx *out, kml_fx *scratch)
{
	kml_fx *from = scratch;
	kml_fx *spare = scratch + model->width;
	unsigned int i;

	kml_normalise(model, in, from);
	if (model->kind == KML_TREE) {
		kml_tree_infer(model, from, out);
		return;
	}
	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];
		kml_fx *to = i + 1 < model->parts ? spare : out;

		if (layer->type != KML_LINEAR) {
			kml_activate(layer, from);
			continue;
		}
		kml_linear_forward(layer, from, to);
		spare = from;
		from = to;
	}
	for (i = 0; from != out && i < model->outputs; i++)
		out[i] = from[i];
}
KML_EXPORT(kml_infer);
