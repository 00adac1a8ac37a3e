/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The frame of the C tests.
 *
 *   TEST(a_ring_holds_as_many_records_as_slots)
 *   {
 *           CHECK_EQUAL(fill(&ring), 8);
 *   }
 *
 *   TEST_MAIN()
 *
 * A failed check prints where and what, and the test goes on.  The program takes names of tests (default: all),
 * prints "N checks, N failed" last and ends with 1 if any failed, or if none was made.  Checks belong to the main
 * thread.
 */
#ifndef KML_CHECK_H
#define KML_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define CHECK_MOST_PRINTED 50 /* failures: a sweep over all numbers must not fill the disk */

struct check_test {
	const char *name;
	void (*run)(void);
	struct check_test *next;
};

static struct {
	struct check_test *first;
	struct check_test **end;
	const char *running;
	unsigned long long checks;
	unsigned long long failed;
} check = { .end = &check.first };

static inline bool check_count(bool holds)
{
	check.checks++;
	if (!holds)
		check.failed++;
	return !holds && check.failed <= CHECK_MOST_PRINTED;
}

/* Tests run in the order in which they stand in the file: so constructors of one file are called. */
#define TEST(test_name)                                                                   \
	static void test_##test_name(void);                                               \
	__attribute__((constructor)) static void add_##test_name(void)                    \
	{                                                                                 \
		static struct check_test test = { #test_name, test_##test_name, NULL };   \
		*check.end = &test;                                                       \
		check.end = &test.next;                                                   \
	}                                                                                 \
	static void test_##test_name(void)

#define CHECK(condition)                                                                            \
	do {                                                                                        \
		if (check_count(condition))                                                         \
			printf("%s:%d: %s: not %s\n", __FILE__, __LINE__, check.running, #condition); \
	} while (0)

/* Of integers. */
#define CHECK_EQUAL(actual, expected)                                                                          \
	do {                                                                                                   \
		long long check_actual = (long long)(actual), check_expected = (long long)(expected);         \
		if (check_count(check_actual == check_expected))                                               \
			printf("%s:%d: %s: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, check.running,    \
			       #actual, check_actual, #expected, check_expected);                              \
	} while (0)

/* Integers at most `error` apart. */
#define CHECK_NEAR(actual, expected, error)                                                                        \
	do {                                                                                                       \
		long long check_actual = (long long)(actual), check_expected = (long long)(expected);             \
		if (check_count(check_actual - check_expected <= (error) && check_expected - check_actual <= (error))) \
			printf("%s:%d: %s: %s is %lld, not within %lld of %s (%lld)\n", __FILE__, __LINE__,        \
			       check.running, #actual, check_actual, (long long)(error), #expected, check_expected); \
	} while (0)

static int check_main(int count, char **names)
{
	struct check_test *test;
	int at;

	for (test = check.first; test; test = test->next) {
		for (at = 1; at < count && strcmp(names[at], test->name); at++)
			;
		if (count > 1 && at == count)
			continue;
		check.running = test->name;
		test->run();
	}
	printf("%llu checks, %llu failed\n", check.checks, check.failed);
	return check.failed || !check.checks;
}

#define TEST_MAIN()                                 \
	int main(int count, char **names)           \
	{                                           \
		return check_main(count, names);    \
	}

#endif
