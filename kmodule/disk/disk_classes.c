/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The parameters of four classes of flash disks.
 *
 * Each is fitted to figures that were published for one device; docs/test-disk.md has them with their sources, the
 * calculation, and which parameters are assumptions.  Fitted: command_ns, bus_ns_per_kib, read_random_ns,
 * program_ns_per_kib, program_random_ns.
 */

#include "disk_model.h"

static const struct {
	const char *name;
	struct disk_parameters parameters;
} classes[] = {
	/* A microSD card, Samsung Evo+ 32 GB in a Raspberry Pi 4: pidramble.com/wiki/benchmarks/microsd-cards. */
	{ "sdcard",
	  {
		  .queues = 1,
		  .depth = 1,
		  .units = 1,
		  .stripe_kib = 4096,
		  .streams = 1,
		  .command_ns = 40000,
		  .bus_ns_per_kib = 22500,
		  .read_sequential_ns = 60000,
		  .read_random_ns = 249000,
		  .write_ns = 0,
		  .program_ns_per_kib = 19160,
		  .program_random_ns = 834000,
		  .granule_ns = 850000,
		  .buffer_kib = 0,
		  .flush_ns = 0,
		  .gc_kib = 16384,
		  .gc_ns = 100000000,
		  .gc_units = 1,
		  .jitter_permille = 100,
	  } },
	/* Samsung's 64 GB eMMC 5.1, as announced: cdrinfo.com, "Samsung Develops First eMMC 5.1 Flash Memory". */
	{ "emmc",
	  {
		  .queues = 1,
		  .depth = 32,
		  .units = 2,
		  .stripe_kib = 32,
		  .streams = 4,
		  .command_ns = 20000,
		  .bus_ns_per_kib = 3900,
		  .read_sequential_ns = 20000,
		  .read_random_ns = 180000,
		  .write_ns = 30000,
		  .program_ns_per_kib = 16400,
		  .program_random_ns = 88000,
		  .granule_ns = 850000,
		  .buffer_kib = 512,
		  .flush_ns = 2000000,
		  .gc_kib = 16384,
		  .gc_ns = 20000000,
		  .gc_units = 2,
		  .jitter_permille = 100,
	  } },
	/* SATA: Samsung 860 EVO 1 TB and 850 PRO: techplayboy.com/53745, tomshardware.com/reviews/,3861-5.html. */
	{ "ssd",
	  {
		  .queues = 1,
		  .depth = 32,
		  .units = 16,
		  .stripe_kib = 16,
		  .streams = 8,
		  .command_ns = 2700,
		  .bus_ns_per_kib = 1862,
		  .read_sequential_ns = 20000,
		  .read_random_ns = 90000,
		  .write_ns = 14000,
		  .program_ns_per_kib = 30300,
		  .program_random_ns = 57000,
		  .granule_ns = 850000,
		  .buffer_kib = 8192,
		  .flush_ns = 2000000,
		  .gc_kib = 65536,
		  .gc_ns = 10000000,
		  .gc_units = 4,
		  .jitter_permille = 100,
	  } },
	/* Samsung 970 EVO 1 TB: techgage.com, "Samsung Reveals The 970 PRO & 970 EVO Generation M.2 SSDs". */
	{ "nvme",
	  {
		  .queues = 4,
		  .depth = 256,
		  .units = 64,
		  .stripe_kib = 16,
		  .streams = 8,
		  .command_ns = 800,
		  .bus_ns_per_kib = 301,
		  .read_sequential_ns = 10000,
		  .read_random_ns = 64700,
		  .write_ns = 18000,
		  .program_ns_per_kib = 26200,
		  .program_random_ns = 37000,
		  .granule_ns = 850000,
		  .buffer_kib = 16384,
		  .flush_ns = 1000000,
		  .gc_kib = 262144,
		  .gc_ns = 5000000,
		  .gc_units = 8,
		  .jitter_permille = 100,
	  } },
};

bool disk_class(const char *name, struct disk_parameters *parameters)
{
	size_t at;

	for (at = 0; at < sizeof(classes) / sizeof(classes[0]); at++) {
		if (strcmp(classes[at].name, name) == 0) {
			*parameters = classes[at].parameters;
			return true;
		}
	}
	return false;
}
