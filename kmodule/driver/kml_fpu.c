// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Enters and leaves the FPU, with the rounding that IEEE 754 calls default, whatever process ran before. */
#include "kml_fpu.h"

#if __has_include(<linux/fpu.h>) && defined(CONFIG_ARCH_HAS_KERNEL_FPU_SUPPORT) /* since 6.10 */
#include <linux/fpu.h>
#elif defined(CONFIG_X86)
#include <asm/fpu/api.h>
#define kernel_fpu_available() true
#elif defined(CONFIG_ARM64)
#include <asm/neon.h>
#define kernel_fpu_available() cpu_has_neon()
#define kernel_fpu_begin() kernel_neon_begin()
#define kernel_fpu_end() kernel_neon_end()
#else
#define kernel_fpu_available() false
#define kernel_fpu_begin() do { } while (0)
#define kernel_fpu_end() do { } while (0)
#endif

#ifdef CONFIG_ARM64
#include <asm/sysreg.h>

/*
 * kernel_neon_begin saves the process's state but leaves its FPCR in the register: one that flushes denormals or
 * rounds another way would change our bits.  The process gets its own back with the rest of its state.
 */
static void kml_fpu_default_rounding(void)
{
	write_sysreg(0, fpcr);
}
#else
static void kml_fpu_default_rounding(void)
{
	/* x86: kernel_fpu_begin loads the default MXCSR. */
}
#endif

bool kml_fpu_available(void)
{
	return kernel_fpu_available();
}

void kml_fpu_begin(void)
{
	kernel_fpu_begin();
	kml_fpu_default_rounding();
}

void kml_fpu_end(void)
{
	kernel_fpu_end();
}
