/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Building and reading JSON objects without a check after every field.
 *
 * Building: each jsonx_put*() returns false when memory ran out, and frees what it was
 * given. A key must be new to its object and outlive it (a literal). Reading: what is missing or of another type reads as nothing.
 */
#ifndef XM_JSONX_H
#define XM_JSONX_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;

/** jsonx_put() - add @v under @key; takes over the reference, also on failure */
bool jsonx_put(struct json_object *o, const char *key, struct json_object *v);
bool jsonx_put_null(struct json_object *o, const char *key);
/** jsonx_put_str() - @s NULL means ""; bytes that are not UTF-8 become '?' */
bool jsonx_put_str(struct json_object *o, const char *key, const char *s);
bool jsonx_put_u64(struct json_object *o, const char *key, uint64_t v);
bool jsonx_put_i64(struct json_object *o, const char *key, int64_t v);
bool jsonx_put_bool(struct json_object *o, const char *key, bool v);
bool jsonx_put_addr(struct json_object *o, const char *key, __be32 addr);
/** jsonx_append() - append @v to an array; takes over the reference, also on failure */
bool jsonx_append(struct json_object *list, struct json_object *v);

/* "" , 0, false, NULL when @o has no such field; the text lives as long as @o. */
const char *jsonx_str(struct json_object *o, const char *key);
uint64_t jsonx_u64(struct json_object *o, const char *key);
int64_t jsonx_i64(struct json_object *o, const char *key);
bool jsonx_bool(struct json_object *o, const char *key);
struct json_object *jsonx_get(struct json_object *o, const char *key);
/** jsonx_has() - whether the field is there and not null */
bool jsonx_has(struct json_object *o, const char *key);
/** jsonx_list() - field that is an array, or NULL; jsonx_len() of NULL is 0 */
struct json_object *jsonx_list(struct json_object *o, const char *key);
unsigned int jsonx_len(struct json_object *list);

/**
 * jsonx_print() - @o as indented JSON and a newline
 *
 * Every control character is escaped, DEL and U+0080 to U+009F too: what is in @o cannot speak to
 * a terminal. Bytes that are not UTF-8 become '?'.
 *
 * Return: 0 or -ENOMEM; an error of @out is left there (ferror()).
 */
int jsonx_print(struct json_object *o, FILE *out);
/** jsonx_print_line() - the same on one line */
int jsonx_print_line(struct json_object *o, FILE *out);

#endif
