/* SPDX-License-Identifier: GPL-2.0-only */
/* The listening socket and its file: ctlsock.c's private half. */
#ifndef XM_CTLSOCK_LISTEN_H
#define XM_CTLSOCK_LISTEN_H

#include <stdbool.h>
#include <sys/un.h>

struct ctlsock_listen {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int file; /* O_PATH of the file that we made: keeps its inode number from being reused */
	bool made_dir; /* its directory is ours too */
};

/** ctlsock_listen_open() - see ctlsock_open() */
int ctlsock_listen_open(struct ctlsock_listen *l, const char *path);

/** ctlsock_listen_close() - remove the file if it is still the one that we made */
void ctlsock_listen_close(struct ctlsock_listen *l);

#endif
