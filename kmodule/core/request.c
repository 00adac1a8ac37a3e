/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Arguments of /dev/kml, checked before anything is done. */
#include "kml/request.h"
#include "kml/fixed.h"
#include "kml/ring.h"
#include "refuse.h"

static bool is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Allowed characters, then at least one NUL and nothing else. */
static bool name_is_clean(const char name[KML_NAME_BYTES])
{
	unsigned int at = 0;

	while (at < KML_NAME_BYTES && is_name_character(name[at]))
		at++;
	if (at == KML_NAME_BYTES)
		return false;
	while (at < KML_NAME_BYTES && !name[at])
		at++;
	return at == KML_NAME_BYTES;
}

static int check_id(uint32_t id, const char **reason)
{
	return id ? 0 : kml_refuse(reason, -EINVAL, "no predictor has the number 0");
}

static int check_count(uint32_t count, const char **reason)
{
	if (!count)
		return kml_refuse(reason, -EINVAL, "its count is 0");
	if (count > KML_MAX_COUNT)
		return kml_refuse(reason, -E2BIG, "its count is above KML_MAX_COUNT");
	return 0;
}

static int check_widths(uint16_t inputs, uint16_t outputs, const char **reason)
{
	if (!inputs || !outputs)
		return kml_refuse(reason, -EINVAL, "it has no inputs or no outputs");
	if (inputs > KML_PREDICTOR_MAX_WIDTH || outputs > KML_PREDICTOR_MAX_WIDTH)
		return kml_refuse(reason, -E2BIG, "its inputs or outputs are above KML_PREDICTOR_MAX_WIDTH");
	return 0;
}

static int check_slots(uint32_t slots, const char **reason)
{
	if (slots > KML_RING_MAX_SLOTS)
		return kml_refuse(reason, -E2BIG, "its slots are above KML_RING_MAX_SLOTS");
	if (!kml_ring_bytes(slots, sizeof(struct kml_record)))
		return kml_refuse(reason, -EINVAL, "its slots are not a power of two of at least 2");
	return 0;
}

int kml_request_create(const struct kml_create *request, const char **reason)
{
	int status;

	if (!request->name[0] || !name_is_clean(request->name))
		return kml_refuse(reason, -EINVAL, "its name is not 1 to 31 of letters, digits, '-' and '_'");
	status = check_widths(request->inputs, request->outputs, reason);
	if (status)
		return status;
	if (request->mode != KML_DROPPING && request->mode != KML_BLOCKING)
		return kml_refuse(reason, -EINVAL, "its mode is neither dropping nor blocking");
	if (request->consumer < KML_CONSUMER_KERNEL_FIXED || request->consumer > KML_CONSUMER_USER)
		return kml_refuse(reason, -EINVAL, "its consumer is unknown");
	if (request->reserved)
		return kml_refuse(reason, -EINVAL, "its reserved field is not 0");
	status = check_slots(request->slots, reason);
	if (status)
		return status;
	if (request->share < 0 || request->share > KML_FX_ONE)
		return kml_refuse(reason, -EINVAL, "its share is not within 0 and 1");
	if (request->explore < 0 || request->explore > request->share)
		return kml_refuse(reason, -EINVAL, "what it explores is not within 0 and its share");
	return 0;
}

int kml_request_shape(const struct kml_shape *request, const char **reason)
{
	if (request->reserved)
		return kml_refuse(reason, -EINVAL, "its reserved field is not 0");
	if (!request->id && !name_is_clean(request->name))
		return kml_refuse(reason, -EINVAL, "its name is not of letters, digits, '-' and '_'");
	return 0;
}

int kml_request_transfer(const struct kml_transfer *request, const char **reason)
{
	if (request->length > KML_FILE_MAX_BYTES)
		return kml_refuse(reason, -E2BIG, "its length is above KML_FILE_MAX_BYTES");
	return check_id(request->id, reason);
}

int kml_request_infer(const struct kml_infer_call *request, const char **reason)
{
	int status = check_id(request->id, reason);

	return status ? status : check_count(request->count, reason);
}

int kml_request_collect(const struct kml_collect_call *request, const char **reason)
{
	int status = check_id(request->id, reason);

	if (status)
		return status;
	if (request->flags & ~(uint32_t)(KML_COLLECT_WAIT | KML_COLLECT_SAMPLED))
		return kml_refuse(reason, -EINVAL, "its flags are unknown");
	return check_count(request->count, reason);
}

/* `training` itself can only be judged beside the model: kml_training_check. */
int kml_request_train(const struct kml_train_call *request, const char **reason)
{
	int status = check_id(request->id, reason);

	if (status)
		return status;
	if (!request->publish_every)
		return kml_refuse(reason, -EINVAL, "it never publishes its model");
	if (request->adapt_samples && request->drift_tolerance < 0)
		return kml_refuse(reason, -EINVAL, "its drift tolerance is negative");
	if (request->adapt_samples && request->drift_threshold <= 0)
		return kml_refuse(reason, -EINVAL, "its drift threshold is not above 0");
	return 0;
}

int kml_request_math(const struct kml_math_call *request, const char **reason)
{
	if (request->function < KML_FUNCTION_EXP || request->function > KML_FUNCTION_MUL)
		return kml_refuse(reason, -EINVAL, "its function is unknown");
	if (request->function == KML_FUNCTION_SOFTMAX && request->count > KML_MAX_WIDTH)
		return kml_refuse(reason, -E2BIG, "its count is above KML_MAX_WIDTH");
	return check_count(request->count, reason);
}

int kml_request_map(uint64_t offset, uint64_t bytes, uint16_t rings, uint64_t record_area, uint32_t page,
		    uint16_t *ring, uint8_t *area)
{
	uint64_t number = offset >> 34; /* as KML_MAP_OFFSET puts it there */
	uint8_t which = (offset >> 32) & 3;

	if ((uint32_t)offset || number >= rings || which > KML_MAP_READER)
		return -EINVAL;
	if (bytes != (which == KML_MAP_RECORDS ? record_area : page))
		return -EINVAL;
	*ring = (uint16_t)number;
	*area = which;
	return 0;
}
