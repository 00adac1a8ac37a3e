/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Online regression by normalised least mean squares: w += rate * error * x / (1 + |x|^2), where the 1 is the bias's
 * input, so that the energy is never near 0.
 */
#include "kml/regression.h"
#include "kml/tensor.h"
#include "wide.h"

#define WEIGHT_MAX_Q32 ((int64_t)KML_WEIGHT_MAX * KML_FX_ONE)

/* Weights are used with 20 bits of fraction: 2^(6+20) * 2^31 * 17 stays below 2^62. */
#define USED_BITS 20

int kml_regression_init(struct kml_regression *regression, uint16_t inputs, bool logistic, kml_fx rate)
{
	if (!inputs || inputs > KML_REGRESSION_MAX_INPUTS || rate <= 0 || rate > KML_FX_ONE)
		return -EINVAL;
	memset(regression, 0, sizeof(*regression));
	regression->inputs = inputs;
	regression->logistic = logistic;
	regression->rate = rate;
	return 0;
}
KML_EXPORT(kml_regression_init);

kml_fx kml_regression_predict(const struct kml_regression *regression, const kml_fx *in)
{
	const int64_t *weights = regression->weights;
	unsigned int inputs = regression->inputs;
	int64_t sum = (weights[inputs] >> (32 - USED_BITS)) * KML_FX_ONE;
	kml_fx value;
	unsigned int i;

	for (i = 0; i < inputs; i++)
		sum += (weights[i] >> (32 - USED_BITS)) * in[i];
	value = kml_fx_saturate(kml_wide_round(sum, USED_BITS));
	return regression->logistic ? kml_fx_sigmoid(value) : value;
}
KML_EXPORT(kml_regression_predict);

/* |step| <= 2^62 / energy, and the energy is at least 2^16 + x^2 / 2^16: so step * x never exceeds 2^61. */
static void move(int64_t *weight, int64_t step, kml_fx x, unsigned int shift)
{
	int64_t moved = *weight + kml_wide_round(step * x, shift);

	if (moved > WEIGHT_MAX_Q32)
		moved = WEIGHT_MAX_Q32;
	if (moved < -WEIGHT_MAX_Q32)
		moved = -WEIGHT_MAX_Q32;
	*weight = moved;
}

kml_fx kml_regression_learn(struct kml_regression *regression, const kml_fx *in, kml_fx target)
{
	kml_fx error = kml_fx_sub(target, kml_regression_predict(regression, in));
	int64_t wanted = (int64_t)error * regression->rate; /* Q32.32, below 2^48 */
	uint64_t energy = KML_FX_ONE;                       /* Q48.16 */
	unsigned int i, shift;
	int64_t step;

	regression->samples++;
	if (!wanted)
		return error;
	for (i = 0; i < regression->inputs; i++)
		energy += (uint64_t)((int64_t)in[i] * in[i]) >> KML_FX_BITS;
	/* As many bits of fraction as fit: steps must not vanish where the energy is large. */
	shift = (unsigned int)__builtin_clzll((uint64_t)(wanted < 0 ? -wanted : wanted)) - 2;
	step = kml_div64(wanted * ((int64_t)1 << shift), (int64_t)energy);
	for (i = 0; i < regression->inputs; i++)
		move(&regression->weights[i], step, in[i], shift);
	move(&regression->weights[i], step, KML_FX_ONE, shift);
	return error;
}
KML_EXPORT(kml_regression_learn);
