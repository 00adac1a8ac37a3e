/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The same networks and the same training in binary32.  In the kernel every call but the sizes stands between
 * kml_fpu_begin and kml_fpu_end, in process context: they neither sleep nor allocate, and a call handles one sample.
 * Compiled without contraction (no fused multiply-add) and without library functions, so that the bits are the same
 * on every processor, too.
 *
 * No float crosses the API: samples and results are Q16.16, since callers in the kernel may not touch one.
 */
#ifndef KML_FLOAT_TRAIN_H
#define KML_FLOAT_TRAIN_H

#include "kml/train.h"

struct kml_float_trainer;

/* Bytes of memory, aligned to 8, for the network's parameters in binary32, gradients, momentum and activations. */
size_t kml_float_trainer_size(const struct kml_model *model);

/*
 * Make a trainer that starts from the model's parameters.  It keeps using the model's shape and normalisation, so the
 * model must stay; only kml_float_publish writes to one.
 */
int kml_float_trainer_create(void *memory, size_t size, const struct kml_model *model,
			     const struct kml_training *training, struct kml_float_trainer **trainer);

kml_fx kml_float_train(struct kml_float_trainer *trainer, const kml_fx *in, const kml_fx *target);
void kml_float_trainer_flush(struct kml_float_trainer *trainer);
uint64_t kml_float_trainer_updates(const struct kml_float_trainer *trainer);
int kml_float_trainer_freeze(struct kml_float_trainer *trainer, uint16_t first_layer);
int kml_float_trainer_set_rate(struct kml_float_trainer *trainer, kml_fx rate);

/* Inference with the binary32 parameters. */
void kml_float_infer(struct kml_float_trainer *trainer, const kml_fx *in, kml_fx *out);

/* Round the parameters into a model of the same shape, saturating as train.h says; gives how many did not fit. */
uint32_t kml_float_publish(const struct kml_float_trainer *trainer, struct kml_model *model);

#endif
