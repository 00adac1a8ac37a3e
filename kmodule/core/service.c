/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How long a device works on a request: a line through fading samples, for each kind of request.
 *
 * Means, variance and covariance move by 1/SAMPLES of the way to each sample, as those of stats.c do, without its
 * rests: what is lost of a mean is below a tenth of a microsecond.  Where sizes hardly differ their variance says
 * nothing of the slope, so some made-up variance pulls it to the sibling's, or to a guess.
 *
 * Ranges: lengths are cut to 16 MiB, 2^24 in Q58.6, times to 2^31 ns (2 s), 2^35 in Q60.4.  So the covariance stays
 * below 2^59, the variance below 2^48.
 */
#include "kml/service.h"

#define SAMPLES_SHIFT 6
#define SAMPLES (1u << SAMPLES_SHIFT)

#define LENGTH_SHIFT 6 /* 64 bytes */
#define LENGTH_BITS 6
#define LENGTH_MOST ((int64_t)1 << 24)
#define KIB_SHIFT (10 - LENGTH_SHIFT + LENGTH_BITS) /* a KiB is 2^10 in Q58.6 */
#define NS_BITS 4
#define NS_MOST ((uint64_t)1 << 31)

/* 64 * covariance / variance is in ns a KiB; as the covariance has no room, the variance loses so many bits. */
#define SLOPE_SHIFT (KIB_SHIFT - NS_BITS)
#define SLOPE_MOST ((int64_t)1 << 31)
#define MADE_UP_VARIANCE ((int64_t)1 << (2 * KIB_SHIFT)) /* as if sizes differed by 1 KiB */

/* Beyond OUTLIER times what was predicted it is a pause, and learned as CUT times that; not while little is known. */
#define OUTLIER 8
#define CUT 2
#define OUTLIER_AFTER 8

/* Of a device of which nothing is known: 100 us, and 100 MB/s. */
#define GUESS_BASE_NS 100000u
#define GUESS_NS_PER_KIB 10000u

void kml_service_begin(struct kml_service *service)
{
	memset(service, 0, sizeof(*service));
}
KML_EXPORT(kml_service_begin);

static enum kml_service_kind sibling_of(enum kml_service_kind kind)
{
	return (enum kml_service_kind)(kind ^ 1); /* the other of READ and READ_ON, of WRITE and WRITE_ON */
}

static uint64_t on_line(uint64_t base_ns, uint64_t ns_per_kib, uint32_t bytes)
{
	uint64_t ns = base_ns + ((ns_per_kib * bytes) >> 10);

	return ns ? ns : 1;
}

uint64_t kml_service_predict(const struct kml_service *service, enum kml_service_kind kind, uint32_t bytes)
{
	const struct kml_service_line *line = &service->lines[kind];

	if (!line->samples)
		line = &service->lines[sibling_of(kind)];
	if (!line->samples)
		return on_line(GUESS_BASE_NS, GUESS_NS_PER_KIB, bytes);
	return on_line(line->base_ns, line->ns_per_kib, bytes);
}
KML_EXPORT(kml_service_predict);

static uint64_t slope_of(const struct kml_service_line *line)
{
	return line->samples ? line->ns_per_kib : GUESS_NS_PER_KIB;
}

/* The share of a distance that a mean moves. */
static int64_t step(int64_t distance, uint64_t samples)
{
	return samples < SAMPLES ? kml_div64(distance, (int64_t)samples) : distance >> SAMPLES_SHIFT;
}

static int64_t within_bounds(int64_t slope)
{
	return slope < 0 ? 0 : slope > SLOPE_MOST ? SLOPE_MOST : slope;
}

/* Neither slope nor base is negative. */
static void draw(struct kml_service_line *line, uint64_t usual_slope)
{
	int64_t mean_ns = line->mean_ns >> NS_BITS, slope, base;

	slope = kml_div64(line->covariance + (MADE_UP_VARIANCE >> SLOPE_SHIFT) * (int64_t)usual_slope,
			  (line->variance + MADE_UP_VARIANCE) >> SLOPE_SHIFT);
	slope = within_bounds(slope);
	base = mean_ns - ((slope * line->mean_length) >> KIB_SHIFT);
	if (base < 0) {
		base = 0;
		slope = within_bounds(kml_div64(mean_ns << KIB_SHIFT, line->mean_length));
	}
	line->base_ns = (uint64_t)base;
	line->ns_per_kib = (uint64_t)slope;
}

static void learn(struct kml_service_line *line, uint32_t bytes, uint64_t ns, uint64_t usual_slope)
{
	int64_t length = (int64_t)(bytes >> LENGTH_SHIFT) << LENGTH_BITS, aside, above;

	if (length > LENGTH_MOST)
		length = LENGTH_MOST;
	line->samples++;
	aside = length - line->mean_length;
	line->mean_length += step(aside, line->samples);
	line->variance += step(aside * (length - line->mean_length) - line->variance, line->samples);
	above = (int64_t)(ns << NS_BITS) - line->mean_ns;
	line->mean_ns += step(above, line->samples);
	line->covariance += step(aside * ((int64_t)(ns << NS_BITS) - line->mean_ns) - line->covariance, line->samples);
	draw(line, usual_slope);
}

void kml_service_issued(struct kml_service *service)
{
	service->in_device++;
}
KML_EXPORT(kml_service_issued);

void kml_service_withdrawn(struct kml_service *service)
{
	if (service->in_device)
		service->in_device--;
}
KML_EXPORT(kml_service_withdrawn);

void kml_service_completed(struct kml_service *service, enum kml_service_kind kind, uint32_t bytes, uint64_t issued,
			   uint64_t now)
{
	struct kml_service_line *line = &service->lines[kind];
	uint64_t begun = issued > service->last_completion ? issued : service->last_completion;
	uint64_t ns = now > begun ? now - begun : 0, predicted = kml_service_predict(service, kind, bytes), error;

	kml_service_withdrawn(service);
	if (now > service->last_completion)
		service->last_completion = now;
	error = ns > predicted ? ns - predicted : predicted - ns;
	if (error > NS_MOST)
		error = NS_MOST;
	if (line->samples >= OUTLIER_AFTER && ns > OUTLIER * predicted) {
		line->outliers++;
		ns = CUT * predicted;
	}
	learn(line, bytes, ns > NS_MOST ? NS_MOST : ns, slope_of(&service->lines[sibling_of(kind)]));
	line->error_ns = (uint64_t)((int64_t)line->error_ns +
				    step((int64_t)error - (int64_t)line->error_ns, line->samples));
}
KML_EXPORT(kml_service_completed);
