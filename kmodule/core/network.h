/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the core's own files share about models and layers. */
#ifndef KML_NETWORK_H
#define KML_NETWORK_H

#include "kml/model.h"

/*
 * Examine a network's layers, given its `inputs` and `parts`, and fill in what follows from them: outputs, width,
 * parameter_count and bytes.  -EINVAL, -E2BIG; also for a network whose file would be longer than a file may be.
 */
int kml_network_shape(struct kml_model *shape, const struct kml_layer *layers, const char **reason);

/* Bytes of memory of a model whose counts are known. */
uint32_t kml_model_bytes(const struct kml_model *shape);

/*
 * Point a model, which begins its memory and whose counts are known, to the arrays behind it; a network takes the
 * types and sizes of its layers from `layers`.
 */
void kml_model_arrange(struct kml_model *model, const struct kml_layer *layers);

/* The first linear layer from `first` on, or NULL. */
const struct kml_layer *kml_first_linear(const struct kml_model *model, unsigned int first);

/* Inputs, and outputs of all layers. */
size_t kml_count_activations(const struct kml_model *model);

/* (in - shift) * scale of every feature. */
void kml_normalise(const struct kml_model *model, const kml_fx *in, kml_fx *out);

/* A linear layer; in and out may not overlap. */
void kml_linear_forward(const struct kml_layer *layer, const kml_fx *in, kml_fx *out);

/* A layer of any other type, in place. */
void kml_activate(const struct kml_layer *layer, kml_fx *values);

#endif
