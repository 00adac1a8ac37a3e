"""Edge boards as the desk sees them: reached over SSH, with nothing of edgeprof installed on them."""
