/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How long a modelled flash disk takes for a request, given what it is doing.  docs/test-disk.md explains the model.
 *
 * Times are nanoseconds on any clock that never goes back; a request's end is known as soon as it has been handed over.
 */
#ifndef DISK_MODEL_H
#define DISK_MODEL_H

#include "kml_deps.h"

#define DISK_MOST_UNITS 64
#define DISK_MOST_STREAMS 8
#define DISK_MOST_BYTES (1u << 20) /* of one request */

enum disk_operation { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_OPERATIONS };

/* Each parameter: its name, the least and the most that it may be, what it is. */
#define DISK_PARAMETERS(P)                                                                                           \
	P(queues, 1, 64, "hardware queues that the host sees")                                                       \
	P(depth, 1, 1024, "requests that the disk takes at once")                                                    \
	P(units, 1, DISK_MOST_UNITS, "dies of flash that work at once")                                              \
	P(stripe_kib, 1, 1 << 20, "consecutive KiB that lie on one unit")                                            \
	P(streams, 1, DISK_MOST_STREAMS, "sequential streams told apart, of reads and of writes each")               \
	P(command_ns, 0, 1000000000, "controller and interface, for each request, one after the other")              \
	P(bus_ns_per_kib, 0, 1000000, "interface, for each KiB, one after the other")                                \
	P(read_sequential_ns, 0, 1000000000, "flash, for each stripe of a read that goes on where an earlier ended") \
	P(read_random_ns, 0, 1000000000, "flash, for each stripe of any other read")                                 \
	P(write_ns, 0, 1000000000, "controller, from taking a write into the buffer to saying so")                   \
	P(program_ns_per_kib, 0, 1000000, "flash, for each KiB written")                                             \
	P(program_random_ns, 0, 1000000000, "flash, for a write that does not go on where an earlier ended")         \
	P(granule_ns, 1, 1000000000, "flash, a part of programming that no read interrupts")                         \
	P(buffer_kib, 0, 1 << 20, "written KiB that wait for the flash; 0: a write ends when it is programmed")      \
	P(flush_ns, 0, 1000000000, "a flush, once the buffer is empty")                                              \
	P(gc_kib, 0, 1 << 30, "KiB written between two garbage collections; 0: none")                                \
	P(gc_ns, 0, 1000000000, "pause for a garbage collection")                                                    \
	P(gc_units, 1, DISK_MOST_UNITS, "units that pause, in turn")                                                 \
	P(jitter_permille, 0, 1000, "most that flash takes longer or shorter: triangular around 0")

#define DISK_FIELD(name, least, most, text) uint32_t name;

struct disk_parameters {
	DISK_PARAMETERS(DISK_FIELD)
};

struct disk_counter {
	uint64_t requests;
	uint64_t sequential; /* of them */
	uint64_t bytes;
	uint64_t service_ns;
};

struct disk_unit {
	uint64_t reads_until; /* reads and pauses */
	uint64_t programs_until; /* of what was written, also if still in the buffer */
};

struct disk_stream {
	uint64_t end; /* where its next request begins */
	uint64_t used; /* which request was its last */
};

struct disk_model {
	struct disk_parameters parameters;
	uint64_t random;
	uint64_t bus_until;
	uint64_t requests;
	uint64_t written; /* bytes since the last garbage collection */
	uint32_t gc_next; /* unit */
	struct disk_unit units[DISK_MOST_UNITS];
	struct disk_stream streams[DISK_FLUSH][DISK_MOST_STREAMS];
	struct disk_counter counters[DISK_OPERATIONS];
	uint64_t gc_pauses;
};

/* The parameters of `sdcard`, `emmc`, `ssd` or `nvme`; false: there is no such class. */
bool disk_class(const char *name, struct disk_parameters *parameters);

/* The name of the first parameter that is out of bounds, or NULL. */
const char *disk_parameters_wrong(const struct disk_parameters *parameters);

/* The parameters must be within bounds.  The same seed and requests give the same times. */
void disk_model_begin(struct disk_model *model, const struct disk_parameters *parameters, uint64_t seed);

/* When a request ends that is handed over now; at most DISK_MOST_BYTES, 0 for a flush. */
uint64_t disk_model_end(struct disk_model *model, enum disk_operation operation, uint64_t offset, uint32_t bytes,
			uint64_t now);

#endif
