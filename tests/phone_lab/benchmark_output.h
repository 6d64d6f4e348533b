/* What benchmark_model says: INFO and WARN on stdout, ERROR and the runtime's lines on stderr. */

#ifndef BENCHMARK_OUTPUT_H
#define BENCHMARK_OUTPUT_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The descriptors 1 and 2 are the runtime's, whose log is kept apart. */
static FILE *out, *errors;
static int runtime_log = -1;

__attribute__((format(printf, 2, 3))) static void say(FILE *stream, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stream, format, arguments);
  va_end(arguments);
  putc('\n', stream);
  fflush(stream);
}

#define INFO(...) say(out, "INFO: " __VA_ARGS__)
#define ERROR(...) say(errors, "ERROR: " __VA_ARGS__)
#define RUNTIME(...) say(errors, "INFO: " __VA_ARGS__)

/* Without the destructors of the libraries, which take as long as a small model runs. */
static _Noreturn void leave(int code) {
  fflush(NULL);
  _exit(code);
}

static _Noreturn void fail(void) {
  ERROR("Benchmarking failed.");
  leave(1);
}

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) {
    say(errors, "terminate called after throwing an instance of 'std::bad_alloc'");
    abort();
  }
  return memory;
}

/* What the runtime has logged so far; the caller frees it. */
static char *read_log(void) {
  off_t size = runtime_log < 0 ? 0 : lseek(runtime_log, 0, SEEK_END);
  char *text = allocate((size_t)(size > 0 ? size : 0) + 1, 1);
  ssize_t got = size > 0 ? pread(runtime_log, text, (size_t)size, 0) : 0;
  text[got > 0 ? got : 0] = 0;
  return text;
}

static FILE *take_over(int descriptor) {
  int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  FILE *stream = own < 0 ? NULL : fdopen(own, "w");
  if (!stream || dup2(runtime_log, descriptor) < 0) abort();
  return stream;
}

static void keep_streams_apart(void) {
  runtime_log = memfd_create("runtime", MFD_CLOEXEC);
  if (runtime_log < 0) abort();
  fcntl(runtime_log, F_SETFL, O_APPEND);
  out = take_over(STDOUT_FILENO);
  errors = take_over(STDERR_FILENO);
}

#endif
