// SPDX-License-Identifier: GPL-2.0-only
/* What a peer's state is called, and what to do about it. */
#include "hello.h"

const char *hello_state_name(enum hello_state s)
{
	switch (s) {
	case HELLO_SILENT:
		return "silent";
	case HELLO_UP:
		return "up";
	case HELLO_DOWN:
		return "down";
	case HELLO_BLOCKED:
		return "blocked";
	case HELLO_BAD_KEY:
		return "bad-key";
	case HELLO_BAD_LEASE:
		return "bad-lease";
	case HELLO_BAD_VERSION:
		return "bad-version";
	case HELLO_STATES:
		break;
	}
	return "?";
}

const char *hello_state_text(enum hello_state s)
{
	switch (s) {
	case HELLO_UP:
		return "";
	case HELLO_SILENT:
		return "no answer: run xmasqd there, or let the masquerade port (TCP and UDP) "
		       "pass between the nodes";
	case HELLO_DOWN:
		return "no proof for 3 s: see whether xmasqd runs there and whether the nodes "
		       "reach each other";
	case HELLO_BLOCKED:
		return "hellos are answered but probes are lost: let TCP and UDP between the "
		       "masquerade port and ports 32768 to 65535 pass";
	case HELLO_BAD_KEY:
		return "its hello has no valid key: give every node the same psk_file, or none";
	case HELLO_BAD_LEASE:
		return "it is configured with another lease_ms: give every node the same";
	case HELLO_BAD_VERSION:
		return "it speaks another wire version: run the same release on every node";
	case HELLO_STATES:
		break;
	}
	return "?";
}
