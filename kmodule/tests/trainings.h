/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What holds for the fixed-point and for the float trainer alike. */
#ifndef KML_TESTS_TRAININGS_H
#define KML_TESTS_TRAININGS_H

#include "check.h"
#include "networks.h"

/* A trainer; `end` applies what is left of a batch, puts the parameters into the model and frees the trainer. */
struct learner {
	void *(*begin)(struct kml_model *model, const struct kml_training *training);
	kml_fx (*learn)(void *trainer, const kml_fx *in, const kml_fx *target);
	void (*end)(void *trainer, struct kml_model *model);
};

static inline struct kml_model *duplicate(const struct kml_model *model)
{
	struct kml_model *copy;

	if (kml_model_copy(malloc(model->bytes), model->bytes, model, &copy))
		abort();
	return copy;
}

static inline struct kml_training plain_training(uint8_t loss, double rate)
{
	return (struct kml_training){ .loss = loss, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = fixed(rate),
				      .decay_every = 1 };
}

/* One update of rate 16 without momentum shows the gradient in steps of 1 / 2^20. */
static inline void check_gradients_of_sample(const struct learner *learner, const struct kml_model *model,
					     uint8_t loss, const kml_fx *in, const kml_fx *target)
{
	const double rate = 16;
	struct kml_training training = plain_training(loss, rate);
	struct kml_model *trained = duplicate(model);
	double *parameters = reference_parameters(model);
	void *trainer = learner->begin(trained, &training);
	uint32_t i;

	CHECK_NEAR(learner->learn(trainer, in, target), fixed(reference_loss(model, parameters, loss, in, target)), 30);
	learner->end(trainer, trained);
	for (i = 0; i < model->parameter_count; i++) {
		double expected = reference_gradient(model, parameters, i, loss, in, target);
		double gradient = (real(model->parameters[i]) - real(trained->parameters[i])) / rate;

		if (check_count(fabs(gradient - expected) < 2e-4))
			printf("%s: parameter %u: gradient %f, differences give %f\n", check.running, i, gradient,
			       expected);
	}
	free(parameters);
	free(trained);
}

static inline void check_gradients(const struct learner *learner, struct kml_model *model, uint8_t loss)
{
	kml_fx in[KML_MAX_WIDTH], target[KML_MAX_WIDTH];
	uint64_t state = 3;
	unsigned int sample, i;

	model->features[0].shift = fixed(0.5);
	model->features[0].scale = fixed(1.5);
	for (i = 0; i < model->parameter_count; i++) /* biases too */
		model->parameters[i] += random_between(&state, -0.3, 0.3);
	for (sample = 0; sample < 20; sample++) {
		for (i = 0; i < model->inputs; i++)
			in[i] = random_between(&state, -1, 1);
		for (i = 0; i < model->outputs; i++)
			target[i] = loss == KML_CROSS_ENTROPY ? 0 : random_between(&state, 0, 1);
		if (loss == KML_CROSS_ENTROPY)
			target[sample % model->outputs] = KML_FX_ONE;
		check_gradients_of_sample(learner, model, loss, in, target);
	}
	free(model);
}

static inline void check_all_gradients(const struct learner *learner)
{
	check_gradients(learner, random_network(1, 3, LAYERS(LINEAR(3, 2))), KML_MSE);
	check_gradients(learner, random_network(2, 4, LAYERS(LINEAR(4, 6), ACTIVATION(KML_SIGMOID, 6), LINEAR(6, 3))),
			KML_MSE);
	check_gradients(learner, random_network(3, 4, LAYERS(LINEAR(4, 6), ACTIVATION(KML_TANH, 6), LINEAR(6, 3),
							     ACTIVATION(KML_TANH, 3))), KML_MSE);
	check_gradients(learner, random_network(4, 4, LAYERS(LINEAR(4, 6), ACTIVATION(KML_RELU, 6), LINEAR(6, 3),
							     ACTIVATION(KML_SOFTMAX, 3))), KML_CROSS_ENTROPY);
	check_gradients(learner, random_network(5, 4, LAYERS(LINEAR(4, 6), ACTIVATION(KML_TANH, 6), LINEAR(6, 2),
							     ACTIVATION(KML_SIGMOID, 2))), KML_LOGISTIC);
	check_gradients(learner, random_network(6, 4, LAYERS(LINEAR(4, 4), ACTIVATION(KML_SIGMOID, 4),
							     ACTIVATION(KML_TANH, 4), LINEAR(4, 5),
							     ACTIVATION(KML_RELU, 5), LINEAR(5, 2))), KML_MSE);
}

/* y = w x + b learns from batches with momentum; binary64 does the same beside it, step by step. */
static inline void check_momentum_and_batches(const struct learner *learner)
{
	const double rate = 0.05, momentum = 0.875;
	struct kml_training training = plain_training(KML_MSE, rate);
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	double weight = real(model->parameters[0]), bias = 0, weight_speed = 0, bias_speed = 0;
	double weight_sum = 0, bias_sum = 0;
	uint64_t state = 8;
	void *trainer;
	unsigned int i;

	training.batch = 3;
	training.momentum = fixed(momentum);
	trainer = learner->begin(model, &training);
	for (i = 1; i <= 61; i++) {
		kml_fx in = random_between(&state, -1, 1), target = fixed(2 - 3 * real(in));
		double error = 2 * (weight * real(in) + bias - real(target));

		learner->learn(trainer, &in, &target);
		weight_sum += error * real(in);
		bias_sum += error;
		if (i % 3 && i < 61)
			continue;
		weight_speed = momentum * weight_speed + weight_sum / 3;
		bias_speed = momentum * bias_speed + bias_sum / 3;
		weight -= rate * weight_speed;
		bias -= rate * bias_speed;
		weight_sum = bias_sum = 0;
	}
	learner->end(trainer, model);
	CHECK_NEAR(model->parameters[0], fixed(weight), 20);
	CHECK_NEAR(model->parameters[1], fixed(bias), 20);
	free(model);
}

/* Gives the number of the four cases that come out right. */
static inline unsigned int learn_xor(const struct learner *learner, uint64_t seed)
{
	static const kml_fx in[4][2] = { { 0, 0 }, { 0, KML_FX_ONE }, { KML_FX_ONE, 0 }, { KML_FX_ONE, KML_FX_ONE } };
	static const kml_fx target[4] = { 0, KML_FX_ONE, KML_FX_ONE, 0 };
	struct kml_model *model = random_network(seed, 2, LAYERS(LINEAR(2, 8), ACTIVATION(KML_TANH, 8), LINEAR(8, 1),
								 ACTIVATION(KML_SIGMOID, 1)));
	struct kml_training training = plain_training(KML_LOGISTIC, 0.2);
	kml_fx out, scratch[16];
	unsigned int epoch, i, right = 0;
	void *trainer;

	training.batch = 4;
	training.momentum = fixed(0.9);
	trainer = learner->begin(model, &training);
	for (epoch = 0; epoch < 1000; epoch++)
		for (i = 0; i < 4; i++)
			learner->learn(trainer, in[i], &target[i]);
	learner->end(trainer, model);
	for (i = 0; i < 4; i++) {
		kml_infer(model, in[i], &out, scratch);
		right += abs(out - target[i]) < fixed(0.1);
	}
	free(model);
	return right;
}

/* A smooth function of two inputs, which turns round in the middle of the stream. */
static inline double mean_loss(const struct learner *learner, void *trainer, uint64_t *state, double sign,
			       unsigned int samples)
{
	double sum = 0;
	unsigned int i;

	for (i = 0; i < samples; i++) {
		kml_fx in[2] = { random_between(state, -1, 1), random_between(state, -1, 1) };
		kml_fx target = fixed(sign * (0.5 * real(in[0]) - real(in[0]) * real(in[1])));

		sum += real(learner->learn(trainer, in, &target));
	}
	return sum / samples;
}

static inline void check_drifting_stream(const struct learner *learner)
{
	struct kml_model *model = random_network(5, 2, LAYERS(LINEAR(2, 12), ACTIVATION(KML_TANH, 12), LINEAR(12, 1)));
	struct kml_training training = plain_training(KML_MSE, 0.05);
	uint64_t state = 2;
	double learned, drifted, recovered;
	void *trainer;

	training.momentum = fixed(0.5);
	trainer = learner->begin(model, &training);
	mean_loss(learner, trainer, &state, 1, 20000);
	learned = mean_loss(learner, trainer, &state, 1, 2000);
	drifted = mean_loss(learner, trainer, &state, -1, 50);
	mean_loss(learner, trainer, &state, -1, 20000);
	recovered = mean_loss(learner, trainer, &state, -1, 2000);
	CHECK(learned < 0.005);
	CHECK(drifted > 10 * learned);
	CHECK(recovered < 0.005);
	learner->end(trainer, model);
	free(model);
}

#endif
