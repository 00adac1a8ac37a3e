/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What kernels from 5.10 on call differently, told apart by feature and never by version; Kbuild finds the features. */
#ifndef KML_COMPAT_H
#define KML_COMPAT_H

#include <linux/mm.h>

/* 6.3 made vm_flags read-only but for such helpers (bc292ab00f6c "mm: introduce vma->vm_flags wrapper functions"). */
static inline void kml_vma_never_writable(struct vm_area_struct *vma)
{
#ifdef KML_HAS_VM_FLAGS_CLEAR
	vm_flags_clear(vma, VM_MAYWRITE);
#else
	vma->vm_flags &= ~VM_MAYWRITE;
#endif
}

/* CONFIG_INIT_STACK_ALL_ZERO clears local arrays, which takes longer than a small model's prediction. */
#if __has_attribute(__uninitialized__)
#define kml_uninitialised __attribute__((__uninitialized__))
#else
#define kml_uninitialised
#endif

#endif
