/* The tests' stand-in for TFLite's benchmark_model: its flags, its lines, its exit codes.
 *
 * It runs the model with LiteRT's C API, which it opens at run time. What the tool says was taken
 * from its real output. Variants: -DWITHOUT_GPU is a build without the GPU delegate, -DOLD prints
 * no percentiles, as the tool once did.
 *
 * The library's folder is LITERT_FOLDER, or the environment's LITERT_DIR.
 */

#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "benchmark_flags.h"
#include "benchmark_litert.h"
#include "benchmark_output.h"
#include "benchmark_result.h"
#include "benchmark_tables.h"

#define SWIFTSHADER "/usr/lib/chromium/vk_swiftshader_icd.json"

/* Whole microseconds, as the tool's clock; a difference of two is what it calls a latency. */
static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void sleep_s(double seconds) {
  if (seconds <= 0) return;
  struct timespec pause = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
  nanosleep(&pause, NULL);
}

static int64_t peak_kb(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/* ---- The model ---- */

typedef struct {
  const void *bytes;
  size_t size;
  Handle environment, handle, compiled, profiler;
  size_t n_inputs, n_outputs;
  Handle *inputs, *outputs;
  void **contents; /* of the inputs */
  size_t *sizes;
  size_t n_ops;
  bool on_gpu;
  int64_t compile_us, allocate_us, compile_kb, allocate_kb;
} Model;

static _Noreturn void fail_to_load(const char *problem) {
  ERROR("%s", problem);
  ERROR("Failed to load model %s", TEXT(graph));
  fail();
}

static void read_model(Model *model) {
  struct stat status = {0};
  int file = open(TEXT(graph), O_RDONLY | O_CLOEXEC);
  if (file < 0) ERROR("Could not open '%s'.", TEXT(graph));
  else if (fstat(file, &status) || !status.st_size) ERROR("mmap of size 0 requested.");
  if (file < 0 || !status.st_size) fail_to_load("The model allocation is null/empty");
  model->size = (size_t)status.st_size;
  model->bytes = mmap(NULL, model->size, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (model->bytes == MAP_FAILED) fail_to_load("The model allocation is null/empty");
  if (model->size < 8 || memcmp((const char *)model->bytes + 4, "TFL3", 4) ||
      CreateModelFromBuffer(model->environment, model->bytes, model->size, &model->handle))
    fail_to_load("The model is not a valid Flatbuffer buffer");
  Handle subgraph;
  if (GetModelSubgraph(model->handle, 0, &subgraph) ||
      GetNumSubgraphOps(subgraph, &model->n_ops))
    fail_to_load("The model is not a valid Flatbuffer buffer");
  INFO("Loaded model %s", TEXT(graph));
}

static void keep(void *text) { (void)text; }

static void add_options(Handle options, const char *part, const char *text) {
  Handle opaque;
  /* The text of an option is the library's as long as the options live: for ever. */
  if (CreateOpaqueOptions(part, strdup(text), keep, &opaque) || AddOpaqueOptions(options, opaque)) {
    ERROR("the runtime does not take the options of %s", part);
    fail();
  }
}

static int compile(Model *model, bool on_gpu, bool profiled) {
  Handle options;
  char text[256];
  if (CreateOptions(&options) || SetOptionsHardwareAccelerators(options, on_gpu ? GPU : CPU))
    return -1;
  int threads = NUMBER(num_threads) < 1 ? 1 : (int)NUMBER(num_threads);
  snprintf(text, sizeof text, "num_threads = %d\n", threads);
  if (!IS(use_xnnpack) && GIVEN(use_xnnpack)) strcat(text, "kernel_mode = \"builtin\"\n");
  if (IS(xnnpack_force_fp16)) strcat(text, "flags = 7\n"); /* fp16 beside the default ones */
  add_options(options, "xnnpack", text);
#ifndef WITHOUT_GPU
  if (on_gpu) {
    snprintf(text, sizeof text, "precision = %d\n", IS(gpu_precision_loss_allowed) ? 1 : 2);
    add_options(options, "gpu_options", text);
  }
#endif
  if (profiled)
    add_options(options, "runtime_options_string", "enable_profiling = true\n");
  int64_t kb = peak_kb(), start = now_us();
  int status = CreateCompiledModel(model->environment, model->handle, options, &model->compiled);
  model->compile_us = now_us() - start;
  model->compile_kb = peak_kb() - kb;
  model->on_gpu = on_gpu;
  return status;
}

static void fill(Model *model, size_t input, int element) {
  uint64_t state = 0x9E3779B97F4A7C15;
  size_t size;
  if (GetTensorBufferPackedSize(model->inputs[input], &size)) return;
  void *content = allocate(size, 1);
  for (size_t i = 0; element == ELEMENT_FLOAT32 && i < size / 4; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ((float *)content)[i] = (float)(state >> 40) / (1 << 23) - 1;
  }
  for (size_t i = 0; (element == ELEMENT_UINT8 || element == ELEMENT_INT8) && i < size; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    ((uint8_t *)content)[i] = (uint8_t)(state >> 56);
  }
  model->contents[input] = content;
  model->sizes[input] = size;
}

/* The tool writes its inputs anew before every run, which decides what is in the caches then. */
static void reset_inputs(Model *model) {
  void *address;
  for (size_t i = 0; i < model->n_inputs; i++) {
    if (LockTensorBuffer(model->inputs[i], &address, FOR_WRITING)) continue;
    memcpy(address, model->contents[i], model->sizes[i]);
    UnlockTensorBuffer(model->inputs[i]);
  }
}

/* Every dynamic size becomes 1, as in the tool; true if there was one. */
static bool resize(Model *model, size_t index, TensorType *type) {
  int sizes[8], rank = (int)(type->layout.rank & 0x7F);
  bool dynamic = false;
  for (int i = 0; i < rank && i < 8; i++) {
    if (type->layout.sizes[i] < 0) {
      type->layout.sizes[i] = 1;
      dynamic = true;
    }
    sizes[i] = type->layout.sizes[i];
  }
  if (dynamic)
    CompiledModelResizeInputTensor(model->compiled, 0, index, sizes, (size_t)rank);
  return dynamic;
}

static bool make_buffers(Model *model) {
  Handle signature, tensor, needs;
  bool dynamic = false;
  if (GetModelSignature(model->handle, 0, &signature) ||
      GetNumSignatureInputs(signature, &model->n_inputs) ||
      GetNumSignatureOutputs(signature, &model->n_outputs))
    return false;
  model->inputs = allocate(model->n_inputs, sizeof *model->inputs);
  model->outputs = allocate(model->n_outputs, sizeof *model->outputs);
  model->contents = allocate(model->n_inputs, sizeof *model->contents);
  model->sizes = allocate(model->n_inputs, sizeof *model->sizes);
  TensorType *types = allocate(model->n_inputs, sizeof *types);
  Layout *layouts = allocate(model->n_outputs, sizeof *layouts);
  for (size_t i = 0; i < model->n_inputs; i++) {
    if (GetSignatureInputTensorByIndex(signature, i, &tensor) ||
        GetRankedTensorType(tensor, &types[i]))
      return false;
    dynamic |= resize(model, i, &types[i]);
  }
  if (dynamic && GetCompiledModelOutputTensorLayouts(model->compiled, 0, model->n_outputs, layouts,
                                                     true))
    return false;
  for (size_t i = 0; i < model->n_inputs; i++) {
    if (GetCompiledModelInputBufferRequirements(model->compiled, 0, i, &needs) ||
        CreateManagedTensorBufferFromRequirements(model->environment, &types[i], needs,
                                                  &model->inputs[i]))
      return false;
    fill(model, i, types[i].element);
  }
  for (size_t i = 0; i < model->n_outputs; i++) {
    TensorType type;
    if (GetSignatureOutputTensorByIndex(signature, i, &tensor) ||
        GetRankedTensorType(tensor, &type))
      return false;
    if (dynamic) type.layout = layouts[i];
    if (GetCompiledModelOutputBufferRequirements(model->compiled, 0, i, &needs) ||
        CreateManagedTensorBufferFromRequirements(model->environment, &type, needs,
                                                  &model->outputs[i]))
      return false;
  }
  free(types);
  free(layouts);
  return true;
}

/* Says again why the runtime refused a model. */
static void relay_errors(void) {
  char *text = read_log();
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
    if (!strncmp(line, "ERROR: ", 7)) say(errors, "%s", line);
  free(text);
}

/* Reading the outputs is part of a run: a GPU's run alone only enqueues its work. */
static void run_once(Model *model) {
  void *address;
  int status = RunCompiledModel(model->compiled, 0, model->n_inputs, model->inputs,
                                model->n_outputs, model->outputs);
  for (size_t i = 0; !status && i < model->n_outputs; i++) {
    status = LockTensorBuffer(model->outputs[i], &address, FOR_READING);
    if (!status) status = UnlockTensorBuffer(model->outputs[i]);
  }
  if (status) {
    relay_errors();
    ERROR("Failed to invoke!");
    fail();
  }
}

/* ---- The profiler ---- */

static Event *events; /* of the last profiled run */

static int read_events(const Model *model) {
  static int room;
  int count = 0;
  if (GetNumProfilerEvents(model->profiler, &count) || count <= 0) return 0;
  if (count > room) {
    room = count;
    free(events);
    events = allocate((size_t)room, sizeof *events);
  }
  return GetProfilerEvents(model->profiler, count, events) ? 0 : count;
}

static bool is_delegates(const Event *event) {
  return event->type == EVENT_DELEGATE || event->type == EVENT_DELEGATE_OWN;
}

static Node *find_node(Profile *profile, size_t guess, const Event *event) {
  for (size_t i = 0; i < profile->count; i++) {
    Node *node = &profile->nodes[(guess + i) % profile->count];
    if (node->index == event->index && !strcmp(node->type, event->tag)) return node;
  }
  return NULL;
}

/* A node of the graph goes by its outputs, one of a delegate by its type. */
static char *name_node(const Model *model, const Event *event) {
  char *name = NULL;
  size_t size, n_ops = 0, n_outputs = 0;
  FILE *text = open_memstream(&name, &size);
  if (event->type != EVENT_KERNEL) {
    fprintf(text, "Delegate/%s", event->tag);
  } else {
    Handle subgraph, op, tensor;
    const char *tensor_name;
    if (GetModelSubgraph(model->handle, event->subgraph, &subgraph) ||
        GetNumSubgraphOps(subgraph, &n_ops) || event->index >= n_ops ||
        GetSubgraphOp(subgraph, event->index, &op) || GetNumOpOutputs(op, &n_outputs))
      n_outputs = 0;
    putc('[', text);
    for (size_t i = 0; i < n_outputs; i++)
      if (!GetOpOutput(op, i, &tensor) && !GetTensorName(tensor, &tensor_name))
        fprintf(text, "%s%s", i ? ", " : "", tensor_name);
    putc(']', text);
  }
  fprintf(text, ":%lu", event->index);
  fclose(text);
  return name;
}

/* Takes the events of one run. What exceeds the tool's buffer is dropped, with a word about it. */
static void take_events(Profile *profile, const Model *model) {
  static bool warned;
  int count = read_events(model);
  int64_t total = 0;
  if (count > NUMBER(max_profiling_buffer_entries) &&
      !IS(allow_dynamic_profiling_buffer_increase)) {
    count = (int)NUMBER(max_profiling_buffer_entries);
    if (!warned) RUNTIME("Warning: Dropping ProfileBuffer event.");
    warned = true;
  }
  size_t guess = 0;
  for (int i = 0; i < count; i++) {
    const Event *event = &events[i];
    if (event->type != EVENT_KERNEL && !is_delegates(event)) continue;
    int64_t us = (int64_t)event->elapsed_us;
    Node *node = find_node(profile, guess, event);
    if (!node) {
      node = add_node(profile, strdup(event->tag), name_node(model, event), us);
      node->index = event->index;
    }
    guess = (size_t)(node - profile->nodes) + 1;
    node->sum_us += us;
    node->calls++;
    total += us;
  }
  add_value(&profile->runs, total, false);
}

static void add_phase(Profile *profile, const char *type, int64_t us, int64_t kb) {
  char *name;
  if (asprintf(&name, "%s/0", type) < 0) abort();
  Node *node = add_node(profile, strdup(type), name, us);
  node->sum_us = us;
  node->calls = 1;
  node->kb = kb;
}

/* Into the file, or on stdout where there is none or it cannot be opened. */
static void report_profiles(const Model *model, Profile *regular) {
  const char *path = TEXT(op_profiling_output_file), *mode = TEXT(op_profiling_output_mode);
  if (!strcmp(mode, "proto")) return;
  Profile start = {0};
  if (model->on_gpu || !(GIVEN(use_xnnpack) && !IS(use_xnnpack)))
    add_phase(&start, "ModifyGraphWithDelegate", model->compile_us, model->compile_kb);
  add_phase(&start, "AllocateTensors", model->allocate_us, model->allocate_kb);
  int64_t total = 0;
  for (size_t i = 0; i < start.count; i++) total += start.nodes[i].sum_us;
  add_value(&start.runs, total, false);
  FILE *file = *path ? fopen(path, "w") : NULL;
  Table table = {file ? file : out, !strcmp(mode, "csv")};
  const char *level = file ? "" : "INFO: ", *end = file ? "" : "\n";
  fprintf(table.stream, "%sProfiling Info for Benchmark Initialization:\n", level);
  print_profile(&table, &start);
  fprintf(table.stream, "%s%sOperator-wise Profiling Info for Regular Benchmark Runs:\n", end,
          level);
  print_profile(&table, regular);
  fprintf(table.stream, "%s", end);
  if (file) fclose(file);
}

/* ---- Delegates ---- */

static void report_delegation(const char *delegate, size_t kernels, bool complete) {
  if (IS(require_full_delegation) && !complete) {
    ERROR("Disallowed CPU fallback detected.");
    fail();
  }
  if (complete)
    INFO("Explicitly applied %s delegate, and the model graph will be completely executed by the "
         "delegate.", delegate);
  else if (kernels)
    INFO("Explicitly applied %s delegate, and the model graph will be partially executed by the "
         "delegate w/ %zu delegate kernels.", delegate, kernels);
  else
    INFO("Though %s delegate is explicitly applied, the model graph will not be executed by the "
         "delegate.", delegate);
}

/* How often XNNPACK was put in the graph. Only a profiled run tells: it counts anew each time. */
static size_t count_partitions(const Model *model) {
  Model probe = *model;
  size_t partitions = 0;
  if (compile(&probe, false, true) || !make_buffers(&probe) ||
      CompiledModelGetProfiler(probe.compiled, &probe.profiler))
    return 0;
  StartProfiler(probe.profiler);
  reset_inputs(&probe);
  run_once(&probe);
  StopProfiler(probe.profiler);
  int count = read_events(&probe);
  for (int i = 0; i < count; i++) partitions += is_delegates(&events[i]) && !events[i].index;
  return partitions;
}

static void use_cpu(Model *model) {
  bool without = GIVEN(use_xnnpack) && !IS(use_xnnpack), complete = false;
  if (!without) RUNTIME("Created TensorFlow Lite XNNPACK delegate for CPU.");
  if (IS(use_xnnpack)) INFO("XNNPACK delegate created.");
  if (compile(model, false, IS(enable_op_profiling))) {
    relay_errors();
    ERROR("Failed to allocate tensors!");
    fail();
  }
  if (!IS(use_xnnpack)) return;
  CompiledModelIsFullyAccelerated(model->compiled, &complete);
  report_delegation("XNNPACK", complete ? 1 : count_partitions(model), complete);
}

#ifndef WITHOUT_GPU
/* Of the operators that the GPU does not take, the runtime's log has the list; the tool's too. */
static void relay_refusals(void) {
  char *text = read_log();
  char *list = strstr(text, "Following operations are not supported by GPU delegate:");
  char *end = list ? strstr(list, " operations will run on") : NULL;
  if (end) end = strchr(end, '\n');
  if (end) *end = 0;
  if (end) ERROR("%s", list);
  free(text);
}

static _Noreturn void fail_without_gpu(const Model *model) {
  RUNTIME("Created 0 GPU delegate kernels.");
  ERROR("TfLiteGpuDelegate Prepare: delegate is not initialized");
  ERROR("Node number %zu (TfLiteGpuDelegateV2) failed to prepare.", model->n_ops);
  ERROR("Restored original execution plan after delegate application failure.");
  ERROR("Failed to apply GPU delegate.");
  fail();
}

static void say_no_opencl(const char *program) {
  INFO("Failed to load OpenCL library with dlopen: libOpenCL.so: cannot open shared object file: "
       "No such file or directory. Trying ICD loader.");
  ERROR("Can not open OpenCL library on this device - %s: undefined symbol: clEnqueueTask",
        program);
  ERROR("Falling back to OpenGL");
}

/* The GPU is LiteRT's over Vulkan. It has no times of kernels, so it passes for OpenGL. */
static void use_gpu(Model *model, const char *program) {
  bool complete = false;
  RUNTIME("Created TensorFlow Lite delegate for GPU.");
  INFO("GPU delegate created.");
  int status = strcmp(TEXT(gpu_backend), "cl") ? compile(model, true, false) : -1;
  if (!status) CompiledModelIsNonCpuFullyAccelerated(model->compiled, &complete);
  if (status == NOT_DELEGATED || (!status && !complete)) {
    relay_refusals();
    report_delegation("GPU", 0, false);
    use_cpu(model);
    return;
  }
  if (strcmp(TEXT(gpu_backend), "gl")) say_no_opencl(program);
  if (status) {
    ERROR("TfLiteGpuDelegate Init: OpenGL-based API disabled");
    fail_without_gpu(model);
  }
  RUNTIME("Initialized OpenGL-based API.");
  RUNTIME("Created 1 GPU delegate kernels.");
  report_delegation("GPU", 1, true);
}
#endif

static bool wants_gpu(void) {
#ifdef WITHOUT_GPU
  return false;
#else
  return IS(use_gpu);
#endif
}

static void prepare(Model *model, const char *program) {
  if (wants_gpu() && !getenv("VK_DRIVER_FILES") && !access(SWIFTSHADER, R_OK)) {
    setenv("VK_DRIVER_FILES", SWIFTSHADER, 1);
    setenv("VK_ICD_FILENAMES", SWIFTSHADER, 1);
  }
  open_library(program);
  model->environment = make_environment(wants_gpu() ? GPU : CPU);
  if (!model->environment) fail_to_link(program, "LiteRT makes no environment");
  read_model(model);
#ifdef WITHOUT_GPU
  use_cpu(model);
#else
  if (IS(use_gpu)) use_gpu(model, program);
  else use_cpu(model);
#endif
  int64_t kb = peak_kb(), start = now_us();
  if (!make_buffers(model)) {
    relay_errors();
    ERROR("Failed to allocate tensors!");
    fail();
  }
  model->allocate_us = now_us() - start;
  model->allocate_kb = peak_kb() - kb;
  if (IS(enable_op_profiling) && !model->on_gpu &&
      CompiledModelGetProfiler(model->compiled, &model->profiler)) {
    ERROR("the runtime has no profiler");
    fail();
  }
  INFO("The input model file size (MB): %g", (double)model->size / 1e6);
}

/* ---- Runs ---- */

static Statistics run(Model *model, double min_runs, double min_s, Profile *profile) {
  double max_s = NUMBER(max_secs);
  Statistics statistics = {0};
  INFO("Running benchmark for at least %.0f iterations and at least %g seconds but terminate if "
       "exceeding %g seconds.", min_runs, min_s, max_s);
  int64_t now = now_us();
  double min_end = (double)now + min_s * 1e6, max_end = (double)now + max_s * 1e6;
  for (int64_t i = 0; ((double)i < min_runs || (double)now < min_end) && (double)now <= max_end;
       i++) {
    reset_inputs(model);
    if (profile) StartProfiler(model->profiler);
    int64_t start = now_us();
    run_once(model);
    int64_t end = now_us();
    if (profile) {
      StopProfiler(model->profiler);
      take_events(profile, model);
    }
    add_value(&statistics, end - start, true);
    double frequency = NUMBER(run_frequency);
    sleep_s(frequency > 0 ? 1 / frequency - (double)(end - start) / 1e6 : NUMBER(run_delay));
    now = now_us();
  }
  log_statistics(&statistics);
  return statistics;
}

static void report_memory(int64_t start_kb, int64_t init_kb, int64_t end_kb) {
  INFO("Note: as the benchmark tool itself affects memory footprint, the following is only "
       "APPROXIMATE to the actual memory footprint of the model at runtime. Take the information "
       "at your discretion.");
  INFO("Memory footprint delta from the start of the tool (MB): init=%g overall=%g",
       (double)(init_kb - start_kb) / 1024, (double)(end_kb - start_kb) / 1024);
  if (!IS(report_peak_memory_footprint)) return;
  INFO("Overall peak memory footprint (MB) via periodic monitoring: %g", (double)end_kb / 1024);
  long rss = 0, anonymous = 0, file = 0, shared = 0;
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) {
    sscanf(line, "VmRSS: %ld", &rss);
    sscanf(line, "RssAnon: %ld", &anonymous);
    sscanf(line, "RssFile: %ld", &file);
    sscanf(line, "RssShmem: %ld", &shared);
  }
  if (status) fclose(status);
  INFO("Memory status at the end of exeution:");
  INFO("- VmRSS              : %ld MB", rss / 1024);
  INFO("+ RssAnnon           : %ld MB", anonymous / 1024);
  INFO("+ RssFile + RssShmem : %ld MB", (file + shared) / 1024);
}

static void write_result(const Statistics *warmup, const Statistics *timed, int64_t init_us,
                         int64_t init_kb, int64_t overall_kb, int64_t peak) {
  const double latencies_us[] = {
      mean(timed), (double)timed->min, (double)timed->max, (double)deviation(timed),
      (double)percentile(timed, 50), (double)percentile(timed, 5), (double)percentile(timed, 95),
      (double)init_us, (double)warmup->first, mean(warmup),
  };
  Message latency = {.size = 0}, memory = {.size = 0}, misc = {.size = 0}, result = {.size = 0};
  for (unsigned i = 0; i < sizeof latencies_us / sizeof *latencies_us; i++)
    put_float(&latency, i + 1, latencies_us[i] / 1e3);
  put_integer(&memory, 1, init_kb);
  put_integer(&memory, 2, overall_kb);
  if (IS(report_peak_memory_footprint)) put_float(&memory, 3, (double)peak / 1024);
  put_integer(&misc, 2, timed->count);
  put_integer(&misc, 3, warmup->count);
  put_message(&result, RESULT_LATENCY, &latency);
  put_message(&result, RESULT_MEMORY, &memory);
  put_message(&result, RESULT_MISC, &misc);
  write_message(&result, TEXT(result_file_path));
}

int main(int count, char **arguments) {
  keep_streams_apart();
  set_defaults();
  check_library(arguments[0]);
  INFO("STARTING!");
  if (!parse_flags(count, arguments)) {
    print_usage(arguments[0]);
    fail();
  }
  check_parameters();
  log_parameters();

  Model model = {0};
  Profile profile = {0};
  int64_t start_kb = peak_kb(), start = now_us();
  prepare(&model, arguments[0]);
  int64_t init_us = now_us() - start, init_kb = peak_kb();
  INFO("Initialized session in %gms.", (double)init_us / 1e3);

  bool dry = IS(dry_run);
  Statistics warmup = run(&model, dry ? 0 : NUMBER(warmup_runs),
                          dry ? -1 : NUMBER(warmup_min_secs), NULL);
  Statistics timed = run(&model, dry ? 0 : NUMBER(num_runs), dry ? -1 : NUMBER(min_secs),
                         model.profiler ? &profile : NULL);
  INFO("Inference timings in us: Init: %ld, First inference: %ld, Warmup (avg): %g, "
       "Inference (avg): %g", init_us, warmup.first, mean(&warmup), mean(&timed));
  int64_t end_kb = peak_kb();
  report_memory(start_kb, init_kb, end_kb);
  if (*TEXT(result_file_path))
    write_result(&warmup, &timed, init_us, init_kb - start_kb, end_kb - start_kb, end_kb);
  if (IS(enable_op_profiling)) report_profiles(&model, &profile);
  leave(0);
}
