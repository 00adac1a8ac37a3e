/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: models are swapped, taken away and read back while others predict. */

#define SWAPS 160
#define SWAP_WIDTH 8
#define THREADS 3

/* Predicts `value` at every output, whatever the input, by way of several layers. */
static void make_constant(struct small_model *small, kml_fx value)
{
	struct kml_layer layers[8];
	unsigned int i;

	for (i = 0; i < 8; i++)
		layers[i] = (struct kml_layer){ .type = i % 2 ? KML_TANH : KML_LINEAR,
						.inputs = SWAP_WIDTH, .outputs = SWAP_WIDTH };
	layers[7].type = KML_LINEAR;
	make_network(small, SWAP_WIDTH, layers, 8, 5);
	for (i = 0; i < SWAP_WIDTH * SWAP_WIDTH; i++)
		small->model->layers[7].weights[i] = 0;
	for (i = 0; i < SWAP_WIDTH; i++)
		small->model->layers[7].bias[i] = value;
	write_file(small);
}

struct predicting {
	uint32_t id;
	bool end;
	uint64_t rows;
	uint64_t without;  /* calls that found no model */
	uint64_t mixed;    /* rows that are of no model */
	uint64_t backward; /* calls whose model is older than the last call's */
	kml_fx values[2];
};

static void *predict_until_the_end(void *argument)
{
	struct predicting *predicting = argument;
	static __thread kml_fx in[64][SWAP_WIDTH], out[64][SWAP_WIDTH];
	struct kml_infer_call infer = {
		.id = predicting->id, .count = 64, .inputs = (uintptr_t)in, .outputs = (uintptr_t)out,
	};
	int device = open_device(), status, row, i;
	uint64_t last = 0;

	while (!__atomic_load_n(&predicting->end, __ATOMIC_RELAXED)) {
		status = call(device, KML_INFER, &infer);
		if (status == -ENODATA) {
			predicting->without++;
			continue;
		}
		if (status)
			break;
		predicting->backward += infer.model < last;
		last = infer.model;
		for (row = 0; row < 64; row++) {
			bool whole = out[row][0] == predicting->values[0] || out[row][0] == predicting->values[1];

			for (i = 1; i < SWAP_WIDTH; i++)
				whole &= out[row][i] == out[row][0];
			predicting->mixed += !whole;
		}
		predicting->rows += 64;
	}
	close(device);
	return NULL;
}

TEST(swap)
{
	static struct small_model models[2];
	static uint64_t read_back[4096];
	struct predicting predicting[THREADS] = { { .end = false } };
	const kml_fx values[2] = { KML_FX(1.5), KML_FX(-2.25) };
	uint64_t rows = 0, without = 0, begun;
	int device = open_device(), i;
	uint32_t id = create(device, "swapped", SWAP_WIDTH, SWAP_WIDTH, KML_DROPPING, KML_CONSUMER_USER, 2);
	pthread_t threads[THREADS];

	for (i = 0; i < 2; i++)
		make_constant(&models[i], values[i]);
	CHECK_EQUAL(load(device, id, models[0].file, models[0].length), 0);
	for (i = 0; i < THREADS; i++) {
		predicting[i].id = id;
		memcpy(predicting[i].values, values, sizeof(values));
		threads[i] = begin(predict_until_the_end, &predicting[i]);
	}
	for (i = 1; i < SWAPS; i++) {
		CHECK_EQUAL(load(device, id, models[i % 2].file, models[i % 2].length), 0);
		if (i % 16 == 0) {
			CHECK_EQUAL(save(device, id, read_back, sizeof(read_back)), models[i % 2].length);
			CHECK(!memcmp(read_back, models[i % 2].file, models[i % 2].length));
		}
		if (i % 32 == 0)
			CHECK_EQUAL(call(device, KML_UNLOAD, &id), 0);
		begun = statistics_of(device, id).predictions;
		while (i % 32 && statistics_of(device, id).predictions - begun < 64) /* by this model or the next */
			sched_yield();
	}
	for (i = 0; i < THREADS; i++) {
		__atomic_store_n(&predicting[i].end, true, __ATOMIC_RELAXED);
		pthread_join(threads[i], NULL);
		CHECK_EQUAL(predicting[i].mixed, 0);
		CHECK_EQUAL(predicting[i].backward, 0);
		CHECK(predicting[i].rows > 0);
		rows += predicting[i].rows;
		without += predicting[i].without;
	}
	CHECK_EQUAL(statistics_of(device, id).loads, SWAPS);
	CHECK_EQUAL(statistics_of(device, id).refused, 0);
	CHECK(statistics_of(device, id).predictions >= rows);
	CHECK(statistics_of(device, id).without_model >= without);
	figure("swaps", SWAPS);
	figure("predictions", (long long)rows);
	figure("calls_without_model", (long long)without);
	close(device);
}
