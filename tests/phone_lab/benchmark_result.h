/* The file of --result_file_path: BenchmarkResult of TFLite's benchmark_result.proto. */

#ifndef BENCHMARK_RESULT_H
#define BENCHMARK_RESULT_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "benchmark_output.h"

typedef struct {
  uint8_t bytes[256]; /* far more than the largest message takes */
  size_t size;
} Message;

enum { WIRE_VARINT = 0, WIRE_LENGTH = 2, WIRE_I32 = 5 };
enum { RESULT_LATENCY = 2, RESULT_MEMORY = 3, RESULT_MISC = 4 };

static void put_varint(Message *message, uint64_t value) {
  for (; value > 0x7F; value >>= 7) message->bytes[message->size++] = (uint8_t)(value | 0x80);
  message->bytes[message->size++] = (uint8_t)value;
}

static void put_key(Message *message, unsigned field, unsigned wire_type) {
  put_varint(message, field << 3 | wire_type);
}

static void put_integer(Message *message, unsigned field, int64_t value) {
  put_key(message, field, WIRE_VARINT);
  put_varint(message, (uint64_t)value);
}

/* Little-endian, as are the machines that the tests run on. */
static void put_float(Message *message, unsigned field, double value) {
  float single = (float)value;
  put_key(message, field, WIRE_I32);
  memcpy(message->bytes + message->size, &single, sizeof single);
  message->size += sizeof single;
}

static void put_message(Message *message, unsigned field, const Message *part) {
  put_key(message, field, WIRE_LENGTH);
  put_varint(message, part->size);
  memcpy(message->bytes + message->size, part->bytes, part->size);
  message->size += part->size;
}

static void write_message(const Message *message, const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(message->bytes, 1, message->size, file) != message->size)
    ERROR("Failed to write the result to %s", path);
  if (file) fclose(file);
}

#endif
