/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The model file, version 1.  Little-endian; all parts follow one another without gaps, in this order:
 *
 *   struct kml_file_header
 *   struct kml_file_feature  [inputs]        name, and how it is normalised: (x - shift) * scale
 *   network:  struct kml_file_layer [parts]  then, for each linear layer, weights [outputs][inputs] and bias [outputs]
 *   tree:     struct kml_file_node  [parts]  then values [leaves][outputs]; every node is reached, and from one other
 *
 * Numbers (shift, scale, weights, bias, thresholds, values) are Q16.16, or binary32 if `number` says so.
 * No offset is stored: a reader derives each from the counts before it, and `length` must be what they add up to.
 */
#ifndef KML_MODEL_ABI_H
#define KML_MODEL_ABI_H

#include "kml_deps.h"

#define KML_FILE_MAGIC 0x4d4c4d4bu /* "KMLM" */
#define KML_FILE_VERSION 1
#define KML_NAME_BYTES 32

/* Limits that a reader enforces before it trusts a count; with them no size overflows 32 bits. */
#define KML_MAX_WIDTH 256  /* inputs or outputs of a model or of a layer */
#define KML_MAX_LAYERS 16
#define KML_MAX_NODES 16384
#define KML_MAX_DEPTH 32   /* of a tree */
#define KML_FILE_MAX_BYTES (1u << 20)

enum kml_model_kind {
	KML_NETWORK = 1,
	KML_TREE = 2,
};

enum kml_number {
	KML_NUMBER_FIXED = 1, /* Q16.16 */
	KML_NUMBER_FLOAT = 2, /* IEEE 754 binary32; NaN and infinities are refused */
};

enum kml_layer_type {
	KML_LINEAR = 1,  /* out = weights * in + bias */
	KML_RELU = 2,
	KML_SIGMOID = 3,
	KML_TANH = 4,
	KML_SOFTMAX = 5, /* only as the last */
};

struct kml_file_header {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes; /* of this structure */
	uint32_t length;       /* of the whole file */
	uint32_t crc32;        /* IEEE 802.3, of the bytes from `kind` to the end */
	uint8_t kind;          /* enum kml_model_kind */
	uint8_t number;        /* enum kml_number */
	uint16_t inputs;
	uint16_t outputs;
	uint16_t parts;        /* layers of a network, nodes of a tree */
	uint16_t leaves;       /* of a tree; else 0 */
	uint16_t reserved[3];  /* 0 */
	char name[KML_NAME_BYTES]; /* NUL-padded, at least one NUL */
};

struct kml_file_feature {
	char name[KML_NAME_BYTES]; /* NUL-padded, at least one NUL */
	uint32_t shift;            /* a number */
	uint32_t scale;            /* a number */
};

struct kml_file_layer {
	uint16_t type; /* enum kml_layer_type */
	uint16_t inputs;
	uint16_t outputs;
	uint16_t reserved; /* 0 */
};

struct kml_file_node {
	int16_t feature;    /* index; -1: a leaf */
	uint16_t left;      /* feature <= threshold: a node behind this one; of a leaf: index of its values */
	uint16_t right;     /* else: a node behind this one; of a leaf: 0 */
	uint16_t reserved;  /* 0 */
	uint32_t threshold; /* a number, compared with the normalised feature; of a leaf: 0 */
};

_Static_assert(sizeof(struct kml_file_header) == 64, "part of the file format");
_Static_assert(sizeof(struct kml_file_feature) == 40, "part of the file format");
_Static_assert(sizeof(struct kml_file_layer) == 8, "part of the file format");
_Static_assert(sizeof(struct kml_file_node) == 12, "part of the file format");

#endif
