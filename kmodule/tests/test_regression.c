/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Online regression on streams whose weights are known. */
#include <math.h>

#include "check.h"
#include "kml/regression.h"
#include "kml/tensor.h"
#include "random.h"

/* Uniform within -reach and reach. */
static kml_fx uniform(uint64_t *random, int64_t reach)
{
	return (kml_fx)((int64_t)(kml_random_next(random) >> 16) % (2 * reach + 1) - reach);
}

static double weight(const struct kml_regression *regression, unsigned int i)
{
	return (double)regression->weights[i] / 4294967296.0;
}

/* y = 3 a - 2 b + 0.5, whatever the scale of a and b. */
TEST(a_linear_rule_is_learned_at_any_scale_of_its_features)
{
	static const int64_t reaches[] = { KML_FX_ONE / 16, KML_FX_ONE, 100 * KML_FX_ONE, 5000 * KML_FX_ONE };
	unsigned int scale, i;

	for (scale = 0; scale < sizeof(reaches) / sizeof(*reaches); scale++) {
		struct kml_regression regression;
		uint64_t random = scale + 1;
		kml_fx in[2];

		CHECK_EQUAL(kml_regression_init(&regression, 2, false, KML_FX(0.5)), 0);
		for (i = 0; i < 100000; i++) {
			in[0] = uniform(&random, reaches[scale]);
			in[1] = uniform(&random, reaches[scale]);
			kml_regression_learn(&regression, in, 3 * in[0] - 2 * in[1] + KML_FX_HALF);
		}
		CHECK_EQUAL(regression.samples, 100000);
		CHECK(fabs(weight(&regression, 0) - 3) < 0.01);
		CHECK(fabs(weight(&regression, 1) + 2) < 0.01);
		/* The bias is learned slowly beside inputs of 5000: it may still be missing. */
		CHECK_NEAR(kml_regression_predict(&regression, in), 3 * in[0] - 2 * in[1] + KML_FX_HALF,
			   KML_FX(0.02) + reaches[scale] / 10000);
	}
}

TEST(the_error_given_is_that_before_learning)
{
	struct kml_regression regression;
	kml_fx in[1] = { KML_FX_ONE };

	kml_regression_init(&regression, 1, false, KML_FX_ONE);
	CHECK_EQUAL(kml_regression_learn(&regression, in, 4 * KML_FX_ONE), 4 * KML_FX_ONE);
	/* A rate of 1 mends the whole error of this input: half by its weight, half by the bias. */
	CHECK_NEAR(kml_regression_predict(&regression, in), 4 * KML_FX_ONE, 1);
	CHECK_NEAR(kml_regression_learn(&regression, in, 4 * KML_FX_ONE), 0, 1);
}

TEST(a_changed_rule_is_followed)
{
	struct kml_regression regression;
	uint64_t random = 9;
	unsigned int i;
	kml_fx in[1];

	kml_regression_init(&regression, 1, false, KML_FX(0.2));
	for (i = 0; i < 4000; i++) {
		in[0] = uniform(&random, KML_FX_ONE);
		kml_regression_learn(&regression, in, i < 2000 ? in[0] : -in[0]);
		if (i == 1999)
			CHECK(fabs(weight(&regression, 0) - 1) < 0.01);
	}
	CHECK(fabs(weight(&regression, 0) + 1) < 0.01);
}

/* Classes of a known logistic model: P(1) = sigmoid(4 a - 2). */
TEST(a_logistic_rule_is_learned)
{
	struct kml_regression regression;
	unsigned int i, right = 0, best = 0;
	uint64_t random = 10;

	kml_regression_init(&regression, 1, true, KML_FX(0.02));
	for (i = 0; i < 200000; i++) {
		kml_fx in[1] = { uniform(&random, 2 * KML_FX_ONE) };
		kml_fx truth = kml_fx_sigmoid(4 * in[0] - 2 * KML_FX_ONE);
		bool target = (kml_fx)(kml_random_next(&random) % KML_FX_ONE) < truth;

		if (i >= 100000) {
			kml_fx predicted = kml_regression_predict(&regression, in);

			CHECK(predicted >= 0 && predicted <= KML_FX_ONE);
			right += (predicted > KML_FX_HALF) == target;
			best += (truth > KML_FX_HALF) == target;
		}
		kml_regression_learn(&regression, in, target ? KML_FX_ONE : 0);
	}
	CHECK(right >= best - best / 100);
	CHECK(fabs(weight(&regression, 1) / weight(&regression, 0) + 0.5) < 0.1);
}

TEST(settings_out_of_range_are_refused)
{
	struct kml_regression regression;

	CHECK_EQUAL(kml_regression_init(&regression, 0, false, KML_FX_HALF), -EINVAL);
	CHECK_EQUAL(kml_regression_init(&regression, KML_REGRESSION_MAX_INPUTS + 1, false, KML_FX_HALF), -EINVAL);
	CHECK_EQUAL(kml_regression_init(&regression, 1, false, 0), -EINVAL);
	CHECK_EQUAL(kml_regression_init(&regression, 1, false, -KML_FX_HALF), -EINVAL);
	CHECK_EQUAL(kml_regression_init(&regression, 1, false, KML_FX_ONE + 1), -EINVAL);
	CHECK_EQUAL(kml_regression_init(&regression, KML_REGRESSION_MAX_INPUTS, true, KML_FX_ONE), 0);
}

/* Weights stay in range and every prediction is one, whatever comes in; the sanitizers watch the arithmetic. */
TEST(any_samples_are_survived)
{
	const int64_t limit = (int64_t)KML_WEIGHT_MAX * KML_FX_ONE;
	uint64_t random = 11;
	unsigned int round, i, j;

	for (round = 0; round < 500; round++) {
		uint16_t inputs = 1 + kml_random_next(&random) % KML_REGRESSION_MAX_INPUTS;
		unsigned int spread = kml_random_next(&random) % 31;
		kml_fx in[KML_REGRESSION_MAX_INPUTS];
		struct kml_regression regression;

		kml_regression_init(&regression, inputs, round % 2, KML_FX_ONE);
		for (i = 0; i < 500; i++) {
			for (j = 0; j < inputs; j++)
				in[j] = i % 50 ? (kml_fx)(uint32_t)kml_random_next(&random) >> spread : KML_FX_MIN;
			kml_regression_learn(&regression, in, i % 3 ? (kml_fx)kml_random_next(&random) : KML_FX_MAX);
			for (j = 0; j <= inputs; j++)
				CHECK(regression.weights[j] <= limit && regression.weights[j] >= -limit);
		}
	}
}

TEST_MAIN()
