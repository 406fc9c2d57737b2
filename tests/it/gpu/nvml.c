/* A driver's management library for a machine without one: two GPUs that always say the same, in NVML's own interface
 * (nvml.h 12). FAKE_NVML_PID is the process that uses the first; with FAKE_NVML_HANGS its thermometer never answers. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

typedef struct { int index; } device;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } process;

static device devices[2] = {{0}, {1}};

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int result) { return result ? "an error" : "none"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  strncpy(version, "570.00", length);
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = 2;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) {
  if (index > 1) return INVALID_ARGUMENT;
  *handle = &devices[index];
  return SUCCESS;
}

int nvmlDeviceGetName(device *handle, char *name, unsigned length) {
  strncpy(name, handle->index ? "the other" : "Fake H200", length);
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device *handle, utilization *rates) {
  rates->gpu = handle->index ? 5 : 75;
  rates->memory = 50;
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(device *handle, memory *info) {
  info->total = 4000;
  info->reserved = 100;
  info->used = handle->index ? 500 : 2500;
  info->free = info->total - info->used;
  return SUCCESS;
}

int nvmlDeviceGetTemperature(device *handle, int sensor, unsigned *celsius) {
  if (getenv("FAKE_NVML_HANGS")) pause();
  *celsius = handle->index ? 40 : 66;
  return sensor ? INVALID_ARGUMENT : SUCCESS;
}

int nvmlDeviceGetPowerUsage(device *handle, unsigned *milliwatts) {
  *milliwatts = 300250;
  return handle->index ? NOT_SUPPORTED : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *handle, unsigned *count, process *processes) {
  const char *pid = getenv("FAKE_NVML_PID");
  unsigned room = *count;
  *count = handle->index || !pid ? 0 : 1;
  if (*count == 0) return SUCCESS;
  if (room == 0) return INSUFFICIENT_SIZE;
  process found = {(unsigned)atoi(pid), 1500, ~0u, ~0u};
  processes[0] = found;
  return SUCCESS;
}
