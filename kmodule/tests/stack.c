/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How much stack the functions take that may run on an I/O path: prints a line "bytes<TAB>function" for each.
 *
 * Each is called on a stack of its own that was painted before; what is no longer painted afterwards was used, less
 * what a function uses that does nothing.  Two colours, so that a byte that happens to be painted over alike counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "kml/adapt.h"
#include "kml/drift.h"
#include "kml/model.h"
#include "kml/regression.h"
#include "kml/ring.h"
#include "kml/stats.h"
#include "kml/tensor.h"

#define STACK_BYTES 65536
#define RETURN_ADDRESS sizeof(void *)

static uint8_t stack[STACK_BYTES] __attribute__((aligned(16)));
static ucontext_t caller;
static struct {
	void (*call)(void);
	size_t used;
	uint8_t colour;
} painted;

/* What the functions work on. */
static uint8_t memory[65536] __attribute__((aligned(8)));
static kml_fx in[KML_MAX_WIDTH], out[KML_MAX_WIDTH], scratch[2 * KML_MAX_WIDTH], result;
static struct kml_model *network, *tree;
static struct kml_running running;
static struct kml_fading fading;
static struct kml_range range;
static struct kml_drift drift;
static struct kml_sampler sampler;
static struct kml_regression regression;
static struct kml_ring_writer writer;
static struct kml_ring_writer_words words;
static struct kml_ring_reader_words reader;

static void nothing(void)
{
}

static void exponential(void)
{
	result = kml_fx_exp(in[0]);
}

static void logarithm(void)
{
	result = kml_fx_log(KML_FX_ONE + in[0]);
}

static void root(void)
{
	result = kml_fx_sqrt(in[0]);
}

static void quotient(void)
{
	result = kml_fx_div(in[0], in[1]);
}

static void softmax(void)
{
	kml_fx_softmax(in, out, KML_MAX_WIDTH);
}

static void sigmoids(void)
{
	kml_fx_sigmoid_each(out, KML_MAX_WIDTH);
}

static void tanhs(void)
{
	kml_fx_tanh_each(out, KML_MAX_WIDTH);
}

static void multiply(void)
{
	struct kml_tensor matrix = { 15, 5, in };

	kml_tensor_multiply(&matrix, in, NULL, out);
}

static void infer_network(void)
{
	kml_infer(network, in, out, scratch);
}

static void infer_tree(void)
{
	kml_infer(tree, in, out, scratch);
}

static void predict(void)
{
	result = kml_regression_predict(&regression, in);
}

static void learn(void)
{
	result = kml_regression_learn(&regression, in, in[1]);
}

static void add_running(void)
{
	kml_running_add(&running, in[0]);
}

static void deviate(void)
{
	result = kml_running_deviation(&running);
}

static void add_fading(void)
{
	kml_fading_add(&fading, in[0]);
}

static void normalise(void)
{
	result = kml_range_normalise(&range, in[1]);
}

static void add_drift(void)
{
	result = kml_drift_add(&drift, in[0]);
}

static void sample(void)
{
	result = kml_sampler_keep(&sampler, kml_uncertainty(out, 4));
}

/* A ring of two records: the third finds it full, asks for the reader's word, and is dropped. */
static void push(void)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		struct kml_record *record = kml_ring_reserve(&writer);

		if (record) {
			record->values[0] = in[0];
			kml_ring_commit(&writer);
		} else {
			kml_ring_drop(&writer);
		}
	}
}

static const struct {
	const char *name;
	void (*call)(void);
} functions[] = {
	{ "kml_fx_exp", exponential },
	{ "kml_fx_log", logarithm },
	{ "kml_fx_sqrt", root },
	{ "kml_fx_div", quotient },
	{ "kml_fx_softmax", softmax },
	{ "kml_fx_sigmoid_each", sigmoids },
	{ "kml_fx_tanh_each", tanhs },
	{ "kml_tensor_multiply", multiply },
	{ "kml_infer, network", infer_network },
	{ "kml_infer, tree", infer_tree },
	{ "kml_regression_predict", predict },
	{ "kml_regression_learn", learn },
	{ "kml_running_add", add_running },
	{ "kml_running_deviation", deviate },
	{ "kml_fading_add", add_fading },
	{ "kml_range_normalise", normalise },
	{ "kml_drift_add", add_drift },
	{ "kml_sampler_keep", sample },
	{ "kml_ring_reserve, commit, drop", push },
};

/* Runs on the painted stack, and looks at it before it returns: what leaves the stack uses some of it, too. */
static void call_and_look(void)
{
	size_t untouched = 0;

	painted.call();
	while (stack[untouched] == painted.colour)
		untouched++;
	painted.used = sizeof(stack) - untouched;
}

/* Bytes from the stack's beginning to the deepest one that was changed. */
static size_t painted_over(void (*call)(void), uint8_t colour)
{
	ucontext_t context;

	painted.call = call;
	painted.colour = colour;
	memset(stack, colour, sizeof(stack));
	if (getcontext(&context))
		exit(2);
	context.uc_stack.ss_sp = stack;
	context.uc_stack.ss_size = sizeof(stack);
	context.uc_link = &caller;
	makecontext(&context, call_and_look, 0);
	if (swapcontext(&caller, &context))
		exit(2);
	return painted.used;
}

static size_t used(void (*call)(void))
{
	size_t light = painted_over(call, 0x55), dark = painted_over(call, 0xaa);

	return light > dark ? light : dark;
}

/* A network of every kind of layer. */
static void make_network(void)
{
	static const struct kml_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = 5, .outputs = 15 },
		{ .type = KML_SIGMOID, .inputs = 15, .outputs = 15 },
		{ .type = KML_LINEAR, .inputs = 15, .outputs = 10 },
		{ .type = KML_TANH, .inputs = 10, .outputs = 10 },
		{ .type = KML_LINEAR, .inputs = 10, .outputs = 5 },
		{ .type = KML_RELU, .inputs = 5, .outputs = 5 },
		{ .type = KML_LINEAR, .inputs = 5, .outputs = 4 },
		{ .type = KML_SOFTMAX, .inputs = 4, .outputs = 4 },
	};

	if (kml_model_create(memory, sizeof(memory), "stack", 5, layers, sizeof(layers) / sizeof(*layers), &network))
		exit(2);
	kml_model_randomise(network, 1);
}

/* One decision between two leaves. */
static void make_tree(void)
{
	static struct kml_feature feature = { "x", 0, KML_FX_ONE };
	static struct kml_tree_node nodes[] = { { 0, 1, 2, KML_FX_HALF }, { -1, 0, 0, 0 }, { -1, 1, 0, 0 } };
	static kml_fx values[] = { 1, 2 };
	static struct kml_model model = {
		.name = "tree", .kind = KML_TREE, .inputs = 1, .outputs = 1, .width = 1, .parts = 3, .leaves = 2,
		.features = &feature, .nodes = nodes, .values = values,
	};

	tree = &model;
}

static void prepare(void)
{
	unsigned int i;

	for (i = 0; i < KML_MAX_WIDTH; i++)
		in[i] = (kml_fx)(i + 1) * (KML_FX_ONE / 16);
	make_network();
	make_tree();
	kml_running_init(&running);
	kml_range_init(&range);
	kml_range_add(&range, KML_FX_ONE);
	kml_range_add(&range, 0);
	if (kml_fading_init(&fading, 4) || kml_drift_init(&drift, 0, KML_FX_ONE, 0) ||
	    kml_sampler_init(&sampler, KML_FX_HALF, KML_FX(0.1), 1) ||
	    kml_regression_init(&regression, KML_REGRESSION_MAX_INPUTS, true, KML_FX_HALF) ||
	    kml_ring_writer_init(&writer, &words, &reader, memory + sizeof(memory) / 2, 2, 16))
		exit(2);
}

int main(void)
{
	size_t idle, i;

	prepare();
	idle = used(nothing) - RETURN_ADDRESS;
	for (i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		printf("%zu\t%s\n", used(functions[i].call) - idle, functions[i].name);
	return 0;
}
