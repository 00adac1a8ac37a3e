/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: more samples than a reader can take, in both modes; every one is accounted for. */

#define FLOOD 30000 /* samples of each processor */
#define FLOOD_PART 200

struct flood {
	uint32_t id;
	unsigned int processor;
	uint32_t flags;
	uint64_t accepted;
	uint64_t dropped;
	uint64_t refused; /* calls that found no room in blocking mode */
	bool done;
};

/* Numbers that tell a torn sample from a whole one. */
static void fill(kml_fx values[4], unsigned int processor, unsigned int number)
{
	values[0] = (kml_fx)processor;
	values[1] = (kml_fx)number;
	values[2] = (kml_fx)(number * 2654435761u);
	values[3] = values[0] ^ values[1] ^ values[2];
}

static void *flood_ring(void *argument)
{
	struct flood *flood = argument;
	struct kml_collect_call collected;
	kml_fx values[FLOOD_PART][4];
	unsigned int number, done, i;
	int device = open_device(), status;

	run_on(flood->processor);
	for (number = 0; number < FLOOD; number += FLOOD_PART) {
		for (i = 0; i < FLOOD_PART; i++)
			fill(values[i], flood->processor, number + i);
		for (done = 0; done < FLOOD_PART;) {
			status = collect(device, flood->id, values[done], FLOOD_PART - done, flood->flags, &collected);
			done += collected.accepted + collected.dropped;
			flood->accepted += collected.accepted;
			flood->dropped += collected.dropped;
			if (status == -EAGAIN) {
				flood->refused++;
				usleep(100);
			} else if (status) {
				goto out;
			}
		}
	}
out:
	close(device);
	__atomic_store_n(&flood->done, true, __ATOMIC_RELEASE);
	return NULL;
}

struct drained {
	uint64_t popped;
	uint64_t gaps;       /* records whose number is not the one behind the last */
	uint64_t torn;
	uint64_t disordered; /* samples that are not newer than the last */
	int64_t last;
};

/* Take what is there, at most `most` records; gives how many. */
static unsigned int drain(struct kml_ring_reader *reader, struct drained *drained, unsigned int most)
{
	const struct kml_record *record;
	unsigned int count;

	for (count = 0; count < most && (record = kml_ring_peek(reader)); count++) {
		drained->gaps += record->sequence != drained->popped;
		drained->torn += record->values[3] != (record->values[0] ^ record->values[1] ^ record->values[2]);
		drained->disordered += record->values[1] <= drained->last;
		drained->last = record->values[1];
		drained->popped++;
		kml_ring_release(reader);
	}
	return count;
}

static void overload(enum kml_ring_mode mode, uint32_t flags)
{
	struct flood floods[MOST_PROCESSORS];
	struct drained drained[MOST_PROCESSORS];
	struct mapped_ring rings[MOST_PROCESSORS];
	struct kml_ring_reader readers[MOST_PROCESSORS];
	pthread_t threads[MOST_PROCESSORS];
	unsigned int i, busy, taken, count = processors();
	uint64_t accepted = 0, dropped = 0, popped = 0, refused = 0;
	int device = open_device();
	uint32_t id = create(device, "flooded", 3, 1, mode, KML_CONSUMER_USER, 64);
	struct kml_shape shape = shape_of(device, id);
	struct kml_statistics statistics;

	for (i = 0; i < count; i++) {
		rings[i] = map_ring(device, &shape, i);
		read_ring(&readers[i], &shape, &rings[i]);
		drained[i] = (struct drained){ .last = -1 };
		floods[i] = (struct flood){ .id = id, .processor = i, .flags = flags };
		threads[i] = begin(flood_ring, &floods[i]);
	}
	do { /* a slow reader: a few records, then a pause */
		busy = 0;
		taken = 0;
		for (i = 0; i < count; i++) {
			busy += !__atomic_load_n(&floods[i].done, __ATOMIC_ACQUIRE);
			taken += drain(&readers[i], &drained[i], mode == KML_DROPPING ? 8 : 64);
		}
		usleep(mode == KML_DROPPING ? 2000 : 0);
	} while (busy || taken);
	for (i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		CHECK_EQUAL(drained[i].gaps, 0);
		CHECK_EQUAL(drained[i].torn, 0);
		CHECK_EQUAL(drained[i].disordered, 0);
		CHECK_EQUAL(drained[i].popped, floods[i].accepted);
		CHECK_EQUAL(rings[i].writer->head, floods[i].accepted);
		CHECK_EQUAL(rings[i].writer->dropped, floods[i].dropped);
		CHECK_EQUAL(floods[i].accepted + floods[i].dropped, FLOOD);
		accepted += floods[i].accepted;
		dropped += floods[i].dropped;
		refused += floods[i].refused;
		popped += drained[i].popped;
	}
	statistics = statistics_of(device, id);
	CHECK_EQUAL(statistics.pushed, accepted + dropped);
	CHECK_EQUAL(statistics.popped, popped);
	CHECK_EQUAL(statistics.dropped, dropped);
	CHECK_EQUAL(statistics.pushed, statistics.popped + statistics.dropped);
	CHECK_EQUAL(statistics.bad_tails, 0);
	CHECK(!dropped == (mode == KML_BLOCKING));
	CHECK(!statistics.waits == !(flags & KML_COLLECT_WAIT));
	CHECK(!refused == (mode == KML_DROPPING || (flags & KML_COLLECT_WAIT)));
	figure("pushed", (long long)statistics.pushed);
	figure("popped", (long long)statistics.popped);
	figure("dropped", (long long)statistics.dropped);
	figure("waits", (long long)statistics.waits);
	for (i = 0; i < count; i++)
		unmap_ring(&shape, &rings[i]);
	close(device);
}

TEST(overload_dropping)
{
	overload(KML_DROPPING, 0);
}

TEST(overload_blocking)
{
	overload(KML_BLOCKING, KML_COLLECT_WAIT);
}

TEST(overload_blocking_without_waiting)
{
	overload(KML_BLOCKING, 0);
}

/* The kernel's own learner as the slow reader. */
TEST(overload_learner)
{
	const struct kml_training training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = 1, .decay_every = 1,
	};
	struct flood floods[MOST_PROCESSORS];
	pthread_t threads[MOST_PROCESSORS];
	unsigned int i, count = processors();
	uint64_t accepted = 0, dropped = 0;
	int device = open_device();
	uint32_t id = create(device, "flooded", 3, 1, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED, 64);
	struct kml_statistics statistics;
	static struct small_model small;

	make_two_layers(&small, 3, 30, 1, 17);
	CHECK_EQUAL(load(device, id, small.file, small.length), 0);
	CHECK_EQUAL(train(device, id, &training, 1), 0);
	for (i = 0; i < count; i++) {
		floods[i] = (struct flood){ .id = id, .processor = i };
		threads[i] = begin(flood_ring, &floods[i]);
	}
	for (i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		accepted += floods[i].accepted;
		dropped += floods[i].dropped;
	}
	CHECK_EQUAL(call(device, KML_STOP, &id), 0);
	statistics = statistics_of(device, id);
	CHECK_EQUAL(accepted + dropped, count * FLOOD);
	CHECK_EQUAL(statistics.pushed, accepted + dropped);
	CHECK_EQUAL(statistics.popped, accepted);
	CHECK_EQUAL(statistics.trained, accepted);
	CHECK_EQUAL(statistics.dropped, dropped);
	CHECK(dropped > 0);
	CHECK(statistics.publications > 1);
	figure("pushed", (long long)statistics.pushed);
	figure("trained", (long long)statistics.trained);
	figure("dropped", (long long)statistics.dropped);
	figure("publications", (long long)statistics.publications);
	close(device);
}

/* Active sampling: a share of the samples comes into the ring, the others are counted as skipped. */
TEST(sampled)
{
	enum { SAMPLES = 20000, SHARE = 4 };
	static kml_fx samples[SAMPLES][4];
	struct kml_create made = description("sampled", 2, 2, KML_DROPPING, KML_CONSUMER_USER, 32768);
	const struct kml_layer layers[] = {
		{ .type = KML_LINEAR, .inputs = 2, .outputs = 2 }, { .type = KML_SOFTMAX, .inputs = 2, .outputs = 2 },
	};
	struct kml_collect_call collected;
	struct kml_statistics statistics;
	static struct small_model small;
	int device = open_device();
	uint64_t state = 13;
	unsigned int i;

	run_on(0);
	made.share = KML_FX_ONE / SHARE;
	CHECK_EQUAL(call(device, KML_CREATE, &made), 0);
	for (i = 0; i < SAMPLES; i++)
		draw_class(&state, samples[i]);
	CHECK_EQUAL(collect(device, made.id, samples[0], SAMPLES, KML_COLLECT_SAMPLED, &collected), -ENODATA);
	make_network(&small, 2, layers, 2, 11);
	CHECK_EQUAL(load(device, made.id, small.file, small.length), 0);
	CHECK_EQUAL(collect(device, made.id, samples[0], SAMPLES, KML_COLLECT_SAMPLED, &collected), 0);
	CHECK_EQUAL(collected.accepted + collected.skipped, SAMPLES);
	CHECK_EQUAL(collected.dropped, 0);
	CHECK_NEAR(collected.accepted, SAMPLES / SHARE, SAMPLES / SHARE / 10);
	statistics = statistics_of(device, made.id);
	CHECK_EQUAL(statistics.pushed, collected.accepted);
	CHECK_EQUAL(statistics.skipped, collected.skipped);
	CHECK_EQUAL(statistics.predictions, SAMPLES);
	figure("kept", collected.accepted);
	figure("skipped", collected.skipped);
	close(device);
}
