/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Checks kml.ko from within the kernel that it is loaded into:
 *
 *   kml_check CHECK [FILE]     FILE: the golden vectors, of the check `golden`
 *
 * A static program with the core linked in, so that what the kernel computes can be held to what this computes.
 * It prints figures as lines of check, what and value; failed checks; and last "N checks, N failed".
 */
#define _GNU_SOURCE
#include "device.h"

static const char *golden_file = "golden.bin";

#include "golden_bits.h"
#include "training.h"
#include "swap.h"
#include "overload.h"
#include "bad_input.h"
#include "lifetimes.h"
#include "kernel_user.h"
#include "bench.h"

int main(int count, char **words)
{
	if (count > 2)
		golden_file = words[2];
	return check_main(count > 2 ? 2 : count, words);
}
