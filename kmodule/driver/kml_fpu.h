/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Around every use of core/float_train.c, in process context; within: no sleeping, allocating, locking or printing. */
#ifndef KML_FPU_H
#define KML_FPU_H

#include <linux/types.h>

bool kml_fpu_available(void);
void kml_fpu_begin(void);
void kml_fpu_end(void);

#endif
