/* The flags of benchmark_model.
 *
 * All are parsed, logged and listed. Without effect are those about inputs' names and files,
 * signatures, other delegates, serialization, the interpreter's state and exports other than the
 * result file and the operators' times ('proto' is the one form of these that is not written).
 */

#ifndef BENCHMARK_FLAGS_H
#define BENCHMARK_FLAGS_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "benchmark_output.h"

typedef enum { INT32, FLOAT, BOOL, STRING } Type;

typedef struct {
  const char *name;
  Type type;
  const char *usual; /* the value where none is given */
  const char *label; /* what the value is called in the log; NULL: it is not logged there */
  const char *help;
  const char *text; /* the value as it was written */
  double number;
  bool given;
} Flag;

/* In the order of --help. Two appear twice, for the tool and for its delegates. */
#define FLAGS(X) \
  X(num_runs, INT32, "50", "Min num runs", "least number of timed runs") \
  X(min_secs, FLOAT, "1", "Min runs duration (seconds)", "least time of the timed runs") \
  X(max_secs, FLOAT, "150", "Max runs duration (seconds)", "no run starts after this time") \
  X(run_delay, FLOAT, "-1", "Inter-run delay (seconds)", "pause between runs") \
  X(run_frequency, FLOAT, "-1", "Number of prorated runs per second", "runs per second") \
  X(num_threads, INT32, "-1", "Num threads", "number of threads") \
  X(use_caching, BOOL, "false", "Use caching", "keep packed weights") \
  X(benchmark_name, STRING, "", "Benchmark name", "a name") \
  X(output_prefix, STRING, "", "Output prefix", "a prefix") \
  X(warmup_runs, INT32, "1", "Min warmup runs", "least number of untimed runs") \
  X(warmup_min_secs, FLOAT, "0.5", "Min warmup runs duration (seconds)", "least warm-up time") \
  X(verbose, BOOL, "false", NULL, "log parameters that were not given, too") \
  X(dry_run, BOOL, "false", "Run w/o invoking kernels", "do all but run the model") \
  X(report_peak_memory_footprint, BOOL, "false", "Report the peak memory footprint", "say it") \
  X(memory_footprint_check_interval_ms, INT32, "50", "Memory footprint check interval (ms)", \
    "time between two looks at the memory") \
  X(gpu_invoke_loop_times, INT32, "1", NULL, "repeats of the GPU's work") \
  X(graph, STRING, "", "Graph", "the model's file") \
  X(input_layer, STRING, "", "Input layers", "names of inputs") \
  X(input_layer_shape, STRING, "", "Input shapes", "shapes of inputs") \
  X(input_layer_value_range, STRING, "", "Input value ranges", "ranges of inputs") \
  X(input_layer_value_files, STRING, "", "Input value files", "files of inputs") \
  X(allow_fp16, BOOL, "false", "Allow fp16", "allow half precision") \
  X(require_full_delegation, BOOL, "false", "Require full delegation", "or fail") \
  X(enable_op_profiling, BOOL, "false", "Enable op profiling", "time the operators") \
  X(op_profiling_output_mode, STRING, "stdout", "Op profiling output mode.", \
    "'stdout', 'csv' or 'proto'") \
  X(op_profiling_output_file, STRING, "", "Op profiling output file.", "where the times go") \
  X(max_profiling_buffer_entries, INT32, "1024", "Max initial profiling buffer entries", \
    "operators of a run that are timed at most") \
  X(allow_dynamic_profiling_buffer_increase, BOOL, "false", \
    "Allow dynamic increase on profiling buffer entries", "or as many as there are") \
  X(profiling_output_csv_file, STRING, "", "CSV File to export profiling data to", "deprecated") \
  X(export_model_runtime_info, BOOL, "false", "Enable Model Runtime Info Export", "export it") \
  X(model_runtime_info_output_file, STRING, "", "Proto File to export model runtime info to", \
    "where it goes") \
  X(print_preinvoke_state, BOOL, "false", "Print pre-invoke interpreter state", "before runs") \
  X(print_postinvoke_state, BOOL, "false", "Print post-invoke interpreter state", "after runs") \
  X(release_dynamic_tensors, BOOL, "false", "Release dynamic tensor memory", "release it") \
  X(optimize_memory_for_large_tensors, INT32, "0", "Optimize memory usage for large tensors", \
    "size of a large tensor") \
  X(disable_delegate_clustering, BOOL, "false", "Disable delegate clustering", "disable it") \
  X(enable_builtin_cast_constant_cache, BOOL, "false", "Constant CAST output cache", "cache it") \
  X(output_filepath, STRING, "", "File path to export outputs layer to", "of the outputs") \
  X(output_proto_filepath, STRING, "", "File path to export outputs layer as tf example to", \
    "of the outputs, as a proto") \
  X(tensor_name_display_length, INT32, "25", "Tensor name display length", "characters") \
  X(tensor_type_display_length, INT32, "15", "Tensor type display length", "characters") \
  X(alloc_type_display_length, INT32, "18", "Tensor allocation type display length", \
    "characters") \
  X(signature_to_run_for, STRING, "", NULL, "the signature to run") \
  X(list_signatures, BOOL, "false", NULL, "list the signatures and end") \
  X(result_file_path, STRING, "", NULL, "where the result goes, as a proto") \
  X(help, BOOL, "false", "print out all supported flags", "print this and end") \
  X(num_threads_, INT32, "-1", "#threads used for CPU inference", "number of CPU threads") \
  X(max_delegated_partitions, INT32, "0", "Max number of delegated partitions", "at most") \
  X(min_nodes_per_partition, INT32, "0", "Min nodes per partition", "at least") \
  X(first_delegate_node_index, INT32, "0", "Index of the first node that could be delegated", \
    "for debugging") \
  X(last_delegate_node_index, INT32, "2147483647", \
    "Index of the last node that could be delegated", "for debugging") \
  X(gpu_invoke_loop_times_, INT32, "-1", "Number of GPU delegate invoke loop iterations", \
    "repeats of the GPU's work") \
  X(delegate_serialize_dir, STRING, "", "Directory for delegate serialization", "a folder") \
  X(delegate_serialize_token, STRING, "", \
    "Model-specific token/key for delegate serialization.", "a name in it") \
  X(use_xnnpack, BOOL, "false", "Use xnnpack", "apply XNNPACK explicitly, or not at all") \
  X(xnnpack_force_fp16, BOOL, "false", "xnnpack_force_fp16", "calculate in half precision") \
  X(xnnpack_weight_cache_file_path, STRING, "", "xnnpack_weight_cache_file_path", "a file") \
  X(xnnpack_runtime_flags, INT32, "0", "Extra flags for XNNPACK runtime", "XNNPACK's flags") \
  X(external_delegate_path, STRING, "", "External delegate path", "a library") \
  X(external_delegate_options, STRING, "", "External delegate options", "its options")
#ifdef WITHOUT_GPU
#define GPU_FLAGS(X)
#else
#define GPU_FLAGS(X) \
  X(use_gpu, BOOL, "false", "Use gpu", "run on the GPU") \
  X(gpu_precision_loss_allowed, BOOL, "true", "Allow lower precision in gpu", "half precision") \
  X(gpu_experimental_enable_quant, BOOL, "true", "Enable running quant models in gpu", "allow it") \
  X(gpu_inference_for_sustained_speed, BOOL, "false", \
    "Prefer maximizing the throughput in gpu", "throughput over latency") \
  X(gpu_backend, STRING, "", "GPU backend", "cl or gl, and no other")
#endif

#define AS_NUMBER(name, type, usual, label, help) FLAG_##name,
#define AS_FLAG(name, type, usual, label, help) {#name, type, usual, label, help, usual, 0, false},
enum { FLAGS(AS_NUMBER) GPU_FLAGS(AS_NUMBER) FLAG_COUNT };
static Flag flags[] = {FLAGS(AS_FLAG) GPU_FLAGS(AS_FLAG)};

#define NUMBER(name) (flags[FLAG_##name].number)
#define TEXT(name) (flags[FLAG_##name].text)
#define IS(name) (NUMBER(name) != 0)
#define GIVEN(name) (flags[FLAG_##name].given)

static bool set_flag(Flag *flag, const char *text) {
  char *end = NULL;
  errno = 0;
  if (flag->type == BOOL) {
    bool yes = !strcmp(text, "true") || !strcmp(text, "1");
    if (!yes && strcmp(text, "false") && strcmp(text, "0")) return false;
    flag->number = yes;
  } else if (flag->type == INT32) {
    long value = strtol(text, &end, 10);
    if (!*text || *end || errno || value < INT_MIN || value > INT_MAX) return false;
    flag->number = (double)value;
  } else if (flag->type == FLOAT) {
    flag->number = (float)strtod(text, &end);
    if (!*text || *end || errno) return false;
  }
  flag->text = text;
  return true;
}

static void print_usage(const char *program) {
  static const char *const types[] = {"int32", "float", "bool", "string"};
  fprintf(errors, "ERROR: usage: %s <flags>\nFlags:\n", program);
  for (int i = 0; i < FLAG_COUNT; i++) {
    char start[128];
    snprintf(start, sizeof start, "--%s=%s", flags[i].name, flags[i].usual);
    fprintf(errors, "\t%-47s\t%s\toptional\t%s\n", start, types[flags[i].type], flags[i].help);
  }
  say(errors, "%s", "");
}

/* Takes what is known out of the arguments and complains about the rest; false: show the usage. */
static bool parse_flags(int count, char **arguments) {
  bool fine = true;
  bool *known = allocate((size_t)count, sizeof *known);
  for (int i = 0; i < FLAG_COUNT; i++) {
    size_t length = strlen(flags[i].name);
    for (int j = 1; j < count; j++) {
      const char *text = arguments[j];
      if (!strcmp(text, "--help")) return false;
      if (strncmp(text, "--", 2) || strncmp(text + 2, flags[i].name, length)) continue;
      if (text[2 + length] != '=') continue;
      known[j] = flags[i].given = true;
      if (!set_flag(&flags[i], text + 3 + length)) {
        ERROR("Failed to parse flag '%s' against argv '%s'", flags[i].name, text);
        fine = false;
      }
    }
  }
  if (!fine || IS(help)) return false;
  bool first = true;
  for (int j = 1; j < count; j++) {
    if (known[j]) continue;
    fprintf(out, "%s%s", first ? "WARN: Unconsumed cmdline flags: " : " ", arguments[j]);
    first = false;
  }
  if (!first) say(out, "%s", "");
  free(known);
  return true;
}

static void set_defaults(void) {
  flags[FLAG_num_threads_].name = "num_threads";
  flags[FLAG_gpu_invoke_loop_times_].name = "gpu_invoke_loop_times";
  for (int i = 0; i < FLAG_COUNT; i++) set_flag(&flags[i], flags[i].usual);
}

static void log_flag(const Flag *flag, const char *label, bool always) {
  if (!label || !(flag->given || always || IS(verbose))) return;
  if (flag->type == STRING) INFO("%s: [%s]", label, flag->text);
  else INFO("%s: [%.*g]", label, flag->type == INT32 ? 10 : 6, flag->number);
}

static void log_parameters(void) {
  if (!GIVEN(gpu_invoke_loop_times_)) NUMBER(gpu_invoke_loop_times_) = 1;
  INFO("Log parameter values verbosely: [%d]", IS(verbose));
  for (int i = 0; i < FLAG_COUNT; i++) {
    log_flag(&flags[i], flags[i].label, i == FLAG_graph);
    if (i == FLAG_graph) log_flag(&flags[FLAG_signature_to_run_for], "Signature to run", true);
    if (i == FLAG_output_proto_filepath)
      log_flag(&flags[FLAG_result_file_path],
               "File path to save the benchmark result in binary proto format", false);
  }
}

static void check_parameters(void) {
  const char *mode = TEXT(op_profiling_output_mode);
  if (strcmp(mode, "stdout") && strcmp(mode, "csv") && strcmp(mode, "proto")) {
    ERROR("Output mode%s is not supported. Supported values are: 'stdout', 'csv' and 'proto'.",
          mode);
    fail();
  }
  if (!*TEXT(graph)) {
    ERROR("Please specify the name of your TF Lite input file with --graph");
    fail();
  }
}

#endif
