/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which request a device gets next: the rule of mq-kmlib, apart from any kernel, so that it can be simulated.
 *
 * Three classes: reads, writes that somebody waits for, and writeback.  A request whose deadline has come goes first.
 * Else those that somebody waits for, the one that is predicted to be done soonest first, the longer it has waited the
 * sooner (so that nothing starves).  Writeback fills what is left; while somebody waits, or did so a moment ago, only as
 * much of it is in the device as is predicted to be done within a target, and never less than one request at a time
 * once its deadline nears.  The caller's lock guards it; times are ns.
 */
#ifndef KML_DISPATCH_H
#define KML_DISPATCH_H

#include "kml_deps.h"

enum kml_class { KML_CLASS_READ, KML_CLASS_SYNC_WRITE, KML_CLASS_WRITEBACK, KML_CLASSES };

struct kml_dispatch_settings {
	uint64_t deadline[KML_CLASSES]; /* from arrival */
	uint64_t target;                /* predicted work of writeback in the device while somebody waits */
	uint64_t calm;                  /* without a request that somebody waits for: writeback is not held back */
	uint32_t ageing;                /* how much a ns of waiting weighs against a ns of predicted work, Q24.8 */
	bool shortest_first;            /* else first come, first served within a class */
	bool hold_back;                 /* else writeback is never held back */
};

/* What waits of a class. */
struct kml_waiting {
	uint32_t count;
	uint64_t oldest;     /* deadline of the oldest */
	uint64_t work;       /* predicted, of the next that would be dispatched */
};

struct kml_dispatch {
	struct kml_dispatch_settings settings;
	uint32_t in_device[KML_CLASSES];
	uint64_t work[KML_CLASSES];      /* predicted, of what is in the device */
	uint64_t last_waited;            /* when a request that somebody waits for last arrived or completed */
	bool waited;                     /* last_waited is one */
	uint64_t expired[KML_CLASSES];   /* dispatched after their deadline */
	uint64_t held;                   /* times that writeback was held back */
};

#define KML_DISPATCH_HOLD (-1)
#define KML_DISPATCH_NOTHING (-2)

/* mq-deadline's own deadlines, and what was found to serve (docs/results.md). */
void kml_dispatch_defaults(struct kml_dispatch_settings *settings);
void kml_dispatch_begin(struct kml_dispatch *dispatch, const struct kml_dispatch_settings *settings);

/*
 * The class to dispatch from; KML_DISPATCH_NOTHING: nothing waits; KML_DISPATCH_HOLD: ask again after the next
 * completion or arrival, and at `*until` at the latest.  `*expired`: take the class's oldest, not its best.
 */
int kml_dispatch_choose(struct kml_dispatch *dispatch, const struct kml_waiting *waiting, uint64_t now, uint64_t *until,
			bool *expired);

/* Which of a class's requests is best: the lowest. */
int64_t kml_dispatch_key(const struct kml_dispatch *dispatch, uint64_t arrived, uint64_t work, uint64_t now);

void kml_dispatch_arrived(struct kml_dispatch *dispatch, enum kml_class class, uint64_t now);
void kml_dispatch_issued(struct kml_dispatch *dispatch, enum kml_class class, uint64_t work, uint64_t deadline, uint64_t now);
/* `work` as it was given when it was issued. */
void kml_dispatch_completed(struct kml_dispatch *dispatch, enum kml_class class, uint64_t work, uint64_t now);

#endif
