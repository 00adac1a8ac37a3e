/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the files of kml.ko share.
 *
 * Lifetimes.  A predictor lives as long as someone holds a reference: its maker, a file attached to it, each call under
 * way.  kml_predictor_destroy, which only its maker calls, makes it dead: it is found no more, its learner is stopped,
 * waiters and trainers get -ENODEV; the last reference frees it.  A mapping holds its file, and the file its reference.
 *
 * Locks.  kml_predictors_lock: the list.  predictor->lock: its learner, and who may serve a model.  Neither is taken
 * within the other, and no memory of a process is touched under either.  While a learner runs, it alone changes the
 * served model (without the lock); else that is done under the lock.
 */
#ifndef KML_DRIVER_H
#define KML_DRIVER_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>

#include "kml/adapt.h"
#include "kml/predictor.h"
#include "kml/stats.h"

#ifndef CONFIG_64BIT
#error "counters are read without locks, as words of 64 bits: kml.ko needs a 64-bit kernel"
#endif

struct dentry;
struct kml_file;
struct kml_learner;

/* A model in use; after another took its place it is freed, or used again, when no reader can be left. */
struct kml_served {
	struct rcu_head rcu;
	uint64_t number; /* counts the models of the predictor */
	struct kml_model *model;
	size_t size;     /* of memory */
	bool idle;       /* of a learner's spare one: no reader is left; stored with release */
	uint64_t memory[];
};

/* Of one processor: changed only there. */
struct kml_cpu {
	struct kml_sampler sampler;
	uint64_t predictions;
	uint64_t without_model;
	uint64_t skipped;
	uint64_t waits;
};

/* A ring's memory: a page with the writer's words, one with the reader's word, then the records. */
struct kml_ring_memory {
	void *pages;
	struct kml_ring_reader reader; /* of a consumer in the kernel */
};

/* What the learner tells: one writer, each word read on its own. */
struct kml_progress {
	uint64_t trained;
	uint64_t updates;
	uint64_t publications;
	uint64_t adaptations;
	uint64_t train_ns;
	uint64_t fpu_sections;
	uint64_t fpu_longest_ns;
	kml_fx loss;
};

enum kml_predictor_flag {
	KML_DEAD,
	KML_LOADING,
};

struct kml_predictor {
	struct kref references;
	struct list_head entry;
	uint32_t id;
	char name[KML_NAME_BYTES];
	uint16_t inputs;
	uint16_t outputs;
	enum kml_ring_mode mode;
	enum kml_consumer consumer;
	kml_fx share;
	uint32_t slots;
	uint32_t record_bytes;
	size_t record_area; /* whole pages */
	uint16_t rings;

	struct kml_cpu_ring __percpu *cpu_rings;
	struct kml_cpu __percpu *cpu;
	struct kml_ring_memory *memory; /* [rings], in the order of possible processors */

	struct mutex lock;
	struct kml_served __rcu *served;
	struct kml_learner *learner;
	uint64_t models;
	uint64_t loads;
	atomic64_t refused;
	struct kml_progress progress;

	unsigned long flags;     /* bits of enum kml_predictor_flag */
	struct kml_file *reader; /* the file that may map the rings */
	struct dentry *folder;
};

static inline bool kml_is_dead(const struct kml_predictor *predictor)
{
	return test_bit(KML_DEAD, &predictor->flags);
}

/* kml_main.c: the one line in the kernel log for whatever is refused. */
void kml_log_refusal(const char *what, int status, const char *reason);

/* kml_predictor.c */
struct kml_predictor *kml_predictor_make(const struct kml_create *request, const char **reason);
struct kml_predictor *kml_predictor_get(uint32_t id);
/* By id, or else by name, or else the first; `next`: id of the one behind it, or 0. */
struct kml_predictor *kml_predictor_find(uint32_t id, const char *name, uint32_t *next);
void kml_predictor_put(struct kml_predictor *predictor);
bool kml_predictors_exist(void);
void kml_predictor_statistics(struct kml_predictor *predictor, struct kml_statistics *statistics);

/* kml_predict.c */
int kml_predict_numbered(struct kml_predictor *predictor, const kml_fx *features, kml_fx *out, uint64_t *number);
/* Whether this processor's sampler wants a sample whose prediction was this; without a share it wants all. */
bool kml_predictor_wants(struct kml_predictor *predictor, const kml_fx *prediction);

/* kml_model.c */
struct kml_served *kml_served_alloc(size_t size);
int kml_predictor_load(struct kml_predictor *predictor, const void __user *file, size_t length, const char **reason);
int kml_predictor_unload(struct kml_predictor *predictor, const char **reason);
/* The served model's file, to be freed with kvfree.  ERR_PTR: -ENODATA; -ENOSPC above `capacity`, length set. */
void *kml_predictor_save(struct kml_predictor *predictor, uint32_t capacity, uint32_t *length);

/* kml_trainer.c */
int kml_learner_start(struct kml_predictor *predictor, const struct kml_train_call *call, const char **reason);
int kml_learner_stop(struct kml_predictor *predictor); /* -ENODATA: there is none */

/* kml_debugfs.c */
void kml_debugfs_init(void);
void kml_debugfs_exit(void);
void kml_debugfs_add(struct kml_predictor *predictor);
void kml_debugfs_remove(struct kml_predictor *predictor);

/* kml_device.c */
int kml_device_init(void);
void kml_device_exit(void);

#endif
