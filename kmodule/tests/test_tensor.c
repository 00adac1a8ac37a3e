/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Products of matrices and vectors against sums of 128 bits. */
#include "check.h"
#include "kml/tensor.h"
#include "random.h"

#define MOST 256

static kml_fx data[MOST * MOST], in[MOST], bias[MOST], out[MOST + 1];

static kml_fx rounded(__int128 sum)
{
	__int128 value = (sum + 32768) >> 16;

	return value > KML_FX_MAX ? KML_FX_MAX : value < KML_FX_MIN ? KML_FX_MIN : (kml_fx)value;
}

/* The sum of products of row (or, transposed, column) i. */
static __int128 exact(const struct kml_tensor *matrix, unsigned int i, bool transposed)
{
	unsigned int length = transposed ? matrix->rows : matrix->columns, j;
	__int128 sum = 0;

	for (j = 0; j < length; j++)
		sum += (__int128)matrix->data[transposed ? j * matrix->columns + i : i * matrix->columns + j] * in[j];
	return sum;
}

static void check_products(const struct kml_tensor *matrix)
{
	const kml_fx untouched = 0x1234567;
	unsigned int i;

	out[matrix->rows] = untouched;
	kml_tensor_multiply(matrix, in, bias, out);
	for (i = 0; i < matrix->rows; i++)
		CHECK_EQUAL(out[i], rounded(exact(matrix, i, false) + (__int128)bias[i] * 65536));
	CHECK_EQUAL(out[i], untouched);
	kml_tensor_multiply(matrix, in, NULL, out);
	for (i = 0; i < matrix->rows; i++)
		CHECK_EQUAL(out[i], rounded(exact(matrix, i, false)));

	out[matrix->columns] = untouched;
	kml_tensor_multiply_transposed(matrix, in, out);
	for (i = 0; i < matrix->columns; i++)
		CHECK_EQUAL(out[i], rounded(exact(matrix, i, true)));
	CHECK_EQUAL(out[i], untouched);
}

static void fill(uint64_t *random, unsigned int spread)
{
	unsigned int i;

	for (i = 0; i < MOST * MOST; i++)
		data[i] = (kml_fx)(kml_random_next(random) % (2 * KML_WEIGHT_MAX + 1)) - KML_WEIGHT_MAX;
	for (i = 0; i < MOST; i++) {
		in[i] = (kml_fx)(uint32_t)kml_random_next(random) >> spread;
		bias[i] = (kml_fx)(uint32_t)kml_random_next(random) >> spread;
	}
}

TEST(products_are_exact_but_for_the_final_rounding)
{
	uint64_t random = 1;
	uint16_t rows, columns;
	unsigned int spread;

	for (spread = 0; spread < 32; spread += 4) {
		fill(&random, spread);
		for (rows = 1; rows <= 9; rows++) {
			for (columns = 1; columns <= 9; columns++) {
				struct kml_tensor matrix = { rows, columns, data };

				check_products(&matrix);
			}
		}
	}
}

/* What the header promises: 256 of the greatest weights and numbers do not overflow 64 bits. */
TEST(the_widest_sums_of_the_greatest_numbers_do_not_overflow)
{
	struct kml_tensor matrix = { MOST, MOST, data };
	unsigned int i, signs;

	for (signs = 0; signs < 4; signs++) {
		for (i = 0; i < MOST * MOST; i++)
			data[i] = signs & 1 ? KML_WEIGHT_MAX : -KML_WEIGHT_MAX;
		for (i = 0; i < MOST; i++)
			in[i] = bias[i] = signs & 2 ? KML_FX_MAX : KML_FX_MIN;
		check_products(&matrix);
	}
}

TEST_MAIN()
