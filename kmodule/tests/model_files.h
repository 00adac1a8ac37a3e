/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Model files for tests: made whole, then damaged. */
#ifndef KML_TESTS_MODEL_FILES_H
#define KML_TESTS_MODEL_FILES_H

#include <stdlib.h>

#include "crc32.h"
#include "kml/model.h"

#define FILE_MOST 8192

struct model_file {
	size_t length;
	uint8_t bytes[FILE_MOST];
};

static inline struct kml_file_header *file_header(struct model_file *file)
{
	return (struct kml_file_header *)file->bytes;
}

/* Make the length and CRC right again after a change: what is refused then is refused for the change itself. */
static inline void file_seal(struct model_file *file)
{
	const size_t covered = offsetof(struct kml_file_header, kind);

	file_header(file)->length = (uint32_t)file->length;
	file_header(file)->crc32 = kml_crc32(0, file->bytes + covered, file->length - covered);
}

static inline void file_append(struct model_file *file, const void *bytes, size_t count)
{
	if (count)
		memcpy(file->bytes + file->length, bytes, count);
	file->length += count;
}

static inline void file_begin(struct model_file *file, uint8_t kind, uint8_t number, uint16_t inputs, uint16_t outputs)
{
	struct kml_file_header header = {
		.magic = KML_FILE_MAGIC,
		.version = KML_FILE_VERSION,
		.header_bytes = sizeof(header),
		.kind = kind,
		.number = number,
		.inputs = inputs,
		.outputs = outputs,
		.name = "test",
	};
	struct kml_file_feature feature = { .name = "feature" };
	float one = 1;

	file->length = 0;
	file_append(file, &header, sizeof(header));
	feature.scale = KML_FX_ONE;
	if (number == KML_NUMBER_FLOAT)
		memcpy(&feature.scale, &one, sizeof(one));
	for (; inputs; inputs--)
		file_append(file, &feature, sizeof(feature));
}

static inline void file_network(struct model_file *file, uint8_t number, const struct kml_file_layer *layers,
				uint16_t count, const void *numbers, size_t number_count)
{
	file_begin(file, KML_NETWORK, number, layers[0].inputs, layers[count - 1].outputs);
	file_header(file)->parts = count;
	file_append(file, layers, count * sizeof(*layers));
	file_append(file, numbers, number_count * 4);
	file_seal(file);
}

static inline void file_tree(struct model_file *file, uint16_t inputs, uint16_t outputs,
			     const struct kml_file_node *nodes, uint16_t count, const kml_fx *values,
			     uint16_t leaves)
{
	file_begin(file, KML_TREE, KML_NUMBER_FIXED, inputs, outputs);
	file_header(file)->parts = count;
	file_header(file)->leaves = leaves;
	file_append(file, nodes, count * sizeof(*nodes));
	file_append(file, values, (size_t)leaves * outputs * sizeof(*values));
	file_seal(file);
}

/* Load it from and into memory of exactly its size; NULL when it is refused, else free() it. */
static inline struct kml_model *file_load(const struct model_file *file, int *status, const char **reason)
{
	uint8_t *exact = malloc(file->length ? file->length : 1);
	struct kml_model *model = NULL;
	int64_t size;
	void *memory;

	memcpy(exact, file->bytes, file->length);
	*reason = NULL;
	size = kml_model_examine(exact, file->length, reason);
	*status = size < 0 ? (int)size : 0;
	if (size >= 0) {
		memory = malloc((size_t)size);
		*status = kml_model_load(memory, (size_t)size, exact, file->length, &model, reason);
		if (*status)
			free(memory);
	}
	free(exact);
	return *status ? NULL : model;
}

#endif
