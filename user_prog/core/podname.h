/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What container runtimes write about their containers, read for the sake of names. Pure: the
 * files are the caller's business.
 *
 * Theory of operation
 *
 * Names are for people; nothing else may depend on them. The files belong to other programs,
 * change with their versions, and hold what users of containers chose: what is missing, of another
 * type or too long reads as unknown, and nothing in them is more than text or a number.
 *
 *   containerd	config.json of a task (OCI runtime specification), with the annotations of Kubernetes
 *   Docker	config.v2.json of a container
 *   podman	containers.json of its storage has the names, config.json (OCI) what leads to a
 *		container's network
 *
 * A container leads to its network namespace by the file name that the namespace has below
 * /run/netns or /run/docker/netns, by its first process, or by its pod's sandbox. Several containers of a
 * pod have one.
 */
#ifndef XM_PODNAME_H
#define XM_PODNAME_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PODNAME_TEXT	  256		/* a name with its NUL; longer ones are cut */
#define PODNAME_FILE_MAX  (512U * 1024) /* bytes of a file that is worth reading */
#define PODNAME_DEPTH_MAX 16		/* of its JSON */

/**
 * struct podname - one container
 * @runtime: "containerd", "docker", "podman", or "cri-o" (which shares podman's storage)
 * @ns: Kubernetes namespace, "" unknown
 * @pod: Kubernetes pod, "" unknown
 * @container: "" of the sandbox of a pod, which nobody named
 * @sandbox: id of the sandbox whose network it shares, or which it is, "" unknown
 * @netns: file name of its network namespace, "" unknown
 * @pid: its first process, 0 unknown
 */
struct podname {
	const char *runtime;
	char ns[PODNAME_TEXT];
	char pod[PODNAME_TEXT];
	char container[PODNAME_TEXT];
	char sandbox[PODNAME_TEXT];
	char netns[PODNAME_TEXT];
	uint32_t pid;
};

/**
 * podname_oci() - read an OCI config.json
 * @text: bytes, need not end with NUL, may hold anything
 * @len: number of bytes
 * @n: its ns, pod, container, sandbox, netns and pid are set; runtime only where annotations tell
 *
 * Return: 0; -EINVAL when this is no JSON object; -ENOENT for a container with the node's own
 * network; -ENOMEM.
 */
int podname_oci(const char *text, size_t len, struct podname *n);

/**
 * podname_docker() - read Docker's config.v2.json
 *
 * Return: as podname_oci(); -ENOENT also when the container does not run.
 */
int podname_docker(const char *text, size_t len, struct podname *n);

/**
 * podname_storage() - read containers.json of podman's storage
 * @fn: called for each container that has an id and a name, with texts that live as long as the call;
 *      @id is a file name. Non-zero ends the walk
 *
 * Return: what @fn ended it with, 0, -EINVAL when this is no JSON array, -ENOMEM.
 */
int podname_storage(const char *text, size_t len,
		    int (*fn)(const char *id, const char *name, void *arg), void *arg);

/** podname_pid() - read the file of a process number. Return: 0 when it is none. */
uint32_t podname_pid(const char *text, size_t len);

/** podname_is_file() - whether @s can be the name of a file: no path, not hidden, not too long */
bool podname_is_file(const char *s);

/**
 * podname_join() - names of the containers of one namespace in one text
 * @v: containers, @n of them, all of one namespace
 * @out: runtime, ns and pod of the first that tells more than others; in container all names, sorted,
 *       without doubles, separated by commas, as many as fit
 *
 * A container of Kubernetes knows more than one of Docker or podman, and these know more than
 * containerd, on which Docker builds.
 */
void podname_join(struct podname *v, size_t n, struct podname *out);

#endif
