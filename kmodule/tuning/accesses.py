"""What pages added to the page cache are worth, in accesses: so that reading ahead in vain counts nothing.

Bytes a second of the disk cannot judge a read-ahead: pages that nobody asked for are among them.  So runs are counted,
pages of a file that follow each other, in whatever order they came.  One no longer than the read-ahead is one access,
however much was read for it; a longer one, which somebody followed, is as many accesses as read-aheads fit into it.
Both settings of a trial are judged by the larger of their read-aheads.

Found in memory later, what was read in vain may come to use; that is not seen.
"""

from __future__ import annotations

import numpy as np

from edgeprof.kmodule.tuning.additions import Additions


def per_page(additions: Additions, read_ahead_pages: int) -> float | None:
    """Accesses a page; None: nothing was added."""
    if not len(additions):
        return None
    order = np.lexsort((additions.index, additions.inode, additions.device))
    index, pages = additions.index[order], additions.pages[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = index[1:] != index[:-1] + pages[:-1]
    for file in (additions.inode[order], additions.device[order]):
        begins[1:] |= file[1:] != file[:-1]
    runs = np.add.reduceat(pages, np.flatnonzero(begins))
    return float(np.maximum(runs / read_ahead_pages, 1.0).sum() / pages.sum())
