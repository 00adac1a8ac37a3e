/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Arguments of /dev/kml, checked before anything is done: pure functions, so that they can be fuzzed in user space. */
#ifndef KML_REQUEST_H
#define KML_REQUEST_H

#include "kml/device_abi.h"

/* 0, -EINVAL, or -E2BIG for a count or length beyond the limits; `reason` is set to a constant clause. */
int kml_request_create(const struct kml_create *request, const char **reason);
int kml_request_shape(const struct kml_shape *request, const char **reason);
int kml_request_transfer(const struct kml_transfer *request, const char **reason);
int kml_request_infer(const struct kml_infer_call *request, const char **reason);
int kml_request_collect(const struct kml_collect_call *request, const char **reason);
int kml_request_train(const struct kml_train_call *request, const char **reason);
int kml_request_math(const struct kml_math_call *request, const char **reason);

/* Which ring and which area an mmap offset means; -EINVAL: neither, or bytes that are not the area's. */
int kml_request_map(uint64_t offset, uint64_t bytes, uint16_t rings, uint64_t record_area, uint32_t page, uint16_t *ring,
		    uint8_t *area);

#endif
