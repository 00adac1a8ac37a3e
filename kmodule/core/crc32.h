/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* CRC-32 of IEEE 802.3, as in zlib and Ethernet. */
#ifndef KML_CRC32_H
#define KML_CRC32_H

#include "kml_deps.h"

/* Of bytes that follow others; `crc` is that of the others, or 0. */
uint32_t kml_crc32(uint32_t crc, const void *bytes, size_t length);

#endif
