/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Products of matrices and vectors, several rows or columns at a time so that each input is read once for them. */
#include "kml/tensor.h"
#include "multiply.h"

void kml_tensor_multiply(const struct kml_tensor *matrix, const kml_fx *in, const kml_fx *bias, kml_fx *out)
{
	kml_multiply(matrix->data, matrix->rows, matrix->columns, in, bias, out);
}
KML_EXPORT(kml_tensor_multiply);

void kml_tensor_multiply_transposed(const struct kml_tensor *matrix, const kml_fx *in, kml_fx *out)
{
	unsigned int columns = matrix->columns;
	unsigned int r, c;

	for (c = 0; c + 2 <= columns; c += 2) {
		const kml_fx *pair = matrix->data + c;
		int64_t first = 0, second = 0;

		for (r = 0; r < matrix->rows; r++, pair += columns) {
			int64_t value = in[r];

			first += pair[0] * value;
			second += pair[1] * value;
		}
		out[c] = kml_fx_from_products(first);
		out[c + 1] = kml_fx_from_products(second);
	}
	if (c < columns) {
		int64_t sum = 0;

		for (r = 0; r < matrix->rows; r++)
			sum += matrix->data[(size_t)r * columns + c] * (int64_t)in[r];
		out[c] = kml_fx_from_products(sum);
	}
}
KML_EXPORT(kml_tensor_multiply_transposed);
