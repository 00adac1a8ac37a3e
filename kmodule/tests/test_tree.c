/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Decision trees: inference. */
#include "check.h"
#include "model_files.h"

#define LEAF(index) { .feature = -1, .left = (index) }

static void infer(const struct kml_model *model, const kml_fx *in, kml_fx *out)
{
	kml_fx *scratch = malloc(kml_infer_scratch(model) * sizeof(*scratch));

	kml_infer(model, in, out, scratch);
	free(scratch);
}

/* if a <= 2: 10, 11   else if b <= -1: 20, 21   else: 30, 31 */
static struct kml_model *small_tree(void)
{
	static const struct kml_file_node nodes[] = {
		{ .feature = 0, .left = 1, .right = 2, .threshold = 2 * KML_FX_ONE },
		LEAF(0),
		{ .feature = 1, .left = 3, .right = 4, .threshold = (uint32_t)-KML_FX_ONE },
		LEAF(1),
		LEAF(2),
	};
	static const kml_fx values[] = { 10, 11, 20, 21, 30, 31 };
	static struct model_file file;
	const char *reason;
	int status;

	file_tree(&file, 2, 2, nodes, 5, values, 3);
	return file_load(&file, &status, &reason);
}

static void check_leaf(const struct kml_model *tree, kml_fx a, kml_fx b, kml_fx value)
{
	kml_fx out[2];

	infer(tree, (kml_fx[]){ a, b }, out);
	CHECK_EQUAL(out[0], value);
	CHECK_EQUAL(out[1], value + 1);
}

TEST(features_lead_to_their_leaf)
{
	struct kml_model *tree = small_tree();

	CHECK(tree);
	check_leaf(tree, 2 * KML_FX_ONE, 0, 10);
	check_leaf(tree, 2 * KML_FX_ONE + 1, -KML_FX_ONE, 20);
	check_leaf(tree, 2 * KML_FX_ONE + 1, -KML_FX_ONE + 1, 30);
	check_leaf(tree, KML_FX_MIN, KML_FX_MAX, 10);
	check_leaf(tree, KML_FX_MAX, KML_FX_MIN, 20);
	free(tree);
}

TEST(thresholds_are_of_the_normalised_feature)
{
	struct kml_model *tree = small_tree();

	tree->features[0].shift = 100 * KML_FX_ONE;
	tree->features[0].scale = KML_FX_ONE / 10;
	check_leaf(tree, 119 * KML_FX_ONE, 0, 10);
	check_leaf(tree, 121 * KML_FX_ONE, 0, 30);
	free(tree);
}

TEST(a_tree_may_be_one_leaf)
{
	const struct kml_file_node leaf = LEAF(0);
	const kml_fx values[] = { 42 };
	static struct model_file file;
	struct kml_model *tree;
	const char *reason;
	kml_fx out, in = 0;
	int status;

	file_tree(&file, 1, 1, &leaf, 1, values, 1);
	tree = file_load(&file, &status, &reason);
	CHECK_EQUAL(status, 0);
	infer(tree, &in, &out);
	CHECK_EQUAL(out, 42);
	free(tree);
}

/* A full tree over one feature is a search in a sorted list: every leaf is the number of thresholds below it. */
static void fill_range(struct kml_file_node *nodes, uint16_t *count, unsigned int low, unsigned int high)
{
	const uint16_t place = (*count)++;
	const unsigned int middle = (low + high) / 2;

	if (low == high) {
		nodes[place] = (struct kml_file_node)LEAF((uint16_t)low);
		return;
	}
	nodes[place] = (struct kml_file_node){ .threshold = middle * 16 };
	nodes[place].left = *count;
	fill_range(nodes, count, low, middle);
	nodes[place].right = *count;
	fill_range(nodes, count, middle + 1, high);
}

TEST(a_deep_tree_finds_every_leaf)
{
	static struct kml_file_node nodes[511];
	static struct model_file file;
	struct kml_model *tree, *copy;
	kml_fx values[256], in, out;
	const char *reason;
	uint16_t count = 0;
	int i, status;

	for (i = 0; i < 256; i++)
		values[i] = i;
	fill_range(nodes, &count, 0, 255);
	file_tree(&file, 1, 1, nodes, count, values, 256);
	tree = file_load(&file, &status, &reason);
	CHECK_EQUAL(status, 0);
	CHECK_EQUAL(kml_model_copy(malloc(tree->bytes), tree->bytes, tree, &copy), 0);
	free(tree);
	for (i = 0; i < 256 * 16; i++) {
		in = i;
		infer(copy, &in, &out);
		CHECK_EQUAL(out, (i + 15) / 16 > 255 ? 255 : (i + 15) / 16);
	}
	free(copy);
}

TEST_MAIN()
