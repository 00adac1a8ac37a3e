/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The service times of a modelled flash disk: one interface, units of flash, a write buffer, garbage collection. */

#include "disk_model.h"
#include "random.h"

static uint64_t later(uint64_t one, uint64_t other)
{
	return one > other ? one : other;
}

static uint64_t for_bytes(uint32_t bytes, uint32_t ns_per_kib)
{
	return ((uint64_t)bytes * ns_per_kib) >> 10;
}

static bool within(uint32_t value, uint32_t least, uint32_t most)
{
	return value >= least && value <= most;
}

const char *disk_parameters_wrong(const struct disk_parameters *parameters)
{
#define DISK_WITHIN(name, least, most, text)                 \
	if (!within(parameters->name, least, most))          \
		return #name;
	DISK_PARAMETERS(DISK_WITHIN)
#undef DISK_WITHIN
	if (parameters->gc_units > parameters->units)
		return "gc_units";
	return NULL;
}

void disk_model_begin(struct disk_model *model, const struct disk_parameters *parameters, uint64_t seed)
{
	memset(model, 0, sizeof(*model));
	model->parameters = *parameters;
	model->random = kml_random_begin(seed);
	/* No request begins at ~0: a stream that was never used goes on nowhere. */
	memset(model->streams, 0xff, sizeof(model->streams));
}

/* A triangular deviation, as the sum of two uniform ones has: its mean is 0, its greatest jitter_permille. */
static uint64_t jittered(struct disk_model *model, uint64_t ns)
{
	uint64_t drawn = kml_random_next(&model->random);
	int64_t deviation = (int64_t)((drawn & 0xffff) + ((drawn >> 16) & 0xffff)) - 0xffff;

	return (uint64_t)((int64_t)ns + kml_div64((int64_t)ns * model->parameters.jitter_permille * deviation,
						  0xffff * 1000ll));
}

/* Whether a request goes on where one of the last streams ended; it is a stream's last request from now on. */
static bool goes_on(struct disk_model *model, enum disk_operation operation, uint64_t offset, uint32_t bytes)
{
	struct disk_stream *stream, *chosen = model->streams[operation];
	uint64_t number = ++model->requests;
	uint32_t at;
	bool found;

	for (at = 0; at < model->parameters.streams; at++) {
		stream = &model->streams[operation][at];
		if (stream->end == offset) {
			chosen = stream;
			break;
		}
		/* One never used, else the one not used for longest: ~0 + 1 is 0. */
		if (stream->used + 1 < chosen->used + 1)
			chosen = stream;
	}
	found = chosen->end == offset;
	chosen->end = offset + bytes;
	chosen->used = number;
	return found;
}

/* A read waits for reads and pauses of its units, and for that part of their programming which is going on. */
static uint64_t read_end(struct disk_model *model, uint64_t offset, uint32_t bytes, bool sequential, uint64_t ready)
{
	const struct disk_parameters *parameters = &model->parameters;
	uint64_t stripe = (uint64_t)parameters->stripe_kib << 10;
	uint64_t first = kml_divu64(offset, stripe);
	uint64_t stripes = kml_divu64(offset + bytes - 1, stripe) - first + 1;
	uint64_t access = jittered(model, sequential ? parameters->read_sequential_ns : parameters->read_random_ns);
	uint64_t begin, end, all = ready;
	struct disk_unit *unit;
	uint32_t at;

	for (at = 0; at < parameters->units && at < stripes; at++) {
		unit = &model->units[(first + at) % parameters->units];
		begin = later(ready, unit->reads_until);
		if (unit->programs_until > begin)
			begin += (unit->programs_until - begin) % parameters->granule_ns;
		end = begin + access * (kml_divu64(stripes - at - 1, parameters->units) + 1);
		if (unit->programs_until > begin)
			unit->programs_until += end - begin;
		unit->reads_until = end;
		all = later(all, end);
	}
	return all;
}

/* Some units rest, with what they have still to program. */
static void collect_garbage(struct disk_model *model, uint64_t now)
{
	const struct disk_parameters *parameters = &model->parameters;
	struct disk_unit *unit;
	uint32_t count;

	for (count = 0; count < parameters->gc_units; count++) {
		unit = &model->units[model->gc_next];
		unit->reads_until = later(now, unit->reads_until) + parameters->gc_ns;
		unit->programs_until = later(now, unit->programs_until) + parameters->gc_ns;
		model->gc_next = (model->gc_next + 1) % parameters->units;
	}
	model->gc_pauses++;
}

/* A write goes to the unit that is free first, and ends when the buffer has room for it. */
static uint64_t write_end(struct disk_model *model, uint32_t bytes, bool sequential, uint64_t ready)
{
	const struct disk_parameters *parameters = &model->parameters;
	/* What a unit's share of the buffer takes to program. */
	uint64_t share = kml_divu64((uint64_t)parameters->buffer_kib * parameters->program_ns_per_kib,
				    parameters->units);
	uint64_t program = for_bytes(bytes, parameters->program_ns_per_kib);
	struct disk_unit *unit = model->units;
	uint64_t end;
	uint32_t at;

	for (at = 1; at < parameters->units; at++)
		if (later(ready, model->units[at].programs_until) < later(ready, unit->programs_until))
			unit = &model->units[at];
	if (!sequential)
		program += parameters->program_random_ns;
	unit->programs_until = later(later(ready, unit->reads_until), unit->programs_until) + jittered(model, program);
	end = unit->programs_until > share ? later(ready, unit->programs_until - share) : ready;
	model->written += bytes;
	while (parameters->gc_kib && model->written >= (uint64_t)parameters->gc_kib << 10) {
		model->written -= (uint64_t)parameters->gc_kib << 10;
		collect_garbage(model, end);
	}
	return end + parameters->write_ns;
}

static uint64_t flush_end(struct disk_model *model, uint64_t ready)
{
	uint32_t at;

	for (at = 0; at < model->parameters.units; at++)
		ready = later(ready, model->units[at].programs_until);
	return ready + model->parameters.flush_ns;
}

/*
 * A read's data pass the interface last, here they pass it first: to one request that is the same, and requests then
 * need no second look when their data are there.
 */
static uint64_t interface_end(struct disk_model *model, uint32_t bytes, uint64_t now)
{
	model->bus_until = later(now, model->bus_until) + model->parameters.command_ns +
			   for_bytes(bytes, model->parameters.bus_ns_per_kib);
	return model->bus_until;
}

uint64_t disk_model_end(struct disk_model *model, enum disk_operation operation, uint64_t offset, uint32_t bytes,
			uint64_t now)
{
	struct disk_counter *counter = &model->counters[operation];
	uint64_t end = interface_end(model, bytes, now);
	bool sequential;

	if (operation == DISK_FLUSH) {
		end = flush_end(model, end);
	} else if (bytes) {
		sequential = goes_on(model, operation, offset, bytes);
		counter->sequential += sequential;
		end = operation == DISK_READ ? read_end(model, offset, bytes, sequential, end) :
					       write_end(model, bytes, sequential, end);
	}
	counter->requests++;
	counter->bytes += bytes;
	counter->service_ns += end - now;
	return end;
}
