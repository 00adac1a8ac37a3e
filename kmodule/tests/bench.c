/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the library's functions cost in user space: `bench FOLDER ROUNDS`.
 *
 * FOLDER holds linear.kml, network.kml and tree.kml.  Each round measures everything once, so that whatever else the
 * machine does falls on all alike.  Prints, separated by tabs: name, nanoseconds a call; and at last, of a ring whose
 * reader is slower than its writer, how many records were pushed, popped and dropped.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kml/adapt.h"
#include "kml/float_train.h"
#include "kml/regression.h"
#include "kml/ring.h"
#include "kml/stats.h"

#define SAMPLES 1024u /* different inputs: a branch predictor must not learn them by heart */
#define CALLS 100000u
#define WIDEST 16u
#define RING_SLOTS 1024u
#define OVERLOAD 1000000u

static kml_fx inputs[SAMPLES][WIDEST];
static kml_fx targets[SAMPLES][WIDEST];
static kml_fx scratch[2 * KML_MAX_WIDTH];
static volatile kml_fx sink; /* results are used, or the compiler would leave the calls out */

static struct kml_model *linear, *network, *tree;
static struct kml_trainer *trainer;
static struct kml_float_trainer *linear_float, *network_float;
static struct kml_regression regression;
static struct kml_drift drift;
static struct kml_running running;
static struct kml_sampler sampler;
static struct kml_ring_writer writer;
static struct kml_ring_reader reader;
static struct kml_ring_writer_words writer_words;
static struct kml_ring_reader_words reader_words;

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

static void *allocate(size_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	if (!memory) {
		fprintf(stderr, "no memory\n");
		exit(1);
	}
	memset(memory, 0, size);
	return memory;
}

static struct kml_model *load(const char *folder, const char *name)
{
	static uint8_t file[KML_FILE_MAX_BYTES];
	struct kml_model *model;
	const char *reason = "it cannot be read";
	char path[4096];
	int64_t size = -1;
	size_t length;
	FILE *stream;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	stream = fopen(path, "rb");
	if (stream) {
		length = fread(file, 1, sizeof(file), stream);
		fclose(stream);
		size = kml_model_examine(file, length, &reason);
	}
	if (size < 0 || kml_model_load(allocate(size), size, file, length, &model, &reason)) {
		fprintf(stderr, "%s: %s\n", path, reason);
		exit(1);
	}
	return model;
}

static void prepare(const char *folder)
{
	const struct kml_training training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = KML_FX(0.01), .decay_every = 1,
	};
	uint64_t random = 88172645463325252u; /* xorshift64's customary seed */
	struct kml_model *taught;
	unsigned int i, j;
	void *records;

	for (i = 0; i < SAMPLES; i++) {
		for (j = 0; j < WIDEST; j++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			inputs[i][j] = (kml_fx)(random % (4 * KML_FX_ONE)) - 2 * KML_FX_ONE;
			targets[i][j] = (kml_fx)(random >> 40) % KML_FX_ONE;
		}
	}
	linear = load(folder, "linear.kml");
	network = load(folder, "network.kml");
	tree = load(folder, "tree.kml");
	taught = load(folder, "network.kml");
	if (kml_trainer_create(allocate(kml_trainer_size(taught)), kml_trainer_size(taught), taught, &training, &trainer) ||
	    kml_float_trainer_create(allocate(kml_float_trainer_size(linear)), kml_float_trainer_size(linear), linear,
				     &training, &linear_float) ||
	    kml_float_trainer_create(allocate(kml_float_trainer_size(network)), kml_float_trainer_size(network), network,
				     &training, &network_float) ||
	    kml_regression_init(&regression, 5, false, KML_FX(0.01)) ||
	    kml_drift_init(&drift, KML_FX(0.01), KML_FX(1000), 100) ||
	    kml_sampler_init(&sampler, KML_FX(0.1), KML_FX(0.01), 1)) {
		fprintf(stderr, "the library refused its arguments\n");
		exit(1);
	}
	kml_running_init(&running);
	records = allocate(kml_ring_bytes(RING_SLOTS, 48));
	if (kml_ring_writer_init(&writer, &writer_words, &reader_words, records, RING_SLOTS, 48) ||
	    kml_ring_reader_init(&reader, &writer_words, &reader_words, records, kml_ring_bytes(RING_SLOTS, 48))) {
		fprintf(stderr, "the ring's shape was refused\n");
		exit(1);
	}
}

/* What is measured.  Each gets the number of its input, and gives a number that depends on the result. */
static kml_fx nothing(unsigned int i)
{
	return inputs[i % SAMPLES][0];
}

static kml_fx infer_linear(unsigned int i)
{
	kml_fx out[WIDEST];

	kml_infer(linear, inputs[i % SAMPLES], out, scratch);
	return out[0];
}

static kml_fx infer_network(unsigned int i)
{
	kml_fx out[WIDEST];

	kml_infer(network, inputs[i % SAMPLES], out, scratch);
	return out[0];
}

static kml_fx infer_tree(unsigned int i)
{
	kml_fx out[WIDEST];

	kml_infer(tree, inputs[i % SAMPLES], out, scratch);
	return out[0];
}

static kml_fx infer_linear_float(unsigned int i)
{
	kml_fx out[WIDEST];

	kml_float_infer(linear_float, inputs[i % SAMPLES], out);
	return out[0];
}

static kml_fx infer_network_float(unsigned int i)
{
	kml_fx out[WIDEST];

	kml_float_infer(network_float, inputs[i % SAMPLES], out);
	return out[0];
}

static kml_fx train_network(unsigned int i)
{
	return kml_train(trainer, inputs[i % SAMPLES], targets[i % SAMPLES]);
}

static kml_fx train_network_float(unsigned int i)
{
	return kml_float_train(network_float, inputs[i % SAMPLES], targets[i % SAMPLES]);
}

static kml_fx regression_predict(unsigned int i)
{
	return kml_regression_predict(&regression, inputs[i % SAMPLES]);
}

static kml_fx regression_learn(unsigned int i)
{
	return kml_regression_learn(&regression, inputs[i % SAMPLES], targets[i % SAMPLES][0]);
}

static kml_fx statistics_add(unsigned int i)
{
	kml_running_add(&running, inputs[i % SAMPLES][0]);
	return (kml_fx)running.count;
}

static kml_fx drift_add(unsigned int i)
{
	return kml_drift_add(&drift, targets[i % SAMPLES][0]);
}

static kml_fx sampler_keep(unsigned int i)
{
	return kml_sampler_keep(&sampler, targets[i % SAMPLES][0]);
}

static kml_fx sigmoid(unsigned int i)
{
	return kml_fx_sigmoid(inputs[i % SAMPLES][0]);
}

static kml_fx exponential(unsigned int i)
{
	return kml_fx_exp(inputs[i % SAMPLES][0]);
}

static kml_fx logarithm(unsigned int i)
{
	return kml_fx_log(targets[i % SAMPLES][0]);
}

static kml_fx square_root(unsigned int i)
{
	return kml_fx_sqrt(targets[i % SAMPLES][0]);
}

static kml_fx divide(unsigned int i)
{
	return kml_fx_div(inputs[i % SAMPLES][0], inputs[i % SAMPLES][1]);
}

/* A sample of 5 inputs and 4 targets, as it is collected, and every half ring read again by the same processor. */
static kml_fx push(unsigned int i)
{
	struct kml_record *record = kml_ring_reserve(&writer);

	if (!record) {
		kml_ring_drop(&writer);
		return 0;
	}
	memcpy(record->values, inputs[i % SAMPLES], 5 * sizeof(kml_fx));
	memcpy(record->values + 5, targets[i % SAMPLES], 4 * sizeof(kml_fx));
	kml_ring_commit(&writer);
	return 1;
}

struct figure {
	const char *name;
	kml_fx (*call)(unsigned int i);
};

static const struct figure figures[] = {
	{ "nothing", nothing }, /* the loop itself, contained in all others */
	{ "infer-linear-fixed", infer_linear },
	{ "infer-network-fixed", infer_network },
	{ "infer-tree-fixed", infer_tree },
	{ "infer-linear-float", infer_linear_float },
	{ "infer-network-float", infer_network_float },
	{ "train-network-fixed", train_network },
	{ "train-network-float", train_network_float },
	{ "regression-predict", regression_predict },
	{ "regression-learn", regression_learn },
	{ "statistics-add", statistics_add },
	{ "drift-add", drift_add },
	{ "sampler-keep", sampler_keep },
	{ "sigmoid", sigmoid },
	{ "exp", exponential },
	{ "log", logarithm },
	{ "sqrt", square_root },
	{ "div", divide },
};

/* Which input a call gets depends on the result before it: calls that do not overlap, as in the middle of other code. */
static void measure(const struct figure *figure)
{
	double began = now_ns();
	kml_fx last = 0;
	unsigned int i;

	for (i = 0; i < CALLS; i++)
		last = figure->call(i + (last & 1));
	sink = last;
	printf("%s\t%.3f\n", figure->name, (now_ns() - began) / CALLS);
}

/* Fill half the ring, empty it, and so on, each half timed by itself. */
static void measure_ring(void)
{
	static uint8_t out[RING_SLOTS / 2 * 48];
	double pushing = 0, popping = 0, began;
	unsigned int i, turn;
	kml_fx sum = 0;

	for (turn = 0; turn < CALLS / (RING_SLOTS / 2); turn++) {
		began = now_ns();
		for (i = 0; i < RING_SLOTS / 2; i++)
			sum += push(i);
		pushing += now_ns() - began;
		began = now_ns();
		sum += (kml_fx)kml_ring_pop(&reader, out, RING_SLOTS / 2);
		popping += now_ns() - began;
	}
	sink = sum;
	printf("ring-push\t%.3f\n", pushing / (turn * (RING_SLOTS / 2)));
	printf("ring-pop\t%.3f\n", popping / (turn * (RING_SLOTS / 2)));
}

static uint64_t popped;
static uint32_t writing = 1;

/* A reader that works on each record, and so cannot follow. */
static void *read_slowly(void *unused)
{
	const struct kml_record *record;
	kml_fx out[WIDEST];

	(void)unused;
	for (;;) {
		bool last = !kml_load_acquire(&writing);

		while ((record = kml_ring_peek(&reader))) {
			kml_float_train(network_float, record->values, record->values + 5);
			kml_float_infer(network_float, record->values, out);
			sink = out[0];
			kml_ring_release(&reader);
			popped++;
		}
		if (last)
			return NULL;
	}
}

static void overload(void)
{
	uint64_t dropped = writer.dropped;
	pthread_t thread;
	unsigned int i;

	if (pthread_create(&thread, NULL, read_slowly, NULL)) {
		fprintf(stderr, "no thread\n");
		exit(1);
	}
	for (i = 0; i < OVERLOAD; i++)
		push(i ^ (infer_network(i) & 1)); /* as an I/O path does: predict, then collect */
	kml_store_release(&writing, 0);
	pthread_join(thread, NULL);
	printf("overload\t%u\t%llu\t%llu\n", OVERLOAD, (unsigned long long)popped,
	       (unsigned long long)(writer.dropped - dropped));
}

int main(int count, char **words)
{
	unsigned int i;
	long round;

	if (count != 3) {
		fprintf(stderr, "usage: bench FOLDER ROUNDS\n");
		return 2;
	}
	prepare(words[1]);
	for (round = strtol(words[2], NULL, 10); round > 0; round--) {
		for (i = 0; i < sizeof(figures) / sizeof(*figures); i++)
			measure(&figures[i]);
		measure_ring();
	}
	overload();
	return 0;
}
