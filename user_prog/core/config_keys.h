/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of keys: what config.c, config_value.c and config_yaml.c share. */
#ifndef XM_CONFIG_KEYS_H
#define XM_CONFIG_KEYS_H

#include "config.h"

#define CONFIG_KEYS_MAX 32

enum config_type {
	CONFIG_T_U16,
	CONFIG_T_U32,
	CONFIG_T_BOOL,
	CONFIG_T_ENUM,
	CONFIG_T_PATH,
	CONFIG_T_NICS,	   /* auto, or a list of interface names */
	CONFIG_T_OVERLAYS, /* list of {port, type} */
	CONFIG_T_CIDRS,	   /* list of IPv4 prefixes */
	CONFIG_T_RULES,	   /* list of rules, see policy.h */
	CONFIG_T_LISTEN,   /* address:port, or "" */
};

#define CONFIG_F_RESTART 1 /* cannot change in a running daemon */
#define CONFIG_F_POW2	 2 /* number must be a power of two */
#define CONFIG_F_EMPTY	 4 /* path may be "" */

/**
 * struct config_key - one key
 * @section: name of the mapping that holds it, NULL at the top level
 * @name: of the key itself
 * @full: how people and reload messages name it: "tables.flows"
 * @type: how it is written
 * @flags: CONFIG_F_*
 * @offset: of the value in struct config
 * @count: CONFIG_T_CIDRS: offset of the number of entries
 * @min: smallest number
 * @max: largest number; CONFIG_T_PATH: longest text
 * @names: CONFIG_T_ENUM: names by value, ends with NULL
 * @unit: of the number, or NULL
 * @help: one line
 */
struct config_key {
	const char *section;
	const char *name;
	const char *full;
	enum config_type type;
	unsigned int flags;
	size_t offset;
	size_t count;
	uint32_t min;
	uint32_t max;
	const char *const *names;
	const char *unit;
	const char *help;
};

extern const struct config_key config_keys[];
extern const unsigned int config_n_keys;

/* Indexed by enum xm_overlay_type - 1, ends with NULL. */
extern const char *const config_overlay_names[];

/* Scalar of the file: its bytes, and whether it was written without quotes. */
struct config_scalar {
	const char *text;
	size_t len;
	bool plain;
};

/* What is wrong with a value; the walker adds the place. */
struct config_why {
	char text[384];
};

/**
 * config_value_set() - check a scalar and store it
 * @k: any key; for NICS only "auto" fits, OVERLAYS, CIDRS and RULES never do
 *
 * Return: 0 or -EINVAL with @why.
 */
int config_value_set(const struct config_key *k, const struct config_scalar *s, struct config *c,
		     struct config_why *why);

/**
 * config_value_add() - check a scalar and append it to a list
 * @k: a key of type NICS, CIDRS or RULES
 */
int config_value_add(const struct config_key *k, const struct config_scalar *s, struct config *c,
		     struct config_why *why);

/** config_value_overlay() - check port and type of one overlay.ports entry and append it */
int config_value_overlay(const struct config_scalar *port, const struct config_scalar *type,
			 struct config *c, struct config_why *why);

/** config_value_wanted() - what a key accepts: "a number from 200 to 10000 (milliseconds)" */
void config_value_wanted(const struct config_key *k, char *buf, size_t len);

#endif
