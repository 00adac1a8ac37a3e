/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* All that the core needs from its surroundings, in user space.  port/kernel has its twin; -I chooses. */
#ifndef KML_DEPS_H
#define KML_DEPS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KML_EXPORT(symbol)

/* Single loads and stores of a word that another processor may touch, and their ordered forms. */
#define kml_load_once(pointer) __atomic_load_n((pointer), __ATOMIC_RELAXED)
#define kml_store_once(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELAXED)
#define kml_load_acquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
#define kml_store_release(pointer, value) __atomic_store_n((pointer), (value), __ATOMIC_RELEASE)

#define kml_likely(condition) __builtin_expect(!!(condition), 1)
#define kml_unlikely(condition) __builtin_expect(!!(condition), 0)

static inline int64_t kml_div64(int64_t dividend, int64_t divisor)
{
	return dividend / divisor;
}

static inline uint64_t kml_divu64(uint64_t dividend, uint64_t divisor)
{
	return dividend / divisor;
}

#endif
