/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: the predictor of another module, kml_ipi.ko, which predicts and collects in interrupts. */

static struct kml_statistics wait_for_predictions(int device, uint32_t id, uint64_t more)
{
	struct kml_statistics statistics = statistics_of(device, id);
	uint64_t begin = statistics.predictions;

	while (statistics.predictions < begin + more) {
		usleep(1000);
		statistics = statistics_of(device, id);
	}
	return statistics;
}

/* It is left training: the module must be able to go all the same. */
TEST(kernel_user)
{
	const struct kml_layer linear[] = { { .type = KML_LINEAR, .inputs = 1, .outputs = 1 } };
	const struct kml_training training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 8, .rate = 1, .decay_every = 1,
	};
	struct kml_shape shape = { .name = "ipi-latency" };
	static struct small_model small;
	struct kml_statistics statistics;
	int device = open_device();
	unsigned int i;

	CHECK_EQUAL(call(device, KML_SHAPE, &shape), 0);
	CHECK_EQUAL(shape.rings, processors());
	while (!statistics_of(device, shape.id).without_model)
		usleep(1000);
	make_network(&small, 1, linear, 1, 19);
	for (i = 0; i < 50; i++) {
		CHECK_EQUAL(load(device, shape.id, small.file, small.length), 0);
		wait_for_predictions(device, shape.id, 4);
	}
	CHECK_EQUAL(train(device, shape.id, &training, 1), 0);
	statistics = wait_for_predictions(device, shape.id, 400);
	CHECK(statistics.trained > 0);
	CHECK_EQUAL(call(device, KML_STOP, &shape.id), 0);
	statistics = statistics_of(device, shape.id);
	CHECK(statistics.publications > 1);
	CHECK(statistics.popped + statistics.dropped <= statistics.pushed);
	CHECK_EQUAL(statistics.trained, statistics.popped);
	figure("predictions", (long long)statistics.predictions);
	figure("trained", (long long)statistics.trained);
	CHECK_EQUAL(train(device, shape.id, &training, 1), 0);
	close(device);
}
