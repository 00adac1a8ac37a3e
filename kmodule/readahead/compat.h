/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What kernels from 5.10 on call differently, told apart by feature and never by version; Kbuild finds the features. */
#ifndef READAHEAD_COMPAT_H
#define READAHEAD_COMPAT_H

#include <linux/mm.h>
#include <linux/pagemap.h>

/* What mm_filemap_add_to_page_cache hands over: folios since 5.18. */
#ifdef KML_HAS_FOLIO_TRACEPOINTS
typedef struct folio kml_added;

static inline unsigned int kml_added_pages(kml_added *added)
{
	return folio_nr_pages(added);
}
#else
typedef struct page kml_added;

static inline unsigned int kml_added_pages(kml_added *added)
{
	return compound_nr(added);
}
#endif

#endif
