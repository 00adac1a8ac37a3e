/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: files, arguments, pointers, mappings and ring words that no one should give to a kernel. */
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "crc32.h"

#define FILE_CRC_BEGIN offsetof(struct kml_file_header, kind)

/* A predictor of two inputs and one output with a network in use, whose prediction must outlive whatever is tried. */
struct victim {
	int device;
	uint32_t id;
	struct small_model good;
	kml_fx in[2];
	kml_fx expected;
};

static void victim_begin(struct victim *victim, enum kml_ring_mode mode, enum kml_consumer consumer)
{
	victim->device = open_device();
	victim->id = create(victim->device, "victim", 2, 1, mode, consumer, 8);
	victim->in[0] = KML_FX(0.25);
	victim->in[1] = KML_FX(-0.5);
	make_two_layers(&victim->good, 2, 6, 1, 23);
	CHECK_EQUAL(load(victim->device, victim->id, victim->good.file, victim->good.length), 0);
	CHECK_EQUAL(infer(victim->device, victim->id, victim->in, &victim->expected, 1), 0);
}

static void victim_is_well(const struct victim *victim)
{
	kml_fx out = 0;

	CHECK_EQUAL(infer(victim->device, victim->id, victim->in, &out, 1), 0);
	CHECK_EQUAL(out, victim->expected);
}

static void victim_end(const struct victim *victim)
{
	victim_is_well(victim);
	close(victim->device);
}

/* Write into a file that is made as an array of words, to be aligned. */
static void put(void *file, size_t offset, const void *value, size_t bytes)
{
	memcpy((uint8_t *)file + offset, value, bytes);
}

static void seal(void *file, uint32_t length)
{
	uint32_t crc = kml_crc32(0, (uint8_t *)file + FILE_CRC_BEGIN, length - FILE_CRC_BEGIN);

	put(file, offsetof(struct kml_file_header, crc32), &crc, sizeof(crc));
}

/* Files */

struct wrong_file {
	const char *what;
	int status;
	bool sealed;
	unsigned int offset;
	unsigned int bytes;
	uint32_t value;
};

#define HEADER(field) offsetof(struct kml_file_header, field), sizeof(((struct kml_file_header *)0)->field)
#define AT_FEATURE(field) sizeof(struct kml_file_header) + offsetof(struct kml_file_feature, field)
#define AT_LAYER(field) \
	sizeof(struct kml_file_header) + 2 * sizeof(struct kml_file_feature) + offsetof(struct kml_file_layer, field)
#define AT_WEIGHTS \
	sizeof(struct kml_file_header) + 2 * sizeof(struct kml_file_feature) + 3 * sizeof(struct kml_file_layer)

static const struct wrong_file wrong_files[] = {
	{ "magic", -EINVAL, true, HEADER(magic), 0x12345678 },
	{ "version", -EPROTONOSUPPORT, true, HEADER(version), 9 },
	{ "header size", -EINVAL, true, HEADER(header_bytes), 60 },
	{ "length", -EINVAL, true, HEADER(length), 0xffffffff },
	{ "crc", -EINVAL, false, HEADER(crc32), 0 },
	{ "kind", -EINVAL, true, HEADER(kind), 7 },
	{ "number", -EINVAL, true, HEADER(number), 0 },
	{ "no inputs", -EINVAL, true, HEADER(inputs), 0 },
	{ "many inputs", -E2BIG, true, HEADER(inputs), 0xffff },
	{ "many outputs", -E2BIG, true, HEADER(outputs), 0xffff },
	{ "no layers", -EINVAL, true, HEADER(parts), 0 },
	{ "many layers", -E2BIG, true, HEADER(parts), 0xffff },
	{ "reserved", -EINVAL, true, HEADER(reserved), 1 },
	{ "scale 0", 0, true, AT_FEATURE(scale), 4, 0 },
	{ "layer type", -EINVAL, true, AT_LAYER(type), 2, 99 },
	{ "layer inputs", -EINVAL, true, AT_LAYER(inputs), 2, 3 },
	{ "layer width", -E2BIG, true, AT_LAYER(outputs), 2, 0x8000 },
	{ "weight", -ERANGE, true, AT_WEIGHTS, 4, 0x7fffffff },
};

static int load_changed(const struct victim *victim, const struct wrong_file *wrong)
{
	static uint64_t file[4096];

	memcpy(file, victim->good.file, victim->good.length);
	put(file, wrong->offset, &wrong->value, wrong->bytes);
	if (wrong->sealed)
		seal(file, victim->good.length);
	return load(victim->device, victim->id, file, victim->good.length);
}

TEST(bad_files)
{
	static const struct {
		uint32_t bits;
		int status;
	} not_numbers[] = {
		{ 0x7fc00000 /* NaN */, -EINVAL }, { 0x7f800001 /* signalling NaN */, -EINVAL },
		{ 0x7f800000 /* infinity */, -EINVAL }, { 0xff800000, -EINVAL }, { 0x47800000 /* 65536 */, -ERANGE },
	};
	static uint64_t file[4096];
	static struct small_model wide, tall;
	uint64_t refused = 0;
	struct victim victim;
	uint32_t length, at;
	unsigned int i;
	int status;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_USER);
	for (i = 0; i < sizeof(wrong_files) / sizeof(*wrong_files); i++) {
		status = load_changed(&victim, &wrong_files[i]);
		if (wrong_files[i].status && status != wrong_files[i].status)
			printf("bad_files: %s: %d instead of %d\n", wrong_files[i].what, status, wrong_files[i].status);
		CHECK(status == wrong_files[i].status || (!wrong_files[i].status && status == -EINVAL));
		refused += !!status;
	}
	/* Binary32: a copy whose numbers are all 0 is right, and wrong with a NaN among them. */
	memcpy(file, victim.good.file, victim.good.length);
	put(file, offsetof(struct kml_file_header, number), &(uint8_t){ KML_NUMBER_FLOAT }, 1);
	memset((uint8_t *)file + (AT_WEIGHTS), 0, victim.good.length - (AT_WEIGHTS));
	for (i = 0; i < 2; i++) {
		put(file, AT_FEATURE(shift) + i * sizeof(struct kml_file_feature), &(float){ 0.0f }, 4);
		put(file, AT_FEATURE(scale) + i * sizeof(struct kml_file_feature), &(float){ 1.0f }, 4);
	}
	seal(file, victim.good.length);
	CHECK_EQUAL(load(victim.device, victim.id, file, victim.good.length), 0);
	for (i = 0; i < sizeof(not_numbers) / sizeof(*not_numbers); i++) {
		put(file, AT_WEIGHTS, &not_numbers[i].bits, sizeof(not_numbers[i].bits));
		seal(file, victim.good.length);
		CHECK_EQUAL(load(victim.device, victim.id, file, victim.good.length), not_numbers[i].status);
		refused++;
	}
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, victim.good.length), 0);

	make_two_layers(&wide, 3, 4, 1, 1);
	CHECK_EQUAL(load(victim.device, victim.id, wide.file, wide.length), -EINVAL);
	make_two_layers(&tall, 2, KML_PREDICTOR_MAX_WIDTH + 1, 1, 1);
	CHECK_EQUAL(load(victim.device, victim.id, tall.file, tall.length), -EINVAL);
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, KML_FILE_MAX_BYTES + 1), -E2BIG);
	refused += 2; /* the last did not come to the predictor */

	for (length = 0; length < victim.good.length; length++, refused++)
		CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, length), -EINVAL);
	for (at = 0; at < victim.good.length; at++, refused++) {
		memcpy(file, victim.good.file, victim.good.length);
		((uint8_t *)file)[at] ^= 0x41;
		status = load(victim.device, victim.id, file, victim.good.length);
		CHECK(status == -EINVAL || status == -EPROTONOSUPPORT || status == -E2BIG);
	}
	CHECK_EQUAL(statistics_of(victim.device, victim.id).refused, refused);
	figure("refused", (long long)refused);
	victim_end(&victim);
}

/* With a right CRC, so that the changes come past it: whatever is accepted must be fit to predict with. */
TEST(random_files)
{
	static uint64_t file[4096];
	uint64_t state = 77, loaded = 0;
	struct victim victim;
	unsigned int round, changes;
	kml_fx out;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_USER);
	for (round = 0; round < 5000; round++) {
		memcpy(file, victim.good.file, victim.good.length);
		for (changes = 1 + random_number(&state) % 4; changes; changes--)
			((uint8_t *)file)[random_number(&state) % victim.good.length] = (uint8_t)random_number(&state);
		seal(file, victim.good.length);
		if (load(victim.device, victim.id, file, victim.good.length))
			continue;
		loaded++;
		CHECK_EQUAL(infer(victim.device, victim.id, victim.in, &out, 1), 0);
	}
	CHECK(loaded > 0);
	figure("tried", round);
	figure("accepted", (long long)loaded);
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, victim.good.length), 0);
	victim_end(&victim);
}

/* Arguments */

static void check_training_refused(const struct victim *victim, const struct kml_train_call *right)
{
	struct kml_train_call wrong;

#define REFUSED(change)                                                           \
	do {                                                                      \
		wrong = *right;                                                   \
		change;                                                           \
		CHECK_EQUAL(call(victim->device, KML_TRAIN, &wrong), -EINVAL);    \
	} while (0)
	REFUSED(wrong.publish_every = 0);
	REFUSED(wrong.training.loss = 0);
	REFUSED(wrong.training.loss = KML_CROSS_ENTROPY);
	REFUSED(wrong.training.schedule = 9);
	REFUSED(wrong.training.batch = 0);
	REFUSED(wrong.training.batch = 0xffff);
	REFUSED(wrong.training.rate = 0);
	REFUSED(wrong.training.momentum = KML_FX_ONE);
	REFUSED(wrong.training.decay = -1);
	REFUSED(wrong.training.decay_every = 0);
	REFUSED(wrong.training.first_layer = 3);
	REFUSED(wrong.training.reserved = 1);
	REFUSED(wrong.adapt_samples = 1; wrong.drift_threshold = 0);
	REFUSED(wrong.adapt_samples = 1; wrong.drift_threshold = 1; wrong.drift_tolerance = -1);
#undef REFUSED
}

static void check_create_refused(void)
{
	const struct kml_create right = description("new", 1, 1, KML_DROPPING, KML_CONSUMER_USER, 2);
	int device = open_device();
	struct kml_create wrong;

#define REFUSED(change, status)                                               \
	do {                                                                  \
		wrong = right;                                                \
		change;                                                       \
		CHECK_EQUAL(call(device, KML_CREATE, &wrong), status);        \
	} while (0)
	REFUSED(wrong.name[0] = 0, -EINVAL);
	REFUSED(memcpy(wrong.name, "../../x", 8), -EINVAL);
	REFUSED(memset(wrong.name, 'a', sizeof(wrong.name)), -EINVAL);
	REFUSED(wrong.name[20] = 'a', -EINVAL);
	REFUSED(memcpy(wrong.name, "victim", 7), -EEXIST);
	REFUSED(wrong.inputs = 0, -EINVAL);
	REFUSED(wrong.outputs = KML_PREDICTOR_MAX_WIDTH + 1, -E2BIG);
	REFUSED(wrong.mode = 3, -EINVAL);
	REFUSED(wrong.consumer = 0, -EINVAL);
	REFUSED(wrong.reserved = 1, -EINVAL);
	REFUSED(wrong.slots = 3, -EINVAL);
	REFUSED(wrong.slots = 0, -EINVAL);
	REFUSED(wrong.slots = 0x80000000, -E2BIG);
	REFUSED(wrong.slots = KML_RING_MAX_SLOTS; wrong.inputs = 32; wrong.outputs = 32, -ENOMEM);
	REFUSED(wrong.share = KML_FX_ONE + 1, -EINVAL);
	REFUSED(wrong.explore = 1, -EINVAL);
#undef REFUSED
	CHECK_EQUAL(call(device, KML_CREATE, &wrong), -EINVAL);
	close(device);
}

TEST(bad_calls)
{
	struct kml_infer_call infer_call = { .count = 1 };
	struct kml_collect_call collect_call = { .count = 1 };
	struct kml_math_call math = { .function = KML_FUNCTION_EXP, .count = 1 };
	struct kml_shape shape = { .id = 0, .name = "nobody" };
	struct kml_train_call train_call = { .publish_every = 1, .training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = 1, .decay_every = 1 } };
	struct kml_transfer transfer = { .length = 4 };
	struct kml_create again;
	struct victim victim;
	uint32_t word;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED);
	CHECK_EQUAL(call(victim.device, KML_VERSION, &word), 0);
	CHECK_EQUAL(word, KML_DEVICE_VERSION);
	CHECK_EQUAL(call(victim.device, _IO(KML_IOC, 3), NULL), -ENOTTY);
	CHECK_EQUAL(call(victim.device, _IOWR(KML_IOC, 200, struct kml_shape), &shape), -ENOTTY);
	CHECK_EQUAL(call(victim.device, _IOWR(0xCA, 2, struct kml_shape), &shape), -ENOTTY);
	CHECK_EQUAL(call(victim.device, KML_SHAPE, &shape), -ENOENT);
	shape.reserved = 1;
	CHECK_EQUAL(call(victim.device, KML_SHAPE, &shape), -EINVAL);

	again = description("again", 1, 1, KML_DROPPING, KML_CONSUMER_USER, 2);
	CHECK_EQUAL(call(victim.device, KML_CREATE, &again), -EBUSY);
	check_create_refused();

	infer_call.id = collect_call.id = transfer.id = word = victim.id + 1000;
	CHECK_EQUAL(call(victim.device, KML_INFER, &infer_call), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_COLLECT, &collect_call), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_LOAD, &transfer), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_SAVE, &transfer), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_UNLOAD, &word), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_STOP, &word), -ENOENT);
	CHECK_EQUAL(call(victim.device, KML_ATTACH, &word), -ENOENT);

	word = victim.id;
	CHECK_EQUAL(call(victim.device, KML_ATTACH, &word), -EOPNOTSUPP);
	CHECK_EQUAL(call(victim.device, KML_STOP, &word), -ENODATA);
	infer_call = (struct kml_infer_call){ .id = victim.id };
	CHECK_EQUAL(call(victim.device, KML_INFER, &infer_call), -EINVAL);
	infer_call.count = KML_MAX_COUNT + 1;
	CHECK_EQUAL(call(victim.device, KML_INFER, &infer_call), -E2BIG);
	collect_call = (struct kml_collect_call){ .id = victim.id, .count = 1, .flags = 4 };
	CHECK_EQUAL(call(victim.device, KML_COLLECT, &collect_call), -EINVAL);
	collect_call.flags = KML_COLLECT_WAIT; /* of a ring that drops */
	CHECK_EQUAL(call(victim.device, KML_COLLECT, &collect_call), -EINVAL);
	math.function = 99;
	CHECK_EQUAL(call(victim.device, KML_MATH, &math), -EINVAL);
	transfer = (struct kml_transfer){ .id = victim.id, .length = 4 };
	CHECK_EQUAL(call(victim.device, KML_SAVE, &transfer), -ENOSPC);
	CHECK_EQUAL(transfer.length, victim.good.length);

	train_call.id = victim.id;
	check_training_refused(&victim, &train_call);
	CHECK_EQUAL(call(victim.device, KML_TRAIN, &train_call), 0);
	CHECK_EQUAL(call(victim.device, KML_TRAIN, &train_call), -EBUSY);
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, victim.good.length), -EBUSY);
	CHECK_EQUAL(call(victim.device, KML_UNLOAD, &word), -EBUSY);
	CHECK_EQUAL(call(victim.device, KML_STOP, &word), 0);
	CHECK_EQUAL(call(victim.device, KML_UNLOAD, &word), 0);
	CHECK_EQUAL(call(victim.device, KML_UNLOAD, &word), -ENODATA);
	CHECK_EQUAL(call(victim.device, KML_TRAIN, &train_call), -ENODATA);
	CHECK_EQUAL(save(victim.device, victim.id, &math, sizeof(math)), -ENODATA);
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, victim.good.length), 0);
	victim_end(&victim);
}

/* Pointers */

TEST(bad_pointers)
{
	static const unsigned long codes[] = {
		KML_VERSION, KML_CREATE, KML_SHAPE, KML_ATTACH, KML_LOAD, KML_SAVE, KML_UNLOAD,
		KML_INFER, KML_COLLECT, KML_TRAIN, KML_STOP, KML_STATISTICS, KML_MATH,
	};
	uint8_t *pages = mmap(NULL, 3 * 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t pointers[] = {
		0, 1, 0x7ffffffffffe, 0x8000000000000000, 0xffff800000000000, 0xffff888000000000, 0xffffffff81000000,
		UINT64_MAX, UINT64_MAX - 7, 0, 0,
	};
	const unsigned int count = sizeof(pointers) / sizeof(*pointers);
	struct kml_infer_call infer_call;
	struct kml_collect_call collect_call;
	struct kml_transfer transfer;
	struct kml_math_call math;
	kml_fx numbers[8] = { 0 };
	struct victim victim;
	unsigned int i, code;

	need(pages != MAP_FAILED && !mprotect(pages + 65536, 65536, PROT_NONE), "mmap");
	pointers[count - 2] = (uintptr_t)pages + 65536;     /* not readable */
	pointers[count - 1] = (uintptr_t)pages + 65536 - 2; /* half of it */
	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED);
	for (i = 0; i < count; i++) {
		void *bad = (void *)(uintptr_t)pointers[i];

		for (code = 0; code < sizeof(codes) / sizeof(*codes); code++)
			CHECK_EQUAL(call(victim.device, codes[code], bad), -EFAULT);
		CHECK_EQUAL(load(victim.device, victim.id, bad, victim.good.length), -EFAULT);
		transfer = (struct kml_transfer){ victim.id, victim.good.length, pointers[i] };
		CHECK_EQUAL(call(victim.device, KML_SAVE, &transfer), -EFAULT);
		infer_call = (struct kml_infer_call){ victim.id, 2, pointers[i], (uintptr_t)numbers, 0, 0 };
		CHECK_EQUAL(call(victim.device, KML_INFER, &infer_call), -EFAULT);
		infer_call = (struct kml_infer_call){ victim.id, 2, (uintptr_t)numbers, pointers[i], 0, 0 };
		CHECK_EQUAL(call(victim.device, KML_INFER, &infer_call), -EFAULT);
		collect_call = (struct kml_collect_call){ .id = victim.id, .count = 2, .values = pointers[i] };
		CHECK_EQUAL(call(victim.device, KML_COLLECT, &collect_call), -EFAULT);
		math = (struct kml_math_call){ KML_FUNCTION_EXP, 2, pointers[i], (uintptr_t)numbers, 0 };
		CHECK_EQUAL(call(victim.device, KML_MATH, &math), -EFAULT);
		math = (struct kml_math_call){ KML_FUNCTION_SOFTMAX, 2, (uintptr_t)numbers, pointers[i], 0 };
		CHECK_EQUAL(call(victim.device, KML_MATH, &math), -EFAULT);
	}
	CHECK_EQUAL(statistics_of(victim.device, victim.id).pushed, 0);
	munmap(pages, 3 * 65536);
	victim_end(&victim);
}

/* Calls with random arguments of a predictor that exists; none may wait for room, which would be right but long. */
TEST(random_calls)
{
	static uint8_t page[4096];
	uint64_t state = 4242, done = 0;
	struct victim victim;
	unsigned int round, i;
	int device;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED);
	device = open_device();
	for (round = 0; round < 20000; round++) {
		union {
			uint32_t id;
			struct kml_statistics largest;
			uint64_t words[20];
			uint16_t halves[80];
		} argument;
		static const struct { unsigned int number, direction, bytes; } calls[] = {
			{ 2, _IOC_READ | _IOC_WRITE, sizeof(struct kml_shape) }, { 3, _IOC_WRITE, 4 },
			{ 4, _IOC_WRITE, sizeof(struct kml_transfer) },
			{ 5, _IOC_READ | _IOC_WRITE, sizeof(struct kml_transfer) }, { 6, _IOC_WRITE, 4 },
			{ 7, _IOC_READ | _IOC_WRITE, sizeof(struct kml_infer_call) },
			{ 8, _IOC_READ | _IOC_WRITE, sizeof(struct kml_collect_call) },
			{ 9, _IOC_WRITE, sizeof(struct kml_train_call) }, { 10, _IOC_WRITE, 4 },
			{ 11, _IOC_READ | _IOC_WRITE, sizeof(struct kml_statistics) },
			{ 12, _IOC_READ | _IOC_WRITE, sizeof(struct kml_math_call) },
		};
		unsigned int which = random_number(&state) % (sizeof(calls) / sizeof(*calls));

		memset(&argument, 0, sizeof(argument));
		for (i = 0; i < 80; i++) /* small numbers and wild ones */
			if (random_number(&state) % 3)
				argument.halves[i] = (uint16_t)(random_number(&state) >> (random_number(&state) % 48));
		for (i = 1; i < 4; i++)
			if (random_number(&state) % 2)
				argument.words[i] = (uintptr_t)page + random_number(&state) % sizeof(page);
		if (random_number(&state) % 4)
			argument.id = victim.id;
		done += !call(device, _IOC(calls[which].direction, KML_IOC, calls[which].number, calls[which].bytes),
			      &argument);
	}
	CHECK(done > 0);
	figure("tried", round);
	figure("accepted", (long long)done);
	close(device);
	call(victim.device, KML_STOP, &victim.id);
	CHECK_EQUAL(load(victim.device, victim.id, victim.good.file, victim.good.length), 0);
	victim_end(&victim);
}

/* Mappings */

static int try_map(int device, size_t bytes, int access, int kind, uint64_t offset)
{
	void *memory = mmap(NULL, bytes, access, kind, device, (off_t)offset);

	if (memory == MAP_FAILED)
		return -errno;
	munmap(memory, bytes);
	return 0;
}

TEST(bad_maps)
{
	const int write = PROT_READ | PROT_WRITE;
	int device = open_device(), other = open_device(), kernels = open_device();
	uint32_t id = create(device, "mapped", 3, 1, KML_DROPPING, KML_CONSUMER_USER, 1024);
	struct kml_shape shape = shape_of(device, id);
	size_t page = shape.page, records = shape.record_area;
	uint64_t last = KML_MAP_OFFSET(shape.rings - 1, KML_MAP_READER);
	const kml_fx in[3] = { 1, 2, 3 };
	static struct small_model model;
	void *memory;

	CHECK_EQUAL(records, (1024 * 24 + page - 1) / page * page);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, 0), 0);
	CHECK_EQUAL(try_map(device, page, write, MAP_SHARED, last), 0);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, last), 0);
	CHECK_EQUAL(try_map(device, records, PROT_READ, MAP_SHARED, KML_MAP_OFFSET(0, KML_MAP_RECORDS)), 0);

	CHECK_EQUAL(try_map(device, 2 * page, PROT_READ, MAP_SHARED, 0), -EINVAL);
	CHECK_EQUAL(try_map(device, records + page, PROT_READ, MAP_SHARED, KML_MAP_OFFSET(0, KML_MAP_RECORDS)), -EINVAL);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, KML_MAP_OFFSET(0, KML_MAP_RECORDS)), -EINVAL);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, page), -EINVAL);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, KML_MAP_OFFSET(0, 3)), -EINVAL);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, KML_MAP_OFFSET(shape.rings, 0)), -EINVAL);
	CHECK_EQUAL(try_map(device, page, PROT_READ, MAP_SHARED, 1ull << 62), -EINVAL);
	CHECK_EQUAL(try_map(device, page, write, MAP_SHARED, 0), -EPERM);
	CHECK_EQUAL(try_map(device, records, write, MAP_SHARED, KML_MAP_OFFSET(0, KML_MAP_RECORDS)), -EPERM);
	CHECK_EQUAL(try_map(device, page, write, MAP_PRIVATE, last), -EINVAL);
	CHECK_EQUAL(try_map(other, page, PROT_READ, MAP_SHARED, 0), -ENXIO);

	memory = map(device, &shape, 0, KML_MAP_RECORDS);
	CHECK(mprotect(memory, records, write) && errno == EACCES);
	CHECK(mremap(memory, records, records + page, MREMAP_MAYMOVE) == MAP_FAILED);
	make_two_layers(&model, 3, 4, 1, 1);
	CHECK_EQUAL(load(device, id, model.file, model.length), 0);
	CHECK_EQUAL(infer(device, id, in, memory, 1), -EFAULT); /* nor does the kernel write there for a process */
	munmap((uint8_t *)memory + page, page);
	munmap(memory, records);

	CHECK_EQUAL(call(other, KML_ATTACH, &id), -EBUSY);
	create(kernels, "kernels", 1, 1, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED, 2);
	CHECK_EQUAL(try_map(kernels, page, PROT_READ, MAP_SHARED, 0), -EOPNOTSUPP);
	close(kernels);
	close(other);
	close(device);
}

/* A reader's word of any value: the writer keeps its count and its slots, and goes on when the word makes sense. */
static void check_bad_tails(enum kml_ring_mode mode)
{
	static const uint64_t tails[] = { UINT64_MAX, 1ull << 63, 1ull << 32, 1000000, 9, UINT64_MAX - 7 };
	const unsigned int count = sizeof(tails) / sizeof(*tails);
	const kml_fx sample[4] = { 1, 2, 3, 4 };
	uint64_t state = 5, wanted = 0, accepted = 0, dropped = 0;
	struct kml_collect_call collected;
	struct kml_statistics statistics;
	struct mapped_ring ring;
	struct kml_shape shape;
	unsigned int i, round;
	int device, status;
	uint32_t id;

	run_on(0);
	device = open_device();
	id = create(device, "bad-tails", 3, 1, mode, KML_CONSUMER_USER, 8);
	shape = shape_of(device, id);
	ring = map_ring(device, &shape, 0);
	for (round = 0; round < 2000; round++) {
		ring.reader->tail = round < count ? tails[round] : random_number(&state) >> (round % 64);
		for (i = 0; i < 3; i++) {
			status = collect(device, id, sample, 1, 0, &collected);
			CHECK(!status || (mode == KML_BLOCKING && status == -EAGAIN));
			wanted += !status;
			accepted += collected.accepted;
			dropped += collected.dropped;
		}
		statistics = statistics_of(device, id);
		CHECK_EQUAL(ring.writer->head, accepted);
		CHECK_EQUAL(ring.writer->dropped, dropped);
		CHECK_EQUAL(statistics.pushed, wanted);
		CHECK(statistics.popped <= accepted);
		CHECK(statistics.popped + 8 >= accepted);
	}
	CHECK(statistics.bad_tails > 0);
	CHECK_EQUAL(ring.writer->bad_tails, statistics.bad_tails);
	ring.reader->tail = ring.writer->head;
	for (i = 0; i < 8; i++) {
		CHECK_EQUAL(collect(device, id, sample, 1, 0, &collected), 0);
		CHECK_EQUAL(collected.accepted, 1);
	}
	figure("bad_tails", (long long)statistics.bad_tails);
	unmap_ring(&shape, &ring);
	close(device);
}

TEST(bad_tails)
{
	check_bad_tails(KML_DROPPING);
	check_bad_tails(KML_BLOCKING);
}

/* Limits and rights */

TEST(limits)
{
	int devices[KML_MAX_PREDICTORS], last = open_device();
	struct kml_create more = description("more", 1, 1, KML_DROPPING, KML_CONSUMER_USER, 2);
	struct kml_shape shape;
	uint32_t ids[KML_MAX_PREDICTORS];
	unsigned int i, found = 0;
	char name[16];

	for (i = 0; i < KML_MAX_PREDICTORS; i++) {
		snprintf(name, sizeof(name), "number-%u", i);
		devices[i] = open_device();
		ids[i] = create(devices[i], name, 1, 1, KML_DROPPING, KML_CONSUMER_USER, 2);
	}
	CHECK_EQUAL(call(last, KML_CREATE, &more), -ENOSPC);
	memset(&shape, 0, sizeof(shape));
	do { /* all of them, from the first on */
		shape = (struct kml_shape){ .id = found ? shape.next : 0 };
		CHECK_EQUAL(call(last, KML_SHAPE, &shape), 0);
		CHECK_EQUAL(shape.id, ids[found]);
		found++;
	} while (shape.next && found < KML_MAX_PREDICTORS);
	CHECK_EQUAL(found, KML_MAX_PREDICTORS);
	close(devices[7]);
	CHECK_EQUAL(call(last, KML_CREATE, &more), 0);
	CHECK(more.id > ids[KML_MAX_PREDICTORS - 1]); /* ids are not used again */
	for (i = 0; i < KML_MAX_PREDICTORS; i++)
		if (i != 7)
			close(devices[i]);
	close(last);
	last = open_device();
	shape = (struct kml_shape){ .id = 0 };
	CHECK_EQUAL(call(last, KML_SHAPE, &shape), -ENOENT);
	close(last);
}

/* Root without the capability, then another user. */
static int open_without_rights(bool other_user)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	int status;
	pid_t child = fork();

	if (!child) {
		if (other_user)
			_exit(setuid(65534) ? 0 : open("/dev/kml", O_RDWR) < 0 ? errno : 0);
		syscall(SYS_capget, &header, data);
		data[0].effective &= ~(1u << CAP_SYS_ADMIN);
		_exit(syscall(SYS_capset, &header, data) ? 0 : open("/dev/kml", O_RDWR) < 0 ? errno : 0);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(rights)
{
	CHECK_EQUAL(open_without_rights(false), EPERM);
	CHECK_EQUAL(open_without_rights(true), EACCES);
}
