/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Training in binary32, and its elementary functions. */
#include "float_math.h"
#include "kml/float_train.h"
#include "trainings.h"

static struct kml_float_trainer *trainer_of(const struct kml_model *model, const struct kml_training *training)
{
	const size_t size = kml_float_trainer_size(model);
	struct kml_float_trainer *trainer;

	if (kml_float_trainer_create(malloc(size), size, model, training, &trainer))
		abort();
	return trainer;
}

static void *begin(struct kml_model *model, const struct kml_training *training)
{
	return trainer_of(model, training);
}

static kml_fx learn(void *trainer, const kml_fx *in, const kml_fx *target)
{
	return kml_float_train(trainer, in, target);
}

static void end(void *trainer, struct kml_model *model)
{
	kml_float_trainer_flush(trainer);
	CHECK_EQUAL(kml_float_publish(trainer, model), 0);
	free(trainer);
}

static const struct learner learner = { begin, learn, end };

TEST(gradients_are_what_finite_differences_give)
{
	check_all_gradients(&learner);
}

TEST(momentum_and_batches_add_up_as_in_binary64)
{
	check_momentum_and_batches(&learner);
}

TEST(exclusive_or_is_learned_from_any_start)
{
	uint64_t seed;

	for (seed = 0; seed < 10; seed++)
		CHECK_EQUAL(learn_xor(&learner, seed), 4);
}

TEST(the_error_of_a_drifting_stream_recovers)
{
	check_drifting_stream(&learner);
}

static float from_bits(uint32_t bits)
{
	union kml_float number = { .bits = bits };

	return number.value;
}

/* Every 997th number there is, of both signs; 997 is prime to the mantissa's size. */
#define EACH_FLOAT(x, bits) \
	for (bits = 0; bits < 0xffffffff - 997 && (x = from_bits((uint32_t)bits), true); bits += 997) if (x == x)

TEST(the_exponential_is_off_by_less_than_two_units_in_the_last_place)
{
	uint64_t bits;
	double worst = 0;
	float x;

	EACH_FLOAT(x, bits) {
		if (x < KML_FLOAT_EXP_MIN)
			CHECK(kml_float_exp(x) == 0);
		else if (x > KML_FLOAT_EXP_MAX)
			CHECK(kml_float_exp(x) == kml_float_exp(KML_FLOAT_EXP_MAX));
		else
			worst = fmax(worst, fabs(kml_float_exp(x) / exp(x) - 1));
	}
	CHECK(worst < 2 * 1.2e-7);
	CHECK(kml_float_exp(0) == 1);
	CHECK(isnan(kml_float_exp(NAN)));
}

TEST(the_logarithm_is_off_by_less_than_two_units_in_the_last_place)
{
	double worst = 0;
	uint32_t bits;

	for (bits = 0x00800000; bits < 0x7f800000; bits += 997) {
		double exact = log(from_bits(bits));

		if (exact)
			worst = fmax(worst, fabs(kml_float_log(from_bits(bits)) / exact - 1));
	}
	CHECK(worst < 2 * 1.2e-7);
	CHECK(kml_float_log(1) == 0);
}

TEST(sigmoid_and_tangent_are_off_by_less_than_3_in_10_million)
{
	double sigmoid = 0, tangent = 0;
	uint64_t bits;
	float x;

	EACH_FLOAT(x, bits) {
		sigmoid = fmax(sigmoid, fabs(kml_float_sigmoid(x) - 1 / (1 + exp(-(double)x))));
		tangent = fmax(tangent, fabs(kml_float_tanh(x) - tanh(x)));
	}
	CHECK(sigmoid < 3e-7);
	CHECK(tangent < 3e-7);
}

TEST(inference_in_binary32_is_that_in_fixed_point_within_its_rounding)
{
	struct kml_model *model = random_network(1, 5, LAYERS(LINEAR(5, 15), ACTIVATION(KML_SIGMOID, 15), LINEAR(15, 5),
							      ACTIVATION(KML_SIGMOID, 5), LINEAR(5, 4)));
	struct kml_training training = plain_training(KML_MSE, 0.1);
	struct kml_float_trainer *trainer = trainer_of(model, &training);
	double *parameters = reference_parameters(model), expected[KML_MAX_WIDTH];
	kml_fx in[5], out[4];
	uint64_t state = 6;
	unsigned int round, i;

	for (round = 0; round < 1000; round++) {
		for (i = 0; i < 5; i++)
			in[i] = random_between(&state, -4, 4);
		kml_float_infer(trainer, in, out);
		reference_infer(model, parameters, in, expected);
		for (i = 0; i < 4; i++)
			CHECK_NEAR(out[i], fixed(expected[i]), 1);
	}
	free(parameters);
	free(trainer);
	free(model);
}

TEST(the_model_changes_only_when_it_is_published)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.25);
	struct kml_float_trainer *trainer = trainer_of(model, &training);
	kml_fx in = 0, target = KML_FX_ONE;

	CHECK_EQUAL(kml_float_train(trainer, &in, &target), KML_FX_ONE);
	CHECK_EQUAL(model->parameters[1], 0);
	CHECK_EQUAL(kml_float_publish(trainer, model), 0);
	CHECK_EQUAL(model->parameters[1], fixed(0.5));
	CHECK_EQUAL(kml_float_trainer_updates(trainer), 1);
	free(trainer);
	free(model);
}

TEST(frozen_layers_stay_as_they_are)
{
	struct kml_model *model = random_network(1, 2, LAYERS(LINEAR(2, 3), ACTIVATION(KML_TANH, 3), LINEAR(3, 1)));
	struct kml_model *before = duplicate(model);
	struct kml_training training = plain_training(KML_MSE, 0.1);
	struct kml_float_trainer *trainer;
	const kml_fx in[2] = { fixed(0.5), fixed(-2) }, target = KML_FX_ONE;

	training.momentum = fixed(0.9);
	trainer = trainer_of(model, &training);
	CHECK_EQUAL(kml_float_trainer_freeze(trainer, 3), -EINVAL);
	CHECK_EQUAL(kml_float_trainer_freeze(trainer, 1), 0);
	kml_float_train(trainer, in, &target);
	kml_float_train(trainer, in, &target);
	kml_float_publish(trainer, model);
	CHECK(!memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	CHECK(model->parameters[9] != before->parameters[9]);
	CHECK_EQUAL(kml_float_trainer_freeze(trainer, 0), 0);
	kml_float_train(trainer, in, &target);
	kml_float_publish(trainer, model);
	CHECK(memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	free(before);
	free(trainer);
	free(model);
}

TEST(a_new_rate_counts_from_the_next_update)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.5);
	struct kml_float_trainer *trainer = trainer_of(model, &training);
	kml_fx in = 0, target = KML_FX_ONE;

	CHECK_EQUAL(kml_float_trainer_set_rate(trainer, -1), -EINVAL);
	CHECK_EQUAL(kml_float_trainer_set_rate(trainer, fixed(0.125)), 0);
	kml_float_train(trainer, &in, &target);
	kml_float_publish(trainer, model);
	CHECK_EQUAL(model->parameters[1], fixed(0.25));
	free(trainer);
	free(model);
}

TEST(weights_above_64_are_published_as_64_and_counted)
{
	const kml_fx in = KML_FX_ONE, targets[2] = { fixed(100), fixed(-100) };
	struct kml_training training = plain_training(KML_MSE, 1);
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
		struct kml_float_trainer *trainer;

		model->parameters[0] = 0;
		trainer = trainer_of(model, &training);
		kml_float_train(trainer, &in, &targets[i]);
		CHECK_EQUAL(kml_float_publish(trainer, model), 1);
		CHECK_EQUAL(model->parameters[0], i ? -KML_WEIGHT_MAX : KML_WEIGHT_MAX);
		CHECK_EQUAL(model->parameters[1], fixed(i ? -200 : 200));
		free(trainer);
		free(model);
	}
}

/* A rate of 32767 throws the parameters to infinity, and then to what is no number. */
TEST(training_that_diverges_is_published_saturated_and_counted)
{
	struct kml_model *model = random_network(1, 2, LAYERS(LINEAR(2, 2), ACTIVATION(KML_RELU, 2), LINEAR(2, 1)));
	struct kml_training training = plain_training(KML_MSE, 32767);
	struct kml_float_trainer *trainer = trainer_of(model, &training);
	const kml_fx in[2] = { fixed(300), fixed(200) }, target = fixed(-1000);
	unsigned int i, misfits;
	kml_fx out;

	for (i = 0; i < 6; i++)
		model->parameters[i] = KML_FX_ONE;
	for (i = 0; i < 50; i++)
		CHECK(kml_float_train(trainer, in, &target) >= 0);
	misfits = kml_float_publish(trainer, model);
	CHECK(misfits > 0);
	for (i = 0; i < 4; i++)
		CHECK(abs(model->layers[0].weights[i]) <= KML_WEIGHT_MAX);
	kml_float_infer(trainer, in, &out);
	free(trainer);
	free(model);
}

TEST(settings_and_memory_that_do_not_do_are_refused)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_model tree = { .kind = KML_TREE };
	struct kml_training training = plain_training(KML_MSE, 0.1);
	struct kml_float_trainer *trainer;
	uint64_t memory[64];

	CHECK_EQUAL(kml_float_trainer_size(&tree), 0);
	CHECK_EQUAL(kml_float_trainer_create(memory, sizeof(memory), &tree, &training, &trainer), -EINVAL);
	CHECK_EQUAL(kml_float_trainer_create(memory, kml_float_trainer_size(model) - 1, model, &training, &trainer),
		    -ENOSPC);
	CHECK_EQUAL(kml_float_trainer_create((char *)memory + 4, sizeof(memory) - 4, model, &training, &trainer),
		    -EINVAL);
	training.loss = KML_LOGISTIC;
	CHECK_EQUAL(kml_float_trainer_create(memory, sizeof(memory), model, &training, &trainer), -EINVAL);
	free(model);
}

TEST_MAIN()
