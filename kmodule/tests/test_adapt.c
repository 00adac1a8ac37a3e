/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Adaptation: what is kept for learning, and when learning begins and ends. */
#include "check.h"
#include "kml/adapt.h"
#include "networks.h"

TEST(uncertainty_is_what_the_best_class_lacks_of_a_lead)
{
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ fixed(0.5) }, 1), KML_FX_ONE);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ fixed(0.75) }, 1), KML_FX_HALF);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ 0 }, 1), 0);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ KML_FX_ONE }, 1), 0);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ fixed(0.25), fixed(0.625), fixed(0.125) }, 3), fixed(0.625));
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ fixed(0.5), fixed(0.5) }, 2), KML_FX_ONE);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ 0, KML_FX_ONE }, 2), 0);
}

TEST(uncertainty_of_what_are_no_probabilities_stays_between_0_and_1)
{
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ KML_FX_MIN }, 1), 0);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ KML_FX_MAX }, 1), 0);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ KML_FX_MIN, KML_FX_MAX }, 2), 0);
	CHECK_EQUAL(kml_uncertainty((kml_fx[]){ KML_FX_MIN, KML_FX_MIN }, 2), KML_FX_ONE);
}

TEST(shares_out_of_range_are_refused)
{
	struct kml_sampler sampler;

	CHECK_EQUAL(kml_sampler_init(&sampler, 0, 0, 1), -EINVAL);
	CHECK_EQUAL(kml_sampler_init(&sampler, -1, 0, 1), -EINVAL);
	CHECK_EQUAL(kml_sampler_init(&sampler, KML_FX_ONE + 1, 0, 1), -EINVAL);
	CHECK_EQUAL(kml_sampler_init(&sampler, KML_FX_HALF, -1, 1), -EINVAL);
	CHECK_EQUAL(kml_sampler_init(&sampler, KML_FX_HALF, KML_FX_HALF + 1, 1), -EINVAL);
	CHECK_EQUAL(kml_sampler_init(&sampler, KML_FX_ONE, KML_FX_ONE, 1), 0);
}

enum stream { UNIFORM, ALWAYS_SURE, ALWAYS_UNSURE, OUT_OF_RANGE, TURNS_UNSURE };

static kml_fx draw(enum stream stream, uint64_t *state, unsigned int at)
{
	switch (stream) {
	case UNIFORM:
		return random_between(state, 0, 1);
	case ALWAYS_SURE:
		return 0;
	case ALWAYS_UNSURE:
		return KML_FX_ONE;
	case OUT_OF_RANGE:
		return at % 2 ? KML_FX_MIN : KML_FX_MAX;
	case TURNS_UNSURE:
		return random_between(state, 0, at < 50000 ? 0.1 : 1);
	}
	return 0;
}

TEST(the_share_comes_out_whatever_the_stream)
{
	const double shares[] = { 0.01, 0.05, 0.25, 0.5, 1 };
	unsigned int share, stream, i;

	for (share = 0; share < 5; share++) {
		for (stream = UNIFORM; stream <= TURNS_UNSURE; stream++) {
			struct kml_sampler sampler;
			uint64_t state = 9;

			CHECK_EQUAL(kml_sampler_init(&sampler, fixed(shares[share]), fixed(shares[share] / 5), 3), 0);
			for (i = 0; i < 100000; i++)
				kml_sampler_keep(&sampler, draw(stream, &state, i));
			CHECK_EQUAL(sampler.seen, 100000);
			CHECK_NEAR(sampler.kept, shares[share] * 100000, 150);
		}
	}
}

/* Steps downwards are of 2.05 units of the threshold: always rounded down, they would keep half as many again. */
TEST(a_small_share_is_not_lost_to_rounding)
{
	struct kml_sampler sampler;
	uint64_t state = 2;
	unsigned int i;

	CHECK_EQUAL(kml_sampler_init(&sampler, fixed(0.001), 0, 4), 0);
	for (i = 0; i < 1000000; i++)
		kml_sampler_keep(&sampler, random_between(&state, 0, 1));
	CHECK_NEAR(sampler.kept, 1000, 100);
}

TEST(the_unsure_are_kept_and_a_few_of_the_sure)
{
	struct kml_sampler sampler;
	uint64_t state = 1;
	unsigned int i, unsure = 0, unsure_kept = 0, sure = 0, sure_kept = 0;

	CHECK_EQUAL(kml_sampler_init(&sampler, fixed(0.2), fixed(0.02), 5), 0);
	for (i = 0; i < 200000; i++) {
		kml_fx uncertainty = random_between(&state, 0, 1);
		bool kept = kml_sampler_keep(&sampler, uncertainty);

		if (i < 2000)
			continue; /* the threshold finds its place */
		if (uncertainty > fixed(0.9)) {
			unsure++;
			unsure_kept += kept;
		} else if (uncertainty < fixed(0.5)) {
			sure++;
			sure_kept += kept;
		}
	}
	CHECK(unsure_kept > unsure * 0.95);
	CHECK_NEAR(sure_kept, sure * 0.02, sure * 0.003);
}

TEST(the_same_seed_keeps_the_same_samples)
{
	struct kml_sampler one, same;
	uint64_t state = 1;
	unsigned int i;

	kml_sampler_init(&one, fixed(0.1), fixed(0.05), 77);
	kml_sampler_init(&same, fixed(0.1), fixed(0.05), 77);
	for (i = 0; i < 1000; i++) {
		kml_fx uncertainty = random_between(&state, 0, 1);

		CHECK_EQUAL(kml_sampler_keep(&one, uncertainty), kml_sampler_keep(&same, uncertainty));
	}
}

static const struct kml_training training = {
	.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 2, .rate = KML_FX_ONE / 10, .decay_every = 1,
};

/* y = slope x */
static enum kml_adapter_action feed(struct kml_adapter *adapter, uint64_t *state, double slope, kml_fx *loss)
{
	kml_fx in = random_between(state, -1, 1);
	kml_fx target = fixed(slope * real(in));

	return kml_adapter_feed(adapter, &in, &target, loss);
}

TEST(drift_starts_an_adaptation_of_k_samples_that_recovers_the_error)
{
	struct kml_model *model = random_network(1, 1, LAYERS(LINEAR(1, 1)));
	struct kml_trainer *trainer;
	struct kml_adapter adapter;
	struct kml_drift drift;
	enum kml_adapter_action action;
	uint64_t state = 4;
	unsigned int i, samples = 0;
	kml_fx loss, weight;
	void *memory = malloc(kml_trainer_size(model));

	model->parameters[0] = fixed(0.5);
	CHECK_EQUAL(kml_trainer_create(memory, kml_trainer_size(model), model, &training, &trainer), 0);
	CHECK_EQUAL(kml_drift_init(&drift, fixed(0.01), fixed(1), 20), 0);
	CHECK_EQUAL(kml_adapter_init(&adapter, trainer, &drift, 0), -EINVAL);
	CHECK_EQUAL(kml_adapter_init(&adapter, trainer, &drift, 101), 0);
	for (i = 0; i < 500; i++)
		CHECK_EQUAL(feed(&adapter, &state, 0.5, &loss), KML_WATCHED);
	CHECK_EQUAL(adapter.learned, 0);
	CHECK_EQUAL(model->parameters[0], fixed(0.5));

	for (i = 0; i < 100 && feed(&adapter, &state, -1, &loss) == KML_WATCHED; i++)
		;
	CHECK(i < 20);
	CHECK_EQUAL(adapter.state, KML_ADAPTING);
	CHECK_EQUAL(adapter.adaptations, 1);
	do {
		action = feed(&adapter, &state, -1, &loss);
		CHECK_EQUAL(action, ++samples < 101 ? KML_LEARNED : KML_SETTLED);
	} while (action == KML_LEARNED);
	CHECK_EQUAL(samples, 101);
	CHECK_EQUAL(adapter.learned, 101);
	CHECK_EQUAL(adapter.state, KML_STEADY);
	CHECK_EQUAL(kml_trainer_updates(trainer), 51); /* the last of one sample */

	weight = model->parameters[0];
	CHECK_NEAR(weight, fixed(-1), fixed(0.1));
	for (i = 0; i < 500; i++) {
		CHECK_EQUAL(feed(&adapter, &state, -1, &loss), KML_WATCHED);
		CHECK(loss < fixed(0.01));
	}
	CHECK_EQUAL(model->parameters[0], weight);
	free(memory);
	free(model);
}

TEST_MAIN()
