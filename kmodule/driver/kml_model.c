// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Which model a predictor serves: loaded from a file, swapped while others predict with it, read back. */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kml_driver.h"

struct kml_served *kml_served_alloc(size_t size)
{
	struct kml_served *served = kvzalloc(sizeof(*served) + size, GFP_KERNEL);

	if (served)
		served->size = size;
	return served;
}

static int kml_model_fits(const struct kml_predictor *predictor, const struct kml_model *model, const char **reason)
{
	if (model->inputs != predictor->inputs)
		*reason = "its inputs are not as many as the predictor's";
	else if (model->outputs != predictor->outputs)
		*reason = "its outputs are not as many as the predictor's";
	else if (model->width > KML_PREDICTOR_MAX_WIDTH)
		*reason = "it is wider than KML_PREDICTOR_MAX_WIDTH";
	else
		return 0;
	return -EINVAL;
}

static struct kml_served *kml_served_from_file(const struct kml_predictor *predictor, const void *file, size_t length,
					       const char **reason)
{
	int64_t size = kml_model_examine(file, length, reason);
	struct kml_served *served;
	int status;

	if (size < 0)
		return ERR_PTR(size);
	served = kml_served_alloc(size);
	if (!served)
		return ERR_PTR(-ENOMEM);
	status = kml_model_load(served->memory, size, file, length, &served->model, reason);
	if (!status)
		status = kml_model_fits(predictor, served->model, reason);
	if (!status)
		return served;
	kvfree(served);
	return ERR_PTR(status);
}

/* Put a model, or none, in the place of the present one. */
static int kml_serve(struct kml_predictor *predictor, struct kml_served *served, const char **reason)
{
	struct kml_served *old = NULL;
	int status = 0;

	mutex_lock(&predictor->lock);
	if (predictor->learner) {
		*reason = "the present model is being trained";
		status = -EBUSY;
	} else {
		if (served) {
			served->number = predictor->models + 1;
			WRITE_ONCE(predictor->models, served->number);
			WRITE_ONCE(predictor->loads, predictor->loads + 1);
		}
		old = rcu_replace_pointer(predictor->served, served, lockdep_is_held(&predictor->lock));
		if (!old && !served)
			status = -ENODATA;
	}
	mutex_unlock(&predictor->lock);
	if (old)
		kvfree_rcu(old, rcu);
	return status;
}

static int kml_load_user_file(struct kml_predictor *predictor, const void __user *user, size_t length,
			      const char **reason)
{
	struct kml_served *served;
	void *file;
	int status;

	file = vmemdup_user(user, length); /* copied once: it cannot change between the examination and its use */
	if (IS_ERR(file))
		return PTR_ERR(file);
	served = kml_served_from_file(predictor, file, length, reason);
	kvfree(file);
	if (IS_ERR(served))
		return PTR_ERR(served);
	status = kml_serve(predictor, served, reason);
	if (status)
		kvfree(served);
	return status;
}

int kml_predictor_load(struct kml_predictor *predictor, const void __user *file, size_t length, const char **reason)
{
	int status = -EBUSY;

	if (test_and_set_bit_lock(KML_LOADING, &predictor->flags)) {
		*reason = "another process is loading a model";
	} else {
		status = kml_load_user_file(predictor, file, length, reason);
		clear_bit_unlock(KML_LOADING, &predictor->flags);
	}
	if (status)
		atomic64_inc(&predictor->refused);
	return status;
}

int kml_predictor_unload(struct kml_predictor *predictor, const char **reason)
{
	return kml_serve(predictor, NULL, reason);
}

void *kml_predictor_save(struct kml_predictor *predictor, uint32_t capacity, uint32_t *length)
{
	const struct kml_served *served;
	void *file = ERR_PTR(-ENODATA);
	int64_t written;

	mutex_lock(&predictor->lock); /* only a learner can change the model now, to one of the same size */
	served = rcu_dereference_protected(predictor->served, lockdep_is_held(&predictor->lock));
	if (served) {
		rcu_read_lock();
		*length = kml_model_file_size(rcu_dereference(predictor->served)->model);
		rcu_read_unlock();
		file = *length <= capacity ? kvmalloc(*length, GFP_KERNEL) : ERR_PTR(-ENOSPC);
	}
	if (!IS_ERR_OR_NULL(file)) {
		rcu_read_lock();
		written = kml_model_save(rcu_dereference(predictor->served)->model, file, *length);
		rcu_read_unlock();
		if (WARN_ON(written != *length)) {
			kvfree(file);
			file = ERR_PTR(-EIO);
		}
	}
	mutex_unlock(&predictor->lock);
	return file ? file : ERR_PTR(-ENOMEM);
}
