/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * A model in memory: made from a file, or from a list of layers.  All of it lies in memory that the caller gives,
 * of a size that is known before; nothing is allocated later.
 *
 * Errors are negative errno values.  Functions that refuse a file also give the reason as a sentence's clause.
 */
#ifndef KML_MODEL_H
#define KML_MODEL_H

#include "kml/fixed.h"
#include "kml/model_abi.h"

struct kml_layer {
	uint16_t type; /* enum kml_layer_type */
	uint16_t inputs;
	uint16_t outputs;
	kml_fx *weights; /* [outputs][inputs], of a linear layer */
	kml_fx *bias;    /* [outputs] */
};

struct kml_feature {
	char name[KML_NAME_BYTES];
	kml_fx shift;
	kml_fx scale;
};

struct kml_tree_node {
	int16_t feature;
	uint16_t left;
	uint16_t right;
	kml_fx threshold;
};

struct kml_model {
	char name[KML_NAME_BYTES];
	uint8_t kind;      /* enum kml_model_kind */
	uint16_t inputs;
	uint16_t outputs;
	uint16_t width;    /* the widest of inputs and layers */
	uint16_t parts;    /* layers or nodes */
	uint16_t leaves;
	uint32_t bytes;    /* of memory, this structure included */
	struct kml_feature *features; /* [inputs] */
	struct kml_layer *layers;     /* of a network: [parts] */
	struct kml_tree_node *nodes;  /* of a tree: [parts] */
	kml_fx *values;               /* of a tree: [leaves][outputs] */
	kml_fx *parameters;           /* of a network: all weights and biases, in the file's order */
	uint32_t parameter_count;
};

/*
 * Examine a whole file: magic, version, CRC, every count, length, number and index.
 * Gives the bytes of memory that kml_model_load needs, at least sizeof(struct kml_model);
 * else -EINVAL (not a model, damaged), -EPROTONOSUPPORT (another version), -E2BIG (beyond the limits),
 * -ERANGE (a number that does not fit: a weight above KML_WEIGHT_MAX, a binary32 outside Q16.16).
 * `reason`, if not NULL, is set to a constant clause such as "its CRC is wrong".
 */
int64_t kml_model_examine(const void *file, size_t length, const char **reason);

/*
 * Make the model of a file in `memory` (aligned to 8 bytes), converting binary32 to Q16.16 without the FPU.
 * It examines the file itself.  -ENOSPC: `size` is too small.
 */
int kml_model_load(void *memory, size_t size, const void *file, size_t length, struct kml_model **model,
		   const char **reason);

/* Bytes for a network of these layers (weights and bias pointers are ignored); or -EINVAL, -E2BIG. */
int64_t kml_model_size(uint16_t inputs, const struct kml_layer *layers, uint16_t count);

/* Make a network: features named "0", "1", ... and not normalised, parameters 0. */
int kml_model_create(void *memory, size_t size, const char *name, uint16_t inputs, const struct kml_layer *layers,
		     uint16_t count, struct kml_model **model);

/* Copy a model into other memory of at least its `bytes`; -ENOSPC. */
int kml_model_copy(void *memory, size_t size, const struct kml_model *from, struct kml_model **model);

/* Weights from a uniform distribution within sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), biases 0. */
void kml_model_randomise(struct kml_model *model, uint64_t seed);

/* Bytes of its file (numbers as Q16.16). */
size_t kml_model_file_size(const struct kml_model *model);

/* Write its file; gives the bytes written, or -ENOSPC. */
int64_t kml_model_save(const struct kml_model *model, void *file, size_t capacity);

/*
 * Numbers that kml_infer needs as scratch memory.  Everything about a model that can go wrong has been refused when
 * it was loaded: inference cannot fail.  in[inputs], out[outputs]; in and out may not overlap.  It neither writes
 * to the model nor blocks, so any number of processors may use one model at once, each with its own scratch.
 */
static inline size_t kml_infer_scratch(const struct kml_model *model)
{
	return 2 * (size_t)model->width;
}

void kml_infer(const struct kml_model *model, const kml_fx *in, kml_fx *out, kml_fx *scratch);

#endif
