/* What benchmark_model needs of LiteRT's C API, version 2.3, opened at run time. */

#ifndef BENCHMARK_LITERT_H
#define BENCHMARK_LITERT_H

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "benchmark_output.h"

#ifndef LITERT_FOLDER
#define LITERT_FOLDER "/system/litert"
#endif

typedef void *Handle;

typedef struct {
  unsigned rank; /* in seven bits */
  int32_t sizes[8];
  uint32_t strides[8];
} Layout;

typedef struct {
  int element;
  Layout layout;
} TensorType;

typedef struct {
  int tag;
  struct {
    int type;
    union {
      int64_t integer;
      const char *string;
    };
  } value;
} EnvironmentOption;

typedef struct {
  const char *tag;
  int type;
  uint64_t start_us, elapsed_us;
  size_t memory[6];
  uint64_t index, subgraph;
  int source;
} Event;

enum { CPU = 1, GPU = 2 };
enum { OPTION_RUNTIME_FOLDER = 22, OPTION_AUTO_REGISTER = 24, ANY_INT = 2, ANY_STRING = 8 };
enum { ELEMENT_FLOAT32 = 1, ELEMENT_UINT8 = 3, ELEMENT_INT8 = 9 };
enum { FOR_READING = 0, FOR_WRITING = 1 };
enum { EVENT_KERNEL = 2, EVENT_DELEGATE = 4, EVENT_DELEGATE_OWN = 8 };
enum { NOT_DELEGATED = 504 };

#define FUNCTIONS(X) \
  X(CreateEnvironment, int, const EnvironmentOption *, Handle *) \
  X(CreateModelFromBuffer, Handle, const void *, size_t, Handle *) \
  X(CreateOptions, Handle *) \
  X(SetOptionsHardwareAccelerators, Handle, int) \
  X(CreateOpaqueOptions, const char *, void *, void (*)(void *), Handle *) \
  X(AddOpaqueOptions, Handle, Handle) \
  X(CreateCompiledModel, Handle, Handle, Handle, Handle *) \
  X(GetModelSignature, Handle, size_t, Handle *) \
  X(GetNumSignatureInputs, Handle, size_t *) \
  X(GetNumSignatureOutputs, Handle, size_t *) \
  X(GetSignatureInputTensorByIndex, Handle, size_t, Handle *) \
  X(GetSignatureOutputTensorByIndex, Handle, size_t, Handle *) \
  X(GetRankedTensorType, Handle, TensorType *) \
  X(GetCompiledModelInputBufferRequirements, Handle, size_t, size_t, Handle *) \
  X(GetCompiledModelOutputBufferRequirements, Handle, size_t, size_t, Handle *) \
  X(GetCompiledModelOutputTensorLayouts, Handle, size_t, size_t, Layout *, bool) \
  X(CompiledModelResizeInputTensor, Handle, size_t, size_t, const int *, size_t) \
  X(CreateManagedTensorBufferFromRequirements, Handle, const TensorType *, Handle, Handle *) \
  X(LockTensorBuffer, Handle, void **, int) \
  X(UnlockTensorBuffer, Handle) \
  X(GetTensorBufferPackedSize, Handle, size_t *) \
  X(RunCompiledModel, Handle, size_t, size_t, Handle *, size_t, Handle *) \
  X(CompiledModelIsFullyAccelerated, Handle, bool *) \
  X(CompiledModelIsNonCpuFullyAccelerated, Handle, bool *) \
  X(CompiledModelGetProfiler, Handle, Handle *) \
  X(StartProfiler, Handle) \
  X(StopProfiler, Handle) \
  X(GetNumProfilerEvents, Handle, int *) \
  X(GetProfilerEvents, Handle, int, Event *) \
  X(GetModelSubgraph, Handle, size_t, Handle *) \
  X(GetNumSubgraphOps, Handle, size_t *) \
  X(GetSubgraphOp, Handle, size_t, Handle *) \
  X(GetNumOpOutputs, Handle, size_t *) \
  X(GetOpOutput, Handle, size_t, Handle *) \
  X(GetTensorName, Handle, const char **)

#define AS_POINTER(name, ...) static int (*name)(__VA_ARGS__);
FUNCTIONS(AS_POINTER)

static const char *litert_folder(void) {
  const char *folder = getenv("LITERT_DIR");
  return folder && *folder ? folder : LITERT_FOLDER;
}

static void library_path(char path[PATH_MAX]) {
  snprintf(path, PATH_MAX, "%s/libLiteRt.so", litert_folder());
}

static _Noreturn void fail_to_link(const char *program, const char *problem) {
  say(errors, "CANNOT LINK EXECUTABLE \"%s\": %s", program, problem);
  leave(1);
}

/* Says at once, as the linker of a phone does, that there is no library. */
static void check_library(const char *program) {
  char path[PATH_MAX], problem[PATH_MAX + 32];
  library_path(path);
  if (!access(path, R_OK)) return;
  snprintf(problem, sizeof problem, "library \"%s\" not found", path);
  fail_to_link(program, problem);
}

/* Only a run needs the library: what is wrong with the flags is said without. */
static void open_library(const char *program) {
  char path[PATH_MAX];
  library_path(path);
  void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  const char *problem = library ? NULL : dlerror();
#define AS_SYMBOL(name, ...) \
  if (!problem && !(*(void **)&name = dlsym(library, "LiteRt" #name))) problem = dlerror();
  FUNCTIONS(AS_SYMBOL)
  if (problem) fail_to_link(program, problem);
}

/* The library of an accelerator is only loaded where it is asked for: WebGPU's has 19 MB. */
static Handle make_environment(int accelerator) {
  EnvironmentOption options[2] = {
      {OPTION_RUNTIME_FOLDER, {ANY_STRING, {.string = litert_folder()}}},
      {OPTION_AUTO_REGISTER, {ANY_INT, {.integer = CPU | accelerator}}},
  };
  Handle environment = NULL;
  return CreateEnvironment(2, options, &environment) ? NULL : environment;
}

#endif
