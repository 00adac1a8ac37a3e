/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which request a device gets next: the rule of mq-kmlib, apart from any kernel, so that it can be simulated.
 *
 * Three classes: reads, writes that somebody waits for, and writeback.
 *
 * - Requests that somebody waits for go in the order of kml_dispatch_key: as they came, but reads have a lead over
 *   writes, short ones overtake a little, and what the trained model predicts to miss its deadline goes first.
 * - Writeback goes when nobody waits.  While others keep coming it gets a share of the time, the greater the nearer its
 *   deadline, and so one request at a time instead of batches.
 * - For a moment after a write that somebody waited for, or after a request that is predicted to be slow, writeback is
 *   handed over no faster than the device gets it done: what piles up in the device, nobody can overtake any more.
 * - Of two classes of which one has a request past its deadline, that one takes every second turn.
 *
 * The caller's lock guards it; times are ns on one clock that is not 0.
 */
#ifndef KML_DISPATCH_H
#define KML_DISPATCH_H

#include "kml_deps.h"

enum kml_class { KML_CLASS_READ, KML_CLASS_SYNC_WRITE, KML_CLASS_WRITEBACK, KML_CLASSES };

struct kml_dispatch_settings {
	uint64_t deadline[KML_CLASSES]; /* from arrival */
	uint64_t lead;                  /* how much later a read may come than a write, and yet go before it */
	uint32_t overtaking;            /* how many times the work that it saves a short request may come later */
	uint32_t share;                 /* of 1024: of the time, for writeback while others keep coming */
	uint64_t slow;                  /* from which predicted latency on a request counts as slow */
	uint64_t calm;                  /* writeback is paced for so long after somebody waited for a write */
	uint64_t ahead;                 /* predicted work of writeback that the device then has, or a single request */
};

/* What waits of a class. */
struct kml_waiting {
	uint32_t count;
	uint64_t oldest; /* deadline of the oldest */
	uint64_t work;   /* predicted, of the best: the one that would be dispatched next */
	int64_t key;     /* of the best */
};

struct kml_dispatch {
	struct kml_dispatch_settings settings;
	uint32_t in_device[KML_CLASSES];
	uint64_t calm_at;              /* until then writeback is paced */
	uint64_t paced;                /* when the writeback that was handed over is predicted to be done */
	uint64_t earned;               /* work of writeback that goes although others wait */
	uint64_t earned_at;            /* when that was last added to; 0: writeback did not wait then */
	bool took_turn;                /* the last choice was one past its deadline */
	uint64_t expired[KML_CLASSES]; /* dispatched after their deadline */
	uint64_t held;                 /* times that writeback was held back */
};

#define KML_DISPATCH_NOTHING (-1)
#define KML_DISPATCH_HOLD (-2)

/* Deadlines as other schedulers have them, and what served best in simulation (tests/simulate.c). */
void kml_dispatch_defaults(struct kml_dispatch_settings *settings);

/* Settings are taken within bounds. */
void kml_dispatch_begin(struct kml_dispatch *dispatch, const struct kml_dispatch_settings *settings);

/*
 * The place of a request within its class, and of what is waited for among both classes: the lowest goes first.  It
 * never changes while the request waits.  `work`: of kml_service_predict.  `predicted`: ns from arrival to completion,
 * as the trained model has it; 0: there is none.
 */
int64_t kml_dispatch_key(const struct kml_dispatch *dispatch, enum kml_class class, uint64_t arrived, uint64_t work,
			 uint64_t predicted);

/*
 * Whether a request that goes on where the class's last one ended may go before the best: until half of the time of
 * the class's oldest is over.  Flash is faster on streams, and two streams by turns are none.
 */
bool kml_dispatch_may_go_on(const struct kml_dispatch *dispatch, enum kml_class class, uint64_t oldest, uint64_t now);

/*
 * The class to dispatch from, and whether its oldest (`*expired`) or its best; KML_DISPATCH_NOTHING: nothing waits;
 * KML_DISPATCH_HOLD: ask again after the next completion or arrival, and at `*until` at the latest.
 */
int kml_dispatch_choose(struct kml_dispatch *dispatch, const struct kml_waiting waiting[KML_CLASSES], uint64_t now,
			uint64_t *until, bool *expired);

/* `predicted`: as for its key. */
void kml_dispatch_arrived(struct kml_dispatch *dispatch, enum kml_class class, uint64_t predicted, uint64_t now);
void kml_dispatch_issued(struct kml_dispatch *dispatch, enum kml_class class, uint64_t work, uint64_t deadline,
			 uint64_t now);
void kml_dispatch_completed(struct kml_dispatch *dispatch, enum kml_class class, uint64_t now);
/* It came back from the device without being done, and waits again. */
void kml_dispatch_withdrawn(struct kml_dispatch *dispatch, enum kml_class class);

#endif
