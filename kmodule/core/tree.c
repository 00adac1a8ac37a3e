/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Inference of a decision tree: from the root to a leaf, at most KML_MAX_DEPTH comparisons. */
#include "tree.h"

/* It ends for whatever was loaded: a node's children lie behind it. */
void kml_tree_infer(const struct kml_model *model, const kml_fx *normalised, kml_fx *out)
{
	const struct kml_tree_node *node = model->nodes;
	const kml_fx *values;
	unsigned int i;

	while (node->feature >= 0)
		node = &model->nodes[normalised[node->feature] <= node->threshold ? node->left : node->right];
	values = model->values + (size_t)node->left * model->outputs;
	for (i = 0; i < model->outputs; i++)
		out[i] = values[i];
}
