/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* CRC-32 by half bytes: a table of one cache line, fast enough for a file that is loaded once. */
#include "crc32.h"

/* The remainder of each half byte by the polynomial 0xedb88320, which is 802.3's with its bits reversed. */
static const uint32_t remainders[16] = {
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
	0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

uint32_t kml_crc32(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *byte = bytes;

	crc = ~crc;
	while (length--) {
		crc ^= *byte++;
		crc = (crc >> 4) ^ remainders[crc & 15];
		crc = (crc >> 4) ^ remainders[crc & 15];
	}
	return ~crc;
}
KML_EXPORT(kml_crc32);
