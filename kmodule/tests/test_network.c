/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Networks: construction, and inference against binary64. */
#include "check.h"
#include "networks.h"

/* The shape for which figures are stated. */
#define READ_AHEAD 5, LAYERS(LINEAR(5, 15), ACTIVATION(KML_SIGMOID, 15), LINEAR(15, 5), ACTIVATION(KML_SIGMOID, 5), \
			     LINEAR(5, 4))

static void infer(const struct kml_model *model, const kml_fx *in, kml_fx *out)
{
	kml_fx *scratch = malloc(kml_infer_scratch(model) * sizeof(*scratch));

	kml_infer(model, in, out, scratch);
	free(scratch);
}

TEST(a_network_takes_exactly_the_memory_it_asked_for)
{
	struct kml_model *model = random_network(1, READ_AHEAD);

	CHECK_EQUAL(model->bytes, kml_model_size(READ_AHEAD));
	CHECK(model->bytes < 4096);
	CHECK_EQUAL(model->inputs, 5);
	CHECK_EQUAL(model->outputs, 4);
	CHECK_EQUAL(model->width, 15);
	CHECK_EQUAL(model->parameter_count, 6 * 15 + 16 * 5 + 6 * 4);
	CHECK(!strcmp(model->features[4].name, "4"));
	CHECK_EQUAL(model->features[4].scale, KML_FX_ONE);
	free(model);
}

TEST(features_are_named_by_their_place)
{
	struct kml_model *model = random_network(1, 256, LAYERS(ACTIVATION(KML_RELU, 256)));

	CHECK(!strcmp(model->features[0].name, "0"));
	CHECK(!strcmp(model->features[10].name, "10"));
	CHECK(!strcmp(model->features[255].name, "255"));
	free(model);
}

TEST(a_network_that_does_not_fit_together_is_refused)
{
	struct kml_layer too_many[KML_MAX_LAYERS + 1];
	unsigned int i;

	for (i = 0; i <= KML_MAX_LAYERS; i++)
		too_many[i] = (struct kml_layer)ACTIVATION(KML_RELU, 1);
	CHECK_EQUAL(kml_model_size(1, too_many, KML_MAX_LAYERS + 1), -E2BIG);
	CHECK(kml_model_size(1, too_many, KML_MAX_LAYERS) > 0);
	CHECK_EQUAL(kml_model_size(1, too_many, 0), -EINVAL);
	CHECK_EQUAL(kml_model_size(0, LAYERS(LINEAR(0, 1))), -EINVAL);
	CHECK_EQUAL(kml_model_size(257, LAYERS(LINEAR(257, 1))), -E2BIG);
	CHECK_EQUAL(kml_model_size(1, LAYERS(LINEAR(1, 257))), -E2BIG);
	CHECK_EQUAL(kml_model_size(1, LAYERS(LINEAR(1, 0))), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS(LINEAR(3, 1))), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS(LINEAR(2, 3), LINEAR(2, 1))), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS({ .type = KML_RELU, .inputs = 2, .outputs = 3 })), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS({ .type = 0, .inputs = 2, .outputs = 2 })), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS({ .type = 6, .inputs = 2, .outputs = 2 })), -EINVAL);
	CHECK_EQUAL(kml_model_size(2, LAYERS(ACTIVATION(KML_SOFTMAX, 2), LINEAR(2, 1))), -EINVAL);
	CHECK(kml_model_size(2, LAYERS(LINEAR(2, 2), ACTIVATION(KML_SOFTMAX, 2))) > 0);
	/* Four times 256 x 257 numbers are more than a file may hold. */
	CHECK_EQUAL(kml_model_size(256, LAYERS(LINEAR(256, 256), LINEAR(256, 256), LINEAR(256, 256), LINEAR(256, 256))),
		    -E2BIG);
}

TEST(memory_that_does_not_do_is_refused_and_left_alone)
{
	uint64_t memory[64];
	struct kml_model *model = NULL;
	int64_t size = kml_model_size(1, LAYERS(LINEAR(1, 1)));

	memset(memory, 0x5a, sizeof(memory));
	CHECK_EQUAL(kml_model_create(memory, (size_t)size - 1, "x", 1, LAYERS(LINEAR(1, 1)), &model), -ENOSPC);
	CHECK_EQUAL(kml_model_create((char *)memory + 4, (size_t)size, "x", 1, LAYERS(LINEAR(1, 1)), &model), -EINVAL);
	CHECK_EQUAL(kml_model_create(memory, sizeof(memory), "a name of thirty-two characters!", 1,
				     LAYERS(LINEAR(1, 1)), &model), -EINVAL);
	CHECK(!model);
	CHECK_EQUAL(memory[0], 0x5a5a5a5a5a5a5a5a);
	CHECK_EQUAL(kml_model_create(memory, sizeof(memory), "a name of thirty-one characters", 1,
				     LAYERS(LINEAR(1, 1)), &model), 0);
	CHECK_EQUAL(memory[size / 8], 0x5a5a5a5a5a5a5a5a);
	CHECK_EQUAL(kml_model_copy(memory + 32, (size_t)size - 1, model, &model), -ENOSPC);
}

TEST(random_weights_are_reproducible_spread_and_within_their_limit)
{
	struct kml_model *one = random_network(7, 64, LAYERS(LINEAR(64, 32)));
	struct kml_model *same = random_network(7, 64, LAYERS(LINEAR(64, 32)));
	struct kml_model *other = random_network(8, 64, LAYERS(LINEAR(64, 32)));
	const double limit = sqrt(6.0 / (64 + 32));
	double sum = 0, squares = 0;
	unsigned int i, equal = 0;

	for (i = 0; i < 64 * 32; i++) {
		double weight = real(one->layers[0].weights[i]);

		CHECK(fabs(weight) <= limit + 1.0 / 65536);
		CHECK_EQUAL(one->layers[0].weights[i], same->layers[0].weights[i]);
		equal += one->layers[0].weights[i] == other->layers[0].weights[i];
		sum += weight;
		squares += weight * weight;
	}
	for (i = 0; i < 32; i++)
		CHECK_EQUAL(one->layers[0].bias[i], 0);
	CHECK(equal < 8);
	/* A uniform distribution's variance is limit^2 / 3; of 2048 numbers its error is about 2 %. */
	CHECK(fabs(squares / (limit * limit / 3 * 2048) - 1) < 0.08);
	CHECK(fabs(sum / 2048) < 4 * limit / sqrt(3.0 * 2048));
	free(one);
	free(same);
	free(other);
}

/*
 * How far a network may be from binary64, in steps: a layer passes an error on, times what its rows add up to, and adds
 * its own: half a step for a sum, two for a sigmoid or tangent, whose slopes are at most 1, four for a softmax.
 */
static double error_bound(const struct kml_model *model)
{
	double error = 0.5;
	unsigned int i, row, column;

	for (i = 0; i < model->parts; i++) {
		const struct kml_layer *layer = &model->layers[i];
		double most = 0;

		if (layer->type == KML_LINEAR) {
			for (row = 0; row < layer->outputs; row++) {
				double sum = 0;

				for (column = 0; column < layer->inputs; column++)
					sum += fabs(real(layer->weights[row * layer->inputs + column]));
				most = fmax(most, sum);
			}
			error = error * most + 0.5;
		} else if (layer->type != KML_RELU) {
			error += layer->type == KML_SOFTMAX ? 4 : 2;
		}
	}
	return error + 0.5; /* of the reference's own rounding */
}

static void check_against_reference(struct kml_model *model)
{
	double *parameters = reference_parameters(model), expected[KML_MAX_WIDTH];
	kml_fx in[KML_MAX_WIDTH], out[KML_MAX_WIDTH];
	uint64_t state = 42;
	unsigned int sample, i;

	for (sample = 0; sample < 200; sample++) {
		for (i = 0; i < model->inputs; i++)
			in[i] = random_between(&state, -3, 3);
		infer(model, in, out);
		reference_infer(model, parameters, in, expected);
		for (i = 0; i < model->outputs; i++)
			CHECK_NEAR(out[i], fixed(expected[i]), error_bound(model));
	}
	free(parameters);
	free(model);
}

TEST(inference_is_what_binary64_gives_within_the_bound)
{
	check_against_reference(random_network(1, READ_AHEAD));
	check_against_reference(random_network(2, 1, LAYERS(LINEAR(1, 1))));
	check_against_reference(random_network(3, 7, LAYERS(LINEAR(7, 3))));
	check_against_reference(random_network(4, 9, LAYERS(LINEAR(9, 6), ACTIVATION(KML_RELU, 6), LINEAR(6, 2))));
	check_against_reference(random_network(5, 4, LAYERS(LINEAR(4, 8), ACTIVATION(KML_TANH, 8), LINEAR(8, 3),
							    ACTIVATION(KML_SOFTMAX, 3))));
	check_against_reference(random_network(6, 256, LAYERS(LINEAR(256, 256), ACTIVATION(KML_TANH, 256),
							      LINEAR(256, 5))));
	check_against_reference(random_network(7, 3, LAYERS(ACTIVATION(KML_TANH, 3), ACTIVATION(KML_RELU, 3))));
	check_against_reference(random_network(8, 3, LAYERS(LINEAR(3, 4), LINEAR(4, 3), ACTIVATION(KML_SIGMOID, 3))));
}

TEST(features_are_normalised_first)
{
	struct kml_model *model = random_network(1, 2, LAYERS(ACTIVATION(KML_RELU, 2)));
	kml_fx out[2];

	model->features[0].shift = fixed(100);
	model->features[0].scale = fixed(0.25);
	infer(model, (kml_fx[]){ fixed(110), fixed(3) }, out);
	CHECK_EQUAL(out[0], fixed(2.5));
	CHECK_EQUAL(out[1], fixed(3));
	free(model);
}

/* 33 bits times 32: the widest product there is. */
TEST(normalisation_saturates_at_the_ends_of_its_range)
{
	const kml_fx ends[] = { KML_FX_MIN, KML_FX_MIN + 1, -1, 0, 1, KML_FX_MAX - 1, KML_FX_MAX };
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	unsigned int x, shift, scale;

	model->layers[0].weights[0] = KML_FX_ONE;
	for (x = 0; x < 7; x++) {
		for (shift = 0; shift < 7; shift++) {
			for (scale = 0; scale < 7; scale++) {
				__int128 exact = ((__int128)ends[x] - ends[shift]) * ends[scale];
				kml_fx out;

				exact = (exact + 32768) >> 16;
				model->features[0].shift = ends[shift];
				model->features[0].scale = ends[scale];
				infer(model, &ends[x], &out);
				exact = exact > KML_FX_MAX ? KML_FX_MAX : exact < KML_FX_MIN ? KML_FX_MIN : exact;
				CHECK_EQUAL(out, exact);
			}
		}
	}
	free(model);
}

TEST(the_largest_weights_and_inputs_saturate_and_do_not_wrap)
{
	struct kml_model *model = random_network(1, 256, LAYERS(LINEAR(256, 2), ACTIVATION(KML_RELU, 2), LINEAR(2, 2)));
	kml_fx in[256], out[2];
	unsigned int i;

	for (i = 0; i < 256; i++) {
		in[i] = KML_FX_MIN;
		model->layers[0].weights[i] = -KML_WEIGHT_MAX;
		model->layers[0].weights[256 + i] = KML_WEIGHT_MAX;
	}
	for (i = 0; i < 4; i++)
		model->layers[2].weights[i] = i < 2 ? KML_WEIGHT_MAX : -KML_WEIGHT_MAX;
	model->layers[0].bias[0] = KML_FX_MAX;
	model->layers[0].bias[1] = KML_FX_MIN;
	infer(model, in, out);
	CHECK_EQUAL(out[0], KML_FX_MAX);
	CHECK_EQUAL(out[1], KML_FX_MIN);
	free(model);
}

TEST(a_copy_has_its_own_numbers)
{
	struct kml_model *model = random_network(3, READ_AHEAD), *copy;
	kml_fx in[5] = { fixed(1), fixed(-1), fixed(0.5), 0, fixed(2) }, before[4], out[4];
	unsigned int i;

	CHECK_EQUAL(kml_model_copy(malloc(model->bytes), model->bytes, model, &copy), 0);
	infer(copy, in, before);
	infer(model, in, out);
	CHECK(!memcmp(before, out, sizeof(out)));
	for (i = 0; i < model->parameter_count; i++)
		model->parameters[i] = 0;
	model->features[0].scale = 0;
	infer(copy, in, out);
	CHECK(!memcmp(before, out, sizeof(out)));
	infer(model, in, out);
	CHECK(memcmp(before, out, sizeof(out)));
	free(model);
	infer(copy, in, out);
	CHECK(!memcmp(before, out, sizeof(out)));
	free(copy);
}

TEST_MAIN()
