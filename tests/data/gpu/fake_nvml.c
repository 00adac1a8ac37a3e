/* A FAKE of NVIDIA's management library, for machines without a GPU: it answers a few calls with made-up figures.
 *
 * Written from the function names and structures that the NVML API Reference documents; nothing in it was
 * measured.  It has two devices: the first answers everything but its energy, and "falls off the bus" for its
 * temperature after three calls; the second supports nothing, as NVML does on boards with shared memory.
 *
 * -DNO_DRIVER: nvmlInit fails.  -DONLY_BOARD: only the second device.  -DOLD: no _v3 process list, no energy.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

struct utilization { unsigned gpu, memory; };
struct memory { unsigned long long total, free, used; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

static int gpu = 1, board = 2;
static int temperature_calls;

static int is_board(void *device) { return device == &board; }

int nvmlInit_v2(void)
{
#ifdef NO_DRIVER
	return DRIVER_NOT_LOADED;
#else
	temperature_calls = 0;
	return SUCCESS;
#endif
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code)
{
	return code == NOT_SUPPORTED ? "Not Supported" : code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Other";
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
#ifdef ONLY_BOARD
	*count = 1;
#else
	*count = 2;
#endif
	return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
#ifdef ONLY_BOARD
	index = 1;
#endif
	*device = index ? &board : &gpu;
	return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
	snprintf(name, length, "%s", is_board(device) ? "Fake board" : "Fake GPU");
	return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, struct utilization *result)
{
	if (is_board(device))
		return NOT_SUPPORTED;
	*result = (struct utilization){ 87, 41 };
	return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *result)
{
	if (is_board(device))
		return NOT_SUPPORTED;
	*result = (struct memory){ 8ULL << 30, 5ULL << 30, 3ULL << 30 };
	return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt)
{
	*milliwatt = 123456;
	return is_board(device) ? NOT_SUPPORTED : SUCCESS;
}

#ifndef OLD
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoule)
{
	(void)device;
	*millijoule = 0; /* a careless reader would take this for a measurement */
	return NOT_SUPPORTED;
}
#endif

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *celsius)
{
	if (is_board(device) || sensor != 0)
		return NOT_SUPPORTED;
	*celsius = 61;
	return ++temperature_calls > 3 ? GPU_IS_LOST : SUCCESS;
}

int nvmlDeviceGetClockInfo(void *device, unsigned type, unsigned *megahertz)
{
	*megahertz = type == 1 ? 1410 : 1215;
	return is_board(device) ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
	*reasons = 0x20 | 0x4; /* software thermal slowdown, software power cap */
	return is_board(device) ? NOT_SUPPORTED : SUCCESS;
}

static int processes(void *device, unsigned *count, struct process *list)
{
	if (is_board(device))
		return NOT_SUPPORTED;
	if (*count < 2)
		return INSUFFICIENT_SIZE;
	list[0] = (struct process){ (unsigned)getpid(), 2ULL << 30, 0xffffffff, 0xffffffff };
	list[1] = (struct process){ 1, ~0ULL, 0xffffffff, 0xffffffff }; /* NVML_VALUE_NOT_AVAILABLE */
	*count = 2;
	return SUCCESS;
}

#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned *count, struct process *list)
#else
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *list)
#endif
{
	return processes(device, count, list);
}
