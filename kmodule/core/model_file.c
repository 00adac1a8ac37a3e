/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The model file: examined as a whole before anything of it is used; read and written byte by byte. */
#include "crc32.h"
#include "kml/model.h"
#include "kml/tensor.h"
#include "network.h"
#include "refuse.h"

/* What the CRC covers begins here. */
#define COVERED offsetof(struct kml_file_header, kind)

/* A limit for numbers that may be any Q16.16. */
#define UNLIMITED (-(int64_t)KML_FX_MIN)

/* A file that was examined: what it describes, and where its parts begin. */
struct contents {
	struct kml_model shape;
	struct kml_layer layers[KML_MAX_LAYERS];
	uint8_t number; /* enum kml_number */
	const uint8_t *features;
	const uint8_t *parts;
	const uint8_t *numbers;
};

static uint16_t take16(const uint8_t **at)
{
	uint16_t value = (uint16_t)((*at)[0] | (*at)[1] << 8);

	*at += 2;
	return value;
}

static uint32_t take32(const uint8_t **at)
{
	uint32_t low = take16(at);

	return low | (uint32_t)take16(at) << 16;
}

static int take_number(const uint8_t **at, uint8_t number, kml_fx *value)
{
	uint32_t bits = take32(at);

	if (number == KML_NUMBER_FLOAT)
		return kml_fx_from_float_bits(bits, value);
	*value = (kml_fx)bits;
	return 0;
}

static void put16(uint8_t **at, uint16_t value)
{
	*(*at)++ = (uint8_t)value;
	*(*at)++ = (uint8_t)(value >> 8);
}

static void put32(uint8_t **at, uint32_t value)
{
	put16(at, (uint16_t)value);
	put16(at, (uint16_t)(value >> 16));
}

static void put_bytes(uint8_t **at, const void *bytes, size_t count)
{
	memcpy(*at, bytes, count);
	*at += count;
}

static void decode_header(const uint8_t *at, struct kml_file_header *header)
{
	unsigned int i;

	header->magic = take32(&at);
	header->version = take16(&at);
	header->header_bytes = take16(&at);
	header->length = take32(&at);
	header->crc32 = take32(&at);
	header->kind = *at++;
	header->number = *at++;
	header->inputs = take16(&at);
	header->outputs = take16(&at);
	header->parts = take16(&at);
	header->leaves = take16(&at);
	for (i = 0; i < 3; i++)
		header->reserved[i] = take16(&at);
	memcpy(header->name, at, sizeof(header->name));
}

/* From the first NUL on, of which there must be one, all is NUL. */
static bool is_name(const char *name)
{
	unsigned int i = 0;

	while (i < KML_NAME_BYTES && name[i])
		i++;
	if (i == KML_NAME_BYTES)
		return false;
	while (i < KML_NAME_BYTES && !name[i])
		i++;
	return i == KML_NAME_BYTES;
}

static int refuse_number(int status, const char **reason)
{
	if (status == -ERANGE)
		return kml_refuse(reason, status, "one of its numbers does not fit into Q16.16");
	return kml_refuse(reason, status, "one of its numbers is a NaN or an infinity");
}

/* What can be said of a file before its contents are believed. */
static int check_envelope(const uint8_t *file, size_t length, struct kml_file_header *header, const char **reason)
{
	if (length < sizeof(*header))
		return kml_refuse(reason, -EINVAL, "it is shorter than a header");
	decode_header(file, header);
	if (header->magic != KML_FILE_MAGIC)
		return kml_refuse(reason, -EINVAL, "its magic is not a model's");
	if (header->version != KML_FILE_VERSION)
		return kml_refuse(reason, -EPROTONOSUPPORT, "it is of another version of the format");
	if (header->header_bytes != sizeof(*header))
		return kml_refuse(reason, -EINVAL, "its header is not as long as one of its version");
	if (header->length != length)
		return kml_refuse(reason, -EINVAL, "it is not as long as its header says");
	if (length > KML_FILE_MAX_BYTES)
		return kml_refuse(reason, -E2BIG, "it is too long");
	if (header->crc32 != kml_crc32(0, file + COVERED, length - COVERED))
		return kml_refuse(reason, -EINVAL, "its CRC is wrong");
	return 0;
}

static int check_header(const struct kml_file_header *header, const char **reason)
{
	if (header->kind != KML_NETWORK && header->kind != KML_TREE)
		return kml_refuse(reason, -EINVAL, "it is of an unknown kind");
	if (header->number != KML_NUMBER_FIXED && header->number != KML_NUMBER_FLOAT)
		return kml_refuse(reason, -EINVAL, "its numbers are of an unknown type");
	if (header->reserved[0] || header->reserved[1] || header->reserved[2])
		return kml_refuse(reason, -EINVAL, "a reserved field of its header is not 0");
	if (!is_name(header->name))
		return kml_refuse(reason, -EINVAL, "its name is not padded with NULs");
	if (!header->inputs || !header->outputs)
		return kml_refuse(reason, -EINVAL, "it has no inputs or no outputs");
	if (header->inputs > KML_MAX_WIDTH || header->outputs > KML_MAX_WIDTH)
		return kml_refuse(reason, -E2BIG, "it has too many inputs or outputs");
	if (!header->parts)
		return kml_refuse(reason, -EINVAL, "it has no layers or nodes");
	return 0;
}

/* A scale that becomes 0 would silence its feature. */
static int check_features(const uint8_t *at, unsigned int count, uint8_t number, const char **reason)
{
	const uint8_t *scale;
	kml_fx value;
	int status;

	for (; count; count--) {
		if (!is_name((const char *)at))
			return kml_refuse(reason, -EINVAL, "a feature's name is not padded with NULs");
		at += KML_NAME_BYTES;
		status = take_number(&at, number, &value);
		if (status)
			return refuse_number(status, reason);
		scale = at;
		status = take_number(&at, number, &value);
		if (status)
			return refuse_number(status, reason);
		if (!value && take32(&scale) << 1)
			return kml_refuse(reason, -ERANGE, "a feature's scale is too small for Q16.16");
	}
	return 0;
}

static int check_numbers(const uint8_t **at, uint32_t count, uint8_t number, int64_t limit, const char **reason)
{
	kml_fx value;
	int status;

	for (; count; count--) {
		status = take_number(at, number, &value);
		if (status)
			return refuse_number(status, reason);
		if (value > limit || value < -limit)
			return kml_refuse(reason, -ERANGE, "one of its weights is above 64");
	}
	return 0;
}

static int check_network(const uint8_t *file, const struct kml_file_header *header, struct contents *contents,
			 const char **reason)
{
	const uint8_t *at = contents->parts;
	unsigned int i;
	int status;

	if (header->leaves)
		return kml_refuse(reason, -EINVAL, "it is a network with leaves");
	if (header->parts > KML_MAX_LAYERS)
		return kml_refuse(reason, -E2BIG, "it has too many layers");
	if (header->length - (size_t)(at - file) < header->parts * sizeof(struct kml_file_layer))
		return kml_refuse(reason, -EINVAL, "its parts do not add up to its length");
	for (i = 0; i < header->parts; i++) {
		contents->layers[i].type = take16(&at);
		contents->layers[i].inputs = take16(&at);
		contents->layers[i].outputs = take16(&at);
		if (take16(&at))
			return kml_refuse(reason, -EINVAL, "a reserved field of a layer is not 0");
	}
	contents->numbers = at;
	status = kml_network_shape(&contents->shape, contents->layers, reason);
	if (status)
		return status;
	if (contents->shape.outputs != header->outputs)
		return kml_refuse(reason, -EINVAL, "its outputs are not those of its last layer");
	if (kml_model_file_size(&contents->shape) != header->length)
		return kml_refuse(reason, -EINVAL, "its parts do not add up to its length");
	for (i = 0; i < header->parts; i++) {
		const struct kml_layer *layer = &contents->layers[i];

		if (layer->type != KML_LINEAR)
			continue;
		status = check_numbers(&at, (uint32_t)layer->inputs * layer->outputs, header->number, KML_WEIGHT_MAX,
				       reason);
		if (!status)
			status = check_numbers(&at, layer->outputs, header->number, UNLIMITED, reason);
		if (status)
			return status;
	}
	return 0;
}

static int decode_node(const uint8_t *at, uint8_t number, struct kml_tree_node *node, uint16_t *reserved)
{
	node->feature = (int16_t)take16(&at);
	node->left = take16(&at);
	node->right = take16(&at);
	*reserved = take16(&at);
	return take_number(&at, number, &node->threshold);
}

/* One node by itself: its children lie behind it, so that no walk goes round in circles. */
static int check_node(const struct contents *contents, unsigned int place, const char **reason)
{
	const struct kml_model *shape = &contents->shape;
	struct kml_tree_node node;
	uint16_t reserved;
	int status = decode_node(contents->parts + place * sizeof(struct kml_file_node), contents->number, &node,
				 &reserved);

	if (status)
		return refuse_number(status, reason);
	if (reserved)
		return kml_refuse(reason, -EINVAL, "a reserved field of a node is not 0");
	if (node.feature < -1 || node.feature >= (int)shape->inputs)
		return kml_refuse(reason, -EINVAL, "a node asks for a feature that it does not have");
	if (node.feature == -1) {
		if (node.left >= shape->leaves)
			return kml_refuse(reason, -EINVAL, "a leaf's values are not in it");
		if (node.right || node.threshold)
			return kml_refuse(reason, -EINVAL, "a leaf has a threshold or a second child");
		return 0;
	}
	if (node.left <= place || node.right <= place || node.left >= shape->parts || node.right >= shape->parts)
		return kml_refuse(reason, -EINVAL, "a node's child does not lie behind it");
	if (node.left == node.right)
		return kml_refuse(reason, -EINVAL, "a node has one child twice");
	return 0;
}

/*
 * All nodes together: as many are reached as there are, and none too deep.  Counting the visits bounds the walk, in
 * which nodes with a common child could take exponential time.
 */
static int check_depth(const struct contents *contents, const char **reason)
{
	uint16_t waiting[KML_MAX_DEPTH]; /* right children on the way down to the present node */
	uint8_t depths[KML_MAX_DEPTH];
	struct kml_tree_node node;
	unsigned int visits, count = 0, depth = 0, place = 0;
	uint16_t reserved;

	for (visits = 1; visits <= contents->shape.parts; visits++) {
		decode_node(contents->parts + place * sizeof(struct kml_file_node), contents->number, &node, &reserved);
		if (node.feature >= 0) {
			if (depth == KML_MAX_DEPTH)
				return kml_refuse(reason, -E2BIG, "it is too deep");
			waiting[count] = node.right;
			depths[count++] = (uint8_t)++depth;
			place = node.left;
		} else if (count) {
			place = waiting[--count];
			depth = depths[count];
		} else if (visits < contents->shape.parts) {
			return kml_refuse(reason, -EINVAL, "a node of it cannot be reached");
		} else {
			return 0;
		}
	}
	return kml_refuse(reason, -EINVAL, "two of its nodes share a child");
}

static int check_tree(const struct kml_file_header *header, struct contents *contents, const char **reason)
{
	const uint8_t *at;
	unsigned int i;
	int status;

	if (header->parts > KML_MAX_NODES || header->leaves > KML_MAX_NODES)
		return kml_refuse(reason, -E2BIG, "it has too many nodes or leaves");
	contents->shape.width = header->inputs > header->outputs ? header->inputs : header->outputs;
	contents->shape.bytes = kml_model_bytes(&contents->shape);
	if (kml_model_file_size(&contents->shape) != header->length)
		return kml_refuse(reason, -EINVAL, "its parts do not add up to its length");
	contents->numbers = contents->parts + header->parts * sizeof(struct kml_file_node);
	for (i = 0; i < header->parts; i++) {
		status = check_node(contents, i, reason);
		if (status)
			return status;
	}
	status = check_depth(contents, reason);
	if (status)
		return status;
	at = contents->numbers;
	return check_numbers(&at, (uint32_t)header->leaves * header->outputs, header->number, UNLIMITED, reason);
}

static int examine(const uint8_t *file, size_t length, struct contents *contents, const char **reason)
{
	struct kml_file_header header;
	struct kml_model *shape = &contents->shape;
	int status = check_envelope(file, length, &header, reason);

	if (!status)
		status = check_header(&header, reason);
	if (status)
		return status;

	memset(shape, 0, sizeof(*shape));
	memcpy(shape->name, header.name, sizeof(shape->name));
	shape->kind = header.kind;
	shape->inputs = header.inputs;
	shape->outputs = header.outputs;
	shape->parts = header.parts;
	shape->leaves = header.leaves;
	contents->number = header.number;
	contents->features = file + sizeof(header);
	if (length - sizeof(header) < header.inputs * sizeof(struct kml_file_feature))
		return kml_refuse(reason, -EINVAL, "its parts do not add up to its length");
	contents->parts = contents->features + header.inputs * sizeof(struct kml_file_feature);

	status = check_features(contents->features, header.inputs, header.number, reason);
	if (status)
		return status;
	return header.kind == KML_NETWORK ? check_network(file, &header, contents, reason) :
					    check_tree(&header, contents, reason);
}

int64_t kml_model_examine(const void *file, size_t length, const char **reason)
{
	struct contents contents;
	int status = examine(file, length, &contents, reason);

	return status ? status : (int64_t)contents.shape.bytes;
}
KML_EXPORT(kml_model_examine);

static void read_features(struct kml_model *model, const struct contents *contents)
{
	const uint8_t *at = contents->features;
	unsigned int i;

	for (i = 0; i < model->inputs; i++) {
		struct kml_feature *feature = &model->features[i];

		memcpy(feature->name, at, sizeof(feature->name));
		at += sizeof(feature->name);
		take_number(&at, contents->number, &feature->shift);
		take_number(&at, contents->number, &feature->scale);
	}
}

static void read_tree(struct kml_model *model, const struct contents *contents)
{
	uint16_t reserved;
	unsigned int i;

	for (i = 0; i < model->parts; i++)
		decode_node(contents->parts + i * sizeof(struct kml_file_node), contents->number, &model->nodes[i],
			    &reserved);
}

/* What was examined cannot fail to be read. */
int kml_model_load(void *memory, size_t size, const void *file, size_t length, struct kml_model **model,
		   const char **reason)
{
	struct contents contents;
	const uint8_t *at;
	kml_fx *numbers;
	uint32_t i, count;
	int status = examine(file, length, &contents, reason);

	if (status)
		return status;
	if ((uintptr_t)memory % 8)
		return kml_refuse(reason, -EINVAL, "its memory is not aligned");
	if (size < contents.shape.bytes)
		return kml_refuse(reason, -ENOSPC, "its memory is too small");

	*model = memory;
	**model = contents.shape;
	kml_model_arrange(*model, contents.layers);
	read_features(*model, &contents);
	if ((*model)->kind == KML_TREE) {
		read_tree(*model, &contents);
		numbers = (*model)->values;
		count = (uint32_t)(*model)->leaves * (*model)->outputs;
	} else {
		numbers = (*model)->parameters;
		count = (*model)->parameter_count;
	}
	at = contents.numbers;
	for (i = 0; i < count; i++)
		take_number(&at, contents.number, &numbers[i]);
	return 0;
}
KML_EXPORT(kml_model_load);

size_t kml_model_file_size(const struct kml_model *model)
{
	size_t bytes = sizeof(struct kml_file_header) + model->inputs * sizeof(struct kml_file_feature);

	if (model->kind == KML_NETWORK)
		return bytes + model->parts * sizeof(struct kml_file_layer) +
		       model->parameter_count * sizeof(*model->parameters);
	return bytes + model->parts * sizeof(struct kml_file_node) +
	       (size_t)model->leaves * model->outputs * sizeof(*model->values);
}
KML_EXPORT(kml_model_file_size);

static void write_features(const struct kml_model *model, uint8_t **at)
{
	unsigned int i;

	for (i = 0; i < model->inputs; i++) {
		put_bytes(at, model->features[i].name, KML_NAME_BYTES);
		put32(at, (uint32_t)model->features[i].shift);
		put32(at, (uint32_t)model->features[i].scale);
	}
}

static void write_parts(const struct kml_model *model, uint8_t **at)
{
	unsigned int i;

	for (i = 0; i < model->parts; i++) {
		if (model->kind == KML_NETWORK) {
			put16(at, model->layers[i].type);
			put16(at, model->layers[i].inputs);
			put16(at, model->layers[i].outputs);
			put16(at, 0);
		} else {
			put16(at, (uint16_t)model->nodes[i].feature);
			put16(at, model->nodes[i].left);
			put16(at, model->nodes[i].right);
			put16(at, 0);
			put32(at, (uint32_t)model->nodes[i].threshold);
		}
	}
}

static void write_numbers(const kml_fx *numbers, uint32_t count, uint8_t **at)
{
	for (; count; count--)
		put32(at, (uint32_t)*numbers++);
}

int64_t kml_model_save(const struct kml_model *model, void *file, size_t capacity)
{
	size_t length = kml_model_file_size(model);
	uint8_t *at = file;

	if (capacity < length)
		return -ENOSPC;
	put32(&at, KML_FILE_MAGIC);
	put16(&at, KML_FILE_VERSION);
	put16(&at, sizeof(struct kml_file_header));
	put32(&at, (uint32_t)length);
	put32(&at, 0); /* the CRC, below */
	*at++ = model->kind;
	*at++ = KML_NUMBER_FIXED;
	put16(&at, model->inputs);
	put16(&at, model->outputs);
	put16(&at, model->parts);
	put16(&at, model->leaves);
	put16(&at, 0);
	put32(&at, 0);
	put_bytes(&at, model->name, KML_NAME_BYTES);

	write_features(model, &at);
	write_parts(model, &at);
	if (model->kind == KML_NETWORK)
		write_numbers(model->parameters, model->parameter_count, &at);
	else
		write_numbers(model->values, (uint32_t)model->leaves * model->outputs, &at);

	at = (uint8_t *)file + offsetof(struct kml_file_header, crc32);
	put32(&at, kml_crc32(0, (uint8_t *)file + COVERED, length - COVERED));
	return (int64_t)length;
}
KML_EXPORT(kml_model_save);
