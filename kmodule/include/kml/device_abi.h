/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * /dev/kml, version 1.  It can only be opened with CAP_SYS_ADMIN.
 *
 * The device holds *predictors*: a model in use inside the kernel, with rings that collect samples for it, perhaps a
 * trainer, and counters.  Other kernel modules make their own (kml/predictor.h); a process makes one with KML_CREATE,
 * and it goes when that file is closed.
 *
 * Numbers are Q16.16.  Reserved fields and unknown flags must be 0 (-EINVAL), pointers are 64 bits wide.
 */
#ifndef KML_DEVICE_ABI_H
#define KML_DEVICE_ABI_H

#include <linux/ioctl.h>

#include "kml/model_abi.h"
#include "kml/ring_abi.h"
#include "kml/train.h"

#define KML_DEVICE_VERSION 1
#define KML_MAX_PREDICTORS 64
#define KML_PREDICTOR_MAX_WIDTH 32 /* of models used in the kernel: their scratch memory is on the stack */
#define KML_MAX_COUNT 65536        /* samples in one call */

enum kml_ring_mode {
	KML_DROPPING = 1, /* a record that finds no room is dropped and counted */
	KML_BLOCKING = 2, /* its writer waits, or is told -EAGAIN where it cannot sleep: none is lost */
};

enum kml_consumer {
	KML_CONSUMER_KERNEL_FIXED = 1, /* a kernel thread trains in fixed point */
	KML_CONSUMER_KERNEL_FLOAT = 2, /* a kernel thread trains in binary32, within short FPU sections */
	KML_CONSUMER_USER = 3,         /* a process maps the rings */
};

/* A record's values are inputs, then targets. */
struct kml_create {
	char name[KML_NAME_BYTES]; /* letters, digits, '-', '_'; NUL-padded; -EEXIST */
	uint16_t inputs;           /* 1 to KML_PREDICTOR_MAX_WIDTH */
	uint16_t outputs;          /* 1 to KML_PREDICTOR_MAX_WIDTH */
	uint8_t mode;              /* enum kml_ring_mode */
	uint8_t consumer;          /* enum kml_consumer */
	uint16_t reserved;
	uint32_t slots;            /* of each processor's ring */
	int32_t share;             /* of the samples that KML_COLLECT_SAMPLED keeps; 0: all */
	int32_t explore;
	uint32_t id;               /* out */
};

struct kml_shape {
	uint32_t id;             /* in; 0: by name */
	uint32_t reserved;
	char name[KML_NAME_BYTES]; /* in or out; -ENOENT */
	uint16_t inputs;
	uint16_t outputs;
	uint8_t mode;
	uint8_t consumer;
	uint16_t rings;          /* one a possible processor */
	uint32_t slots;
	uint32_t record_bytes;
	uint64_t record_area;    /* bytes to map for KML_MAP_RECORDS */
	uint32_t page;           /* bytes to map for the two others */
	uint32_t next;           /* id of the next predictor; 0: this is the last */
};

struct kml_transfer {
	uint32_t id;
	uint32_t length; /* of the file, or of the buffer; out: bytes written */
	uint64_t file;   /* pointer */
};

struct kml_infer_call {
	uint32_t id;
	uint32_t count;    /* 1 to KML_MAX_COUNT */
	uint64_t inputs;   /* pointer to [count][inputs] */
	uint64_t outputs;  /* pointer to [count][outputs] */
	uint64_t time_ns;  /* out: spent predicting, copies not counted */
	uint64_t model;    /* out: number of the model that was used last; each load or publication counts one */
};

enum kml_collect_flags {
	KML_COLLECT_WAIT = 1,    /* in blocking mode: wait for room */
	KML_COLLECT_SAMPLED = 2, /* only samples that the model is unsure of */
};

struct kml_collect_call {
	uint32_t id;
	uint32_t count;    /* 1 to KML_MAX_COUNT */
	uint64_t values;   /* pointer to [count][inputs + outputs] */
	uint32_t flags;
	uint32_t accepted; /* out: in a ring */
	uint32_t dropped;  /* out */
	uint32_t skipped;  /* out: by sampling */
	uint64_t time_ns;  /* out: spent collecting, copies from the process not counted */
};

/* Start training; the predictor needs a model (-ENODATA) and a kernel consumer (-EOPNOTSUPP). */
struct kml_train_call {
	uint32_t id;
	uint32_t publish_every;       /* updates between two publications of the trained model; at least 1 */
	struct kml_training training;
	uint32_t adapt_samples;       /* 0: learn from every sample; else only so many after each drift */
	int32_t drift_tolerance;
	int32_t drift_threshold;
	uint32_t drift_warm_up;
};

enum kml_function {
	KML_FUNCTION_EXP = 1,
	KML_FUNCTION_LOG = 2,
	KML_FUNCTION_SQRT = 3,
	KML_FUNCTION_SIGMOID = 4,
	KML_FUNCTION_TANH = 5,
	KML_FUNCTION_SOFTMAX = 6, /* over all of `in`, at most KML_MAX_WIDTH */
	KML_FUNCTION_DIV = 7,     /* in: dividend, divisor, dividend, ... */
	KML_FUNCTION_MUL = 8,     /* likewise */
};

/* The core's functions as this kernel computes them, for checks. */
struct kml_math_call {
	uint32_t function; /* enum kml_function */
	uint32_t count;    /* of results, 1 to KML_MAX_COUNT */
	uint64_t in;
	uint64_t out;
	uint64_t time_ns;  /* out */
};

struct kml_statistics {
	uint32_t id;
	uint32_t model_bytes;  /* of memory; 0: no model */
	uint64_t models;       /* loaded or published so far: number of the present one */
	uint64_t loads;        /* by KML_LOAD */
	uint64_t refused;      /* files that were not accepted */
	uint64_t predictions;
	uint64_t without_model; /* predictions refused for want of a model */
	uint64_t pushed;       /* wanted to be collected: in a ring or dropped */
	uint64_t popped;
	uint64_t dropped;
	uint64_t skipped;      /* by sampling */
	uint64_t bad_tails;
	uint64_t waits;        /* for room, in blocking mode */
	uint64_t trained;      /* samples learned from */
	uint64_t updates;
	uint64_t publications;
	uint64_t adaptations;  /* begun by drift */
	uint64_t train_ns;     /* spent learning */
	uint64_t fpu_sections;
	uint64_t fpu_longest_ns;
	int32_t loss;          /* fading mean of the samples' losses, over about 256 */
	uint8_t training;      /* whether it is */
	uint8_t reserved[3];
};

_Static_assert(sizeof(struct kml_create) == 56, "part of the ABI");
_Static_assert(sizeof(struct kml_shape) == 72, "part of the ABI");
_Static_assert(sizeof(struct kml_transfer) == 16, "part of the ABI");
_Static_assert(sizeof(struct kml_infer_call) == 40, "part of the ABI");
_Static_assert(sizeof(struct kml_collect_call) == 40, "part of the ABI");
_Static_assert(sizeof(struct kml_train_call) == 48, "part of the ABI");
_Static_assert(sizeof(struct kml_math_call) == 32, "part of the ABI");
_Static_assert(sizeof(struct kml_statistics) == 160, "part of the ABI");

#define KML_IOC 0xCB
#define KML_VERSION _IOR(KML_IOC, 0, uint32_t)
#define KML_CREATE _IOWR(KML_IOC, 1, struct kml_create)
#define KML_SHAPE _IOWR(KML_IOC, 2, struct kml_shape)   /* id 0 and no name: the first predictor; -ENOENT: none */
#define KML_ATTACH _IOW(KML_IOC, 3, uint32_t)           /* this file maps that predictor's rings; -EBUSY: another does */
#define KML_LOAD _IOW(KML_IOC, 4, struct kml_transfer)
#define KML_SAVE _IOWR(KML_IOC, 5, struct kml_transfer) /* -ENODATA: no model; -ENOSPC: `length` says what it takes */
#define KML_UNLOAD _IOW(KML_IOC, 6, uint32_t)           /* its model goes; -ENODATA */
#define KML_INFER _IOWR(KML_IOC, 7, struct kml_infer_call)
#define KML_COLLECT _IOWR(KML_IOC, 8, struct kml_collect_call)
#define KML_TRAIN _IOW(KML_IOC, 9, struct kml_train_call) /* -EBUSY: it trains already */
#define KML_STOP _IOW(KML_IOC, 10, uint32_t)            /* drain the rings, publish, stop; -ENODATA: it does not train */
#define KML_STATISTICS _IOWR(KML_IOC, 11, struct kml_statistics)
#define KML_MATH _IOWR(KML_IOC, 12, struct kml_math_call)

/* Offsets for mmap on a file that is attached (creating attaches). */
enum kml_map {
	KML_MAP_WRITER = 0,  /* struct kml_ring_writer_words, read-only */
	KML_MAP_RECORDS = 1, /* read-only */
	KML_MAP_READER = 2,  /* struct kml_ring_reader_words */
};
#define KML_MAP_OFFSET(ring, area) (((uint64_t)(ring) * 4 + (area)) << 32)

#endif
