/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: learning in the kernel from a stream that changes, and in a process from the kernel's rings. */

#define TEST_POINTS 256
#define STREAM 24000 /* samples of each part */
#define PART 2000    /* samples of a call */

/* Two concepts of the same inputs: a product, then a difference. */
enum concept { PRODUCT, DIFFERENCE };

static void draw(uint64_t *state, enum concept concept, kml_fx sample[3])
{
	sample[0] = random_fx(state);
	sample[1] = random_fx(state);
	sample[2] = concept == PRODUCT ? kml_fx_mul(sample[0], sample[1]) : (sample[0] - sample[1]) / 2;
}

/* Mean squared error of what the kernel predicts, times 10^6. */
static long long error_of(int device, uint32_t id, enum concept concept)
{
	kml_fx in[TEST_POINTS][2], target[TEST_POINTS], out[TEST_POINTS], sample[3];
	uint64_t state = 99;
	double sum = 0, apart;
	int i;

	for (i = 0; i < TEST_POINTS; i++) {
		draw(&state, concept, sample);
		memcpy(in[i], sample, sizeof(in[i]));
		target[i] = sample[2];
	}
	CHECK_EQUAL(infer(device, id, in[0], out, TEST_POINTS), 0);
	for (i = 0; i < TEST_POINTS; i++) {
		apart = (out[i] - target[i]) / 65536.0;
		sum += apart * apart;
	}
	return (long long)(1e6 * sum / TEST_POINTS);
}

static void stream(int device, uint32_t id, enum concept concept, uint64_t *state, unsigned int count)
{
	static kml_fx samples[PART][3];
	struct kml_collect_call collected;
	unsigned int i;

	for (; count; count -= PART) {
		for (i = 0; i < PART; i++)
			draw(state, concept, samples[i]);
		CHECK_EQUAL(collect(device, id, samples[0], PART, KML_COLLECT_WAIT, &collected), 0);
		CHECK_EQUAL(collected.accepted, PART);
	}
}

static const struct kml_training regression_training = {
	.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 4, .rate = KML_FX(0.05), .momentum = KML_FX(0.75),
	.decay_every = 1,
};

static void learn_drifting_stream(enum kml_consumer consumer)
{
	int device = open_device();
	uint32_t id = create(device, "drifting", 2, 1, KML_BLOCKING, consumer, 256);
	long long before, learned, changed, recovered;
	struct kml_statistics statistics;
	struct small_model small;
	uint64_t state = 7;

	make_two_layers(&small, 2, 8, 1, 3);
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	before = error_of(device, id, PRODUCT);
	CHECK_EQUAL(train(device, id, &regression_training, 50), 0);
	stream(device, id, PRODUCT, &state, STREAM);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	learned = error_of(device, id, PRODUCT);
	changed = error_of(device, id, DIFFERENCE);
	CHECK_EQUAL(train(device, id, &regression_training, 50), 0);
	stream(device, id, DIFFERENCE, &state, STREAM);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	recovered = error_of(device, id, DIFFERENCE);

	figure("error_before_1e-6", before);
	figure("error_learned_1e-6", learned);
	figure("error_after_change_1e-6", changed);
	figure("error_recovered_1e-6", recovered);
	CHECK(learned * 4 < before);
	CHECK(learned * 10 < changed);
	CHECK(recovered * 10 < changed);

	statistics = statistics_of(device, id);
	CHECK_EQUAL(statistics.trained, 2 * STREAM);
	CHECK_EQUAL(statistics.pushed, 2 * STREAM);
	CHECK_EQUAL(statistics.popped, 2 * STREAM);
	CHECK_EQUAL(statistics.dropped, 0);
	CHECK_EQUAL(statistics.updates, 2 * STREAM / regression_training.batch);
	CHECK(statistics.publications > 2); /* it published while it learned, too */
	CHECK_EQUAL(statistics.models, statistics.loads + statistics.publications);
	CHECK_EQUAL(statistics.training, 0);
	CHECK(statistics.loss < KML_FX(0.02));
	figure("publications", (long long)statistics.publications);
	figure("train_ns_a_sample", (long long)(statistics.train_ns / statistics.trained));
	figure("fpu_sections", (long long)statistics.fpu_sections);
	figure("fpu_longest_ns", (long long)statistics.fpu_longest_ns);
	CHECK(!statistics.fpu_sections == (consumer == KML_CONSUMER_KERNEL_FIXED));
	close(device);
}

TEST(drift_fixed)
{
	learn_drifting_stream(KML_CONSUMER_KERNEL_FIXED);
}

TEST(drift_float)
{
	learn_drifting_stream(KML_CONSUMER_KERNEL_FLOAT);
}

/* The model learns only after its error has risen, and only so many samples. */
TEST(adaptation)
{
	enum { SAMPLES = 8000 };
	int device = open_device();
	uint32_t id = create(device, "adapting", 2, 1, KML_BLOCKING, KML_CONSUMER_KERNEL_FIXED, 256);
	struct kml_train_call adapt = {
		.id = id, .publish_every = 50, .training = regression_training, .adapt_samples = SAMPLES,
		.drift_tolerance = KML_FX(0.01), .drift_threshold = KML_FX(4), .drift_warm_up = 200,
	};
	struct kml_statistics steady, adapted;
	struct small_model small;
	long long changed, recovered;
	uint64_t state = 7;

	make_two_layers(&small, 2, 8, 1, 3);
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	CHECK_EQUAL(train(device, id, &regression_training, 50), 0);
	stream(device, id, PRODUCT, &state, STREAM);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	steady = statistics_of(device, id);
	CHECK_EQUAL(steady.trained, STREAM);

	CHECK_EQUAL(call(device, KML_TRAIN, &adapt), 0);
	stream(device, id, PRODUCT, &state, STREAM); /* nothing new: nothing to learn */
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	steady = statistics_of(device, id);
	CHECK_EQUAL(steady.trained, STREAM);
	CHECK_EQUAL(steady.adaptations, 0);

	changed = error_of(device, id, DIFFERENCE);
	CHECK_EQUAL(call(device, KML_TRAIN, &adapt), 0);
	stream(device, id, PRODUCT, &state, 2 * PART);
	stream(device, id, DIFFERENCE, &state, STREAM);
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	recovered = error_of(device, id, DIFFERENCE);
	adapted = statistics_of(device, id);
	CHECK(adapted.adaptations >= 1);
	CHECK(adapted.trained > steady.trained);
	CHECK(adapted.trained <= steady.trained + adapted.adaptations * SAMPLES);
	CHECK(adapted.trained < steady.trained + STREAM);
	CHECK(recovered * 10 < changed);
	figure("error_after_change_1e-6", changed);
	figure("error_recovered_1e-6", recovered);
	figure("adaptations", (long long)adapted.adaptations);
	figure("learned_from", (long long)(adapted.trained - steady.trained));
	close(device);
}

/* Of two classes: whether a point lies within a circle of half of the square. */

static void draw_class(uint64_t *state, kml_fx sample[4])
{
	kml_fx x = random_fx(state), y = random_fx(state);
	bool within = kml_fx_mul(x, x) + kml_fx_mul(y, y) < KML_FX(0.6366);

	sample[0] = x;
	sample[1] = y;
	sample[2] = within ? KML_FX_ONE : 0;
	sample[3] = within ? 0 : KML_FX_ONE;
}

/* Points in a thousand whose class the kernel predicts. */
static int accuracy_of(int device, uint32_t id)
{
	enum { POINTS = 1000 };
	static kml_fx in[POINTS][2], out[POINTS][2], sample[POINTS][4];
	uint64_t state = 31;
	int i, right = 0;

	for (i = 0; i < POINTS; i++) {
		draw_class(&state, sample[i]);
		memcpy(in[i], sample[i], sizeof(in[i]));
	}
	CHECK_EQUAL(infer(device, id, in[0], out[0], POINTS), 0);
	for (i = 0; i < POINTS; i++)
		right += (out[i][0] > out[i][1]) == (sample[i][2] > sample[i][3]);
	return right;
}

struct collector {
	int device;
	uint32_t id;
	unsigned int processor;
	unsigned int samples;
};

/* As a kernel user would on its processor; blocking, since a check wants every sample. */
static void *collect_classes(void *argument)
{
	const struct collector *collector = argument;
	struct kml_collect_call collected;
	uint64_t state = 1000 + collector->processor;
	kml_fx samples[100][4];
	unsigned int i, done;

	run_on(collector->processor);
	for (done = 0; done < collector->samples; done += 100) {
		for (i = 0; i < 100; i++)
			draw_class(&state, samples[i]);
		if (collect(collector->device, collector->id, samples[0], 100, KML_COLLECT_WAIT, &collected))
			break;
	}
	return NULL;
}

struct pupil {
	const struct kml_shape *shape;
	const struct mapped_ring *ring;
	struct kml_trainer *trainer;
	pthread_mutex_t *lock; /* of the trainer */
	unsigned int samples;
	unsigned int learned;
};

/* A thread of this process for each ring: what it pops, it learns. */
static void *learn_from_ring(void *argument)
{
	struct pupil *pupil = argument;
	const struct kml_record *record;
	struct kml_ring_reader reader;

	if (kml_ring_reader_init(&reader, pupil->ring->writer, pupil->ring->reader, pupil->ring->records,
				 pupil->shape->record_area))
		return NULL;
	while (pupil->learned < pupil->samples) {
		record = kml_ring_peek(&reader);
		if (!record) {
			usleep(100);
			continue;
		}
		pthread_mutex_lock(pupil->lock);
		kml_train(pupil->trainer, record->values, record->values + 2);
		pthread_mutex_unlock(pupil->lock);
		kml_ring_release(&reader);
		pupil->learned++;
	}
	return NULL;
}

TEST(user_train)
{
	enum { SAMPLES = 60000 };
	const struct kml_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = 2, .outputs = 12 }, { .type = KML_TANH, .inputs = 12, .outputs = 12 },
		{ .type = KML_LINEAR, .inputs = 12, .outputs = 2 }, { .type = KML_SOFTMAX, .inputs = 2, .outputs = 2 },
	};
	const struct kml_training training = {
		.loss = KML_CROSS_ENTROPY, .schedule = KML_RATE_STEP, .batch = 4, .rate = KML_FX(0.1),
		.momentum = KML_FX(0.75), .decay = KML_FX(0.5), .decay_every = 3000,
	};
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_t collecting[MOST_PROCESSORS], learning[MOST_PROCESSORS];
	struct collector collectors[MOST_PROCESSORS];
	struct mapped_ring rings[MOST_PROCESSORS];
	struct pupil pupils[MOST_PROCESSORS];
	unsigned int i, count = processors(), samples = SAMPLES / count / 100 * 100;
	int device = open_device(), before, after;
	uint32_t id = create(device, "shared", 2, 2, KML_BLOCKING, KML_CONSUMER_USER, 256);
	struct kml_shape shape = shape_of(device, id);
	struct kml_statistics statistics;
	static struct small_model small;
	struct kml_trainer *trainer;
	size_t bytes;
	void *memory;

	make_network(&small, 2, layers, 4, 11);
	bytes = kml_trainer_size(small.model);
	memory = aligned_alloc(8, bytes);
	need(memory && !kml_trainer_create(memory, bytes, small.model, &training, &trainer), "kml_trainer_create");
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	before = accuracy_of(device, id);

	for (i = 0; i < count; i++) {
		rings[i] = map_ring(device, &shape, i);
		pupils[i] = (struct pupil){ &shape, &rings[i], trainer, &lock, samples, 0 };
		collectors[i] = (struct collector){ device, id, i, samples };
		learning[i] = begin(learn_from_ring, &pupils[i]);
		collecting[i] = begin(collect_classes, &collectors[i]);
	}
	for (i = 0; i < count; i++) {
		pthread_join(collecting[i], NULL);
		pthread_join(learning[i], NULL);
		CHECK_EQUAL(pupils[i].learned, samples);
	}
	kml_trainer_flush(trainer);
	write_file(&small);
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	after = accuracy_of(device, id);

	statistics = statistics_of(device, id);
	CHECK_EQUAL(statistics.pushed, count * samples);
	CHECK_EQUAL(statistics.popped, count * samples);
	CHECK_EQUAL(statistics.dropped, 0);
	CHECK_EQUAL(statistics.trained, 0); /* not by the kernel */
	figure("samples", count * samples);
	figure("right_before_1e-3", before);
	figure("right_after_1e-3", after);
	CHECK(before < 700);
	CHECK(after > 930); /* about 970: the order of the two rings' samples is not the same each time */
	for (i = 0; i < count; i++)
		unmap_ring(&shape, &rings[i]);
	free(memory);
	close(device);
}
