// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "text.h"

/* An answer of 65536 flows has a million keys: neither copied nor looked up first. */
#define NEW_KEY (JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_ADD_CONSTANT_KEY)

bool jsonx_put(struct json_object *o, const char *key, struct json_object *v)
{
	if (v && !json_object_object_add_ex(o, key, v, NEW_KEY))
		return true;
	json_object_put(v);
	return false;
}

bool jsonx_put_null(struct json_object *o, const char *key)
{
	return !json_object_object_add_ex(o, key, NULL, NEW_KEY);
}

bool jsonx_put_str(struct json_object *o, const char *key, const char *s)
{
	char *copy = strdup(s ? s : "");
	bool ok;

	if (!copy)
		return false;
	text_utf8_clean(copy);
	ok = jsonx_put(o, key, json_object_new_string(copy));
	free(copy);
	return ok;
}

bool jsonx_put_u64(struct json_object *o, const char *key, uint64_t v)
{
	return jsonx_put(o, key, json_object_new_uint64(v));
}

bool jsonx_put_i64(struct json_object *o, const char *key, int64_t v)
{
	return jsonx_put(o, key, json_object_new_int64(v));
}

bool jsonx_put_bool(struct json_object *o, const char *key, bool v)
{
	return jsonx_put(o, key, json_object_new_boolean(v));
}

bool jsonx_put_addr(struct json_object *o, const char *key, __be32 addr)
{
	char buf[XM_ADDR_STR];

	return jsonx_put(o, key, json_object_new_string(text_addr(buf, addr)));
}

bool jsonx_append(struct json_object *list, struct json_object *v)
{
	if (v && !json_object_array_add(list, v))
		return true;
	json_object_put(v);
	return false;
}

struct json_object *jsonx_get(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v))
		return NULL;
	return v;
}

bool jsonx_has(struct json_object *o, const char *key)
{
	return jsonx_get(o, key) != NULL;
}

const char *jsonx_str(struct json_object *o, const char *key)
{
	struct json_object *v = jsonx_get(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

uint64_t jsonx_u64(struct json_object *o, const char *key)
{
	struct json_object *v = jsonx_get(o, key);

	return json_object_is_type(v, json_type_int) ? json_object_get_uint64(v) : 0;
}

int64_t jsonx_i64(struct json_object *o, const char *key)
{
	struct json_object *v = jsonx_get(o, key);

	return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
}

bool jsonx_bool(struct json_object *o, const char *key)
{
	struct json_object *v = jsonx_get(o, key);

	return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

struct json_object *jsonx_list(struct json_object *o, const char *key)
{
	struct json_object *v = jsonx_get(o, key);

	return json_object_is_type(v, json_type_array) ? v : NULL;
}

unsigned int jsonx_len(struct json_object *list)
{
	return list ? (unsigned int)json_object_array_length(list) : 0;
}

/* json-c escapes U+0000 to U+001F in strings, but not U+007F to U+009F, which stand nowhere else. */
static int print(struct json_object *o, int flags, FILE *out)
{
	const char *s = json_object_to_json_string_ext(o, flags | JSON_C_TO_STRING_NOSLASHESCAPE);
	char *copy = s ? strdup(s) : NULL, *from = copy, *p;
	unsigned int c, n;

	if (!copy)
		return -ENOMEM;
	text_utf8_clean(copy);
	for (p = copy; *p; p += n ? n : 1) {
		n = text_control_at(p, &c);
		if (!n || c < 0x20)
			continue;
		fprintf(out, "%.*s\\u%04x", (int)(p - from), from, c);
		from = p + n;
	}
	fprintf(out, "%s\n", from);
	free(copy);
	return 0;
}

int jsonx_print(struct json_object *o, FILE *out)
{
	return print(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED, out);
}

int jsonx_print_line(struct json_object *o, FILE *out)
{
	return print(o, JSON_C_TO_STRING_PLAIN, out);
}
