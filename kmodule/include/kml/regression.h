/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Linear and logistic regression that learn from each sample as it comes: normalised least mean squares (Haykin,
 * Adaptive Filter Theory), whose step is divided by the input's energy, so that no scale of the features makes it
 * diverge.  Small enough to sit inside another structure; for everything larger see train.h.
 */
#ifndef KML_REGRESSION_H
#define KML_REGRESSION_H

#include "kml/fixed.h"

#define KML_REGRESSION_MAX_INPUTS 16

struct kml_regression {
	uint16_t inputs;
	bool logistic;    /* out = sigmoid(w x + b), targets 0 to 1 */
	kml_fx rate;      /* 0 to 1 (least squares: below 2 is stable) */
	uint64_t samples; /* learned so far */
	int64_t weights[KML_REGRESSION_MAX_INPUTS + 1]; /* Q32.32, within KML_WEIGHT_MAX; [inputs] is the bias */
};

/* -EINVAL: no inputs or too many, or a rate that is not above 0 and at most 1. */
int kml_regression_init(struct kml_regression *regression, uint16_t inputs, bool logistic, kml_fx rate);
kml_fx kml_regression_predict(const struct kml_regression *regression, const kml_fx *in);

/* Learn one sample; gives the error before it: target - prediction. */
kml_fx kml_regression_learn(struct kml_regression *regression, const kml_fx *in, kml_fx target);

#endif
