/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * kml_readahead.ko: a read-ahead for each file, and for each device, by how they are read.
 *
 * A probe of the page cache's additions (readahead_main.c) fills a window for each file (windows.c).  A worker takes
 * those that have seen enough, asks the model (decide.c), and gives the answer to the struct files that are open
 * (open_files.c) and to the device, from which files opened later have theirs (devices.c).
 *
 * Locks: kra_control is held by whoever changes devices or the mode, by the worker's rounds and by readers of debugfs;
 * a device's lock guards its windows against the probe, and is inside.
 */
#ifndef KRA_READAHEAD_H
#define KRA_READAHEAD_H

#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "kml/readahead.h"

#define KRA_DEVICES 8
#define KRA_NAME_BYTES 32
#define KRA_READERS 8       /* processes that are remembered as a file's */
#define KRA_HASH_BITS 10
#define KRA_FILES_A_ROUND 64
#define KRA_LEAST_FILES 16
#define KRA_MOST_FILES 16384

enum kra_mode { KRA_OFF, KRA_OBSERVE, KRA_ACT };

/* A change on trial: was it worth it? */
struct kra_trial {
	u32 kib_before;         /* 0: none is on trial */
	u32 windows;            /* since the change */
	kml_fx before[KML_READAHEAD_FEATURES];
};

/* A read-ahead that is being tuned: a file's, or a device's. */
struct kra_tuned {
	u32 kib;
	u32 state;              /* of kml_readahead_choose */
	u32 hold;               /* windows to go until the model is asked again: a change was taken back */
	u32 taken_back;
	struct kra_trial trial;
};

/* Which file: an inode of a file system, or a block device itself (whose number this is then, super being 0). */
struct kra_key {
	u64 inode;
	dev_t super;
};

struct kra_file {
	struct hlist_node by_key;
	struct list_head by_age;    /* all; the one longest not added to first */
	struct list_head active;    /* those added to since they were looked at */
	struct kra_key key;
	bool used;
	bool own;                   /* has a read-ahead of its own, not the device's */
	u64 added_before;           /* when it was last looked at */
	u32 next_reader;
	pid_t readers[KRA_READERS]; /* of thread groups; 0: none */
	struct kra_tuned tuned;
	struct kml_readahead_window window;
};

struct kra_device {
	struct backing_dev_info *bdi;   /* a reference: it stays, but may lose its device */
	char name[KRA_NAME_BYTES];
	u32 kib_original;               /* to be restored */
	u32 choices_given;              /* a bit for each choice that files or the device were given since */
	struct kra_tuned tuned;

	spinlock_t lock;                /* of what follows */
	struct kml_readahead_window window;
	struct kra_file *files;
	u32 file_count;
	struct list_head by_age;
	struct list_head active;
	DECLARE_HASHTABLE(by_key, KRA_HASH_BITS);
	u64 hurried;                    /* when a look was last called for before its time, ns */
	u64 added;                      /* pages */
	u64 evicted;                    /* files that made room for others */
};

struct kra_counters {
	u64 windows;         /* that had seen enough */
	u64 predictions;
	u64 without_model;
	u64 wanted;          /* changes that the model asked for */
	u64 files_changed;   /* struct files that were given another read-ahead */
	u64 files_left;      /* not changed, since somebody else chose their read-ahead */
	u64 devices_changed;
	u64 taken_back;      /* changes after which reading was slower */
	u64 restored;        /* struct files */
	u64 rounds;
	u64 round_ns;
	u64 round_longest_ns;
};

/* What a window said, and what came of it. */
struct kra_record {
	u64 now;
	struct kra_key key;  /* both 0: the device's */
	char device[KRA_NAME_BYTES];
	u32 kib;
	u32 kib_decided;
	kml_fx features[KML_READAHEAD_FEATURES];
};

extern struct mutex kra_control;
extern enum kra_mode kra_mode;
extern struct kra_device __rcu *kra_devices[KRA_DEVICES];
extern struct kra_counters kra_counters;
extern struct kml_predictor *kra_predictor;

static inline u32 kra_pages(u32 kib)
{
	return max_t(u32, kib >> (PAGE_SHIFT - 10), kib ? 1 : 0);
}

static inline u32 kra_kib(unsigned long pages)
{
	return (u32)min_t(unsigned long, pages, U32_MAX >> (PAGE_SHIFT - 10)) << (PAGE_SHIFT - 10);
}

static inline struct kra_key kra_key_of(const struct inode *inode)
{
	struct kra_key key = { .inode = inode->i_ino, .super = inode->i_sb->s_dev };

	if (S_ISBLK(inode->i_mode)) {
		key.inode = inode->i_rdev;
		key.super = 0;
	}
	return key;
}

static inline bool kra_same_key(struct kra_key a, struct kra_key b)
{
	return a.inode == b.inode && a.super == b.super;
}

/* readahead_main.c.  With kra_control held. */
int kra_set_mode(enum kra_mode mode);
int kra_watch_or_not(void);
void kra_wake_worker(bool hurry);

/* devices.c.  With kra_control held; loops use RCU or kra_control. */
int kra_set_devices(char *names);
struct kra_device *kra_device(unsigned int at);
void kra_restore(struct kra_device *device);
void kra_give_device(struct kra_device *device, u32 kib);
bool kra_device_is_gone(const struct kra_device *device);
void kra_mark_given(struct kra_device *device, u32 kib);
bool kra_is_ours(const struct kra_device *device, u32 kib);

/* windows.c */
int kra_windows_init(struct kra_device *device, u32 file_count);
void kra_windows_exit(struct kra_device *device);
void kra_windows_begin(struct kra_device *device, u64 now);
bool kra_added(struct kra_device *device, struct kra_key key, u64 index, u32 pages);
bool kra_next_window(struct kra_device *device, struct list_head *round, u64 now, struct kra_file *copy,
		     kml_fx *features);
void kra_update_file(struct kra_device *device, const struct kra_file *copy, bool begin, u64 now);
bool kra_device_window(struct kra_device *device, u64 now, kml_fx *features);

/* decide.c: what the read-ahead should be from now on. */
u32 kra_decide(struct kra_tuned *tuned, const kml_fx *features);
void kra_hold(struct kra_tuned *tuned);

/* open_files.c.  May sleep. */
struct kra_found {
	u32 kib;      /* of the first struct file that was found; 0: none was */
	u32 changed;
	u32 left;
};
/* The struct files of one file that its readers have open: give them a read-ahead, or with kib = 0 only look. */
struct kra_found kra_visit_readers(struct kra_device *device, const struct kra_file *file, u32 kib);
/* All struct files of a device: whatever has a read-ahead that was given gets the original one; how many there were. */
u64 kra_restore_files(struct kra_device *device);

/* report.c */
void kra_report_init(void);
void kra_report_exit(void);
void kra_record(const struct kra_device *device, const struct kra_file *file, u32 kib, u32 kib_decided,
		const kml_fx *features, u64 now);

/* parameters.c */
extern unsigned int kra_interval_ms;
extern unsigned int kra_calm;
extern unsigned int kra_file_count;
int kra_parameters_init(void);
void kra_parameters_exit(void);

#endif
