/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The product of a matrix and a vector, the heart of inference: inline, since in small layers a call is felt.
 *
 * Four rows at a time, so that each input is read once for them and their sums do not wait for one another.
 */
#ifndef KML_MULTIPLY_H
#define KML_MULTIPLY_H

#include "kml/tensor.h"

/* A sum of products that began as half a step, and the bias of its row. */
static inline kml_fx kml_multiply_rounded(int64_t sum, const kml_fx *bias, unsigned int row)
{
	return kml_fx_saturate((sum >> KML_FX_BITS) + (bias ? bias[row] : 0));
}

/* As kml_tensor_multiply. */
static inline void kml_multiply(const kml_fx *a, unsigned int rows, size_t columns, const kml_fx *in,
				const kml_fx *bias, kml_fx *out)
{
	unsigned int row = 0;
	size_t column;

	for (; row + 4 <= rows; row += 4) {
		const kml_fx *b = a + columns, *c = b + columns, *d = c + columns;
		int64_t sum_a = KML_FX_HALF, sum_b = KML_FX_HALF, sum_c = KML_FX_HALF, sum_d = KML_FX_HALF;

		for (column = 0; column < columns; column++) {
			int64_t value = in[column];

			sum_a += a[column] * value;
			sum_b += b[column] * value;
			sum_c += c[column] * value;
			sum_d += d[column] * value;
		}
		out[row] = kml_multiply_rounded(sum_a, bias, row);
		out[row + 1] = kml_multiply_rounded(sum_b, bias, row + 1);
		out[row + 2] = kml_multiply_rounded(sum_c, bias, row + 2);
		out[row + 3] = kml_multiply_rounded(sum_d, bias, row + 3);
		a = d + columns;
	}
	if (row + 2 <= rows) {
		const kml_fx *b = a + columns;
		int64_t sum_a = KML_FX_HALF, sum_b = KML_FX_HALF;

		for (column = 0; column < columns; column++) {
			int64_t value = in[column];

			sum_a += a[column] * value;
			sum_b += b[column] * value;
		}
		out[row] = kml_multiply_rounded(sum_a, bias, row);
		out[row + 1] = kml_multiply_rounded(sum_b, bias, row + 1);
		a = b + columns;
		row += 2;
	}
	if (row < rows) {
		int64_t sum = KML_FX_HALF;

		for (column = 0; column < columns; column++)
			sum += a[column] * (int64_t)in[column];
		out[row] = kml_multiply_rounded(sum, bias, row);
	}
}

#endif
