/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Running statistics.
 *
 * A value that comes in lies d from the mean before it moves and e after, on the same side of it; d * e is what it adds
 * to the sum of squared deviations (Welford 1962).  So the variance is the running mean of d * e, and both means are
 * carried on by the same step.  With weights that fade by 1 - 2^-shift the same holds, 2^shift in the place of the
 * count (Finch 2009, "Incremental calculation of weighted mean and variance").
 */
#include "kml/stats.h"
#include "wide.h"

/* How far a value lies from a mean (Q32.32), either way. */
static uint64_t distance(kml_fx value, int64_t mean)
{
	int64_t difference = value * (int64_t)KML_FX_ONE - mean;

	return (uint64_t)(difference < 0 ? -difference : difference);
}

/* Of two Q32.32 numbers up to 65536 - 2^-16, as far as two values can lie apart: so the product fits 64 bits. */
static uint64_t product(uint64_t a, uint64_t b)
{
	uint64_t a_high = a >> 32, a_low = (uint32_t)a;
	uint64_t b_high = b >> 32, b_low = (uint32_t)b;

	return ((a_high * b_high) << 32) + a_high * b_low + a_low * b_high + ((a_low * b_low + 0x80000000) >> 32);
}

void kml_running_init(struct kml_running *running)
{
	memset(running, 0, sizeof(*running));
}
KML_EXPORT(kml_running_init);

void kml_running_add(struct kml_running *running, kml_fx value)
{
	uint64_t before = distance(value, running->mean);
	uint64_t square, variance = (uint64_t)running->variance;
	bool above = value * (int64_t)KML_FX_ONE >= running->mean;

	running->count++;
	kml_wide_mean(&running->mean, &running->mean_rest, running->count, before, above);
	square = product(before, distance(value, running->mean));
	kml_wide_mean(&running->variance, &running->variance_rest, running->count,
		      square >= variance ? square - variance : variance - square, square >= variance);
}
KML_EXPORT(kml_running_add);

kml_fx kml_running_mean(const struct kml_running *running)
{
	return kml_fx_from_products(running->mean);
}
KML_EXPORT(kml_running_mean);

kml_fx kml_running_variance(const struct kml_running *running)
{
	return kml_fx_from_products(running->variance);
}
KML_EXPORT(kml_running_variance);

kml_fx kml_running_deviation(const struct kml_running *running)
{
	return kml_fx_saturate((int64_t)kml_wide_root((uint64_t)running->variance));
}
KML_EXPORT(kml_running_deviation);

int kml_fading_init(struct kml_fading *fading, uint8_t shift)
{
	if (shift < 1 || shift > 16)
		return -EINVAL;
	kml_running_init(&fading->running);
	fading->window = (uint64_t)1 << shift;
	return 0;
}
KML_EXPORT(kml_fading_init);

void kml_fading_add(struct kml_fading *fading, kml_fx value)
{
	if (fading->running.count == fading->window)
		fading->running.count--;
	kml_running_add(&fading->running, value);
}
KML_EXPORT(kml_fading_add);

kml_fx kml_fading_mean(const struct kml_fading *fading)
{
	return kml_running_mean(&fading->running);
}
KML_EXPORT(kml_fading_mean);

kml_fx kml_fading_deviation(const struct kml_fading *fading)
{
	return kml_running_deviation(&fading->running);
}
KML_EXPORT(kml_fading_deviation);

void kml_range_init(struct kml_range *range)
{
	range->low = KML_FX_MAX;
	range->high = KML_FX_MIN;
}
KML_EXPORT(kml_range_init);

void kml_range_add(struct kml_range *range, kml_fx value)
{
	range->low = value < range->low ? value : range->low;
	range->high = value > range->high ? value : range->high;
}
KML_EXPORT(kml_range_add);

kml_fx kml_range_normalise(const struct kml_range *range, kml_fx value)
{
	if (range->high <= range->low)
		return KML_FX_HALF;
	if (value <= range->low)
		return 0;
	if (value >= range->high)
		return KML_FX_ONE;
	return kml_wide_ratio((int64_t)value - range->low, (int64_t)range->high - range->low);
}
KML_EXPORT(kml_range_normalise);

kml_fx kml_zscore(kml_fx value, kml_fx mean, kml_fx deviation)
{
	return deviation ? kml_wide_ratio((int64_t)value - mean, deviation) : 0;
}
KML_EXPORT(kml_zscore);
