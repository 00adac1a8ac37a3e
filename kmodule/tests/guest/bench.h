/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: what a call costs in this kernel.  Where instructions are counted, time is a number of them. */

#define BENCH_ROWS 4096

static void bench_model(const char *what, const struct kml_layer *layers, unsigned int count)
{
	static kml_fx in[BENCH_ROWS * 5], out[BENCH_ROWS * 4];
	struct kml_infer_call infer_call = {
		.count = BENCH_ROWS, .inputs = (uintptr_t)in, .outputs = (uintptr_t)out,
	};
	int device = open_device();
	static struct small_model small;
	uint64_t state = 3, best = UINT64_MAX;
	unsigned int i;

	infer_call.id = create(device, "bench", 5, layers[count - 1].outputs, KML_DROPPING, KML_CONSUMER_USER, 2);
	for (i = 0; i < BENCH_ROWS * 5; i++)
		in[i] = random_fx(&state);
	make_network(&small, 5, layers, count, 29);
	CHECK_EQUAL(load(device, infer_call.id, small.file, small.length), 0);
	for (i = 0; i < 9; i++) {
		CHECK_EQUAL(call(device, KML_INFER, &infer_call), 0);
		best = infer_call.time_ns < best ? infer_call.time_ns : best;
	}
	figure(what, (long long)(best * 1000 / BENCH_ROWS));
	close(device);
}

static void bench_collect(void)
{
	static kml_fx values[BENCH_ROWS * 6];
	struct kml_collect_call collected;
	uint64_t best = UINT64_MAX;
	unsigned int i;
	int device;
	uint32_t id;

	for (i = 0; i < 9; i++) {
		device = open_device();
		id = create(device, "bench", 5, 1, KML_DROPPING, KML_CONSUMER_USER, 2 * BENCH_ROWS);
		CHECK_EQUAL(collect(device, id, values, BENCH_ROWS, 0, &collected), 0);
		CHECK_EQUAL(collected.accepted, BENCH_ROWS);
		best = collected.time_ns < best ? collected.time_ns : best;
		close(device);
	}
	figure("collect_ps", (long long)(best * 1000 / BENCH_ROWS));
}

static void bench_training(const char *what, enum kml_consumer consumer, const struct kml_layer *layers,
			   unsigned int count)
{
	const struct kml_training training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = KML_FX(0.01), .decay_every = 1,
	};
	static kml_fx values[BENCH_ROWS * 9];
	struct kml_collect_call collected;
	struct kml_statistics statistics;
	int device = open_device();
	uint32_t id = create(device, "bench", 5, 4, KML_DROPPING, consumer, BENCH_ROWS);
	static struct small_model small;
	uint64_t state = 3;
	unsigned int i;

	for (i = 0; i < BENCH_ROWS * 9; i++)
		values[i] = random_fx(&state);
	make_network(&small, 5, layers, count, 29);
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	CHECK_EQUAL(collect(device, id, values, BENCH_ROWS, 0, &collected), 0);
	CHECK_EQUAL(train(device, id, &training, UINT32_MAX), 0);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	statistics = statistics_of(device, id);
	CHECK_EQUAL(statistics.trained, BENCH_ROWS);
	figure(what, (long long)(statistics.train_ns * 1000 / statistics.trained));
	if (statistics.fpu_sections)
		figure("fpu_longest_ps", (long long)statistics.fpu_longest_ns * 1000);
	close(device);
}

TEST(bench)
{
	const struct kml_layer linear[] = { { .type = KML_LINEAR, .inputs = 5, .outputs = 1 } };
	const struct kml_layer network[] = {
		{ .type = KML_LINEAR, .inputs = 5, .outputs = 15 }, { .type = KML_SIGMOID, .inputs = 15, .outputs = 15 },
		{ .type = KML_LINEAR, .inputs = 15, .outputs = 5 }, { .type = KML_SIGMOID, .inputs = 5, .outputs = 5 },
		{ .type = KML_LINEAR, .inputs = 5, .outputs = 4 },
	};

	run_on(0);
	bench_model("infer_linear_ps", linear, 1);
	bench_model("infer_network_ps", network, 5);
	bench_collect();
	bench_training("train_fixed_ps", KML_CONSUMER_KERNEL_FIXED, network, 5);
	bench_training("train_float_ps", KML_CONSUMER_KERNEL_FLOAT, network, 5);
}
