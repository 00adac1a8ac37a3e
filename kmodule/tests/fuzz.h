/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the fuzzers share.  They are programs of libFuzzer: https://llvm.org/docs/LibFuzzer.html */
#ifndef KML_FUZZ_H
#define KML_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer keeps the input that led here. */
#define REQUIRE(condition)              \
	do {                            \
		if (!(condition))       \
			__builtin_trap(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);

#endif
