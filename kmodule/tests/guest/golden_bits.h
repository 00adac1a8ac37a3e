/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: the golden vectors give the same bits in this kernel. */
#include <sys/stat.h>

#include "../golden.h"

static void *read_file(const char *path, size_t *length)
{
	int file = open(path, O_RDONLY);
	struct stat about;
	void *content;

	need(file >= 0 && !fstat(file, &about), path);
	*length = (size_t)about.st_size;
	content = aligned_alloc(8, (*length + 7) / 8 * 8);
	need(content && read(file, content, *length) == (ssize_t)*length, path);
	close(file);
	return content;
}

static void check_bits(const char *name, const void *actual, const void *expected, size_t bytes)
{
	bool same = !memcmp(actual, expected, bytes);

	if (!same)
		printf("golden: %s: other bits\n", name);
	CHECK(same);
}

static void check_function(int device, const struct golden *golden)
{
	kml_fx *out = calloc(golden->head->results, sizeof(*out));
	struct kml_math_call math = {
		.function = golden->head->function, .count = golden->head->count,
		.in = (uintptr_t)golden->in, .out = (uintptr_t)out,
	};

	CHECK_EQUAL(call(device, KML_MATH, &math), 0);
	check_bits(golden->head->name, out, golden->expected, golden->head->results * sizeof(*out));
	free(out);
}

static void check_inference(const struct golden *golden)
{
	const struct kml_file_header *model = golden->model;
	kml_fx *out = calloc(golden->head->results, sizeof(*out));
	int device = open_device();
	uint32_t id = create(device, "golden", model->inputs, model->outputs, KML_DROPPING, KML_CONSUMER_USER, 2);

	CHECK_EQUAL(load(device, id, golden->model, golden->head->model_bytes), 0);
	CHECK_EQUAL(infer(device, id, golden->in, out, golden->head->count), 0);
	check_bits(golden->head->name, out, golden->expected, golden->head->results * sizeof(*out));
	close(device);
	free(out);
}

/* From one processor, so that the samples come in order. */
static void check_training(const struct golden *golden, enum kml_consumer consumer)
{
	const struct kml_file_header *model = golden->model;
	uint8_t *after = calloc(1, golden->head->after_bytes);
	struct kml_collect_call collected;
	int device = open_device();
	uint32_t id = create(device, "golden", model->inputs, model->outputs, KML_BLOCKING, consumer, 64);

	run_on(0);
	CHECK_EQUAL(load(device, id, golden->model, golden->head->model_bytes), 0);
	CHECK_EQUAL(train(device, id, &golden->head->training, UINT32_MAX), 0);
	CHECK_EQUAL(collect(device, id, golden->in, golden->head->count, KML_COLLECT_WAIT, &collected), 0);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	CHECK_EQUAL(save(device, id, after, golden->head->after_bytes), golden->head->after_bytes);
	check_bits(golden->head->name, after, golden->after, golden->head->after_bytes);
	close(device);
	free(after);
}

static void check_case(int device, const struct golden *golden)
{
	switch (golden->head->kind) {
	case GOLDEN_FUNCTION:
		check_function(device, golden);
		break;
	case GOLDEN_INFERENCE:
		check_inference(golden);
		break;
	case GOLDEN_TRAINING_FIXED:
		check_training(golden, KML_CONSUMER_KERNEL_FIXED);
		break;
	case GOLDEN_TRAINING_FLOAT:
		check_training(golden, KML_CONSUMER_KERNEL_FLOAT);
		break;
	default:
		CHECK(!"a known kind of golden vector");
	}
}

TEST(golden)
{
	int cases, done = 0, device = open_device();
	struct golden golden;
	size_t length, offset = 0;
	void *file = read_file(golden_file, &length);

	cases = golden_open(file, length);
	CHECK(cases > 0);
	while (golden_next(file, length, &offset, &golden) > 0) {
		check_case(device, &golden);
		done++;
	}
	CHECK_EQUAL(done, cases);
	figure("cases", done);
	close(device);
	free(file);
}
