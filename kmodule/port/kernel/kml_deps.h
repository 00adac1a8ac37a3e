/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* All that the core needs from its surroundings, in the kernel.  port/user has its twin; -I chooses. */
#ifndef KML_DEPS_H
#define KML_DEPS_H

#include <asm/barrier.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/math64.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

#define KML_EXPORT(symbol) EXPORT_SYMBOL_GPL(symbol)

#define kml_load_once(pointer) READ_ONCE(*(pointer))
#define kml_store_once(pointer, value) WRITE_ONCE(*(pointer), (value))
#define kml_load_acquire(pointer) smp_load_acquire(pointer)
#define kml_store_release(pointer, value) smp_store_release((pointer), (value))

#define kml_likely(condition) likely(condition)
#define kml_unlikely(condition) unlikely(condition)

static inline int64_t kml_div64(int64_t dividend, int64_t divisor)
{
	return div64_s64(dividend, divisor);
}

static inline uint64_t kml_divu64(uint64_t dividend, uint64_t divisor)
{
	return div64_u64(dividend, divisor);
}

#endif
