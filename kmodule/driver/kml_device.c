// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* /dev/kml: the calls of kml/device_abi.h and the mapping of rings.  core/request.c judges their arguments. */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "kml/request.h"
#include "kml_driver.h"

#define KML_BUFFER_NUMBERS 2048 /* of Q16.16, copied from or to a process at once */

struct kml_file {
	struct kml_predictor *attached; /* set once, with release */
	bool made_it;                   /* rather than attached to another's */
};

/* Of a call, as large as the largest. */
union kml_argument {
	uint32_t word;
	struct kml_create create;
	struct kml_shape shape;
	struct kml_transfer transfer;
	struct kml_infer_call infer;
	struct kml_collect_call collect;
	struct kml_train_call train;
	struct kml_math_call math;
	struct kml_statistics statistics;
};

/* A status with a reason is a refusal, which the log shows; one without is an answer. */
typedef int kml_call(struct kml_file *file, union kml_argument *argument, const char **reason);

static const char KML_BAD_POINTER[] = "it points to memory that cannot be used";

static struct kml_predictor *kml_get(uint32_t id, const char **reason)
{
	struct kml_predictor *predictor = kml_predictor_get(id);

	if (!predictor)
		*reason = "no predictor has this id";
	return predictor;
}

static int kml_version(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	argument->word = KML_DEVICE_VERSION;
	return 0;
}

/* Making, finding, attaching */

static int kml_attach_file(struct kml_file *file, struct kml_predictor *predictor, const char **reason)
{
	if (cmpxchg(&predictor->reader, NULL, file)) {
		*reason = "another file is attached to it";
		return -EBUSY;
	}
	if (cmpxchg(&file->attached, NULL, predictor)) {
		cmpxchg(&predictor->reader, file, NULL);
		*reason = "this file has a predictor";
		return -EBUSY;
	}
	return 0;
}

static int kml_create(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_predictor *predictor;
	int status;

	argument->create.id = 0;
	if (READ_ONCE(file->attached)) {
		*reason = "this file has a predictor";
		return -EBUSY;
	}
	predictor = kml_predictor_make(&argument->create, reason);
	if (IS_ERR(predictor))
		return PTR_ERR(predictor);
	status = kml_attach_file(file, predictor, reason);
	if (status) { /* another thread was faster with this file */
		kml_predictor_destroy(predictor);
		return status;
	}
	file->made_it = true;
	argument->create.id = predictor->id;
	return 0;
}

static int kml_shape(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_shape *shape = &argument->shape;
	struct kml_predictor *predictor;
	int status = kml_request_shape(shape, reason);

	if (status)
		return status;
	predictor = kml_predictor_find(shape->id, shape->name, &shape->next);
	if (!predictor)
		return -ENOENT;
	shape->id = predictor->id;
	memcpy(shape->name, predictor->name, sizeof(shape->name));
	shape->inputs = predictor->inputs;
	shape->outputs = predictor->outputs;
	shape->mode = predictor->mode;
	shape->consumer = predictor->consumer;
	shape->rings = predictor->rings;
	shape->slots = predictor->slots;
	shape->record_bytes = predictor->record_bytes;
	shape->record_area = predictor->record_area;
	shape->page = PAGE_SIZE;
	kml_predictor_put(predictor);
	return 0;
}

static int kml_attach(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_predictor *predictor = kml_get(argument->word, reason);
	int status;

	if (!predictor)
		return -ENOENT;
	if (predictor->consumer != KML_CONSUMER_USER) {
		*reason = "its rings are read by the kernel";
		status = -EOPNOTSUPP;
	} else {
		status = kml_attach_file(file, predictor, reason);
	}
	if (status)
		kml_predictor_put(predictor);
	return status; /* else the file keeps the reference */
}

/* Models */

static int kml_load(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	const struct kml_transfer *transfer = &argument->transfer;
	struct kml_predictor *predictor;
	int status = kml_request_transfer(transfer, reason);

	if (status)
		return status;
	predictor = kml_get(transfer->id, reason);
	if (!predictor)
		return -ENOENT;
	status = kml_predictor_load(predictor, u64_to_user_ptr(transfer->file), transfer->length, reason);
	kml_predictor_put(predictor);
	return status;
}

static int kml_save(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_transfer *transfer = &argument->transfer;
	struct kml_predictor *predictor;
	void *content;
	int status = kml_request_transfer(transfer, reason);

	if (status)
		return status;
	predictor = kml_get(transfer->id, reason);
	if (!predictor)
		return -ENOENT;
	content = kml_predictor_save(predictor, transfer->length, &transfer->length);
	kml_predictor_put(predictor);
	if (IS_ERR(content))
		return PTR_ERR(content);
	if (copy_to_user(u64_to_user_ptr(transfer->file), content, transfer->length))
		status = -EFAULT;
	kvfree(content);
	return status;
}

static int kml_unload(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_predictor *predictor = kml_get(argument->word, reason);
	int status;

	if (!predictor)
		return -ENOENT;
	status = kml_predictor_unload(predictor, reason);
	kml_predictor_put(predictor);
	return status;
}

/* Many predictions, many samples, many functions: chunk by chunk through a buffer */

static kml_fx *kml_buffer(void)
{
	return kmalloc_array(KML_BUFFER_NUMBERS, sizeof(kml_fx), GFP_KERNEL);
}

static int kml_copy_in(kml_fx *to, uint64_t from, uint64_t skip, size_t count)
{
	const kml_fx __user *user = u64_to_user_ptr(from);

	return copy_from_user(to, user + skip, count * sizeof(*to)) ? -EFAULT : 0;
}

static int kml_copy_out(uint64_t to, uint64_t skip, const kml_fx *from, size_t count)
{
	kml_fx __user *user = u64_to_user_ptr(to);

	return copy_to_user(user + skip, from, count * sizeof(*from)) ? -EFAULT : 0;
}

/* Between two chunks: let others run, and let a fatal signal end the call. */
static int kml_pause(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

static int kml_infer_rows(struct kml_predictor *predictor, struct kml_infer_call *call, kml_fx *in, uint32_t rows)
{
	kml_fx *out = in + rows * predictor->inputs;
	uint64_t start = ktime_get_ns();
	int status = 0;
	uint32_t row;

	for (row = 0; row < rows && !status; row++)
		status = kml_predict_numbered(predictor, in + row * predictor->inputs,
					      out + row * predictor->outputs, &call->model);
	call->time_ns += ktime_get_ns() - start;
	return status;
}

static int kml_infer_all(struct kml_predictor *predictor, struct kml_infer_call *call, kml_fx *buffer)
{
	const uint32_t most = KML_BUFFER_NUMBERS / (predictor->inputs + predictor->outputs);
	uint32_t done, rows;
	int status = 0;

	for (done = 0; done < call->count && !status; done += rows) {
		rows = min(call->count - done, most);
		status = kml_copy_in(buffer, call->inputs, (uint64_t)done * predictor->inputs,
				     rows * predictor->inputs);
		if (!status)
			status = kml_infer_rows(predictor, call, buffer, rows);
		if (!status)
			status = kml_copy_out(call->outputs, (uint64_t)done * predictor->outputs,
					      buffer + rows * predictor->inputs, rows * predictor->outputs);
		if (!status)
			status = kml_pause();
	}
	return status;
}

static int kml_infer_many(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_infer_call *call = &argument->infer;
	struct kml_predictor *predictor;
	kml_fx *buffer;
	int status = kml_request_infer(call, reason);

	if (status)
		return status;
	call->time_ns = 0;
	call->model = 0;
	predictor = kml_get(call->id, reason);
	if (!predictor)
		return -ENOENT;
	buffer = kml_buffer();
	status = buffer ? kml_infer_all(predictor, call, buffer) : -ENOMEM;
	kfree(buffer);
	kml_predictor_put(predictor);
	return status;
}

/* 1: the model is sure enough of this sample.  Apart, for its array on the stack, which is cleared at each entry. */
static noinline int kml_skip_row(struct kml_predictor *predictor, const kml_fx *values)
{
	kml_fx prediction[KML_PREDICTOR_MAX_WIDTH];
	int status = kml_predict(predictor, values, prediction);

	return status ? status : !kml_predictor_wants(predictor, prediction);
}

static int kml_collect_row(struct kml_predictor *predictor, struct kml_collect_call *call, const kml_fx *values)
{
	const kml_fx *targets = values + predictor->inputs;
	int status = 0;

	if (call->flags & KML_COLLECT_SAMPLED)
		status = kml_skip_row(predictor, values);
	if (status == 1) {
		call->skipped++;
		return 0;
	}
	if (status)
		return status;
	if (call->flags & KML_COLLECT_WAIT)
		status = kml_collect_wait(predictor, values, targets);
	else
		status = kml_collect(predictor->cpu_rings, values, targets);
	if (status == -ENOSPC) {
		call->dropped++;
		return 0;
	}
	if (!status)
		call->accepted++;
	return status;
}

static int kml_collect_all(struct kml_predictor *predictor, struct kml_collect_call *call, kml_fx *buffer)
{
	const uint32_t width = predictor->inputs + predictor->outputs;
	uint32_t done, row, rows;
	uint64_t start;
	int status = 0;

	for (done = 0; done < call->count && !status; done += rows) {
		rows = min_t(uint32_t, call->count - done, KML_BUFFER_NUMBERS / width);
		status = kml_copy_in(buffer, call->values, (uint64_t)done * width, rows * width);
		start = ktime_get_ns();
		for (row = 0; row < rows && !status; row++)
			status = kml_collect_row(predictor, call, buffer + row * width);
		call->time_ns += ktime_get_ns() - start;
		if (!status)
			status = kml_pause();
	}
	return status;
}

static int kml_collect_many(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_collect_call *call = &argument->collect;
	struct kml_predictor *predictor;
	kml_fx *buffer = NULL;
	int status = kml_request_collect(call, reason);

	if (status)
		return status;
	call->accepted = 0;
	call->dropped = 0;
	call->skipped = 0;
	call->time_ns = 0;
	predictor = kml_get(call->id, reason);
	if (!predictor)
		return -ENOENT;
	if ((call->flags & KML_COLLECT_WAIT) && predictor->mode != KML_BLOCKING) {
		*reason = "its rings drop what finds no room: there is nothing to wait for";
		status = -EINVAL;
	} else {
		buffer = kml_buffer();
		status = buffer ? kml_collect_all(predictor, call, buffer) : -ENOMEM;
	}
	kfree(buffer);
	kml_predictor_put(predictor);
	return status;
}

/* `results` results to `out`; of two arguments where the function has two. */
static void kml_compute(uint32_t function, const kml_fx *in, kml_fx *out, uint32_t results)
{
	uint32_t at;

	for (at = 0; at < results; at++) {
		switch (function) {
		case KML_FUNCTION_EXP:
			out[at] = kml_fx_exp(in[at]);
			break;
		case KML_FUNCTION_LOG:
			out[at] = kml_fx_log(in[at]);
			break;
		case KML_FUNCTION_SQRT:
			out[at] = kml_fx_sqrt(in[at]);
			break;
		case KML_FUNCTION_SIGMOID:
			out[at] = kml_fx_sigmoid(in[at]);
			break;
		case KML_FUNCTION_TANH:
			out[at] = kml_fx_tanh(in[at]);
			break;
		case KML_FUNCTION_DIV:
			out[at] = kml_fx_div(in[2 * at], in[2 * at + 1]);
			break;
		case KML_FUNCTION_MUL:
			out[at] = kml_fx_mul(in[2 * at], in[2 * at + 1]);
			break;
		case KML_FUNCTION_SOFTMAX:
			kml_fx_softmax(in, out, results);
			return;
		}
	}
}

static int kml_math(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_math_call *call = &argument->math;
	const uint32_t wide = call->function == KML_FUNCTION_DIV || call->function == KML_FUNCTION_MUL ? 2 : 1;
	const uint32_t most = KML_BUFFER_NUMBERS / (wide + 1); /* more than a softmax may have: it is never cut */
	uint32_t done, part;
	uint64_t start;
	kml_fx *buffer;
	int status = kml_request_math(call, reason);

	if (status)
		return status;
	call->time_ns = 0;
	buffer = kml_buffer();
	if (!buffer)
		return -ENOMEM;
	for (done = 0; done < call->count && !status; done += part) {
		part = min(call->count - done, most);
		status = kml_copy_in(buffer, call->in, (uint64_t)done * wide, part * wide);
		if (status)
			break;
		start = ktime_get_ns();
		kml_compute(call->function, buffer, buffer + part * wide, part);
		call->time_ns += ktime_get_ns() - start;
		status = kml_copy_out(call->out, done, buffer + part * wide, part);
		if (!status)
			status = kml_pause();
	}
	kfree(buffer);
	return status;
}

/* Training and counters */

static int kml_train_start(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	const struct kml_train_call *call = &argument->train;
	struct kml_predictor *predictor;
	int status = kml_request_train(call, reason);

	if (status)
		return status;
	predictor = kml_get(call->id, reason);
	if (!predictor)
		return -ENOENT;
	status = kml_learner_start(predictor, call, reason);
	kml_predictor_put(predictor);
	return status;
}

static int kml_train_stop(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_predictor *predictor = kml_get(argument->word, reason);
	int status;

	if (!predictor)
		return -ENOENT;
	status = kml_learner_stop(predictor);
	kml_predictor_put(predictor);
	return status;
}

static int kml_statistics(struct kml_file *file, union kml_argument *argument, const char **reason)
{
	struct kml_predictor *predictor = kml_get(argument->statistics.id, reason);

	if (!predictor)
		return -ENOENT;
	kml_predictor_statistics(predictor, &argument->statistics);
	kml_predictor_put(predictor);
	return 0;
}

static const struct kml_command {
	unsigned int code;
	const char *name;
	kml_call *call;
} kml_commands[] = {
	{ KML_VERSION, "KML_VERSION", kml_version },
	{ KML_CREATE, "KML_CREATE", kml_create },
	{ KML_SHAPE, "KML_SHAPE", kml_shape },
	{ KML_ATTACH, "KML_ATTACH", kml_attach },
	{ KML_LOAD, "KML_LOAD", kml_load },
	{ KML_SAVE, "KML_SAVE", kml_save },
	{ KML_UNLOAD, "KML_UNLOAD", kml_unload },
	{ KML_INFER, "KML_INFER", kml_infer_many },
	{ KML_COLLECT, "KML_COLLECT", kml_collect_many },
	{ KML_TRAIN, "KML_TRAIN", kml_train_start },
	{ KML_STOP, "KML_STOP", kml_train_stop },
	{ KML_STATISTICS, "KML_STATISTICS", kml_statistics },
	{ KML_MATH, "KML_MATH", kml_math },
};

static const struct kml_command *kml_command_of(unsigned int code)
{
	unsigned int number = _IOC_NR(code);

	if (number >= ARRAY_SIZE(kml_commands))
		return NULL;
	number = array_index_nospec(number, ARRAY_SIZE(kml_commands));
	return kml_commands[number].code == code ? &kml_commands[number] : NULL;
}

static long kml_ioctl(struct file *opened, unsigned int code, unsigned long address)
{
	const struct kml_command *command = kml_command_of(code);
	void __user *user = (void __user *)address;
	union kml_argument argument;
	const char *reason = NULL;
	int status = 0;

	if (!command) {
		kml_log_refusal("a call", -ENOTTY, "its code is unknown");
		return -ENOTTY;
	}
	memset(&argument, 0, sizeof(argument));
	if ((_IOC_DIR(code) & _IOC_WRITE) && copy_from_user(&argument, user, _IOC_SIZE(code)))
		status = -EFAULT;
	if (!status)
		status = command->call(opened->private_data, &argument, &reason);
	/* Some calls that fail tell how far they came. */
	if ((_IOC_DIR(code) & _IOC_READ) && status != -EFAULT && copy_to_user(user, &argument, _IOC_SIZE(code)))
		status = status ? status : -EFAULT;
	if (status == -EFAULT)
		reason = KML_BAD_POINTER;
	if (status && reason)
		kml_log_refusal(command->name, status, reason);
	return status;
}

/* Mapping */

static int kml_map(struct kml_predictor *predictor, struct vm_area_struct *vma, const char **reason)
{
	const uint64_t bytes = vma->vm_end - vma->vm_start;
	uint16_t ring;
	uint8_t area;
	int status;

	if (predictor->consumer != KML_CONSUMER_USER) {
		*reason = "its rings are read by the kernel";
		return -EOPNOTSUPP;
	}
	status = kml_request_map((uint64_t)vma->vm_pgoff << PAGE_SHIFT, bytes, predictor->rings,
				 predictor->record_area, PAGE_SIZE, &ring, &area);
	if (status) {
		*reason = "its offset or its length is not an area's";
		return status;
	}
	if (!(vma->vm_flags & VM_SHARED)) {
		*reason = "it is private";
		return -EINVAL;
	}
	if (area != KML_MAP_READER) {
		if (vma->vm_flags & VM_WRITE) {
			*reason = "only the reader's word may be written";
			return -EPERM;
		}
		kml_vma_never_writable(vma);
	}
	/* The areas follow one another in memory, the records last. */
	return remap_vmalloc_range(vma, predictor->memory[ring].pages,
				   area == KML_MAP_WRITER ? 0 : area == KML_MAP_READER ? 1 : 2);
}

/* No lock may be taken here that is held anywhere while memory of a process is touched. */
static int kml_mmap(struct file *opened, struct vm_area_struct *vma)
{
	struct kml_file *file = opened->private_data;
	struct kml_predictor *predictor = smp_load_acquire(&file->attached);
	const char *reason = "memory is short";
	int status = -ENXIO;

	if (predictor)
		status = kml_map(predictor, vma, &reason);
	else
		reason = "this file has no predictor";
	if (status)
		kml_log_refusal("mapping", status, reason);
	return status;
}

static int kml_open(struct inode *inode, struct file *opened)
{
	struct kml_file *file;

	if (!capable(CAP_SYS_ADMIN)) {
		kml_log_refusal("opening", -EPERM, "it takes CAP_SYS_ADMIN");
		return -EPERM;
	}
	file = kzalloc(sizeof(*file), GFP_KERNEL);
	if (!file)
		return -ENOMEM;
	opened->private_data = file; /* instead of the misc device, which misc_open put there */
	return 0;
}

/* Neither calls nor mappings of this file are left. */
static int kml_release(struct inode *inode, struct file *opened)
{
	struct kml_file *file = opened->private_data;
	struct kml_predictor *predictor = file->attached;

	if (predictor) {
		WRITE_ONCE(predictor->reader, NULL);
		if (file->made_it)
			kml_predictor_destroy(predictor);
		else
			kml_predictor_put(predictor);
	}
	kfree(file);
	return 0;
}

static const struct file_operations kml_file_operations = {
	.owner = THIS_MODULE,
	.open = kml_open,
	.release = kml_release,
	.unlocked_ioctl = kml_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = kml_mmap,
};

static struct miscdevice kml_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kml",
	.mode = 0600,
	.fops = &kml_file_operations,
};

int kml_device_init(void)
{
	return misc_register(&kml_misc);
}

void kml_device_exit(void)
{
	misc_deregister(&kml_misc);
}
