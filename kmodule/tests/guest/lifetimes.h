/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Part of kml_check: files, predictors and the module end while they are in use. */
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Memory whose first touch, even the kernel's, stops until content is put there (userfaultfd(2)). */
struct held_memory {
	int fault;
	void *memory;
	size_t bytes;
};

static struct held_memory hold_memory(void)
{
	struct held_memory held = { .bytes = (size_t)sysconf(_SC_PAGESIZE) };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	held.fault = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	need(held.fault >= 0 && !ioctl(held.fault, UFFDIO_API, &api), "userfaultfd");
	held.memory = mmap(NULL, held.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)held.memory;
	range.range.len = held.bytes;
	need(held.memory != MAP_FAILED && !ioctl(held.fault, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	return held;
}

/* Until someone has touched it. */
static void wait_for_touch(const struct held_memory *held)
{
	struct pollfd waiting = { .fd = held->fault, .events = POLLIN };

	need(poll(&waiting, 1, 10000) == 1, "a touch of held memory");
}

static void let_go(const struct held_memory *held, const void *content, size_t bytes)
{
	void *page = calloc(1, held->bytes);
	struct uffdio_copy copy = { .dst = (uintptr_t)held->memory, .src = (uintptr_t)page, .len = held->bytes };

	memcpy(page, content, bytes);
	need(!ioctl(held->fault, UFFDIO_COPY, &copy), "UFFDIO_COPY");
	free(page);
}

static void held_end(const struct held_memory *held)
{
	munmap(held->memory, held->bytes);
	close(held->fault);
}

struct loading {
	int device;
	uint32_t id;
	const void *file;
	uint32_t length;
	int status;
};

static void *load_in_thread(void *argument)
{
	struct loading *loading = argument;

	loading->status = load(loading->device, loading->id, loading->file, loading->length);
	return NULL;
}

static int remove_module(void)
{
	return syscall(SYS_delete_module, "kml", O_NONBLOCK) ? -errno : 0;
}

TEST(two_loaders)
{
	struct held_memory held = hold_memory();
	struct victim victim;
	struct loading loading;
	pthread_t thread;
	int other = open_device();

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_USER);
	loading = (struct loading){ victim.device, victim.id, held.memory, victim.good.length, 1 };
	thread = begin(load_in_thread, &loading);
	wait_for_touch(&held);
	CHECK_EQUAL(load(other, victim.id, victim.good.file, victim.good.length), -EBUSY);
	victim_is_well(&victim);
	let_go(&held, victim.good.file, victim.good.length);
	pthread_join(thread, NULL);
	CHECK_EQUAL(loading.status, 0);
	CHECK_EQUAL(load(other, victim.id, victim.good.file, victim.good.length), 0);
	CHECK_EQUAL(statistics_of(other, victim.id).loads, 3);
	CHECK_EQUAL(statistics_of(other, victim.id).refused, 1);
	held_end(&held);
	close(other);
	victim_end(&victim);
}

/* The file that made the predictor is closed while another process's call on it is under way. */
TEST(destroyed_during_a_call)
{
	struct kml_shape gone = { .name = "victim" };
	struct held_memory held = hold_memory();
	int other = open_device();
	struct loading loading;
	struct victim victim;
	pthread_t thread;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_USER);
	loading = (struct loading){ other, victim.id, held.memory, victim.good.length, 1 };
	thread = begin(load_in_thread, &loading);
	wait_for_touch(&held);
	close(victim.device);
	CHECK_EQUAL(call(other, KML_SHAPE, &gone), -ENOENT);
	CHECK_EQUAL(remove_module(), -EAGAIN);
	let_go(&held, victim.good.file, victim.good.length);
	pthread_join(thread, NULL);
	CHECK_EQUAL(loading.status, 0); /* of what nobody can find any more */
	CHECK_EQUAL(load(other, victim.id, victim.good.file, victim.good.length), -ENOENT);
	held_end(&held);
	close(other);
}

TEST(module_in_use)
{
	struct victim victim;

	victim_begin(&victim, KML_DROPPING, KML_CONSUMER_KERNEL_FIXED);
	CHECK_EQUAL(train(victim.device, victim.id, &regression_training, 1), 0);
	CHECK_EQUAL(remove_module(), -EAGAIN);
	CHECK_EQUAL(call(victim.device, KML_STOP, &victim.id), 0);
	victim_end(&victim);
}

/* A mapping keeps its file, and so the predictor, alive; it goes with the last of them. */
TEST(closed_with_mapped_rings)
{
	const kml_fx sample[4] = { 1, 2, 3, 4 };
	struct kml_shape gone = { .name = "mapped" };
	int device = open_device(), other = open_device();
	uint32_t id = create(device, "mapped", 3, 1, KML_DROPPING, KML_CONSUMER_USER, 8);
	struct kml_shape shape = shape_of(device, id);
	struct mapped_ring ring;
	struct kml_ring_reader reader;
	struct kml_collect_call collected;

	run_on(0);
	ring = map_ring(device, &shape, 0);
	close(device);
	CHECK_EQUAL(collect(other, id, sample, 1, 0, &collected), 0);
	read_ring(&reader, &shape, &ring);
	CHECK(kml_ring_peek(&reader) && kml_ring_peek(&reader)->values[3] == 4);
	CHECK_EQUAL(remove_module(), -EAGAIN);
	unmap_ring(&shape, &ring);
	CHECK_EQUAL(call(other, KML_SHAPE, &gone), -ENOENT);
	CHECK_EQUAL(collect(other, id, sample, 1, 0, &collected), -ENOENT);
	close(other);
}

/* Processes that have the rings mapped are killed: the predictor ends with the last of them. */
TEST(killed_with_mapped_rings)
{
	struct kml_shape found = { .name = "killed" };
	int device, other = open_device(), told[2];
	struct kml_shape shape;
	pid_t child, grandchild;

	need(!pipe(told), "pipe");
	child = fork();
	if (!child) {
		device = open_device();
		shape = shape_of(device, create(device, "killed", 1, 1, KML_BLOCKING, KML_CONSUMER_USER, 8));
		map_ring(device, &shape, 0);
		grandchild = fork();
		if (grandchild)
			need(write(told[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild), "write");
		pause();
		_exit(0);
	}
	need(read(told[0], &grandchild, sizeof(grandchild)) == sizeof(grandchild), "read");
	CHECK_EQUAL(call(other, KML_SHAPE, &found), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	CHECK_EQUAL(call(other, KML_SHAPE, &found), 0); /* its child has it still */
	kill(grandchild, SIGKILL);
	while (!call(other, KML_SHAPE, &found))
		usleep(1000);
	close(told[0]);
	close(told[1]);
	close(other);
}

struct waiting {
	uint32_t id;
	int status;
	uint32_t accepted;
};

static void *collect_more_than_fits(void *argument)
{
	static const kml_fx samples[20][2];
	struct waiting *waiting = argument;
	struct kml_collect_call collected;
	int device = open_device();

	run_on(0);
	waiting->status = collect(device, waiting->id, samples[0], 20, KML_COLLECT_WAIT, &collected);
	waiting->accepted = collected.accepted;
	close(device);
	return NULL;
}

static void wait_for_waits(int device, uint32_t id, uint64_t waits)
{
	while (statistics_of(device, id).waits < waits)
		usleep(1000);
}

/* One that waits for room is killed; another one waits when the predictor ends. */
TEST(ended_while_waiting)
{
	int device = open_device(), status;
	uint32_t id = create(device, "waited-for", 1, 1, KML_BLOCKING, KML_CONSUMER_USER, 8);
	struct waiting waiting = { .id = id };
	pthread_t thread;
	pid_t child = fork();

	if (!child) {
		close(device);
		collect_more_than_fits(&waiting);
		_exit(0);
	}
	wait_for_waits(device, id, 1);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	CHECK(WIFSIGNALED(status));
	CHECK_EQUAL(statistics_of(device, id).pushed, 8);

	thread = begin(collect_more_than_fits, &waiting);
	wait_for_waits(device, id, 2);
	close(device);
	pthread_join(thread, NULL);
	CHECK_EQUAL(waiting.status, -ENODEV);
	CHECK_EQUAL(waiting.accepted, 0);
}

/* Closed while its learner is busy with full rings: it does not stay to empty them. */
TEST(closed_while_it_trains)
{
	const struct kml_training training = {
		.loss = KML_MSE, .schedule = KML_RATE_CONSTANT, .batch = 1, .rate = 1, .decay_every = 1,
	};
	static const kml_fx samples[10000][4];
	struct kml_collect_call collected;
	static struct small_model small;
	unsigned int round;

	make_two_layers(&small, 3, 30, 1, 17);
	for (round = 0; round < 10; round++) {
		int device = open_device();
		uint32_t id = create(device, "busy", 3, 1, KML_DROPPING,
				     round % 2 ? KML_CONSUMER_KERNEL_FLOAT : KML_CONSUMER_KERNEL_FIXED, 16384);

		CHECK_EQUAL(load(device, id, small.file, small.length), 0);
		CHECK_EQUAL(collect(device, id, samples[0], 10000, 0, &collected), 0);
		CHECK_EQUAL(collected.accepted, 10000);
		CHECK_EQUAL(train(device, id, &training, 1), 0);
		close(device);
	}
}

/* Someone reads the predictor's folder in debugfs while it goes. */
TEST(watched_while_it_ends)
{
	char text[4096];
	unsigned int round;
	int file, device;

	for (round = 0; round < 20; round++) {
		device = open_device();
		create(device, "watched", 1, 1, KML_DROPPING, KML_CONSUMER_USER, 8);
		file = open("/sys/kernel/debug/kml/watched/statistics", O_RDONLY);
		need(file >= 0, "debugfs");
		CHECK(read(file, text, 100) == 100);
		close(device);
		CHECK(read(file, text, sizeof(text)) < 0 && errno == EIO);
		close(file);
		CHECK(open("/sys/kernel/debug/kml/watched/statistics", O_RDONLY) < 0);
	}
}
