/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What vm-host.c and vm-guest.c say to each other over one virtio-serial port.
 *
 * One port for everything keeps the order: when VM_EXIT arrives, all output arrived before it.
 * Both ends are built from the same tree for each run, so the numbers may change freely.
 */
#ifndef VM_PROTO_H
#define VM_PROTO_H

#include <stdint.h>

#define VM_PORT	    "xmasq"	     /* name of the port */
#define VM_OUT_DIR  "/run/xmasq-out" /* where the guest mounts the directory of --out */
#define VM_TAG_ROOT "root"	     /* mount tags of the shared directories */
#define VM_TAG_OUT  "out"
#define VM_TAG_TREE "tree"

#define VM_DATA_MAX    (32 * 1024 - 16) /* the guest's driver takes 32 KiB in one write */
#define VM_REQUEST_MAX (1024 * 1024)

/* A frame is this header and @len bytes. */
struct vm_frame {
	uint8_t type;
	uint8_t pad[3];
	uint32_t len;
};

enum vm_type {
	/* host to guest */
	VM_REQUEST = 'q', /* records, each a vm_record key, text and NUL */
	VM_INPUT = 'i',	  /* bytes typed at a shell */
	VM_WINSIZE = 'w', /* two uint16_t: rows, columns */
	/* guest to host */
	VM_UP = 'u', /* the command is about to run */
	VM_STDOUT = '1',
	VM_STDERR = '2',
	VM_FAIL = 'f', /* text: why the command could not be run */
	VM_EXIT = 'x', /* int32_t: the command's exit status */
};

enum vm_record {
	VM_REC_ARG = 'a', /* one word of the command, in order */
	VM_REC_CWD = 'c',
	VM_REC_ENV = 'e',   /* NAME=VALUE */
	VM_REC_KEEP = 'k',  /* a directory to keep visible below the fresh /tmp or /run */
	VM_REC_FS = 'f',    /* how the root comes: "9p", "virtiofs" or "disk" */
	VM_REC_SHARE = 's', /* how other directories come: "9p" or "virtiofs" */
	VM_REC_OUT = 'o',   /* there is an output directory */
	VM_REC_TREE = 'p',  /* a directory of the host to show at this path in another root */
	VM_REC_TTY = 't',   /* run on a terminal */
};

#endif
