/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fuzzer of the model file.  Whatever is accepted must infer, train, and come back the same from a file of its own;
 * whatever is refused must say why, and both ways of asking must agree.
 *
 * Random changes would hardly get past the CRC: after most of them the header is put right (repair).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "crc32.h"
#include "fuzz.h"
#include "kml/float_train.h"
#include "kml/model.h"
#include "kml/tensor.h"
#include "kml/train.h"

#define MOST_TRAINED 600 /* parameters; wider networks run the same code for longer */

/* Give the file a right magic, version, length and CRC. */
static void repair(uint8_t *file, size_t size)
{
	struct kml_file_header header;

	if (size < sizeof(header))
		return;
	memcpy(&header, file, sizeof(header));
	header.magic = KML_FILE_MAGIC;
	header.version = KML_FILE_VERSION;
	header.header_bytes = sizeof(header);
	header.length = (uint32_t)size;
	memcpy(file, &header, sizeof(header));
	header.crc32 = kml_crc32(0, file + offsetof(struct kml_file_header, kind),
				 size - offsetof(struct kml_file_header, kind));
	memcpy(file, &header, sizeof(header));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, most);
	if (seed % 8)
		repair(data, size);
	return size;
}

/* Numbers of all kinds: the ends of the range, small ones, bits of the file. */
static kml_fx number(const uint8_t *data, size_t size, size_t at)
{
	static const kml_fx ends[] = { KML_FX_MAX, KML_FX_MIN, 0, 1, -1, KML_FX_ONE };
	kml_fx bits;

	if (at % 3 == 0)
		return ends[(data[at % size] + at) % (sizeof(ends) / sizeof(ends[0]))];
	memcpy(&bits, data + (at * 7) % (size - sizeof(bits)), sizeof(bits));
	return at % 3 == 1 ? bits : bits >> 12;
}

static void fill(kml_fx *values, unsigned int count, const uint8_t *data, size_t size, size_t from)
{
	unsigned int at;

	for (at = 0; at < count; at++)
		values[at] = number(data, size, from + at);
}

static void infer(const struct kml_model *model, const kml_fx *in, kml_fx *out)
{
	kml_fx *scratch = malloc(kml_infer_scratch(model) * sizeof(kml_fx));

	REQUIRE(scratch);
	kml_infer(model, in, out, scratch);
	free(scratch);
}

/* The model's own file is accepted and gives the same numbers. */
static void save_and_compare(const struct kml_model *model, const kml_fx *in, const kml_fx *out)
{
	size_t bytes = kml_model_file_size(model);
	uint8_t *file = malloc(bytes);
	kml_fx again[KML_MAX_WIDTH];
	struct kml_model *copy;
	void *memory = malloc(model->bytes);

	REQUIRE(file && memory && bytes <= KML_FILE_MAX_BYTES);
	REQUIRE(kml_model_save(model, file, bytes - 1) == -ENOSPC);
	REQUIRE(kml_model_save(model, file, bytes) == (int64_t)bytes);
	REQUIRE(!kml_model_load(memory, model->bytes, file, bytes, &copy, NULL));
	infer(copy, in, again);
	REQUIRE(!memcmp(out, again, model->outputs * sizeof(*out)));
	REQUIRE(kml_model_copy(memory, model->bytes - 1, model, &copy) == -ENOSPC);
	REQUIRE(!kml_model_copy(memory, model->bytes, model, &copy));
	infer(copy, in, again);
	REQUIRE(!memcmp(out, again, model->outputs * sizeof(*out)));
	free(memory);
	free(file);
}

/* Tensor sums rely on it (kml/tensor.h). */
static bool weights_keep_their_limit(const struct kml_model *model)
{
	unsigned int layer, at;

	for (layer = 0; model->kind == KML_NETWORK && layer < model->parts; layer++) {
		const struct kml_layer *linear = &model->layers[layer];

		for (at = 0; linear->type == KML_LINEAR && at < (unsigned int)linear->inputs * linear->outputs; at++)
			if (linear->weights[at] > KML_WEIGHT_MAX || linear->weights[at] < -KML_WEIGHT_MAX)
				return false;
	}
	return true;
}

static void train(struct kml_model *model, const uint8_t *data, size_t size)
{
	struct kml_training training = {
		.loss = 1 + data[size - 1] % 3,
		.schedule = 1 + data[size - 2] % 3,
		.batch = 1 + data[size - 3] % 3,
		.rate = number(data, size, 4) | 1,
		.momentum = number(data, size, 5) & (KML_FX_ONE - 1),
		.decay = number(data, size, 1) & KML_FX_MAX,
		.decay_every = 1 + data[size - 4] % 4,
	};
	size_t bytes = kml_trainer_size(model), float_bytes = kml_float_trainer_size(model);
	kml_fx in[KML_MAX_WIDTH], target[KML_MAX_WIDTH];
	struct kml_trainer *trainer;
	struct kml_float_trainer *floating;
	void *memory;
	size_t step;

	training.rate &= KML_FX_MAX;
	if (kml_training_check(&training, model, NULL))
		return;
	memory = malloc(bytes > float_bytes ? bytes : float_bytes);
	REQUIRE(memory && bytes && float_bytes);
	REQUIRE(!kml_float_trainer_create(memory, float_bytes, model, &training, &floating));
	for (step = 0; step < 3; step++) {
		fill(in, model->inputs, data, size, step * 31);
		fill(target, model->outputs, data, size, step * 17 + 1);
		kml_float_train(floating, in, target);
	}
	kml_float_trainer_flush(floating);
	kml_float_publish(floating, model);
	REQUIRE(weights_keep_their_limit(model));
	REQUIRE(!kml_trainer_create(memory, bytes, model, &training, &trainer));
	for (step = 0; step < 3; step++) {
		fill(in, model->inputs, data, size, step * 31);
		fill(target, model->outputs, data, size, step * 17 + 1);
		kml_train(trainer, in, target);
	}
	kml_trainer_flush(trainer);
	REQUIRE(weights_keep_their_limit(model));
	free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kml_fx in[KML_MAX_WIDTH], out[KML_MAX_WIDTH];
	const char *reason = NULL;
	int64_t bytes = kml_model_examine(data, size, &reason);
	struct kml_model *model;
	void *memory;

	if (bytes < 0) {
		uint64_t little[64];

		REQUIRE(reason);
		REQUIRE(bytes == -EINVAL || bytes == -EPROTONOSUPPORT || bytes == -E2BIG || bytes == -ERANGE);
		REQUIRE(kml_model_load(little, sizeof(little), data, size, &model, NULL) == bytes);
		return 0;
	}
	REQUIRE((size_t)bytes >= sizeof(struct kml_model));
	memory = malloc((size_t)bytes);
	REQUIRE(memory);
	REQUIRE(kml_model_load(memory, (size_t)bytes - 1, data, size, &model, &reason) == -ENOSPC);
	REQUIRE(!kml_model_load(memory, (size_t)bytes, data, size, &model, &reason));
	REQUIRE(model->bytes <= bytes && weights_keep_their_limit(model));
	fill(in, model->inputs, data, size, 0);
	infer(model, in, out);
	save_and_compare(model, in, out);
	if (model->kind == KML_NETWORK && model->parameter_count <= MOST_TRAINED)
		train(model, data, size);
	free(memory);
	return 0;
}
