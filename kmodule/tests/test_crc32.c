/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* CRC-32 against its definition: a division of polynomials, bit by bit. */
#include "check.h"
#include "crc32.h"

static uint32_t by_bits(const uint8_t *bytes, size_t length)
{
	uint32_t crc = 0xffffffff;
	unsigned int bit;
	size_t i;

	for (i = 0; i < length; i++) {
		for (bit = 0; bit < 8; bit++) {
			uint32_t feedback = (crc ^ (bytes[i] >> bit)) & 1;

			crc = (crc >> 1) ^ (feedback ? 0xedb88320 : 0);
		}
	}
	return ~crc;
}

/* The check value that catalogues of CRCs give for "123456789". */
TEST(the_check_value_comes_out)
{
	CHECK_EQUAL(kml_crc32(0, "123456789", 9), 0xcbf43926u);
	CHECK_EQUAL(kml_crc32(0, NULL, 0), 0);
}

TEST(every_byte_counts_as_defined)
{
	uint8_t bytes[600];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + i / 256);
	for (i = 0; i <= sizeof(bytes); i++)
		CHECK_EQUAL(kml_crc32(0, bytes, i), by_bits(bytes, i));
}

TEST(parts_give_the_crc_of_the_whole)
{
	const char *text = "a model file comes in parts";
	size_t length = strlen(text), i;

	for (i = 0; i <= length; i++)
		CHECK_EQUAL(kml_crc32(kml_crc32(0, text, i), text + i, length - i), kml_crc32(0, text, length));
}

TEST_MAIN()
