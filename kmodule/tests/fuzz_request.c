/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fuzzer of what /dev/kml does with its arguments before anything else: the first byte chooses the call, the others
 * are its structure.  What is accepted must keep the limits that the driver relies on; they are written down here a
 * second time, apart from core/request.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "fuzz.h"
#include "kml/fixed.h"
#include "kml/model.h"
#include "kml/request.h"
#include "kml/ring.h"

static void require_reason(int status, const char *reason)
{
	REQUIRE(status == 0 || status == -EINVAL || status == -E2BIG);
	REQUIRE(!status == !reason);
}

static void fuzz_create(const void *input)
{
	const struct kml_create *request = input;
	const char *reason = NULL;
	int status = kml_request_create(request, &reason);
	size_t at, length, record_bytes;

	require_reason(status, reason);
	if (status)
		return;
	length = strnlen(request->name, KML_NAME_BYTES);
	REQUIRE(length > 0 && length < KML_NAME_BYTES);
	for (at = length; at < KML_NAME_BYTES; at++)
		REQUIRE(!request->name[at]);
	REQUIRE(!strpbrk(request->name, "/.\\ \t\n%\"'"));
	record_bytes = (sizeof(struct kml_record) + 4u * (request->inputs + request->outputs) + 7) / 8 * 8;
	REQUIRE(kml_ring_bytes(request->slots, (uint32_t)record_bytes) > 0);
	REQUIRE(request->inputs >= 1 && request->inputs <= 32 && request->outputs >= 1 && request->outputs <= 32);
	REQUIRE(request->mode == 1 || request->mode == 2);
	REQUIRE(request->consumer >= 1 && request->consumer <= 3);
	REQUIRE(request->explore >= 0 && request->explore <= request->share && request->share <= KML_FX_ONE);
}

static void fuzz_shape(const void *input)
{
	const struct kml_shape *request = input;
	const char *reason = NULL;
	int status = kml_request_shape(request, &reason);

	require_reason(status, reason);
	if (!status && !request->id)
		REQUIRE(strnlen(request->name, KML_NAME_BYTES) < KML_NAME_BYTES);
}

static void fuzz_transfer(const void *input)
{
	const struct kml_transfer *request = input;
	const char *reason = NULL;
	int status = kml_request_transfer(request, &reason);

	require_reason(status, reason);
	REQUIRE(status || (request->id && request->length <= 1 << 20));
}

static void fuzz_infer(const void *input)
{
	const struct kml_infer_call *request = input;
	const char *reason = NULL;
	int status = kml_request_infer(request, &reason);

	require_reason(status, reason);
	REQUIRE(status || (request->id && request->count >= 1 && request->count <= 65536));
}

static void fuzz_collect(const void *input)
{
	const struct kml_collect_call *request = input;
	const char *reason = NULL;
	int status = kml_request_collect(request, &reason);

	require_reason(status, reason);
	REQUIRE(status || (request->id && request->count >= 1 && request->count <= 65536 && request->flags <= 3));
}

/* A small network that settings can be judged beside: 2-2-1, sigmoid. */
static const struct kml_model *network(void)
{
	static struct kml_model *model;
	struct kml_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = 2, .outputs = 2 },
		{ .type = KML_TANH, .inputs = 2, .outputs = 2 },
		{ .type = KML_LINEAR, .inputs = 2, .outputs = 1 },
		{ .type = KML_SIGMOID, .inputs = 1, .outputs = 1 },
	};
	int64_t size;

	if (model)
		return model;
	size = kml_model_size(2, layers, 4);
	REQUIRE(size > 0);
	REQUIRE(!kml_model_create(malloc((size_t)size), (size_t)size, "fuzz", 2, layers, 4, &model));
	return model;
}

static void fuzz_train(const void *input)
{
	const struct kml_train_call *request = input;
	const struct kml_training *training;
	const char *reason = NULL;
	int status = kml_request_train(request, &reason);

	require_reason(status, reason);
	if (status)
		return;
	REQUIRE(request->id && request->publish_every);
	REQUIRE(!request->adapt_samples || (request->drift_tolerance >= 0 && request->drift_threshold > 0));
	status = kml_training_check(&request->training, network(), &reason);
	require_reason(status, reason);
	if (status)
		return;
	training = &request->training;
	REQUIRE(training->rate > 0 && training->momentum >= 0 && training->momentum < KML_FX_ONE);
	REQUIRE(training->batch >= 1 && training->batch <= 1024 && training->decay >= 0 && training->decay_every);
	REQUIRE(training->first_layer < 4 && !training->reserved);
}

static void fuzz_math(const void *input)
{
	const struct kml_math_call *request = input;
	const char *reason = NULL;
	int status = kml_request_math(request, &reason);

	require_reason(status, reason);
	if (status)
		return;
	REQUIRE(request->function >= 1 && request->function <= 8);
	REQUIRE(request->count >= 1 && request->count <= (request->function == KML_FUNCTION_SOFTMAX ? 256 : 65536));
}

struct map_call {
	uint64_t offset, bytes, record_area;
	uint32_t page;
	uint16_t rings;
};

static void fuzz_map(const void *input)
{
	const struct map_call *request = input;
	uint16_t ring = UINT16_MAX;
	uint8_t area = UINT8_MAX;
	int status = kml_request_map(request->offset, request->bytes, request->rings, request->record_area,
				     request->page, &ring, &area);

	REQUIRE(status == 0 || status == -EINVAL);
	if (status)
		return;
	REQUIRE(ring < request->rings && area <= KML_MAP_READER);
	REQUIRE(request->offset == KML_MAP_OFFSET(ring, area));
	REQUIRE(request->bytes == (area == KML_MAP_RECORDS ? request->record_area : request->page));
}

/* The structure holds what there is of the input, then 0; it has not a byte more than it takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct { void (*run)(const void *input); size_t bytes; } calls[] = {
		{ fuzz_create, sizeof(struct kml_create) },
		{ fuzz_shape, sizeof(struct kml_shape) },
		{ fuzz_transfer, sizeof(struct kml_transfer) },
		{ fuzz_infer, sizeof(struct kml_infer_call) },
		{ fuzz_collect, sizeof(struct kml_collect_call) },
		{ fuzz_train, sizeof(struct kml_train_call) },
		{ fuzz_math, sizeof(struct kml_math_call) },
		{ fuzz_map, sizeof(struct map_call) },
	};
	size_t which, given;
	void *input;

	if (!size)
		return -1;
	which = data[0] % (sizeof(calls) / sizeof(calls[0]));
	given = size - 1 < calls[which].bytes ? size - 1 : calls[which].bytes;
	input = calloc(1, calls[which].bytes);
	REQUIRE(input);
	memcpy(input, data + 1, given);
	calls[which].run(input);
	free(input);
	return 0;
}
