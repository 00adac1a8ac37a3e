/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Inference of a decision tree. */
#ifndef KML_TREE_H
#define KML_TREE_H

#include "kml/model.h"

/* The values of the leaf that normalised features lead to. */
void kml_tree_infer(const struct kml_model *model, const kml_fx *normalised, kml_fx *out);

#endif
