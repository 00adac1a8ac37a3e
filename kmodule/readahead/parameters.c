// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The parameters, in /sys/module/kml_readahead/parameters.
 *
 * Those that are given when the module is loaded are set before it is initialised; mode and devices are kept until
 * then.
 */
#include <linux/kernel.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "readahead.h"

#define NAMES_BYTES (KRA_DEVICES * KRA_NAME_BYTES)

static const char *const mode_names[] = { "off", "observe", "act" };
static bool ready;
static enum kra_mode mode_given = KRA_OBSERVE;
static char devices_given[NAMES_BYTES];

unsigned int kra_interval_ms = 100;
unsigned int kra_calm = 2;
unsigned int kra_file_count = 1024;

static int set_mode(const char *value, const struct kernel_param *parameter)
{
	int mode = sysfs_match_string(mode_names, value), status = 0;

	if (mode < 0)
		return mode;
	mutex_lock(&kra_control);
	if (ready)
		status = kra_set_mode(mode);
	else
		mode_given = mode;
	mutex_unlock(&kra_control);
	return status;
}

static int get_mode(char *buffer, const struct kernel_param *parameter)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n", mode_names[kra_mode]);
}

static const struct kernel_param_ops mode_ops = { .set = set_mode, .get = get_mode };
module_param_cb(mode, &mode_ops, NULL, 0644);
MODULE_PARM_DESC(mode, "off, observe (the default: predict and change nothing) or act");

static int use_devices(char *names)
{
	char none[] = "";
	int status = kra_set_devices(names);

	if (status)
		return status;
	status = kra_watch_or_not();
	if (status)
		kra_set_devices(none); /* nobody would look at them, and a module that does not load would leave them */
	return status;
}

static int set_devices(const char *value, const struct kernel_param *parameter)
{
	char *names;
	int status = 0;

	if (strlen(value) >= NAMES_BYTES)
		return -E2BIG;
	names = kstrdup(value, GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	mutex_lock(&kra_control);
	if (ready)
		status = use_devices(names);
	else
		strscpy(devices_given, names, sizeof(devices_given));
	mutex_unlock(&kra_control);
	kfree(names);
	return status;
}

static int get_devices(char *buffer, const struct kernel_param *parameter)
{
	int length = 0;
	unsigned int at;

	mutex_lock(&kra_control);
	for (at = 0; at < KRA_DEVICES && kra_device(at); at++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, "%s%s", at ? "," : "", kra_device(at)->name);
	mutex_unlock(&kra_control);
	return length + scnprintf(buffer + length, PAGE_SIZE - length, "\n");
}

static const struct kernel_param_ops devices_ops = { .set = set_devices, .get = get_devices };
module_param_cb(devices, &devices_ops, NULL, 0644);
MODULE_PARM_DESC(devices, "names of block devices to tune, parted by commas; none by default");

struct bounds {
	unsigned int *value;
	unsigned int least;
	unsigned int most;
};

static int set_bounded(const char *value, const struct kernel_param *parameter)
{
	const struct bounds *bounds = parameter->arg;
	unsigned int number;
	int status = kstrtouint(value, 0, &number);

	if (status)
		return status;
	if (number < bounds->least || number > bounds->most)
		return -ERANGE;
	WRITE_ONCE(*bounds->value, number);
	return 0;
}

static int get_bounded(char *buffer, const struct kernel_param *parameter)
{
	const struct bounds *bounds = parameter->arg;

	return scnprintf(buffer, PAGE_SIZE, "%u\n", *bounds->value);
}

static const struct kernel_param_ops bounded_ops = { .set = set_bounded, .get = get_bounded };

static struct bounds interval_bounds = { &kra_interval_ms, 10, 60000 };
module_param_cb(interval_ms, &bounded_ops, &interval_bounds, 0644);
MODULE_PARM_DESC(interval_ms, "between two looks at what was read");

static struct bounds calm_bounds = { &kra_calm, 1, 100 };
module_param_cb(calm, &bounded_ops, &calm_bounds, 0644);
MODULE_PARM_DESC(calm, "windows in a row that must agree on a change");

static struct bounds file_bounds = { &kra_file_count, KRA_LEAST_FILES, KRA_MOST_FILES };
module_param_cb(files, &bounded_ops, &file_bounds, 0444);
MODULE_PARM_DESC(files, "of a device that are remembered at once; those longest not read make room");

int kra_parameters_init(void)
{
	int status;

	mutex_lock(&kra_control);
	kra_mode = mode_given;
	status = use_devices(devices_given);
	ready = !status;
	mutex_unlock(&kra_control);
	return status;
}

/* The kernel has removed the parameters' files by now, or nobody can use them any more. */
void kra_parameters_exit(void)
{
	char none[] = "";

	mutex_lock(&kra_control);
	ready = false;
	kra_set_mode(KRA_OFF);
	kra_set_devices(none);
	mutex_unlock(&kra_control);
}
