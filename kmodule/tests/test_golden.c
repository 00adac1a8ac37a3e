/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The golden vectors, by the core as it is compiled here: every number as expected, to the bit, and near real ones. */
#include <stdlib.h>

#include "check.h"
#include "crc32.h"
#include "golden.h"
#include "kml/device_abi.h"
#include "kml/float_train.h"

#define GOLDEN_FILE "../../tests/data/kml/golden.bin" /* as seen from this folder, where the tests run */

static uint8_t *file;
static size_t length;

static void *allocate(size_t size)
{
	void *memory = calloc(1, size + 1);

	if (!memory)
		abort();
	return memory;
}

static void read_file(void)
{
	const char *path = getenv("KML_GOLDEN");
	FILE *stream;

	if (file)
		return;
	file = allocate(KML_FILE_MAX_BYTES);
	stream = fopen(path ? path : GOLDEN_FILE, "rb");
	if (!stream)
		return;
	length = fread(file, 1, KML_FILE_MAX_BYTES, stream);
	fclose(stream);
}

static kml_fx one_argument(uint16_t function, kml_fx x)
{
	switch (function) {
	case KML_FUNCTION_EXP:
		return kml_fx_exp(x);
	case KML_FUNCTION_LOG:
		return kml_fx_log(x);
	case KML_FUNCTION_SQRT:
		return kml_fx_sqrt(x);
	case KML_FUNCTION_SIGMOID:
		return kml_fx_sigmoid(x);
	default:
		return kml_fx_tanh(x);
	}
}

static void compute(const struct golden *golden, kml_fx *out)
{
	const struct golden_case *head = golden->head;
	const kml_fx *in = golden->in;
	uint32_t i;

	if (head->function == KML_FUNCTION_SOFTMAX) {
		kml_fx_softmax(in, out, head->count);
		return;
	}
	for (i = 0; i < head->count; i++) {
		if (head->function == KML_FUNCTION_DIV)
			out[i] = kml_fx_div(in[2 * i], in[2 * i + 1]);
		else if (head->function == KML_FUNCTION_MUL)
			out[i] = kml_fx_mul(in[2 * i], in[2 * i + 1]);
		else
			out[i] = one_argument(head->function, in[i]);
	}
}

static void infer(const struct golden *golden, const struct kml_model *model, kml_fx *out)
{
	kml_fx *scratch = allocate(kml_infer_scratch(model) * sizeof(*scratch));
	uint32_t i;

	for (i = 0; i < golden->head->count; i++)
		kml_infer(model, golden->in + (size_t)i * model->inputs, out + (size_t)i * model->outputs, scratch);
	free(scratch);
}

static void train_fixed(const struct golden *golden, struct kml_model *model)
{
	size_t size = kml_trainer_size(model);
	void *memory = allocate(size);
	struct kml_trainer *trainer;
	uint32_t i;

	CHECK_EQUAL(kml_trainer_create(memory, size, model, &golden->head->training, &trainer), 0);
	for (i = 0; i < golden->head->count; i++) {
		const kml_fx *sample = golden->in + (size_t)i * golden->head->width;

		kml_train(trainer, sample, sample + model->inputs);
	}
	kml_trainer_flush(trainer);
	free(memory);
}

static void train_float(const struct golden *golden, struct kml_model *model)
{
	size_t size = kml_float_trainer_size(model);
	void *memory = allocate(size);
	struct kml_float_trainer *trainer;
	uint32_t i;

	CHECK_EQUAL(kml_float_trainer_create(memory, size, model, &golden->head->training, &trainer), 0);
	for (i = 0; i < golden->head->count; i++) {
		const kml_fx *sample = golden->in + (size_t)i * golden->head->width;

		kml_float_train(trainer, sample, sample + model->inputs);
	}
	kml_float_trainer_flush(trainer);
	kml_float_publish(trainer, model);
	free(memory);
}

/* The model that a training leaves is the expected file, byte for byte. */
static void compare_file(const struct golden *golden, const struct kml_model *model)
{
	uint8_t *saved = allocate(KML_FILE_MAX_BYTES);

	CHECK_EQUAL(kml_model_save(model, saved, KML_FILE_MAX_BYTES), golden->head->after_bytes);
	CHECK_EQUAL(memcmp(saved, golden->after, golden->head->after_bytes), 0);
	free(saved);
}

static void compare(const struct golden *golden, const kml_fx *out)
{
	const struct golden_case *head = golden->head;
	uint32_t i, wrong = 0;

	for (i = 0; i < head->results; i++) {
		if (out[i] != golden->expected[i] && !wrong++)
			printf("%s[%u] is %d, not %d\n", head->name, i, out[i], golden->expected[i]);
		CHECK_NEAR(golden->expected[i], golden->reference[i], head->bound);
	}
	CHECK_EQUAL(wrong, 0);
}

static void run_model(const struct golden *golden, kml_fx *out)
{
	const struct golden_case *head = golden->head;
	int64_t size = kml_model_examine(golden->model, head->model_bytes, NULL);
	void *memory = allocate(size > 0 ? (size_t)size : 0);
	struct kml_model *model;
	int status = kml_model_load(memory, size > 0 ? (size_t)size : 0, golden->model, head->model_bytes, &model, NULL);

	CHECK_EQUAL(status, 0);
	if (!status && head->kind == GOLDEN_INFERENCE) {
		infer(golden, model, out);
	} else if (!status) {
		if (head->kind == GOLDEN_TRAINING_FIXED)
			train_fixed(golden, model);
		else
			train_float(golden, model);
		CHECK_EQUAL(model->parameter_count, head->results);
		memcpy(out, model->parameters, model->parameter_count * sizeof(*out));
		compare_file(golden, model);
	}
	free(memory);
}

/* Go through the cases of a kind (0: all); gives how many there were. */
static unsigned int run_kind(uint16_t kind)
{
	struct golden golden;
	size_t offset = 0;
	unsigned int cases = 0;
	int next;

	read_file();
	while ((next = golden_next(file, length, &offset, &golden)) > 0) {
		kml_fx *out;

		if (kind && golden.head->kind != kind)
			continue;
		cases++;
		out = allocate(golden.head->results * sizeof(*out));
		if (golden.head->kind == GOLDEN_FUNCTION)
			compute(&golden, out);
		else
			run_model(&golden, out);
		compare(&golden, out);
		free(out);
	}
	CHECK_EQUAL(next, 0);
	return cases;
}

TEST(the_file_is_whole)
{
	read_file();
	CHECK(golden_open(file, length) > 0);
	if (length > sizeof(struct golden_header))
		CHECK_EQUAL(kml_crc32(0, file + sizeof(struct golden_header), length - sizeof(struct golden_header)),
			    ((struct golden_header *)file)->crc32);
}

TEST(functions_give_the_expected_bits)
{
	CHECK(run_kind(GOLDEN_FUNCTION) >= 8);
}

TEST(models_predict_the_expected_bits)
{
	CHECK(run_kind(GOLDEN_INFERENCE) >= 8);
}

TEST(training_in_fixed_point_leaves_the_expected_model)
{
	CHECK(run_kind(GOLDEN_TRAINING_FIXED) >= 4);
}

TEST(training_in_floating_point_leaves_the_expected_model)
{
	CHECK(run_kind(GOLDEN_TRAINING_FLOAT) >= 4);
}

TEST(a_case_cut_short_is_refused)
{
	struct golden golden;
	size_t offset = 0;

	read_file();
	CHECK_EQUAL(golden_next(file, sizeof(struct golden_header) + sizeof(struct golden_case), &offset, &golden), -EINVAL);
	CHECK_EQUAL(offset, sizeof(struct golden_header));
}

TEST_MAIN()
