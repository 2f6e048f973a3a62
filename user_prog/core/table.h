/* SPDX-License-Identifier: GPL-2.0-only */
/* Aligned tables for people, and numbers as they like them. */
#ifndef XM_TABLE_H
#define XM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12
#define TABLE_NUM	  32 /* what table_count() and the like need */

enum table_color {
	TABLE_PLAIN,
	TABLE_GOOD,
	TABLE_WARN,
	TABLE_BAD,
	TABLE_DIM,
	TABLE_BOLD,
};

/**
 * struct table_column
 * @head: title
 * @right: aligned to the right, for numbers
 * @colored: takes the colour of its row
 */
struct table_column {
	const char *head;
	bool right;
	bool colored;
};

struct table;

/** table_new() - @columns must outlive the table. Return: NULL when out of memory. */
struct table *table_new(const struct table_column *columns, unsigned int n);

/**
 * table_row() - add a row; copies the cells, control characters become '?'
 * @cells: one per column, NULL or "" shows as "-"
 *
 * When memory runs out, table_print() tells.
 */
void table_row(struct table *t, enum table_color color, const char *const *cells);

/** table_print() - heads and rows, each line indented by @indent. Return: 0 or -ENOMEM. */
int table_print(const struct table *t, FILE *out, bool color, unsigned int indent);

void table_free(struct table *t);

/** table_paint() - escape sequence that begins a colour, "" when @on is false; and its end */
const char *table_paint(enum table_color c, bool on);
const char *table_unpaint(enum table_color c, bool on);

/** table_clean() - control characters and bytes that are not UTF-8 become '?'. Return: @s. */
char *table_clean(char *s);

/* Each returns @buf. */
/** table_count() - 9999, 12.3k, 4.56M */
const char *table_count(char buf[TABLE_NUM], uint64_t n);
/** table_bytes() - 512 B, 1.50 KiB, 4.00 MiB */
const char *table_bytes(char buf[TABLE_NUM], uint64_t n);
/** table_time() - from milliseconds: 0.73s, -1.20s, 2m03s, 3h05m, 4d07h */
const char *table_time(char buf[TABLE_NUM], int64_t ms);

#endif
