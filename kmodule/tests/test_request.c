/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Arguments of /dev/kml: each that is right is taken, each that is wrong in one thing is refused with its reason. */
#include "check.h"
#include "kml/request.h"
#include "kml/fixed.h"

static const char *reason;

/* The request with one field changed is refused, for a reason that contains `clause`. */
#define CHECK_REFUSED(check_request, good, type, field, wrong, status, clause) \
	do {                                                                   \
		struct type request = good;                                    \
		request.field = (wrong);                                       \
		reason = "";                                                   \
		CHECK_EQUAL(check_request(&request, &reason), status);         \
		CHECK(strstr(reason, clause) != NULL);                         \
	} while (0)

#define CHECK_ACCEPTED(check_request, good, type, field, right) \
	do {                                                    \
		struct type request = good;                     \
		request.field = (right);                        \
		CHECK_EQUAL(check_request(&request, &reason), 0); \
	} while (0)

static const struct kml_create create = {
	.name = "read-ahead_2",
	.inputs = 5,
	.outputs = 4,
	.mode = KML_DROPPING,
	.consumer = KML_CONSUMER_USER,
	.slots = 1024,
	.share = KML_FX(0.25),
	.explore = KML_FX(0.05),
};

#define CREATE_REFUSED(field, wrong, status, clause) \
	CHECK_REFUSED(kml_request_create, create, kml_create, field, wrong, status, clause)
#define CREATE_ACCEPTED(field, right) CHECK_ACCEPTED(kml_request_create, create, kml_create, field, right)

TEST(a_predictor_of_the_largest_and_smallest_shapes_is_accepted)
{
	CREATE_ACCEPTED(inputs, 1);
	CREATE_ACCEPTED(inputs, KML_PREDICTOR_MAX_WIDTH);
	CREATE_ACCEPTED(outputs, KML_PREDICTOR_MAX_WIDTH);
	CREATE_ACCEPTED(mode, KML_BLOCKING);
	CREATE_ACCEPTED(consumer, KML_CONSUMER_KERNEL_FIXED);
	CREATE_ACCEPTED(consumer, KML_CONSUMER_KERNEL_FLOAT);
	CREATE_ACCEPTED(slots, 2);
	CREATE_ACCEPTED(slots, KML_RING_MAX_SLOTS);
	CREATE_ACCEPTED(share, KML_FX_ONE);
	CREATE_ACCEPTED(explore, create.share);
}

TEST(a_predictor_that_is_wrong_in_one_thing_is_refused)
{
	CREATE_REFUSED(inputs, 0, -EINVAL, "no inputs");
	CREATE_REFUSED(outputs, 0, -EINVAL, "no outputs");
	CREATE_REFUSED(inputs, KML_PREDICTOR_MAX_WIDTH + 1, -E2BIG, "WIDTH");
	CREATE_REFUSED(outputs, UINT16_MAX, -E2BIG, "WIDTH");
	CREATE_REFUSED(mode, 0, -EINVAL, "mode");
	CREATE_REFUSED(mode, 3, -EINVAL, "mode");
	CREATE_REFUSED(consumer, 0, -EINVAL, "consumer");
	CREATE_REFUSED(consumer, 4, -EINVAL, "consumer");
	CREATE_REFUSED(reserved, 1, -EINVAL, "reserved");
	CREATE_REFUSED(slots, 0, -EINVAL, "power of two");
	CREATE_REFUSED(slots, 1, -EINVAL, "power of two");
	CREATE_REFUSED(slots, 1023, -EINVAL, "power of two");
	CREATE_REFUSED(slots, KML_RING_MAX_SLOTS * 2, -E2BIG, "SLOTS");
	CREATE_REFUSED(slots, UINT32_MAX, -E2BIG, "SLOTS");
	CREATE_REFUSED(share, -1, -EINVAL, "share");
	CREATE_REFUSED(share, KML_FX_ONE + 1, -EINVAL, "share");
	CREATE_REFUSED(explore, -1, -EINVAL, "explores");
	CREATE_REFUSED(explore, create.share + 1, -EINVAL, "explores");
}

TEST(a_name_is_letters_digits_dash_and_underscore_padded_with_nul)
{
	struct kml_create request = create;

	CREATE_REFUSED(name[0], '\0', -EINVAL, "name");
	CREATE_REFUSED(name[4], ' ', -EINVAL, "name");
	CREATE_REFUSED(name[4], '/', -EINVAL, "name");
	CREATE_REFUSED(name[4], '.', -EINVAL, "name");
	CREATE_REFUSED(name[4], '\n', -EINVAL, "name");
	CREATE_REFUSED(name[4], (char)0xe4, -EINVAL, "name");
	CREATE_REFUSED(name[KML_NAME_BYTES - 1], 'x', -EINVAL, "name");
	CREATE_REFUSED(name[20], ' ', -EINVAL, "name");
	memset(request.name, 'n', KML_NAME_BYTES);
	CHECK_EQUAL(kml_request_create(&request, &reason), -EINVAL);
	request.name[KML_NAME_BYTES - 1] = '\0';
	CHECK_EQUAL(kml_request_create(&request, &reason), 0);
}

TEST(a_shape_is_asked_by_number_by_name_or_for_the_first)
{
	struct kml_shape request = { .id = 3 };

	CHECK_EQUAL(kml_request_shape(&request, &reason), 0);
	memset(request.name, 0xff, KML_NAME_BYTES); /* the driver writes it */
	CHECK_EQUAL(kml_request_shape(&request, &reason), 0);
	request.id = 0;
	CHECK_EQUAL(kml_request_shape(&request, &reason), -EINVAL);
	memcpy(request.name, create.name, KML_NAME_BYTES);
	CHECK_EQUAL(kml_request_shape(&request, &reason), 0);
	memset(request.name, 0, KML_NAME_BYTES);
	CHECK_EQUAL(kml_request_shape(&request, &reason), 0);
	request.reserved = 1;
	CHECK_EQUAL(kml_request_shape(&request, &reason), -EINVAL);
}

TEST(a_transfer_names_a_predictor_and_a_length_within_the_limit)
{
	static const struct kml_transfer transfer = { .id = 1, .length = 64 };

	CHECK_ACCEPTED(kml_request_transfer, transfer, kml_transfer, length, KML_FILE_MAX_BYTES);
	CHECK_ACCEPTED(kml_request_transfer, transfer, kml_transfer, length, 0);
	CHECK_REFUSED(kml_request_transfer, transfer, kml_transfer, length, KML_FILE_MAX_BYTES + 1, -E2BIG, "length");
	CHECK_REFUSED(kml_request_transfer, transfer, kml_transfer, length, UINT32_MAX, -E2BIG, "length");
	CHECK_REFUSED(kml_request_transfer, transfer, kml_transfer, id, 0, -EINVAL, "number 0");
}

TEST(predictions_are_asked_in_counts_within_the_limit)
{
	static const struct kml_infer_call infer = { .id = 1, .count = 1 };

	CHECK_ACCEPTED(kml_request_infer, infer, kml_infer_call, count, KML_MAX_COUNT);
	CHECK_REFUSED(kml_request_infer, infer, kml_infer_call, count, 0, -EINVAL, "count");
	CHECK_REFUSED(kml_request_infer, infer, kml_infer_call, count, KML_MAX_COUNT + 1, -E2BIG, "count");
	CHECK_REFUSED(kml_request_infer, infer, kml_infer_call, count, UINT32_MAX, -E2BIG, "count");
	CHECK_REFUSED(kml_request_infer, infer, kml_infer_call, id, 0, -EINVAL, "number 0");
}

TEST(samples_are_collected_with_known_flags)
{
	static const struct kml_collect_call collect = { .id = 1, .count = 1 };

	CHECK_ACCEPTED(kml_request_collect, collect, kml_collect_call, flags, KML_COLLECT_WAIT | KML_COLLECT_SAMPLED);
	CHECK_ACCEPTED(kml_request_collect, collect, kml_collect_call, count, KML_MAX_COUNT);
	CHECK_REFUSED(kml_request_collect, collect, kml_collect_call, flags, 4, -EINVAL, "flags");
	CHECK_REFUSED(kml_request_collect, collect, kml_collect_call, flags, 1u << 31, -EINVAL, "flags");
	CHECK_REFUSED(kml_request_collect, collect, kml_collect_call, count, 0, -EINVAL, "count");
	CHECK_REFUSED(kml_request_collect, collect, kml_collect_call, count, KML_MAX_COUNT + 1, -E2BIG, "count");
	CHECK_REFUSED(kml_request_collect, collect, kml_collect_call, id, 0, -EINVAL, "number 0");
}

TEST(training_publishes_and_watches_for_drift_only_where_it_adapts)
{
	static const struct kml_train_call train = {
		.id = 1,
		.publish_every = 1,
		.adapt_samples = 64,
		.drift_tolerance = 0,
		.drift_threshold = 1,
	};

	CHECK_ACCEPTED(kml_request_train, train, kml_train_call, publish_every, UINT32_MAX);
	CHECK_REFUSED(kml_request_train, train, kml_train_call, publish_every, 0, -EINVAL, "publishes");
	CHECK_REFUSED(kml_request_train, train, kml_train_call, drift_tolerance, -1, -EINVAL, "tolerance");
	CHECK_REFUSED(kml_request_train, train, kml_train_call, drift_threshold, 0, -EINVAL, "threshold");
	CHECK_REFUSED(kml_request_train, train, kml_train_call, drift_threshold, INT32_MIN, -EINVAL, "threshold");
	CHECK_REFUSED(kml_request_train, train, kml_train_call, id, 0, -EINVAL, "number 0");
	{
		struct kml_train_call plain = { .id = 1, .publish_every = 1 };

		CHECK_EQUAL(kml_request_train(&plain, &reason), 0);
	}
}

TEST(functions_are_known_and_softmax_is_not_wider_than_a_model)
{
	static const struct kml_math_call math = { .function = KML_FUNCTION_SOFTMAX, .count = KML_MAX_WIDTH };
	uint32_t function;

	for (function = KML_FUNCTION_EXP; function <= KML_FUNCTION_MUL; function++)
		CHECK_ACCEPTED(kml_request_math, math, kml_math_call, function, function);
	CHECK_REFUSED(kml_request_math, math, kml_math_call, function, 0, -EINVAL, "function");
	CHECK_REFUSED(kml_request_math, math, kml_math_call, function, KML_FUNCTION_MUL + 1, -EINVAL, "function");
	CHECK_REFUSED(kml_request_math, math, kml_math_call, count, 0, -EINVAL, "count");
	CHECK_REFUSED(kml_request_math, math, kml_math_call, count, KML_MAX_WIDTH + 1, -E2BIG, "WIDTH");
	{
		struct kml_math_call most = { .function = KML_FUNCTION_EXP, .count = KML_MAX_COUNT };

		CHECK_EQUAL(kml_request_math(&most, &reason), 0);
		most.count++;
		CHECK_EQUAL(kml_request_math(&most, &reason), -E2BIG);
	}
}

TEST(a_reason_need_not_be_asked_for)
{
	struct kml_create request = create;

	request.mode = 9;
	CHECK_EQUAL(kml_request_create(&request, NULL), -EINVAL);
}

#define RINGS 3
#define RECORD_AREA 65536
#define PAGE 4096

static int map(uint64_t offset, uint64_t bytes, uint16_t *ring, uint8_t *area)
{
	return kml_request_map(offset, bytes, RINGS, RECORD_AREA, PAGE, ring, area);
}

TEST(an_offset_means_the_ring_and_area_that_it_was_made_of)
{
	uint16_t ring, found_ring;
	uint8_t area, found_area;

	for (ring = 0; ring < RINGS; ring++)
		for (area = KML_MAP_WRITER; area <= KML_MAP_READER; area++) {
			uint64_t bytes = area == KML_MAP_RECORDS ? RECORD_AREA : PAGE;

			CHECK_EQUAL(map(KML_MAP_OFFSET(ring, area), bytes, &found_ring, &found_area), 0);
			CHECK_EQUAL(found_ring, ring);
			CHECK_EQUAL(found_area, area);
		}
}

TEST(a_mapping_of_the_wrong_place_or_size_is_refused)
{
	uint16_t ring;
	uint8_t area;

	CHECK_EQUAL(map(KML_MAP_OFFSET(RINGS, KML_MAP_WRITER), PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(65536, KML_MAP_WRITER), PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, 3), PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_WRITER) + PAGE, PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(UINT64_MAX, PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_WRITER), 0, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_WRITER), RECORD_AREA, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_RECORDS), PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_RECORDS), RECORD_AREA + PAGE, &ring, &area), -EINVAL);
	CHECK_EQUAL(map(KML_MAP_OFFSET(0, KML_MAP_READER), 2 * PAGE, &ring, &area), -EINVAL);
}

TEST_MAIN()
