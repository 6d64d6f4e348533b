/* Statistics and the tables of operators' times, as benchmark_model prints them. */

#ifndef BENCHMARK_TABLES_H
#define BENCHMARK_TABLES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "benchmark_output.h"

/* ---- Statistics: whole microseconds; all but the mean is cut to integers, as in the tool ---- */

typedef struct {
  int64_t *values; /* NULL where no percentiles are wanted */
  size_t room;
  int64_t count, first, last, min, max, sum;
  double squares;
} Statistics;

static void add_value(Statistics *s, int64_t value, bool keep_it) {
  if (!s->count) s->first = s->min = s->max = value;
  if (keep_it) {
    if ((size_t)s->count == s->room) {
      s->room = s->room ? 2 * s->room : 1024;
      s->values = realloc(s->values, s->room * sizeof *s->values);
      if (!s->values) abort();
    }
    s->values[s->count] = value;
  }
  s->count++;
  s->last = value;
  s->sum += value;
  s->squares += (double)value * (double)value;
  if (value < s->min) s->min = value;
  if (value > s->max) s->max = value;
}

static double mean(const Statistics *s) {
  return s->count ? (double)s->sum / (double)s->count : 0;
}

static int64_t deviation(const Statistics *s) {
  if (s->min == s->max) return 0;
  int64_t variance = (int64_t)(s->squares / (double)s->count - mean(s) * mean(s));
  return (int64_t)sqrt((double)variance);
}

static void print_statistics(FILE *stream, const Statistics *s) {
  if (!s->count) {
    fprintf(stream, "count=0");
  } else if (s->min == s->max) {
    fprintf(stream, "count=%ld curr=%ld%s", s->count, s->last, s->count > 1 ? "(all same)" : "");
  } else {
    fprintf(stream, "count=%ld first=%ld curr=%ld min=%ld max=%ld avg=%g std=%ld", s->count,
            s->first, s->last, s->min, s->max, mean(s), deviation(s));
  }
}

static int ascending(const void *a, const void *b) {
  int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
  return (one > other) - (one < other);
}

/* The values have to be sorted. */
static int64_t percentile(const Statistics *s, int percent) {
  return s->count ? s->values[s->count * percent / 100] : 0;
}

static void log_statistics(Statistics *s) {
  fprintf(out, "INFO: ");
  print_statistics(out, s);
  if (s->count) qsort(s->values, (size_t)s->count, sizeof *s->values, ascending);
#ifndef OLD
  fprintf(out, " p5=%ld median=%ld p95=%ld", percentile(s, 5), percentile(s, 50),
          percentile(s, 95));
#endif
  say(out, "\n");
}

/* ---- Times of operators ---- */

typedef struct {
  char *type, *name;
  uint64_t index;
  int64_t first_us, sum_us, calls, kb; /* over all runs */
} Node;

typedef struct {
  Node *nodes;
  size_t count;
  Statistics runs; /* the sum over the nodes of each run */
} Profile;

static Node *add_node(Profile *profile, char *type, char *name, int64_t first_us) {
  profile->nodes = realloc(profile->nodes, (profile->count + 1) * sizeof *profile->nodes);
  if (!profile->nodes) abort();
  Node *node = &profile->nodes[profile->count++];
  *node = (Node){.type = type, .name = name, .first_us = first_us};
  return node;
}

typedef struct {
  FILE *stream;
  bool csv;
} Table;

static void print_node(const Table *table, const Node *node, double total, double *cumulated,
                       int64_t runs) {
  double percent = (double)node->sum_us * 100 / total;
  double first_ms = (double)node->first_us / 1e3;
  double mean_ms = (double)node->sum_us / (double)node->calls / 1e3;
  long calls = node->calls / runs;
  *cumulated += percent;
  if (!table->csv) {
    fprintf(table->stream, "\t%40s\t%9.3f\t%9.3f\t%7.3f%%\t%7.3f%%\t%10.3f\t%9ld\t%s\n", node->type,
            first_ms, mean_ms, percent, *cumulated, (double)node->kb, calls, node->name);
    return;
  }
  fprintf(table->stream, "%s, %g, %g, %g%%, %g%%, %ld, %ld, ", node->type, first_ms, mean_ms,
          percent, *cumulated, node->kb, calls);
  /* Commas of a name, not of a type, become tabs. */
  for (const char *c = node->name; *c; c++) putc(*c == ',' ? '\t' : *c, table->stream);
  putc('\n', table->stream);
}

static void print_nodes(const Table *table, const char *title, Node *const *nodes, size_t count,
                        size_t limit, int64_t runs) {
  double total = 0, cumulated = 0;
  for (size_t i = 0; i < count; i++) total += (double)nodes[i]->sum_us;
  fprintf(table->stream, "============================== %s ==============================\n%s\n",
          title,
          table->csv ? "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
                     : "\t                             [node type]\t  [first]\t [avg ms]"
                       "\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]");
  for (size_t i = 0; i < count && i < limit; i++)
    print_node(table, nodes[i], total, &cumulated, runs);
  putc('\n', table->stream);
}

static int slowest_first(const void *a, const void *b) {
  const Node *one = *(Node *const *)a, *other = *(Node *const *)b;
  return (one->sum_us < other->sum_us) - (one->sum_us > other->sum_us);
}

/* Types with their nodes' times, each cut to whole microseconds before they are added. */
static void print_types(const Table *table, Node *const *nodes, size_t count, int64_t runs) {
  Profile types = {0};
  double total = 0, cumulated = 0;
  for (size_t i = 0; i < count; i++) {
    const Node *node = nodes[i];
    Node *type = NULL;
    for (size_t j = 0; j < types.count && !type; j++)
      if (!strcmp(types.nodes[j].type, node->type)) type = &types.nodes[j];
    if (!type) type = add_node(&types, node->type, NULL, 0);
    type->index++;
    type->sum_us += node->sum_us / runs;
    type->calls += node->calls / runs;
    type->kb += node->kb;
    total += (double)(node->sum_us / runs);
  }
  fprintf(table->stream, "============================== Summary by node type "
          "==============================\n%s\n",
          table->csv ? "node type, count, avg_ms, avg %, cdf %, mem KB, times called"
                     : "\t                             [Node type]\t  [count]\t  [avg ms]\t"
                       "    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]");
  Node **order = allocate(types.count, sizeof *order);
  for (size_t i = 0; i < types.count; i++) order[i] = &types.nodes[i];
  qsort(order, types.count, sizeof *order, slowest_first);
  for (size_t i = 0; i < types.count; i++) {
    const Node *type = order[i];
    double percent = (double)type->sum_us * 100 / total, ms = (double)type->sum_us / 1e3;
    cumulated += percent;
    fprintf(table->stream,
            table->csv ? "%s, %lu, %g, %g%%, %g%%, %g, %ld\n"
                       : "\t%40s\t%9lu\t%10.3f\t%10.3f%%\t%10.3f%%\t%10.3f\t%9ld\n",
            type->type, type->index, ms, percent, cumulated, (double)type->kb, type->calls);
  }
  putc('\n', table->stream);
  free(order);
  free(types.nodes);
}

static void print_profile(const Table *table, Profile *profile) {
  size_t count = profile->count;
  int64_t runs = profile->runs.count ? profile->runs.count : 1;
  Node **order = allocate(count, sizeof *order);
  for (size_t i = 0; i < count; i++) order[i] = &profile->nodes[i];
  print_nodes(table, "Run Order", order, count, count, runs);
  qsort(order, count, sizeof *order, slowest_first);
  print_nodes(table, "Top by Computation Time", order, count, 10, runs);
  fprintf(table->stream, "Number of nodes executed: %zu\n", count);
  print_types(table, order, count, runs);
  fprintf(table->stream, "Timings (microseconds): ");
  print_statistics(table->stream, &profile->runs);
  fprintf(table->stream, "\nMemory (bytes): count=0\n%zu nodes observed\n\n\n", count);
  free(order);
}

#endif
