/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Matrices of fixed-point numbers over the caller's memory, by rows. */
#ifndef KML_TENSOR_H
#define KML_TENSOR_H

#include "kml/fixed.h"

struct kml_tensor {
	uint16_t rows;
	uint16_t columns;
	kml_fx *data; /* [rows][columns] */
};

/*
 * Weights saturate at 64, in files and while training.  A row has at most KML_MAX_WIDTH = 2^8 of them, so a sum of
 * products stays below 2^8 * 2^(6+16) * 2^31 = 2^61: 64-bit accumulators cannot overflow, whatever the input, and
 * the loops need no check.
 */
#define KML_WEIGHT_MAX ((kml_fx)(64 * KML_FX_ONE))

/* out[rows] = matrix * in[columns] + bias[rows]; bias may be NULL.  No weight may exceed KML_WEIGHT_MAX. */
void kml_tensor_multiply(const struct kml_tensor *matrix, const kml_fx *in, const kml_fx *bias, kml_fx *out);

/* out[columns] = transposed matrix * in[rows]. */
void kml_tensor_multiply_transposed(const struct kml_tensor *matrix, const kml_fx *in, kml_fx *out);

#endif
