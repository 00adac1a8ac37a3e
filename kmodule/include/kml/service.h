/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How long a device works on a request, learned online from each completion: base + slope * KiB, for reads and writes
 * that go on where the last ended, and for those that do not, each.  Older samples fade; outliers (pauses) are cut and
 * counted.  While a device is busy, what a request cost is the time since the last completion, so that a device that
 * works on many at once is charged by its throughput.  The caller's lock guards it.
 */
#ifndef KML_SERVICE_H
#define KML_SERVICE_H

#include "kml_deps.h"

enum kml_service_kind {
	KML_SERVICE_READ,
	KML_SERVICE_READ_ON,
	KML_SERVICE_WRITE,
	KML_SERVICE_WRITE_ON,
	KML_SERVICE_KINDS
};

/* Lengths are counted in 64 bytes. */
struct kml_service_line {
	uint64_t samples;
	uint64_t outliers;
	int64_t mean_length; /* fading, Q58.6 */
	int64_t mean_ns;     /* Q60.4 */
	int64_t variance;    /* of the length */
	int64_t covariance;  /* of length and ns */
	uint64_t base_ns;    /* the line, refreshed after each sample */
	uint64_t ns_per_kib;
	uint64_t error_ns; /* fading mean of |error|, each before learning from it */
};

struct kml_service {
	struct kml_service_line lines[KML_SERVICE_KINDS];
	uint64_t last_completion; /* ns */
	uint32_t in_device;
};

void kml_service_begin(struct kml_service *service);

static inline enum kml_service_kind kml_service_kind(bool write, bool goes_on)
{
	return (enum kml_service_kind)((write ? KML_SERVICE_WRITE : KML_SERVICE_READ) + (goes_on ? 1 : 0));
}

/* ns, at least 1; a kind of which nothing was seen answers as its sibling, at last with a guess. */
uint64_t kml_service_predict(const struct kml_service *service, enum kml_service_kind kind, uint32_t bytes);

void kml_service_issued(struct kml_service *service);

/* Learn from a completion. */
void kml_service_completed(struct kml_service *service, enum kml_service_kind kind, uint32_t bytes, uint64_t issued,
			   uint64_t now);

/* It came back from the device without being done: nothing is learned. */
void kml_service_withdrawn(struct kml_service *service);

#endif
