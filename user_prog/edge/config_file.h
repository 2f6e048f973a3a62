/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the configuration file; config.h does the rest. */
#ifndef XM_CONFIG_FILE_H
#define XM_CONFIG_FILE_H

#include "config.h"

#define CONFIG_FILE_MAX (1 << 20)

/**
 * config_file_read() - file to checked configuration
 * @err: on failure, text is complete for people: "FILE:LINE:COLUMN: what is wrong"
 *
 * Return: 0 or -errno.
 */
int config_file_read(const char *path, struct config *c, struct config_error *err);

#endif
