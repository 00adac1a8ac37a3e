/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Drift of an error's mean, by the Page-Hinkley test (Page 1954): a rise that lasts, not one bad value. */
#ifndef KML_DRIFT_H
#define KML_DRIFT_H

#include "kml/fixed.h"

struct kml_drift {
	kml_fx tolerance;    /* a rise of the mean that is ignored */
	kml_fx threshold;    /* of the accumulated rise, above which it is drift */
	uint32_t warm_up;    /* values before the first verdict */
	uint64_t count;
	int64_t mean;        /* Q32.32 */
	uint64_t mean_rest;  /* what the division by count left, so that the mean follows after many values, too */
	int64_t sum;         /* Q48.16, saturating */
	int64_t lowest;      /* of the sum */
	uint64_t detections; /* since init */
};

/* -EINVAL: a negative tolerance, or a threshold that is not above 0. */
int kml_drift_init(struct kml_drift *drift, kml_fx tolerance, kml_fx threshold, uint32_t warm_up);

/* Add an error (0 or more); true: drift, and the test has begun anew. */
bool kml_drift_add(struct kml_drift *drift, kml_fx error);

#endif
