/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Running statistics of a stream, and normalisation by them. */
#ifndef KML_STATS_H
#define KML_STATS_H

#include "kml/fixed.h"

/*
 * Mean and variance of all values so far (Welford 1962), kept so that nothing overflows: the variance, not its sum.
 * What a division by the count leaves is carried on, so that neither stops following after many values.
 */
struct kml_running {
	uint64_t count;
	int64_t mean;           /* Q32.32 */
	uint64_t mean_rest;     /* below count */
	int64_t variance;       /* of the population, Q32.32; 0 to 2^30 */
	uint64_t variance_rest; /* below count */
};

void kml_running_init(struct kml_running *running);
void kml_running_add(struct kml_running *running, kml_fx value);
kml_fx kml_running_mean(const struct kml_running *running);
/* Saturates for deviations above 181. */
kml_fx kml_running_variance(const struct kml_running *running);
/* Of the unsaturated variance: deviations never exceed 32768. */
kml_fx kml_running_deviation(const struct kml_running *running);

/*
 * The same, forgetting: the first 2^shift values weigh the same; from then on each new one has the weight 2^-shift, and
 * older ones fade exponentially.
 */
struct kml_fading {
	struct kml_running running;
	uint64_t window; /* 2^shift */
};

/* -EINVAL: a shift that is not 1 to 16. */
int kml_fading_init(struct kml_fading *fading, uint8_t shift);
void kml_fading_add(struct kml_fading *fading, kml_fx value);
kml_fx kml_fading_mean(const struct kml_fading *fading);
kml_fx kml_fading_deviation(const struct kml_fading *fading);

struct kml_range {
	kml_fx low;  /* KML_FX_MAX before the first value */
	kml_fx high; /* KML_FX_MIN before the first value */
};

void kml_range_init(struct kml_range *range);
void kml_range_add(struct kml_range *range, kml_fx value);
/* (value - low) / (high - low), within 0 and 1; 0.5 where low and high are the same. */
kml_fx kml_range_normalise(const struct kml_range *range, kml_fx value);

/* (value - mean) / deviation; 0 where the deviation is 0. */
kml_fx kml_zscore(kml_fx value, kml_fx mean, kml_fx deviation);

#endif
