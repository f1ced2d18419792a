/* A stand-in for libnvidia-ml.so.1: answers from a text file that may change while a program runs.
 *
 * $GPUTRAIN_NVML_SCRIPT names the file; each line is "key = value". Keys of a GPU begin with its number
 * ("gpu0.power"), of a MIG instance with its own too ("gpu0.mig1.uuid"). A figure that has no line is
 * NVML_ERROR_NOT_SUPPORTED. For every function F and every prefix P ("", "gpu0.", "gpu0.mig1."):
 *   P error.F = code   the call fails with this nvmlReturn_t        P error = code   all calls fail
 *   P delay.F = secs   the call takes so long                       P delay = secs   all calls take so long
 * Signatures and structures are those of nvml.h that nvidia-ml-py binds.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, BAD_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9 };
enum { MAX_GPUS = 16, MAX_MIG = 8, MAX_KEY = 160, MAX_SCRIPT = 1 << 17 };

typedef int Return;
typedef unsigned int Uint;
typedef unsigned long long Ullong;
typedef struct { char prefix[32]; int gpu, mig; } Device;

static Device devices[MAX_GPUS][MAX_MIG + 1]; /* [..][0] the GPU, then its instances */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users = 0;

/* The script, read again whenever its file was replaced. */

static char script[MAX_SCRIPT];
static struct stat script_state;

static void load(void) {
    const char *path = getenv("GPUTRAIN_NVML_SCRIPT");
    struct stat now;
    FILE *file;
    if (!path || stat(path, &now)) {
        script[0] = 0;
        return;
    }
    if (now.st_ino == script_state.st_ino && now.st_mtim.tv_nsec == script_state.st_mtim.tv_nsec &&
        now.st_mtim.tv_sec == script_state.st_mtim.tv_sec && now.st_size == script_state.st_size)
        return;
    if ((file = fopen(path, "r"))) {
        size_t count;
        script[0] = '\n';
        count = fread(script + 1, 1, MAX_SCRIPT - 2, file);
        script[count + 1] = 0;
        script_state = now;
        fclose(file);
    }
}

/* The value of a key as text; 0 where there is none. */
static int text(const char *key, char *value, size_t size) {
    char wanted[MAX_KEY + 8];
    const char *found;
    int there;
    snprintf(wanted, sizeof wanted, "\n%s = ", key);
    pthread_mutex_lock(&lock);
    load();
    found = strstr(script, wanted);
    there = found != NULL;
    if (there) {
        size_t length = strcspn(found + strlen(wanted), "\n");
        if (length >= size) length = size - 1;
        memcpy(value, found + strlen(wanted), length);
        value[length] = 0;
    }
    pthread_mutex_unlock(&lock);
    return there;
}

static int number(double *value, const char *format, ...) {
    char key[MAX_KEY], found[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    if (!text(key, found, sizeof found)) return 0;
    *value = strtod(found, NULL);
    return 1;
}

static void wait_seconds(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* What every call begins with: its scripted delay and its scripted failure. */
static Return enter(const char *prefix, const char *function) {
    double value;
    if (number(&value, "%sdelay.%s", prefix, function) || number(&value, "%sdelay", prefix)) wait_seconds(value);
    if (number(&value, "%serror.%s", prefix, function) || number(&value, "%serror", prefix)) return (Return)value;
    return OK;
}

static Return begin(const Device *device, const char *function) {
    Return code;
    char parent[32];
    if (!users) return UNINITIALIZED;
    if (!device) return BAD_ARGUMENT;
    if ((code = enter("", function))) return code;
    if (device->mig >= 0) {
        snprintf(parent, sizeof parent, "gpu%d.", device->gpu);
        if ((code = enter(parent, function))) return code;
    }
    return enter(device->prefix, function);
}

#define BEGIN(device) do { Return code_ = begin(device, __func__); if (code_) return code_; } while (0)
#define BEGIN_SYSTEM() do { Return code_ = enter("", __func__); if (code_) return code_; } while (0)

static Return unsigned_figure(const Device *device, const char *key, Uint *value) {
    double found;
    if (!number(&found, "%s%s", device->prefix, key)) return NOT_SUPPORTED;
    *value = (Uint)found;
    return OK;
}

static Return text_figure(const char *prefix, const char *key, char *value, Uint size) {
    char full[MAX_KEY];
    snprintf(full, sizeof full, "%s%s", prefix, key);
    return text(full, value, size) ? OK : NOT_SUPPORTED;
}

/* The library and the system. */

Return nvmlInitWithFlags(Uint flags) {
    (void)flags;
    if (!getenv("GPUTRAIN_NVML_SCRIPT")) return NOT_LOADED;
    BEGIN_SYSTEM();
    pthread_mutex_lock(&lock);
    users++;
    pthread_mutex_unlock(&lock);
    return OK;
}

Return nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

Return nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    pthread_mutex_lock(&lock);
    users--;
    pthread_mutex_unlock(&lock);
    return OK;
}

const char *nvmlErrorString(Return code) {
    switch (code) {
        case OK: return "Success";
        case UNINITIALIZED: return "Uninitialized";
        case NOT_SUPPORTED: return "Not Supported";
        case NOT_LOADED: return "Driver Not Loaded";
        case 15: return "GPU is lost";
        default: return "Unknown Error";
    }
}

Return nvmlSystemGetDriverVersion(char *version, Uint size) {
    BEGIN_SYSTEM();
    return text_figure("", "driver", version, size);
}

Return nvmlSystemGetNVMLVersion(char *version, Uint size) {
    BEGIN_SYSTEM();
    return text_figure("", "nvml", version, size);
}

Return nvmlSystemGetCudaDriverVersion_v2(int *version) {
    double found;
    BEGIN_SYSTEM();
    if (!number(&found, "cuda")) return NOT_SUPPORTED;
    *version = (int)found;
    return OK;
}

Return nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

Return nvmlDeviceGetCount_v2(Uint *count) {
    double found = 0;
    if (!users) return UNINITIALIZED;
    BEGIN_SYSTEM();
    number(&found, "gpus");
    *count = (Uint)found;
    return OK;
}

static Device *device_of(int gpu, int mig) {
    Device *device = &devices[gpu][mig + 1];
    pthread_mutex_lock(&lock);
    device->gpu = gpu;
    device->mig = mig;
    if (mig < 0) snprintf(device->prefix, sizeof device->prefix, "gpu%d.", gpu);
    else snprintf(device->prefix, sizeof device->prefix, "gpu%d.mig%d.", gpu, mig);
    pthread_mutex_unlock(&lock);
    return device;
}

Return nvmlDeviceGetHandleByIndex_v2(Uint index, Device **device) {
    double count = 0;
    number(&count, "gpus");
    if (index >= (Uint)count || index >= MAX_GPUS) return BAD_ARGUMENT;
    *device = device_of((int)index, -1);
    BEGIN(*device);
    return OK;
}

/* Figures that are one number. */

#define UINT_GETTER(name, key) \
    Return name(Device *device, Uint *value) { BEGIN(device); return unsigned_figure(device, key, value); }

UINT_GETTER(nvmlDeviceGetPowerUsage, "power")                       /* mW */
UINT_GETTER(nvmlDeviceGetEnforcedPowerLimit, "power_limit")         /* mW */
UINT_GETTER(nvmlDeviceGetPowerManagementLimit, "power_limit")       /* mW */
UINT_GETTER(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default")
UINT_GETTER(nvmlDeviceGetFanSpeed, "fan")                           /* % */
UINT_GETTER(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
UINT_GETTER(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
UINT_GETTER(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_max")
UINT_GETTER(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
UINT_GETTER(nvmlDeviceGetMaxMigDeviceCount, "mig_max")
UINT_GETTER(nvmlDeviceGetGpuInstanceId, "gpu_instance")
UINT_GETTER(nvmlDeviceGetComputeInstanceId, "compute_instance")
UINT_GETTER(nvmlDeviceGetPersistenceMode, "persistence")
UINT_GETTER(nvmlDeviceGetPerformanceState, "performance_state")
UINT_GETTER(nvmlDeviceGetComputeMode, "compute_mode")
UINT_GETTER(nvmlDeviceGetMinorNumber, "minor")

Return nvmlDeviceGetTotalEnergyConsumption(Device *device, Ullong *energy) { /* mJ */
    double found;
    BEGIN(device);
    if (!number(&found, "%senergy", device->prefix)) return NOT_SUPPORTED;
    *energy = (Ullong)found;
    return OK;
}

Return nvmlDeviceGetPowerManagementLimitConstraints(Device *device, Uint *lowest, Uint *highest) {
    BEGIN(device);
    *lowest = 0;
    return unsigned_figure(device, "power_limit_max", highest);
}

Return nvmlDeviceGetIndex(Device *device, Uint *index) {
    BEGIN(device);
    *index = (Uint)device->gpu;
    return OK;
}

Return nvmlDeviceGetName(Device *device, char *name, Uint size) {
    BEGIN(device);
    return text_figure(device->prefix, "name", name, size);
}

Return nvmlDeviceGetUUID(Device *device, char *uuid, Uint size) {
    BEGIN(device);
    return text_figure(device->prefix, "uuid", uuid, size);
}

Return nvmlDeviceGetTemperature(Device *device, int sensor, Uint *value) {
    (void)sensor;
    BEGIN(device);
    return unsigned_figure(device, "temperature", value);
}

Return nvmlDeviceGetTemperatureThreshold(Device *device, int kind, Uint *value) {
    static const char *const names[] = {"temperature_shutdown", "temperature_slowdown", "temperature_memory_max",
                                        "temperature_gpu_max"};
    BEGIN(device);
    return kind >= 0 && kind < 4 ? unsigned_figure(device, names[kind], value) : BAD_ARGUMENT;
}

static const char *const clocks[] = {"graphics_clock", "sm_clock", "memory_clock", "video_clock"};

Return nvmlDeviceGetClockInfo(Device *device, int kind, Uint *value) {
    BEGIN(device);
    return kind >= 0 && kind < 4 ? unsigned_figure(device, clocks[kind], value) : BAD_ARGUMENT;
}

Return nvmlDeviceGetMaxClockInfo(Device *device, int kind, Uint *value) {
    char key[32];
    BEGIN(device);
    if (kind < 0 || kind > 3) return BAD_ARGUMENT;
    snprintf(key, sizeof key, "%s_max", clocks[kind]);
    return unsigned_figure(device, key, value);
}

Return nvmlDeviceGetPcieThroughput(Device *device, int counter, Uint *value) { /* KB/s */
    BEGIN(device);
    return unsigned_figure(device, counter ? "pcie_rx" : "pcie_tx", value);
}

Return nvmlDeviceGetEncoderUtilization(Device *device, Uint *value, Uint *period) {
    BEGIN(device);
    *period = 1000000;
    return unsigned_figure(device, "encoder", value);
}

Return nvmlDeviceGetDecoderUtilization(Device *device, Uint *value, Uint *period) {
    BEGIN(device);
    *period = 1000000;
    return unsigned_figure(device, "decoder", value);
}

Return nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, Ullong *reasons) {
    double found;
    BEGIN(device);
    if (!number(&found, "%sthrottle", device->prefix)) return NOT_SUPPORTED;
    *reasons = (Ullong)found;
    return OK;
}

Return nvmlDeviceGetTotalEccErrors(Device *device, int error, int counter, Ullong *count) {
    double found;
    (void)counter;
    BEGIN(device);
    if (!number(&found, "%s%s", device->prefix, error ? "ecc_uncorrected" : "ecc_corrected")) return NOT_SUPPORTED;
    *count = (Ullong)found;
    return OK;
}

Return nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
    double found;
    BEGIN(device);
    if (!number(&found, "%scapability", device->prefix)) return NOT_SUPPORTED;
    *major = (int)found;
    *minor = (int)((found - *major) * 10 + 0.5);
    return OK;
}

/* Structures. */

typedef struct { Uint gpu, memory; } Utilization;
typedef struct { Ullong total, free, used; } Memory;
typedef struct { Uint version; Ullong total, reserved, free, used; } MemoryV2;
typedef struct { Uint pid; Ullong memory; Uint gpu_instance, compute_instance; } Process;

Return nvmlDeviceGetUtilizationRates(Device *device, Utilization *value) {
    BEGIN(device);
    if (unsigned_figure(device, "utilization", &value->gpu)) return NOT_SUPPORTED;
    if (unsigned_figure(device, "memory_utilization", &value->memory)) return NOT_SUPPORTED;
    return OK;
}

static Return memory_of(const Device *device, Ullong *total, Ullong *used) {
    double found;
    if (!number(&found, "%smemory_total", device->prefix)) return NOT_SUPPORTED;
    *total = (Ullong)found;
    if (!number(&found, "%smemory_used", device->prefix)) return NOT_SUPPORTED;
    *used = (Ullong)found;
    return OK;
}

Return nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    Return code;
    BEGIN(device);
    if ((code = memory_of(device, &memory->total, &memory->used))) return code;
    memory->free = memory->total - memory->used;
    return OK;
}

Return nvmlDeviceGetMemoryInfo_v2(Device *device, MemoryV2 *memory) {
    Return code;
    BEGIN(device);
    if ((code = memory_of(device, &memory->total, &memory->used))) return code;
    memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return OK;
}

/* "processes = 123:1048576 456:2097152": pid and bytes. */
static Return processes_of(Device *device, const char *key, Uint *count, Process *found) {
    char list[4096], *state = NULL, *entry;
    Uint number_found = 0, room = *count;
    if (text_figure(device->prefix, key, list, sizeof list)) list[0] = 0;
    for (entry = strtok_r(list, " ", &state); entry; entry = strtok_r(NULL, " ", &state), number_found++) {
        Ullong memory;
        Uint pid;
        if (sscanf(entry, "%u:%llu", &pid, &memory) != 2) return BAD_ARGUMENT;
        if (found && number_found < room) found[number_found] = (Process){pid, memory, 0xFFFFFFFFu, 0xFFFFFFFFu};
    }
    *count = number_found;
    return number_found > room ? TOO_SMALL : OK;
}

Return nvmlDeviceGetComputeRunningProcesses_v3(Device *device, Uint *count, Process *found) {
    BEGIN(device);
    return processes_of(device, "processes", count, found);
}

Return nvmlDeviceGetGraphicsRunningProcesses_v3(Device *device, Uint *count, Process *found) {
    BEGIN(device);
    return processes_of(device, "graphics_processes", count, found);
}

/* MIG: "mig = 1" turns the mode on, "mig_max" is how many instances could be, those with a uuid are there. */

Return nvmlDeviceGetMigMode(Device *device, Uint *current, Uint *pending) {
    Return code;
    BEGIN(device);
    code = unsigned_figure(device, "mig", current);
    *pending = *current;
    return code;
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Device *device, Uint index, Device **instance) {
    Device *found;
    char uuid[96];
    BEGIN(device);
    if (index >= MAX_MIG) return BAD_ARGUMENT;
    found = device_of(device->gpu, (int)index);
    if (text_figure(found->prefix, "uuid", uuid, sizeof uuid)) return NOT_FOUND;
    *instance = found;
    return OK;
}

Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *instance, Device **device) {
    BEGIN(instance);
    *device = device_of(instance->gpu, -1);
    return OK;
}

/* Field values: "field138 = 123" (unsigned 64 bit); the scope is not looked at. */

typedef struct {
    Uint field, scope;
    long long timestamp, latency;
    int kind;
    Return code;
    union { double real; Ullong whole; } value;
} FieldValue;

Return nvmlDeviceGetFieldValues(Device *device, int count, FieldValue *values) {
    int i;
    BEGIN(device);
    for (i = 0; i < count; i++) {
        double found;
        values[i].kind = 3; /* NVML_VALUE_TYPE_UNSIGNED_LONG_LONG */
        values[i].code = number(&found, "%sfield%u", device->prefix, values[i].field) ? OK : NOT_SUPPORTED;
        if (!values[i].code) values[i].value.whole = (Ullong)found;
    }
    return OK;
}

/* GPM: "gpm2 = 61.5" is metric 2; samples have no content of their own. */

typedef struct { Uint version, supported; } GpmSupport;
typedef struct { Device *device; } GpmSample; /* of an instance: the device of its GPU instance's id */
typedef struct { char *names[3]; } GpmInfo;
typedef struct { Uint metric; Return code; double value; GpmInfo info; } GpmMetric;
typedef struct { Uint version, count; GpmSample *first, *second; GpmMetric metrics[]; } GpmMetrics;

Return nvmlGpmQueryDeviceSupport(Device *device, GpmSupport *support) {
    BEGIN(device);
    support->supported = 0;
    unsigned_figure(device, "gpm", &support->supported);
    return OK;
}

Return nvmlGpmSampleAlloc(GpmSample **sample) {
    BEGIN_SYSTEM();
    *sample = calloc(1, sizeof **sample);
    return OK;
}

Return nvmlGpmSampleFree(GpmSample *sample) {
    free(sample);
    return OK;
}

Return nvmlGpmSampleGet(Device *device, GpmSample *sample) {
    BEGIN(device);
    sample->device = device;
    return OK;
}

Return nvmlGpmMigSampleGet(Device *parent, Uint instance, GpmSample *sample) {
    int mig;
    BEGIN(parent);
    for (mig = 0; mig < MAX_MIG; mig++) {
        Device *device = device_of(parent->gpu, mig);
        double found;
        if (number(&found, "%sgpu_instance", device->prefix) && (Uint)found == instance) {
            sample->device = device;
            return OK;
        }
    }
    return NOT_FOUND;
}

Return nvmlGpmMetricsGet(GpmMetrics *wanted) {
    Uint i;
    BEGIN_SYSTEM();
    if (!wanted->first || !wanted->second || !wanted->first->device) return BAD_ARGUMENT;
    for (i = 0; i < wanted->count; i++) {
        GpmMetric *metric = &wanted->metrics[i];
        metric->code =
            number(&metric->value, "%sgpm%u", wanted->first->device->prefix, metric->metric) ? OK : NOT_SUPPORTED;
    }
    return OK;
}
