/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Training in fixed point. */
#include "trainings.h"

/* In memory of exactly the size it asks for, so that the address sanitizer sees every step beyond. */
static struct kml_trainer *trainer_of(struct kml_model *model, const struct kml_training *training)
{
	struct kml_trainer *trainer;
	const char *reason = "";

	if (kml_training_check(training, model, &reason) ||
	    kml_trainer_create(malloc(kml_trainer_size(model)), kml_trainer_size(model), model, training, &trainer)) {
		printf("no trainer: %s\n", reason);
		abort();
	}
	return trainer;
}

static void *begin(struct kml_model *model, const struct kml_training *training)
{
	return trainer_of(model, training);
}

static kml_fx learn(void *trainer, const kml_fx *in, const kml_fx *target)
{
	return kml_train(trainer, in, target);
}

static void end(void *trainer, struct kml_model *model)
{
	(void)model; /* which it writes to all along */
	kml_trainer_flush(trainer);
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

static void check_refused(const struct kml_model *model, struct kml_training training, const char *clause)
{
	const char *reason = "nothing";

	CHECK_EQUAL(kml_training_check(&training, model, &reason), -EINVAL);
	CHECK(!strcmp(reason, clause));
	if (strcmp(reason, clause))
		printf("  it said: %s; wanted: %s\n", reason, clause);
}

static void check_accepted(const struct kml_model *model, struct kml_training training)
{
	CHECK_EQUAL(kml_training_check(&training, model, NULL), 0);
}

#define WITH(field, value) ({ struct kml_training changed = good; changed.field = (value); changed; })

TEST(settings_that_make_no_sense_are_refused_with_their_reason)
{
	struct kml_model *linear = random_network(1, 1, LAYERS(LINEAR(1, 2), ACTIVATION(KML_RELU, 2)));
	struct kml_model *softmax = random_network(1, 1, LAYERS(LINEAR(1, 2), ACTIVATION(KML_SOFTMAX, 2)));
	struct kml_model *sigmoid = random_network(1, 1, LAYERS(LINEAR(1, 2), ACTIVATION(KML_SIGMOID, 2)));
	struct kml_model tree = { .kind = KML_TREE };
	const struct kml_training good = plain_training(KML_MSE, 0.1);

	check_accepted(linear, good);
	check_refused(&tree, good, "only networks are trained");
	CHECK_EQUAL(kml_trainer_size(&tree), 0);
	check_refused(linear, WITH(loss, 0), "its loss is unknown");
	check_refused(linear, WITH(loss, 4), "its loss is unknown");
	check_refused(linear, WITH(schedule, 0), "its schedule is unknown");
	check_refused(linear, WITH(schedule, 4), "its schedule is unknown");
	check_refused(linear, WITH(batch, 0), "its batch is not 1 to 1024 samples");
	check_refused(linear, WITH(batch, 1025), "its batch is not 1 to 1024 samples");
	check_refused(linear, WITH(rate, 0), "its rate is not above 0");
	check_refused(linear, WITH(rate, KML_FX_MIN), "its rate is not above 0");
	check_refused(linear, WITH(momentum, -1), "its momentum is not from 0 to below 1");
	check_refused(linear, WITH(momentum, KML_FX_ONE), "its momentum is not from 0 to below 1");
	check_refused(linear, WITH(decay, -1), "its decay is negative");
	check_refused(linear, WITH(decay_every, 0), "its decay has no period");
	check_refused(linear, WITH(reserved, 1), "a reserved field is not 0");
	check_refused(linear, WITH(first_layer, 1), "it leaves no layer to learn");
	check_refused(linear, WITH(first_layer, 0xffff), "it leaves no layer to learn");
	check_refused(linear, WITH(loss, KML_CROSS_ENTROPY), "cross-entropy needs a softmax as the last layer");
	check_refused(linear, WITH(loss, KML_LOGISTIC), "the logistic loss needs a sigmoid as the last layer");
	check_refused(softmax, good, "a softmax is trained by cross-entropy");
	check_accepted(softmax, WITH(loss, KML_CROSS_ENTROPY));
	check_accepted(sigmoid, WITH(loss, KML_LOGISTIC));
	free(linear);
	free(softmax);
	free(sigmoid);
}

TEST(memory_that_does_not_do_is_refused)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.1);
	struct kml_trainer *trainer;
	uint64_t memory[64];

	CHECK(kml_trainer_size(model) < sizeof(memory));
	CHECK_EQUAL(kml_trainer_create(memory, kml_trainer_size(model) - 1, model, &training, &trainer), -ENOSPC);
	CHECK_EQUAL(kml_trainer_create((char *)memory + 4, sizeof(memory) - 4, model, &training, &trainer), -EINVAL);
	training.rate = 0;
	CHECK_EQUAL(kml_trainer_create(memory, sizeof(memory), model, &training, &trainer), -EINVAL);
	free(model);
}

/* A constant gradient: the bias of a model that is set back to 0 moves by 2 * rate a sample. */
static void check_rates(struct kml_training training, const double *rates, unsigned int count)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_trainer *trainer = trainer_of(model, &training);
	kml_fx in = 0, target = KML_FX_ONE;
	unsigned int i;

	for (i = 0; i < count; i++) {
		model->parameters[1] = 0;
		CHECK_EQUAL(kml_train(trainer, &in, &target), KML_FX_ONE);
		CHECK_NEAR(model->parameters[1], fixed(2 * rates[i]), 2);
		CHECK_EQUAL(kml_trainer_updates(trainer), i + 1);
	}
	free(trainer);
	free(model);
}

TEST(the_rate_follows_its_schedule)
{
	struct kml_training training = plain_training(KML_MSE, 0.5);

	training.decay = fixed(0.25);
	check_rates(training, (double[]){ 0.5, 0.5, 0.5, 0.5 }, 4);
	training.schedule = KML_RATE_STEP;
	training.decay_every = 2;
	check_rates(training, (double[]){ 0.5, 0.5, 0.125, 0.125, 0.03125, 0.03125, 0.0078125 }, 7);
	training.schedule = KML_RATE_INVERSE;
	check_rates(training, (double[]){ 0.5, 0.5 / 1.125, 0.5 / 1.25, 0.5 / 1.375, 0.5 / 1.5 }, 5);
}

TEST(a_new_rate_starts_its_schedule_anew)
{
	struct kml_training training = plain_training(KML_MSE, 0.5);
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_trainer *trainer;
	kml_fx in = 0, target = KML_FX_ONE;

	training.schedule = KML_RATE_INVERSE;
	training.decay = KML_FX_ONE;
	trainer = trainer_of(model, &training);
	kml_train(trainer, &in, &target);
	CHECK_EQUAL(kml_trainer_set_rate(trainer, 0), -EINVAL);
	CHECK_EQUAL(kml_trainer_set_rate(trainer, fixed(0.25)), 0);
	model->parameters[1] = 0;
	kml_train(trainer, &in, &target);
	CHECK_NEAR(model->parameters[1], fixed(0.5), 1);
	model->parameters[1] = 0;
	kml_train(trainer, &in, &target);
	CHECK_NEAR(model->parameters[1], fixed(0.25), 1);
	free(trainer);
	free(model);
}

/* Each step is a tenth of what Q16.16 can hold. */
TEST(steps_too_small_for_q16_16_add_up)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_training training = plain_training(KML_MSE, 1.0 / 65536);
	struct kml_trainer *trainer = trainer_of(model, &training);
	kml_fx in = 0, target = fixed(0.05);
	unsigned int i;

	for (i = 0; i < 1000; i++)
		kml_train(trainer, &in, &target);
	CHECK_NEAR(model->parameters[1], fixed(0.05 * (1 - pow(1 - 2.0 / 65536, 1000))), 1);
	free(trainer);
	free(model);
}

TEST(evaluation_gives_the_loss_and_changes_nothing)
{
	struct kml_model *model = random_network(1, 2, LAYERS(LINEAR(2, 3), ACTIVATION(KML_SIGMOID, 3)));
	struct kml_training training = plain_training(KML_LOGISTIC, 0.5);
	struct kml_trainer *trainer = trainer_of(model, &training);
	struct kml_model *before = duplicate(model);
	const kml_fx in[2] = { fixed(0.5), fixed(-2) }, target[3] = { 0, KML_FX_ONE, 0 };
	kml_fx loss = kml_trainer_evaluate(trainer, in, target);

	CHECK(!memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	CHECK_EQUAL(kml_train(trainer, in, target), loss);
	CHECK(memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	CHECK(kml_trainer_evaluate(trainer, in, target) < loss);
	free(before);
	free(trainer);
	free(model);
}

TEST(frozen_layers_stay_as_they_are)
{
	struct kml_model *model = random_network(1, 2, LAYERS(LINEAR(2, 3), ACTIVATION(KML_TANH, 3), LINEAR(3, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.1);
	struct kml_trainer *trainer;
	struct kml_model *before = duplicate(model);
	const kml_fx in[2] = { fixed(0.5), fixed(-2) }, target = KML_FX_ONE;
	unsigned int i;

	training.momentum = fixed(0.9);
	trainer = trainer_of(model, &training);
	CHECK_EQUAL(kml_trainer_freeze(trainer, 3), -EINVAL);
	CHECK_EQUAL(kml_trainer_freeze(trainer, 1), 0);
	for (i = 0; i < 5; i++)
		kml_train(trainer, in, &target);
	CHECK(!memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	CHECK(model->parameters[9] != before->parameters[9]);
	CHECK_EQUAL(kml_trainer_freeze(trainer, 0), 0);
	kml_train(trainer, in, &target);
	CHECK(memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));

	/* What a layer was moving with is gone once it is let go again. */
	kml_trainer_freeze(trainer, 2);
	memcpy(before->parameters, model->parameters, 9 * sizeof(kml_fx));
	kml_trainer_freeze(trainer, 0);
	memset(model->parameters + 9, 0, 3 * sizeof(kml_fx)); /* no gradient reaches the first layer now */
	kml_train(trainer, in, &target);
	CHECK(!memcmp(model->parameters, before->parameters, 9 * sizeof(kml_fx)));
	free(before);
	free(trainer);
	free(model);
}

TEST(the_rest_of_a_batch_is_applied_once)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.5);
	struct kml_trainer *trainer;
	kml_fx in = 0, target = KML_FX_ONE;

	training.batch = 4;
	trainer = trainer_of(model, &training);
	kml_train(trainer, &in, &target);
	CHECK_EQUAL(model->parameters[1], 0);
	kml_trainer_flush(trainer);
	CHECK_EQUAL(model->parameters[1], fixed(0.25)); /* a quarter of 2 * 0.5 */
	kml_trainer_flush(trainer);
	CHECK_EQUAL(model->parameters[1], fixed(0.25));
	CHECK_EQUAL(kml_trainer_updates(trainer), 1);
	free(trainer);
	free(model);
}

static kml_fx extreme(uint64_t *state)
{
	static const kml_fx values[] = { KML_FX_MIN, KML_FX_MIN + 1, -KML_FX_ONE, -1, 0, 1, KML_FX_ONE, KML_FX_MAX };

	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return values[*state >> 61];
}

static void train_wildly(struct kml_model *model, uint8_t loss, uint16_t batch)
{
	const struct kml_training training = {
		.loss = loss, .schedule = KML_RATE_STEP, .batch = batch, .rate = KML_FX_MAX,
		.momentum = KML_FX_ONE - 1, .decay = KML_FX_MAX, .decay_every = 1,
	};
	struct kml_trainer *trainer = trainer_of(model, &training);
	uint64_t state = batch;
	kml_fx in[4], target[3];
	unsigned int round, i;

	for (i = 0; i < 4; i++) {
		model->features[i].shift = extreme(&state);
		model->features[i].scale = extreme(&state);
	}
	for (round = 0; round < 5000; round++) {
		for (i = 0; i < 4; i++)
			in[i] = extreme(&state);
		for (i = 0; i < 3; i++)
			target[i] = extreme(&state);
		kml_train(trainer, in, target);
	}
	for (i = 0; i < 20; i++) /* of the first layer */
		CHECK(abs(model->parameters[i]) <= KML_WEIGHT_MAX);
	free(trainer);
	free(model);
}

/* The undefined-behaviour sanitizer watches. */
TEST(the_wildest_settings_and_samples_overflow_nowhere)
{
	static const uint16_t batches[] = { 1, 7, 1024 };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		train_wildly(random_network(1, 4, LAYERS(LINEAR(4, 5), ACTIVATION(KML_RELU, 5), LINEAR(5, 3))), KML_MSE,
			     batches[i]);
		train_wildly(random_network(1, 4, LAYERS(LINEAR(4, 5), ACTIVATION(KML_TANH, 5), LINEAR(5, 3),
							 ACTIVATION(KML_SOFTMAX, 3))), KML_CROSS_ENTROPY, batches[i]);
		train_wildly(random_network(1, 4, LAYERS(LINEAR(4, 5), ACTIVATION(KML_SIGMOID, 5), LINEAR(5, 3),
							 ACTIVATION(KML_SIGMOID, 3))), KML_LOGISTIC, batches[i]);
	}
}

/* As far from 0 as the sums of a batch can come: a clip less, and they would wrap. */
TEST(the_largest_batch_of_the_largest_gradients_keeps_its_sign)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1), LINEAR(1, 4)));
	struct kml_training training = plain_training(KML_MSE, 0);
	struct kml_trainer *trainer;
	const kml_fx in = KML_FX_MIN, target[4] = { KML_FX_MAX, KML_FX_MAX, KML_FX_MAX, KML_FX_MAX };
	unsigned int i, round;

	for (i = 0; i < 4; i++)
		model->layers[1].weights[i] = KML_WEIGHT_MAX;
	training.rate = KML_FX_MAX;
	training.batch = 1024;
	training.momentum = KML_FX_ONE - 1;
	trainer = trainer_of(model, &training);
	for (round = 0; round < 3; round++) {
		model->layers[0].weights[0] = 0;
		model->layers[0].bias[0] = 0;
		for (i = 0; i < 1024; i++)
			kml_train(trainer, &in, target);
		CHECK_EQUAL(model->layers[0].weights[0], -KML_WEIGHT_MAX);
		CHECK_EQUAL(model->layers[0].bias[0], KML_FX_MAX);
	}
	free(trainer);
	free(model);
}

TEST(the_inverse_schedule_overflows_nowhere)
{
	struct kml_training training = plain_training(KML_MSE, 32767);
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_trainer *trainer;
	kml_fx in = KML_FX_ONE, target = KML_FX_MAX;
	unsigned int i;

	training.schedule = KML_RATE_INVERSE;
	training.decay = KML_FX_MAX;
	training.decay_every = 0xffffffff;
	trainer = trainer_of(model, &training);
	for (i = 0; i < 1000; i++)
		kml_train(trainer, &in, &target);
	CHECK_EQUAL(model->parameters[0], KML_WEIGHT_MAX);
	CHECK_EQUAL(model->parameters[1], KML_FX_MAX);
	free(trainer);
	free(model);
}

TEST_MAIN()
