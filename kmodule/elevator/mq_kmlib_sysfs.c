// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* /sys/block/DEVICE/queue/iosched: what may be set of a queue. */
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/sysfs.h>

#include "mq_kmlib.h"

static const char *const modes[KML_MODES] = { "off", "observe", "act" };

static ssize_t mode_show(struct elevator_queue *elevator, char *page)
{
	struct kml_queue *queue = elevator->elevator_data;

	return sysfs_emit(page, "%s\n", modes[queue->mode]);
}

static ssize_t mode_store(struct elevator_queue *elevator, const char *page, size_t length)
{
	struct kml_queue *queue = elevator->elevator_data;
	int mode = sysfs_match_string(modes, page);

	if (mode < 0)
		return mode;
	spin_lock_irq(&queue->lock);
	if (mode == KML_MODE_ACT && queue->mode != KML_MODE_ACT)
		kml_guard_begin(&queue->guard, ktime_get_ns());
	queue->mode = mode;
	spin_unlock_irq(&queue->lock);
	return length;
}

/* What it does now: with the mode act, the guard may have it rest. */
static ssize_t state_show(struct elevator_queue *elevator, char *page)
{
	static const char *const phases[] = {
		[KML_GUARD_ACTS] = "acts", [KML_GUARD_RESTS] = "compares", [KML_GUARD_GAVE_UP] = "gave up for a while"
	};
	struct kml_queue *queue = elevator->elevator_data;
	const char *state = "acts";

	if (queue->mode != KML_MODE_ACT)
		state = queue->mode == KML_MODE_OBSERVE ? "observes" : "is off";
	else if (queue->fallback)
		state = phases[READ_ONCE(queue->guard.phase)];
	return sysfs_emit(page, "%s%s\n", state, queue->has_model ? "" : ", without a trained model");
}

/* A number of units of `unit`, stored as their product. */
struct kml_number {
	u32 place; /* in struct kml_queue */
	u32 bytes; /* 4 or 8 */
	u32 unit;
	u32 least;
	u32 most;
};

static ssize_t number_show(struct elevator_queue *elevator, const struct kml_number *number, char *page)
{
	const char *place = (char *)elevator->elevator_data + number->place;
	u64 value = number->bytes == 4 ? READ_ONCE(*(u32 *)place) : READ_ONCE(*(u64 *)place);

	return sysfs_emit(page, "%llu\n", (unsigned long long)div_u64(value, number->unit));
}

static ssize_t number_store(struct elevator_queue *elevator, const struct kml_number *number, const char *page,
			    size_t length)
{
	struct kml_queue *queue = elevator->elevator_data;
	char *place = (char *)queue + number->place;
	u32 value;
	int status = kstrtou32(page, 0, &value);

	if (status)
		return status;
	if (value < number->least || value > number->most)
		return -ERANGE;
	spin_lock_irq(&queue->lock);
	if (number->bytes == 4)
		WRITE_ONCE(*(u32 *)place, value * number->unit);
	else
		WRITE_ONCE(*(u64 *)place, (u64)value * number->unit);
	spin_unlock_irq(&queue->lock);
	return length;
}

#define SETTING(field) dispatch.settings.field
#define MOST_MS 600000   /* 10 minutes */
#define MOST_US 10000000 /* 10 s */

/* X(name, field, unit, least, most); what the settings are is in kml/dispatch.h. */
#define NUMBERS(X)                                                                               \
	X(read_expire, SETTING(deadline[KML_CLASS_READ]), NSEC_PER_MSEC, 1, MOST_MS)             \
	X(sync_write_expire, SETTING(deadline[KML_CLASS_SYNC_WRITE]), NSEC_PER_MSEC, 1, MOST_MS) \
	X(write_expire, SETTING(deadline[KML_CLASS_WRITEBACK]), NSEC_PER_MSEC, 1, MOST_MS)       \
	X(lead_us, SETTING(lead), NSEC_PER_USEC, 0, MOST_US)                                     \
	X(overtaking, SETTING(overtaking), 1, 0, 65536)                                          \
	X(share, SETTING(share), 1, 0, 1024)                                                     \
	X(slow_us, SETTING(slow), NSEC_PER_USEC, 0, MOST_US)                                     \
	X(calm_us, SETTING(calm), NSEC_PER_USEC, 0, MOST_US)                                     \
	X(ahead_us, SETTING(ahead), NSEC_PER_USEC, 0, MOST_US)                                   \
	X(priority_ageing, priority_ageing, NSEC_PER_MSEC, 0, MOST_MS)                           \
	X(predict_every, predict_every, 1, 1, 65536)                                             \
	X(learn, learn, 1, 0, 1)                                                                 \
	X(fallback, fallback, 1, 0, 1)

#define DEFINE_NUMBER(name, field, unit, least, most)                                                 \
	static const struct kml_number name = {                                                       \
		offsetof(struct kml_queue, field), sizeof_field(struct kml_queue, field), unit, least, most \
	};                                                                                            \
                                                                                                      \
	static ssize_t name##_show(struct elevator_queue *elevator, char *page)                       \
	{                                                                                             \
		return number_show(elevator, &name, page);                                            \
	}                                                                                             \
                                                                                                      \
	static ssize_t name##_store(struct elevator_queue *elevator, const char *page, size_t length) \
	{                                                                                             \
		return number_store(elevator, &name, page, length);                                   \
	}
NUMBERS(DEFINE_NUMBER)

#define ATTRIBUTE(name, field, unit, least, most) __ATTR(name, 0644, name##_show, name##_store),

struct elv_fs_entry kml_attributes[] = {
	__ATTR(mode, 0644, mode_show, mode_store),
	__ATTR_RO(state),
	NUMBERS(ATTRIBUTE)
	__ATTR_NULL,
};
