/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: calls of /dev/kml, and small models, streams and rings to call it with. */
#ifndef KML_CHECK_DEVICE_H
#define KML_CHECK_DEVICE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../check.h"
#include "kml/device_abi.h"
#include "kml/model.h"
#include "kml/ring.h"
#include "kml/train.h"

#define MOST_PROCESSORS 64

/* What a check found out, as a line of three columns: check, what, value. */
static void figure(const char *what, long long value)
{
	printf("%s\t%s\t%lld\n", check.running, what, value);
	fflush(stdout);
}

static void need(bool holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

/* 0, or a negative errno value. */
static int call(int device, unsigned long code, void *argument)
{
	return ioctl(device, code, argument) < 0 ? -errno : 0;
}

static int open_device(void)
{
	int device = open("/dev/kml", O_RDWR | O_CLOEXEC);

	need(device >= 0, "/dev/kml");
	return device;
}

/* Calls */

static struct kml_create description(const char *name, unsigned int inputs, unsigned int outputs,
				     enum kml_ring_mode mode, enum kml_consumer consumer, uint32_t slots)
{
	struct kml_create create = {
		.inputs = (uint16_t)inputs, .outputs = (uint16_t)outputs, .mode = (uint8_t)mode,
		.consumer = (uint8_t)consumer, .slots = slots,
	};

	snprintf(create.name, sizeof(create.name), "%s", name);
	return create;
}

static uint32_t create(int device, const char *name, unsigned int inputs, unsigned int outputs,
		       enum kml_ring_mode mode, enum kml_consumer consumer, uint32_t slots)
{
	struct kml_create made = description(name, inputs, outputs, mode, consumer, slots);

	CHECK_EQUAL(call(device, KML_CREATE, &made), 0);
	return made.id;
}

static struct kml_statistics statistics_of(int device, uint32_t id)
{
	struct kml_statistics statistics = { .id = id };

	CHECK_EQUAL(call(device, KML_STATISTICS, &statistics), 0);
	return statistics;
}

static struct kml_shape shape_of(int device, uint32_t id)
{
	struct kml_shape shape = { .id = id };

	CHECK_EQUAL(call(device, KML_SHAPE, &shape), 0);
	return shape;
}

static int load(int device, uint32_t id, const void *file, size_t length)
{
	struct kml_transfer transfer = { .id = id, .length = (uint32_t)length, .file = (uintptr_t)file };

	return call(device, KML_LOAD, &transfer);
}

static int infer(int device, uint32_t id, const kml_fx *in, kml_fx *out, uint32_t count)
{
	struct kml_infer_call infer = {
		.id = id, .count = count, .inputs = (uintptr_t)in, .outputs = (uintptr_t)out,
	};

	return call(device, KML_INFER, &infer);
}

static int collect(int device, uint32_t id, const kml_fx *values, uint32_t count, uint32_t flags,
		   struct kml_collect_call *result)
{
	*result = (struct kml_collect_call){ .id = id, .count = count, .values = (uintptr_t)values, .flags = flags };
	return call(device, KML_COLLECT, result);
}

static int train(int device, uint32_t id, const struct kml_training *training, uint32_t publish_every)
{
	struct kml_train_call train = { .id = id, .publish_every = publish_every, .training = *training };

	return call(device, KML_TRAIN, &train);
}

/* Models */

struct small_model {
	struct kml_model *model;
	uint32_t length; /* of the file */
	uint64_t memory[4096];
	uint64_t file[4096];
};

static void write_file(struct small_model *small)
{
	int64_t length = kml_model_save(small->model, small->file, sizeof(small->file));

	need(length > 0, "kml_model_save");
	small->length = (uint32_t)length;
}

static void make_network(struct small_model *small, unsigned int inputs, const struct kml_layer *layers,
			 unsigned int count, uint64_t seed)
{
	need(!kml_model_create(small->memory, sizeof(small->memory), "check", (uint16_t)inputs, layers,
			       (uint16_t)count, &small->model), "kml_model_create");
	kml_model_randomise(small->model, seed);
	write_file(small);
}

/* inputs -> hidden (tanh) -> outputs */
static void make_two_layers(struct small_model *small, unsigned int inputs, unsigned int hidden, unsigned int outputs,
			    uint64_t seed)
{
	const struct kml_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = (uint16_t)inputs, .outputs = (uint16_t)hidden },
		{ .type = KML_TANH, .inputs = (uint16_t)hidden, .outputs = (uint16_t)hidden },
		{ .type = KML_LINEAR, .inputs = (uint16_t)hidden, .outputs = (uint16_t)outputs },
	};

	make_network(small, inputs, layers, 3, seed);
}

/* Read the served model back; gives the bytes of its file, or a negative errno value. */
static int save(int device, uint32_t id, void *file, size_t capacity)
{
	struct kml_transfer transfer = { .id = id, .length = (uint32_t)capacity, .file = (uintptr_t)file };
	int status = call(device, KML_SAVE, &transfer);

	return status ? status : (int)transfer.length;
}

/* Streams: xorshift64* (Vigna 2016), so that they are the same everywhere. */

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

/* -1 to below 1 */
static kml_fx random_fx(uint64_t *state)
{
	return (kml_fx)(random_number(state) >> 47) - KML_FX_ONE;
}

/* Rings */

struct mapped_ring {
	const struct kml_ring_writer_words *writer;
	const void *records;
	struct kml_ring_reader_words *reader;
};

static void *map(int device, const struct kml_shape *shape, unsigned int ring, enum kml_map area)
{
	size_t bytes = area == KML_MAP_RECORDS ? shape->record_area : shape->page;
	int access = area == KML_MAP_READER ? PROT_READ | PROT_WRITE : PROT_READ;
	void *memory = mmap(NULL, bytes, access, MAP_SHARED, device, (off_t)KML_MAP_OFFSET(ring, area));

	need(memory != MAP_FAILED, "mapping of a ring");
	return memory;
}

static struct mapped_ring map_ring(int device, const struct kml_shape *shape, unsigned int ring)
{
	return (struct mapped_ring){
		.writer = map(device, shape, ring, KML_MAP_WRITER),
		.records = map(device, shape, ring, KML_MAP_RECORDS),
		.reader = map(device, shape, ring, KML_MAP_READER),
	};
}

static void unmap_ring(const struct kml_shape *shape, const struct mapped_ring *ring)
{
	munmap((void *)ring->writer, shape->page);
	munmap((void *)ring->records, shape->record_area);
	munmap(ring->reader, shape->page);
}

static void read_ring(struct kml_ring_reader *reader, const struct kml_shape *shape, const struct mapped_ring *ring)
{
	CHECK_EQUAL(kml_ring_reader_init(reader, ring->writer, ring->reader, ring->records, shape->record_area), 0);
}

/* Processors and threads */

static void run_on(unsigned int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	need(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static unsigned int processors(void)
{
	return (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
}

static pthread_t begin(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	need(!pthread_create(&thread, NULL, run, argument), "pthread_create");
	return thread;
}

#endif
