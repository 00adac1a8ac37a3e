/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Golden vectors, version 1: inputs, what real arithmetic gives for them, and the very bits that every build of the
 * library gives.  Little-endian.  tests/data/kml/make_golden.py writes the file and says where each reference is from.
 *
 *   struct golden_header, then `cases` times:
 *   struct golden_case, then, each padded with zeros to a multiple of 8 bytes:
 *     in        int32 [count][width]
 *     reference int32 [results]   binary64 arithmetic, rounded to Q16.16
 *     expected  int32 [results]   |expected - reference| <= bound
 *     model     model_bytes       a model file; absent for a function
 *     after     after_bytes       the model file that training leaves behind; only of a training
 *
 *   kind       count           width              results
 *   function   of results      1; div and mul: 2  count            (softmax: over all of `in`)
 *   inference  samples         inputs             count * outputs
 *   training   samples         inputs + outputs   parameters of `after`, in the file's order
 *
 * A training feeds the samples once, in order, and applies what is left of a batch at the end.
 */
#ifndef KML_GOLDEN_H
#define KML_GOLDEN_H

#include "kml/train.h"

#define GOLDEN_MAGIC 0x474c4d4bu /* "KMLG" */
#define GOLDEN_VERSION 1

enum golden_kind {
	GOLDEN_FUNCTION = 1,
	GOLDEN_INFERENCE = 2,
	GOLDEN_TRAINING_FIXED = 3,
	GOLDEN_TRAINING_FLOAT = 4,
};

struct golden_header {
	uint32_t magic;
	uint16_t version;
	uint16_t cases;
	uint32_t length; /* of the whole file */
	uint32_t crc32;  /* IEEE 802.3, of the bytes behind the header */
};

struct golden_case {
	char name[KML_NAME_BYTES]; /* NUL-padded; letters, digits, '-' */
	uint16_t kind;             /* enum golden_kind */
	uint16_t function;         /* enum kml_function; else 0 */
	uint32_t length;           /* of the case with all its parts */
	uint32_t count;
	uint32_t width;
	uint32_t results;
	uint32_t bound; /* steps of 1/65536 */
	uint32_t model_bytes;
	uint32_t after_bytes;
	struct kml_training training;
};
_Static_assert(sizeof(struct golden_header) == 16, "part of the format");
_Static_assert(sizeof(struct golden_case) == 88, "part of the format");

/* A case with its parts, as they lie in the file. */
struct golden {
	const struct golden_case *head;
	const kml_fx *in;
	const kml_fx *reference;
	const kml_fx *expected;
	const void *model;
	const void *after;
};

static inline uint64_t golden_padded(uint64_t bytes)
{
	return (bytes + 7) & ~(uint64_t)7;
}

/* Whether the file (aligned to 8 bytes) is whole, its CRC aside; gives the number of cases, or -EINVAL. */
static inline int golden_open(const void *file, size_t length)
{
	const struct golden_header *header = file;

	if (length < sizeof(*header) || header->magic != GOLDEN_MAGIC || header->version != GOLDEN_VERSION ||
	    header->length != length)
		return -EINVAL;
	return header->cases;
}

/*
 * The case at *offset, which it moves on; *offset is 0 at first.  1: there is one, 0: that was the last, -EINVAL: what
 * is there is not a case.
 */
static inline int golden_next(const void *file, size_t length, size_t *offset, struct golden *golden)
{
	const struct golden_case *head;
	const uint8_t *part;
	uint64_t in, results;

	if (!*offset)
		*offset = sizeof(struct golden_header);
	if (*offset == length)
		return 0;
	if (length < *offset || length - *offset < sizeof(*head))
		return -EINVAL;
	part = (const uint8_t *)file + *offset;
	head = (const struct golden_case *)part;
	if (head->count > (1u << 20) || head->width > 2 * KML_MAX_WIDTH || head->results > (1u << 20) ||
	    head->name[KML_NAME_BYTES - 1])
		return -EINVAL;
	in = golden_padded((uint64_t)head->count * head->width * sizeof(kml_fx));
	results = golden_padded((uint64_t)head->results * sizeof(kml_fx));
	if (head->length != sizeof(*head) + in + 2 * results + golden_padded(head->model_bytes) +
				    golden_padded(head->after_bytes) ||
	    head->length > length - *offset)
		return -EINVAL;
	*offset += head->length;
	part += sizeof(*head);
	golden->head = head;
	golden->in = (const kml_fx *)part;
	golden->reference = (const kml_fx *)(part + in);
	golden->expected = (const kml_fx *)(part + in + results);
	golden->model = part + in + 2 * results;
	golden->after = part + in + 2 * results + golden_padded(head->model_bytes);
	return 1;
}

#endif
