/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The model file: what is saved is what is loaded, and a bad one is refused with its reason. */
#include "check.h"
#include "model_files.h"
#include "networks.h"

#define LEAF(index) { .feature = -1, .left = (index) }

static void save(const struct kml_model *model, struct model_file *file)
{
	int64_t length = kml_model_save(model, file->bytes, sizeof(file->bytes));

	CHECK(length > 0);
	file->length = length > 0 ? (size_t)length : 0;
}

/* Two inputs, three layers, 9 + 4 parameters. */
static void small_network(struct model_file *file)
{
	struct kml_model *model = random_network(11, 2, LAYERS(LINEAR(2, 3), ACTIVATION(KML_TANH, 3), LINEAR(3, 1)));

	save(model, file);
	free(model);
}

static void small_tree(struct model_file *file)
{
	static const struct kml_file_node nodes[] = {
		{ .feature = 0, .left = 1, .right = 2, .threshold = 5 }, LEAF(0),
		{ .feature = 1, .left = 3, .right = 4, .threshold = 6 }, LEAF(1), LEAF(0),
	};
	static const kml_fx values[] = { 10, 20 };

	file_tree(file, 2, 1, nodes, 5, values, 2);
}

static void check_refused(const struct model_file *file, int wanted, const char *clause)
{
	const char *reason;
	int status;
	struct kml_model *model = file_load(file, &status, &reason);

	CHECK_EQUAL(status, wanted);
	CHECK(reason && !strcmp(reason, clause));
	if (!reason || strcmp(reason, clause))
		printf("  it said: %s; wanted: %s\n", reason ? reason : "nothing", clause);
	free(model);
}

TEST(a_network_comes_back_as_it_was_saved)
{
	struct kml_model *model = random_network(3, 5, LAYERS(LINEAR(5, 9), ACTIVATION(KML_SIGMOID, 9), LINEAR(9, 4),
							      ACTIVATION(KML_SOFTMAX, 4)));
	static struct model_file file, again;
	struct kml_model *loaded;
	const char *reason;
	unsigned int i;
	int status;

	strcpy(model->name, "latency");
	strcpy(model->features[2].name, "sectors");
	model->features[2].shift = -5;
	model->features[2].scale = 77;
	model->layers[0].bias[3] = KML_FX_MIN;
	model->layers[2].weights[1] = KML_WEIGHT_MAX;
	model->layers[2].weights[2] = -KML_WEIGHT_MAX;
	save(model, &file);
	CHECK_EQUAL(file.length, kml_model_file_size(model));

	loaded = file_load(&file, &status, &reason);
	CHECK_EQUAL(status, 0);
	CHECK_EQUAL(loaded->bytes, model->bytes);
	CHECK_EQUAL(loaded->width, model->width);
	CHECK(!strcmp(loaded->name, "latency"));
	CHECK(!strcmp(loaded->features[2].name, "sectors"));
	for (i = 0; i < model->parameter_count; i++)
		CHECK_EQUAL(loaded->parameters[i], model->parameters[i]);
	save(loaded, &again);
	CHECK_EQUAL(again.length, file.length);
	CHECK(!memcmp(again.bytes, file.bytes, file.length));
	free(loaded);
	free(model);
}

TEST(a_tree_comes_back_as_it_was_saved)
{
	static struct model_file file, again;
	const char *reason;
	int status;
	struct kml_model *tree;

	small_tree(&file);
	tree = file_load(&file, &status, &reason);
	CHECK_EQUAL(status, 0);
	save(tree, &again);
	CHECK_EQUAL(again.length, file.length);
	CHECK(!memcmp(again.bytes, file.bytes, file.length));
	free(tree);
}

TEST(a_file_that_does_not_fit_its_buffer_is_not_written)
{
	struct kml_model *model = random_network(1, 2, LAYERS(LINEAR(2, 1)));
	uint8_t *buffer = calloc(1, kml_model_file_size(model));

	CHECK_EQUAL(kml_model_save(model, buffer, kml_model_file_size(model) - 1), -ENOSPC);
	CHECK_EQUAL(buffer[0], 0);
	CHECK_EQUAL(kml_model_save(model, buffer, kml_model_file_size(model)), (int64_t)kml_model_file_size(model));
	free(buffer);
	free(model);
}

TEST(memory_that_does_not_do_is_refused)
{
	static struct model_file file;
	uint64_t memory[128];
	struct kml_model *model;
	const char *reason = NULL;
	int64_t size;

	small_network(&file);
	size = kml_model_examine(file.bytes, file.length, NULL);
	CHECK_EQUAL(kml_model_load(memory, (size_t)size - 1, file.bytes, file.length, &model, &reason), -ENOSPC);
	CHECK(reason && !strcmp(reason, "its memory is too small"));
	CHECK_EQUAL(kml_model_load((char *)memory + 4, (size_t)size, file.bytes, file.length, &model, &reason),
		    -EINVAL);
	CHECK(!strcmp(reason, "its memory is not aligned"));
	memory[size / 8] = 0x5a;
	CHECK_EQUAL(kml_model_load(memory, (size_t)size, file.bytes, file.length, &model, NULL), 0);
	CHECK_EQUAL(memory[size / 8], 0x5a);
}

static void check_every_cut_and_flip(const struct model_file *whole)
{
	static struct model_file file;
	const char *reason;
	size_t at;
	int status;

	for (at = 0; at < whole->length; at++) {
		file = *whole;
		file.length = at;
		CHECK(!file_load(&file, &status, &reason));
		CHECK(status == -EINVAL && reason);
		if (at >= sizeof(struct kml_file_header)) {
			file_seal(&file);
			CHECK(!file_load(&file, &status, &reason));
			CHECK(status == -EINVAL && reason);
		}
	}
	file = *whole;
	file.bytes[file.length++] = 0;
	CHECK(!file_load(&file, &status, &reason));
	file_seal(&file);
	CHECK(!file_load(&file, &status, &reason));
	for (at = 0; at < 8 * whole->length; at++) {
		file = *whole;
		file.bytes[at / 8] ^= (uint8_t)(1 << at % 8);
		CHECK(!file_load(&file, &status, &reason));
		CHECK(status < 0 && reason);
	}
}

TEST(a_file_cut_anywhere_or_with_any_bit_flipped_is_refused)
{
	static struct model_file file;

	small_network(&file);
	check_every_cut_and_flip(&file);
	small_tree(&file);
	check_every_cut_and_flip(&file);
}

/* A change of a good file that leaves its length and CRC right. */
struct damage {
	size_t at;
	uint8_t bytes;
	uint32_t value;
	int status;
	const char *clause;
};

static void check_damages(void (*make)(struct model_file *), const struct damage *damages, size_t count)
{
	static struct model_file file;
	size_t i;

	for (i = 0; i < count; i++) {
		make(&file);
		memcpy(file.bytes + damages[i].at, &damages[i].value, damages[i].bytes);
		if (damages[i].at >= offsetof(struct kml_file_header, kind))
			file_seal(&file);
		check_refused(&file, damages[i].status, damages[i].clause);
	}
}

#define HEADER(field) offsetof(struct kml_file_header, field), sizeof(((struct kml_file_header *)0)->field)
#define FEATURE(at, field) \
	sizeof(struct kml_file_header) + (at) * sizeof(struct kml_file_feature) + \
	offsetof(struct kml_file_feature, field)
#define LAYER(at, field) \
	FEATURE(2, name) + (at) * sizeof(struct kml_file_layer) + offsetof(struct kml_file_layer, field), 2
#define NODE(at, field) \
	FEATURE(2, name) + (at) * sizeof(struct kml_file_node) + offsetof(struct kml_file_node, field), \
	sizeof(((struct kml_file_node *)0)->field)
#define NETWORK_NUMBER(at) FEATURE(2, name) + 3 * sizeof(struct kml_file_layer) + (at) * 4, 4

TEST(a_bad_header_is_refused_with_its_reason)
{
	static const struct damage damages[] = {
		{ HEADER(magic), 0x12345678, -EINVAL, "its magic is not a model's" },
		{ HEADER(version), 2, -EPROTONOSUPPORT, "it is of another version of the format" },
		{ HEADER(version), 0, -EPROTONOSUPPORT, "it is of another version of the format" },
		{ HEADER(header_bytes), 65, -EINVAL, "its header is not as long as one of its version" },
		{ HEADER(length), 0xffffffff, -EINVAL, "it is not as long as its header says" },
		{ HEADER(crc32), 0, -EINVAL, "its CRC is wrong" },
		{ HEADER(kind), 0, -EINVAL, "it is of an unknown kind" },
		{ HEADER(kind), 3, -EINVAL, "it is of an unknown kind" },
		{ HEADER(number), 0, -EINVAL, "its numbers are of an unknown type" },
		{ HEADER(number), 3, -EINVAL, "its numbers are of an unknown type" },
		{ offsetof(struct kml_file_header, reserved) + 4, 2, 1, -EINVAL,
		  "a reserved field of its header is not 0" },
		{ offsetof(struct kml_file_header, name) + KML_NAME_BYTES - 1, 1, 'x', -EINVAL,
		  "its name is not padded with NULs" },
		{ HEADER(inputs), 0, -EINVAL, "it has no inputs or no outputs" },
		{ HEADER(outputs), 0, -EINVAL, "it has no inputs or no outputs" },
		{ HEADER(inputs), 257, -E2BIG, "it has too many inputs or outputs" },
		{ HEADER(outputs), 0xffff, -E2BIG, "it has too many inputs or outputs" },
		{ HEADER(inputs), 256, -EINVAL, "its parts do not add up to its length" },
		{ HEADER(parts), 0, -EINVAL, "it has no layers or nodes" },
		{ HEADER(parts), 17, -E2BIG, "it has too many layers" },
		{ HEADER(parts), 0xffff, -E2BIG, "it has too many layers" },
		{ HEADER(leaves), 1, -EINVAL, "it is a network with leaves" },
		{ FEATURE(1, name) + 31, 1, 'x', -EINVAL, "a feature's name is not padded with NULs" },
	};

	check_damages(small_network, damages, sizeof(damages) / sizeof(*damages));
}

TEST(bad_layers_and_weights_are_refused_with_their_reason)
{
	static const struct damage damages[] = {
		{ LAYER(0, type), 0, -EINVAL, "a layer is of an unknown type" },
		{ LAYER(0, type), 6, -EINVAL, "a layer is of an unknown type" },
		{ LAYER(1, type), KML_SOFTMAX, -EINVAL, "a softmax is not the last layer" },
		{ LAYER(1, reserved), 1, -EINVAL, "a reserved field of a layer is not 0" },
		{ LAYER(0, inputs), 3, -EINVAL, "a layer's inputs are not the outputs of the one before" },
		{ LAYER(1, outputs), 4, -EINVAL, "an activation's outputs are not as many as its inputs" },
		{ LAYER(2, outputs), 0, -EINVAL, "a layer has no outputs" },
		{ LAYER(2, outputs), 257, -E2BIG, "a layer has too many outputs" },
		{ LAYER(2, outputs), 2, -EINVAL, "its outputs are not those of its last layer" },
		{ LAYER(0, type), KML_RELU, -EINVAL, "an activation's outputs are not as many as its inputs" },
		{ HEADER(parts), 2, -EINVAL, "its outputs are not those of its last layer" },
		{ NETWORK_NUMBER(0), KML_WEIGHT_MAX + 1, -ERANGE, "one of its weights is above 64" },
		{ NETWORK_NUMBER(9), (uint32_t)-KML_WEIGHT_MAX - 1, -ERANGE, "one of its weights is above 64" },
		{ NETWORK_NUMBER(11), (uint32_t)KML_FX_MIN, -ERANGE, "one of its weights is above 64" },
	};

	check_damages(small_network, damages, sizeof(damages) / sizeof(*damages));
}

TEST(a_bad_tree_is_refused_with_its_reason)
{
	static const struct damage damages[] = {
		{ HEADER(leaves), 0, -EINVAL, "its parts do not add up to its length" },
		{ HEADER(leaves), 0xffff, -E2BIG, "it has too many nodes or leaves" },
		{ HEADER(parts), 16385, -E2BIG, "it has too many nodes or leaves" },
		{ HEADER(parts), 4, -EINVAL, "its parts do not add up to its length" },
		{ NODE(0, feature), 2, -EINVAL, "a node asks for a feature that it does not have" },
		{ NODE(0, feature), 0xfffe, -EINVAL, "a node asks for a feature that it does not have" },
		{ NODE(0, left), 0, -EINVAL, "a node's child does not lie behind it" },
		{ NODE(2, right), 1, -EINVAL, "a node's child does not lie behind it" },
		{ NODE(2, right), 2, -EINVAL, "a node's child does not lie behind it" },
		{ NODE(2, right), 5, -EINVAL, "a node's child does not lie behind it" },
		{ NODE(2, right), 3, -EINVAL, "a node has one child twice" },
		{ NODE(0, left), 2, -EINVAL, "a node has one child twice" },
		{ NODE(0, reserved), 1, -EINVAL, "a reserved field of a node is not 0" },
		{ NODE(3, left), 2, -EINVAL, "a leaf's values are not in it" },
		{ NODE(3, right), 1, -EINVAL, "a leaf has a threshold or a second child" },
		{ NODE(3, threshold), 1, -EINVAL, "a leaf has a threshold or a second child" },
		{ NODE(0, feature), 0xffff, -EINVAL, "a leaf has a threshold or a second child" },
	};

	check_damages(small_tree, damages, sizeof(damages) / sizeof(*damages));
}

TEST(a_tree_with_a_node_too_many_is_refused)
{
	static const struct kml_file_node nodes[] = {
		{ .feature = 0, .left = 1, .right = 2 }, LEAF(0), LEAF(0), LEAF(0),
	};
	static struct model_file file;
	const kml_fx value = 1;

	file_tree(&file, 1, 1, nodes, 4, &value, 1);
	check_refused(&file, -EINVAL, "a node of it cannot be reached");
}

TEST(a_tree_whose_branches_meet_again_is_refused)
{
	static const struct kml_file_node nodes[] = {
		{ .feature = 0, .left = 1, .right = 2 }, { .feature = 0, .left = 3, .right = 4 },
		{ .feature = 0, .left = 3, .right = 4 }, LEAF(0), LEAF(0),
	};
	static struct model_file file;
	const kml_fx value = 1;

	file_tree(&file, 1, 1, nodes, 5, &value, 1);
	check_refused(&file, -EINVAL, "two of its nodes share a child");
}

/* A comb: each node has a leaf at its left and the rest of the tree at its right. */
static void comb(struct model_file *file, unsigned int depth)
{
	struct kml_file_node nodes[2 * KML_MAX_DEPTH + 3];
	const kml_fx value = 1;
	unsigned int i;

	memset(nodes, 0, sizeof(nodes));
	for (i = 0; i < depth; i++) {
		nodes[2 * i].left = (uint16_t)(2 * i + 1);
		nodes[2 * i].right = (uint16_t)(2 * i + 2);
		nodes[2 * i + 1].feature = -1;
	}
	nodes[2 * depth].feature = -1;
	file_tree(file, 1, 1, nodes, (uint16_t)(2 * depth + 1), &value, 1);
}

TEST(a_tree_may_be_32_deep_and_no_deeper)
{
	static struct model_file file;
	const char *reason;
	int status;

	comb(&file, KML_MAX_DEPTH);
	free(file_load(&file, &status, &reason));
	CHECK_EQUAL(status, 0);
	comb(&file, KML_MAX_DEPTH + 1);
	check_refused(&file, -E2BIG, "it is too deep");
}

static const struct kml_file_layer one_layer[] = { { .type = KML_LINEAR, .inputs = 1, .outputs = 1 } };

TEST(binary32_becomes_the_nearest_q16_16)
{
	const float numbers[] = { -1.5f, 1000.25f };
	static struct model_file file;
	struct kml_model *model;
	const char *reason;
	int status;

	file_network(&file, KML_NUMBER_FLOAT, one_layer, 1, numbers, 2);
	model = file_load(&file, &status, &reason);
	CHECK_EQUAL(status, 0);
	CHECK_EQUAL(model->layers[0].weights[0], fixed(-1.5));
	CHECK_EQUAL(model->layers[0].bias[0], fixed(1000.25));
	CHECK_EQUAL(model->features[0].scale, KML_FX_ONE);
	CHECK_EQUAL(model->features[0].shift, 0);
	free(model);
}

static void check_floats(float weight, float bias, float scale, int status, const char *clause)
{
	const float numbers[] = { weight, bias };
	static struct model_file file;

	file_network(&file, KML_NUMBER_FLOAT, one_layer, 1, numbers, 2);
	memcpy(file.bytes + FEATURE(0, scale), &scale, sizeof(scale));
	file_seal(&file);
	check_refused(&file, status, clause);
}

TEST(a_binary32_that_is_no_q16_16_is_refused)
{
	check_floats(NAN, 0, 1, -EINVAL, "one of its numbers is a NaN or an infinity");
	check_floats(0, INFINITY, 1, -EINVAL, "one of its numbers is a NaN or an infinity");
	check_floats(0, 0, -INFINITY, -EINVAL, "one of its numbers is a NaN or an infinity");
	check_floats(0, 40000, 1, -ERANGE, "one of its numbers does not fit into Q16.16");
	check_floats(0, 0, -1e30f, -ERANGE, "one of its numbers does not fit into Q16.16");
	check_floats(64.001f, 0, 1, -ERANGE, "one of its weights is above 64");
	check_floats(0, 0, 1e-6f, -ERANGE, "a feature's scale is too small for Q16.16");
}

TEST(a_file_shorter_than_a_header_is_refused)
{
	static struct model_file file;

	small_network(&file);
	file.length = sizeof(struct kml_file_header) - 1;
	check_refused(&file, -EINVAL, "it is shorter than a header");
}

/* Its layers promise more than a file may hold. */
TEST(a_network_of_too_many_parameters_is_refused)
{
	const struct kml_file_layer wide = { .type = KML_LINEAR, .inputs = 256, .outputs = 256 };
	const struct kml_file_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = 1, .outputs = 256 }, wide, wide, wide, wide,
	};
	static struct model_file file;

	file_network(&file, KML_NUMBER_FIXED, layers, 5, NULL, 0);
	check_refused(&file, -E2BIG, "it has too many parameters");
}

TEST(a_file_above_one_mebibyte_is_refused)
{
	const size_t length = KML_FILE_MAX_BYTES + 1;
	struct kml_file_header *header = calloc(1, length);
	const char *reason = NULL;

	header->magic = KML_FILE_MAGIC;
	header->version = KML_FILE_VERSION;
	header->header_bytes = sizeof(*header);
	header->length = (uint32_t)length;
	CHECK_EQUAL(kml_model_examine(header, length, &reason), -E2BIG);
	CHECK(reason && !strcmp(reason, "it is too long"));
	free(header);
}

/* Damage that no CRC finds: the sanitizers watch what is loaded and used all the same. */
static void check_random_damage(const struct model_file *whole, uint64_t *state, unsigned int *accepted)
{
	static struct model_file file;
	kml_fx in[KML_MAX_WIDTH], out[KML_MAX_WIDTH], scratch[2 * KML_MAX_WIDTH];
	struct kml_model *model;
	const char *reason;
	unsigned int round, i;
	int status;

	for (round = 0; round < 20000; round++) {
		file = *whole;
		for (i = 0; i <= round % 4; i++) {
			*state = *state * 6364136223846793005u + 1442695040888963407u;
			file.bytes[16 + (*state >> 33) % (file.length - 16)] = (uint8_t)(*state >> 56);
		}
		file_seal(&file);
		model = file_load(&file, &status, &reason);
		if (!model) {
			CHECK(status < 0 && reason);
			continue;
		}
		++*accepted;
		for (i = 0; i < model->inputs; i++)
			in[i] = (kml_fx)(*state >> i % 32);
		kml_infer(model, in, out, scratch);
		free(model);
	}
}

TEST(whatever_is_accepted_can_be_used)
{
	static struct model_file file;
	uint64_t state = 5;
	unsigned int accepted = 0;

	small_network(&file);
	check_random_damage(&file, &state, &accepted);
	small_tree(&file);
	check_random_damage(&file, &state, &accepted);
	CHECK(accepted > 1000 && accepted < 39000);
}

TEST_MAIN()
