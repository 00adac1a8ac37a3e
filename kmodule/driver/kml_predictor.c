// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Predictors: made, listed, found, counted, and freed with their last user. */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "kml/request.h"
#include "kml_driver.h"

static DEFINE_MUTEX(kml_predictors_lock);
static LIST_HEAD(kml_predictors);
static unsigned int kml_predictor_count;
static uint32_t kml_last_id;
static atomic_long_t kml_ring_bytes_taken;

static size_t kml_ring_area(const struct kml_predictor *predictor)
{
	return 2 * PAGE_SIZE + predictor->record_area;
}

/* All rings together may take an eighth of memory: it is not swapped, and root's mistakes should not end in the OOM. */
static bool kml_rings_charge(size_t bytes)
{
	unsigned long most = totalram_pages() / 8 * PAGE_SIZE;

	if (bytes <= most && (unsigned long)atomic_long_add_return(bytes, &kml_ring_bytes_taken) <= most)
		return true;
	if (bytes <= most)
		atomic_long_sub(bytes, &kml_ring_bytes_taken);
	return false;
}

static void kml_rings_free(struct kml_predictor *predictor)
{
	unsigned int ring;

	for (ring = 0; predictor->memory && ring < predictor->rings; ring++)
		vfree(predictor->memory[ring].pages);
	kfree(predictor->memory);
	free_percpu(predictor->cpu_rings);
}

static int kml_ring_make(struct kml_predictor *predictor, struct kml_ring_memory *memory, struct kml_cpu_ring *ring)
{
	void *records;
	int status;

	memory->pages = vmalloc_user(kml_ring_area(predictor));
	if (!memory->pages)
		return -ENOMEM;
	records = memory->pages + 2 * PAGE_SIZE;
	status = kml_ring_writer_init(&ring->writer, memory->pages, memory->pages + PAGE_SIZE, records,
				      predictor->slots, predictor->record_bytes);
	if (!status)
		status = kml_ring_reader_init(&memory->reader, memory->pages, memory->pages + PAGE_SIZE, records,
					      predictor->record_area);
	ring->inputs = predictor->inputs;
	ring->outputs = predictor->outputs;
	ring->blocking = predictor->mode == KML_BLOCKING;
	return status;
}

static int kml_rings_make(struct kml_predictor *predictor)
{
	unsigned int ring = 0;
	int processor, status;

	predictor->cpu_rings = alloc_percpu(struct kml_cpu_ring);
	predictor->memory = kcalloc(predictor->rings, sizeof(*predictor->memory), GFP_KERNEL);
	if (!predictor->cpu_rings || !predictor->memory)
		return -ENOMEM;
	for_each_possible_cpu(processor) {
		status = kml_ring_make(predictor, &predictor->memory[ring++],
				       per_cpu_ptr(predictor->cpu_rings, processor));
		if (status)
			return status;
	}
	return 0;
}

static int kml_samplers_make(struct kml_predictor *predictor, kml_fx explore)
{
	int processor, status;

	predictor->cpu = alloc_percpu(struct kml_cpu);
	if (!predictor->cpu)
		return -ENOMEM;
	if (!predictor->share)
		return 0;
	for_each_possible_cpu(processor) {
		status = kml_sampler_init(&per_cpu_ptr(predictor->cpu, processor)->sampler, predictor->share, explore,
					  processor + 1);
		if (status)
			return status;
	}
	return 0;
}

static void kml_predictor_free(struct kml_predictor *predictor)
{
	atomic_long_sub(predictor->rings * kml_ring_area(predictor), &kml_ring_bytes_taken);
	kml_rings_free(predictor);
	free_percpu(predictor->cpu);
	kvfree(rcu_dereference_protected(predictor->served, true)); /* no caller is left */
	mutex_destroy(&predictor->lock);
	kfree(predictor);
}

static void kml_predictor_release(struct kref *references)
{
	kml_predictor_free(container_of(references, struct kml_predictor, references));
}

static struct kml_predictor *kml_find_name(const char *name)
{
	struct kml_predictor *predictor;

	list_for_each_entry(predictor, &kml_predictors, entry)
		if (!strcmp(predictor->name, name))
			return predictor;
	return NULL;
}

static struct kml_predictor *kml_find_id(uint32_t id)
{
	struct kml_predictor *predictor;

	list_for_each_entry(predictor, &kml_predictors, entry)
		if (predictor->id == id)
			return predictor;
	return NULL;
}

/* Ids are not used again until all 2^32 were, so that a late call hits no stranger. */
static int kml_predictor_enlist(struct kml_predictor *predictor, const char **reason)
{
	int status = 0;

	mutex_lock(&kml_predictors_lock);
	if (kml_find_name(predictor->name)) {
		*reason = "there is a predictor of this name";
		status = -EEXIST;
	} else if (kml_predictor_count == KML_MAX_PREDICTORS) {
		*reason = "there are KML_MAX_PREDICTORS predictors";
		status = -ENOSPC;
	} else {
		do {
			kml_last_id++;
		} while (!kml_last_id || kml_find_id(kml_last_id));
		predictor->id = kml_last_id;
		kml_predictor_count++;
		list_add_tail(&predictor->entry, &kml_predictors);
	}
	mutex_unlock(&kml_predictors_lock);
	return status;
}

struct kml_predictor *kml_predictor_make(const struct kml_create *request, const char **reason)
{
	struct kml_predictor *predictor;
	int status = kml_request_create(request, reason);

	if (status)
		return ERR_PTR(status);
	predictor = kzalloc(sizeof(*predictor), GFP_KERNEL);
	if (!predictor)
		return ERR_PTR(-ENOMEM);
	kref_init(&predictor->references);
	mutex_init(&predictor->lock);
	memcpy(predictor->name, request->name, sizeof(predictor->name));
	predictor->inputs = request->inputs;
	predictor->outputs = request->outputs;
	predictor->mode = request->mode;
	predictor->consumer = request->consumer;
	predictor->share = request->share;
	predictor->slots = request->slots;
	predictor->record_bytes = ALIGN(sizeof(struct kml_record) +
					(request->inputs + request->outputs) * sizeof(kml_fx), 8);
	predictor->record_area = PAGE_ALIGN(kml_ring_bytes(predictor->slots, predictor->record_bytes));
	predictor->rings = num_possible_cpus();
	if (!kml_rings_charge(predictor->rings * kml_ring_area(predictor))) {
		*reason = "rings may take an eighth of memory";
		kfree(predictor);
		return ERR_PTR(-ENOMEM);
	}
	status = kml_rings_make(predictor);
	if (!status)
		status = kml_samplers_make(predictor, request->explore);
	if (!status)
		status = kml_predictor_enlist(predictor, reason);
	if (status) {
		kml_predictor_free(predictor);
		return ERR_PTR(status);
	}
	kml_debugfs_add(predictor);
	return predictor;
}

struct kml_predictor *kml_predictor_create(const struct kml_predictor_spec *spec)
{
	struct kml_create request = {
		.inputs = spec->inputs,
		.outputs = spec->outputs,
		.mode = spec->mode,
		.consumer = spec->consumer,
		.slots = spec->slots,
		.share = spec->share,
		.explore = spec->explore,
	};
	const char *reason = "memory is short";
	struct kml_predictor *predictor;

	/* A name that is too long keeps no NUL, and is refused for that. */
	memcpy(request.name, spec->name, strnlen(spec->name, sizeof(request.name)));
	predictor = kml_predictor_make(&request, &reason);
	if (IS_ERR(predictor))
		kml_log_refusal("kml_predictor_create", PTR_ERR(predictor), reason);
	return predictor;
}
EXPORT_SYMBOL_GPL(kml_predictor_create);

void kml_predictor_destroy(struct kml_predictor *predictor)
{
	if (IS_ERR_OR_NULL(predictor))
		return;
	set_bit(KML_DEAD, &predictor->flags);
	kml_learner_stop(predictor);
	kml_debugfs_remove(predictor); /* waits for those who read there */
	mutex_lock(&kml_predictors_lock);
	list_del(&predictor->entry);
	kml_predictor_count--;
	mutex_unlock(&kml_predictors_lock);
	kml_predictor_put(predictor);
}
EXPORT_SYMBOL_GPL(kml_predictor_destroy);

struct kml_predictor *kml_predictor_find(uint32_t id, const char *name, uint32_t *next)
{
	struct kml_predictor *predictor;

	mutex_lock(&kml_predictors_lock);
	if (id)
		predictor = kml_find_id(id);
	else if (*name)
		predictor = kml_find_name(name);
	else
		predictor = list_first_entry_or_null(&kml_predictors, struct kml_predictor, entry);
	if (predictor) {
		kref_get(&predictor->references);
		*next = list_is_last(&predictor->entry, &kml_predictors) ? 0 : list_next_entry(predictor, entry)->id;
	}
	mutex_unlock(&kml_predictors_lock);
	return predictor;
}

struct kml_predictor *kml_predictor_get(uint32_t id)
{
	uint32_t next;

	return id ? kml_predictor_find(id, "", &next) : NULL;
}

void kml_predictor_put(struct kml_predictor *predictor)
{
	kref_put(&predictor->references, kml_predictor_release);
}

bool kml_predictors_exist(void)
{
	return kml_predictor_count;
}

/* Counters */

static void kml_count_cpu(const struct kml_cpu *cpu, struct kml_statistics *statistics)
{
	statistics->predictions += READ_ONCE(cpu->predictions);
	statistics->without_model += READ_ONCE(cpu->without_model);
	statistics->skipped += READ_ONCE(cpu->skipped);
	statistics->waits += READ_ONCE(cpu->waits);
}

/* What a reader in user space says to have read counts only as far as its writer would believe it. */
static void kml_count_ring(const struct kml_ring_writer *writer, struct kml_statistics *statistics)
{
	uint64_t believed = READ_ONCE(writer->tail);
	uint64_t tail = smp_load_acquire(&writer->reader->tail);
	uint64_t head = READ_ONCE(writer->head);
	uint64_t dropped = READ_ONCE(writer->dropped);

	statistics->popped += tail - believed <= head - believed ? tail : believed;
	statistics->pushed += head + dropped;
	statistics->dropped += dropped;
	statistics->bad_tails += READ_ONCE(writer->bad_tails);
}

static void kml_count_progress(const struct kml_progress *progress, struct kml_statistics *statistics)
{
	statistics->trained = READ_ONCE(progress->trained);
	statistics->updates = READ_ONCE(progress->updates);
	statistics->publications = READ_ONCE(progress->publications);
	statistics->adaptations = READ_ONCE(progress->adaptations);
	statistics->train_ns = READ_ONCE(progress->train_ns);
	statistics->fpu_sections = READ_ONCE(progress->fpu_sections);
	statistics->fpu_longest_ns = READ_ONCE(progress->fpu_longest_ns);
	statistics->loss = READ_ONCE(progress->loss);
}

void kml_predictor_statistics(struct kml_predictor *predictor, struct kml_statistics *statistics)
{
	const struct kml_served *served;
	int processor;

	memset(statistics, 0, sizeof(*statistics));
	statistics->id = predictor->id;
	statistics->models = READ_ONCE(predictor->models);
	statistics->loads = READ_ONCE(predictor->loads);
	statistics->refused = atomic64_read(&predictor->refused);
	statistics->training = READ_ONCE(predictor->learner) != NULL;
	kml_count_progress(&predictor->progress, statistics);
	for_each_possible_cpu(processor) {
		kml_count_cpu(per_cpu_ptr(predictor->cpu, processor), statistics);
		kml_count_ring(&per_cpu_ptr(predictor->cpu_rings, processor)->writer, statistics);
	}
	rcu_read_lock();
	served = rcu_dereference(predictor->served);
	statistics->model_bytes = served ? served->model->bytes : 0;
	rcu_read_unlock();
}
