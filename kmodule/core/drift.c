/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The Page-Hinkley test: sum up by how much errors exceed their mean so far plus the tolerance; drift is where the sum
 * has risen above its lowest point by more than the threshold (Page 1954; Mouss et al. 2004 for the form with a running
 * mean).  During the warm-up only the mean is learned: what the first few values do to it is no drift.
 */
#include "kml/drift.h"
#include "wide.h"

#define SUM_MAX ((int64_t)0x7fffffffffffffff)

/* |b| is far below 2^62. */
static int64_t add_saturating(int64_t a, int64_t b)
{
	if (b > 0)
		return a > SUM_MAX - b ? SUM_MAX : a + b;
	return a < -SUM_MAX - b ? -SUM_MAX : a + b;
}

static void begin(struct kml_drift *drift)
{
	drift->count = 0;
	drift->mean = 0;
	drift->mean_rest = 0;
	drift->sum = 0;
	drift->lowest = 0;
}

int kml_drift_init(struct kml_drift *drift, kml_fx tolerance, kml_fx threshold, uint32_t warm_up)
{
	if (tolerance < 0 || threshold <= 0)
		return -EINVAL;
	drift->tolerance = tolerance;
	drift->threshold = threshold;
	drift->warm_up = warm_up;
	drift->detections = 0;
	begin(drift);
	return 0;
}
KML_EXPORT(kml_drift_init);

bool kml_drift_add(struct kml_drift *drift, kml_fx error)
{
	int64_t difference = error * (int64_t)KML_FX_ONE - drift->mean;

	drift->count++;
	kml_wide_mean(&drift->mean, &drift->mean_rest, drift->count,
		      (uint64_t)(difference < 0 ? -difference : difference), difference >= 0);
	if (drift->count <= drift->warm_up)
		return false;
	drift->sum = add_saturating(drift->sum, error - kml_wide_round(drift->mean, KML_FX_BITS) - drift->tolerance);
	drift->lowest = drift->sum < drift->lowest ? drift->sum : drift->lowest;
	/* Unsigned: the two may be more than 2^63 apart. */
	if ((uint64_t)drift->sum - (uint64_t)drift->lowest <= (uint64_t)drift->threshold)
		return false;
	drift->detections++;
	begin(drift);
	return true;
}
KML_EXPORT(kml_drift_add);
