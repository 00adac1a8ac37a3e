/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* `kml_load PREDICTOR FILE` gives a predictor of kml.ko the model of a file, in guests that have no Python. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kml/device_abi.h"

#define MOST_BYTES (1 << 20)

static void need(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

int main(int count, char **words)
{
	static unsigned char content[MOST_BYTES];
	struct kml_transfer transfer = { .file = (uintptr_t)content };
	struct kml_shape shape = { 0 };
	FILE *file;
	int device;

	if (count != 3) {
		fprintf(stderr, "usage: %s PREDICTOR FILE\n", words[0]);
		return 2;
	}
	file = fopen(words[2], "rb");
	need(file != NULL, words[2]);
	transfer.length = (uint32_t)fread(content, 1, sizeof(content), file);
	need(!ferror(file), words[2]);
	device = open("/dev/kml", O_RDWR);
	need(device >= 0, "/dev/kml");
	strncpy(shape.name, words[1], sizeof(shape.name) - 1);
	need(!ioctl(device, KML_SHAPE, &shape), words[1]);
	transfer.id = shape.id;
	need(!ioctl(device, KML_LOAD, &transfer), words[2]);
	return 0;
}
