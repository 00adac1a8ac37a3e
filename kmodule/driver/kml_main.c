// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The module kml: brings up its folder in debugfs and its device, and takes them down. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/module.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>

#include "kml_driver.h"

/* A process that does nothing but wrong calls must not fill the log. */
static DEFINE_RATELIMIT_STATE(kml_refusals, 5 * HZ, 200);

void kml_log_refusal(const char *what, int status, const char *reason)
{
	if (__ratelimit(&kml_refusals))
		pr_notice("process %d: %s refused: %s (%d)\n", task_tgid_nr(current), what, reason, status);
}

static int __init kml_init(void)
{
	int status;

	kml_debugfs_init();
	status = kml_device_init();
	if (status)
		kml_debugfs_exit();
	return status;
}

/*
 * Nothing of any predictor can be left: a file that holds one holds this module, too, and so does another module that
 * made one, unless it forgot to destroy it.
 */
static void __exit kml_exit(void)
{
	WARN_ON(kml_predictors_exist());
	kml_device_exit();
	kml_debugfs_exit();
}

module_init(kml_init);
module_exit(kml_exit);
MODULE_DESCRIPTION("Machine learning inside the kernel: predictors, their rings and trainers");
MODULE_LICENSE("Dual MIT/GPL");
