/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * How many instructions one inference takes: prints a number for each row of inputs.
 *
 *   instructions MODEL INPUTS        INPUTS holds rows of Q16.16 words
 *
 * A process that is stepped instruction by instruction stops before and after each call; what a call of a function that
 * does nothing takes is subtracted.  Unlike a time, the number is the same on a busy machine.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kml/model.h"

static struct kml_model *model;
static kml_fx out[KML_MAX_WIDTH], scratch[2 * KML_MAX_WIDTH];

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void *contents(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	long end;
	void *bytes;

	if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0)
		fail(path);
	rewind(file);
	bytes = malloc(end ? (size_t)end : 1);
	if (!bytes || fread(bytes, 1, (size_t)end, file) != (size_t)end)
		fail(path);
	fclose(file);
	*size = (size_t)end;
	return bytes;
}

static void load(const char *path)
{
	const char *reason = path;
	size_t size;
	void *file = contents(path, &size), *memory;
	int64_t needed = kml_model_examine(file, size, &reason);

	if (needed < 0 || !(memory = malloc((size_t)needed)) ||
	    kml_model_load(memory, (size_t)needed, file, size, &model, &reason)) {
		fprintf(stderr, "%s: %s\n", path, reason);
		exit(2);
	}
	free(file);
}

static void infer(const kml_fx *in)
{
	kml_infer(model, in, out, scratch);
}

static void nothing(const kml_fx *in)
{
	(void)in;
}

static void stop(void)
{
	kill(getpid(), SIGSTOP);
}

/* The same path to either function, so that its instructions cancel out. */
static void be_stepped(const kml_fx *in, size_t rows)
{
	void (*volatile calls[])(const kml_fx *) = { nothing, infer };
	size_t row, call;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		fail("ptrace");
	stop();
	for (row = 0; row < rows; row++, in += model->inputs) {
		for (call = 0; call < 2; call++) {
			calls[call](in);
			stop();
		}
	}
	_exit(0);
}

/* Instructions until the next stop. */
static long steps(pid_t child)
{
	long count = 0;
	int status;

	for (;;) {
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, &status, 0) < 0)
			fail("ptrace");
		if (!WIFSTOPPED(status)) {
			fprintf(stderr, "the process that is stepped ended\n");
			exit(2);
		}
		if (WSTOPSIG(status) == SIGSTOP)
			return count;
		count++;
	}
}

int main(int argc, char **argv)
{
	size_t size, rows, row;
	kml_fx *in;
	pid_t child;
	int status;

	if (argc != 3) {
		fprintf(stderr, "usage: %s MODEL INPUTS\n", argv[0]);
		return 2;
	}
	load(argv[1]);
	in = contents(argv[2], &size);
	rows = size / sizeof(*in) / model->inputs;
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child)
		be_stepped(in, rows);
	if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status)) {
		fprintf(stderr, "this machine lets no process be stepped\n");
		return 2;
	}
	for (row = 0; row < rows; row++) {
		long without = steps(child);

		printf("%ld\n", steps(child) - without);
	}
	kill(child, SIGKILL);
	return 0;
}
