// SPDX-License-Identifier: GPL-2.0-only
/* Flows and pods as people write them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "text.h"

static const char *skip_blanks(const char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

/* A:P at *@s, moved behind it. */
static int parse_end(const char **s, __be32 *addr, __be16 *port)
{
	const char *p = *s;
	size_t n = strspn(p, "0123456789.");
	unsigned int v = 0, digits = 0;

	if (text_parse_addr(p, n, addr))
		return -EINVAL;
	p += n;
	if (*p++ != ':')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++, digits++) {
		v = v * 10 + (unsigned int)(*p - '0');
		if (v > 65535)
			return -EINVAL;
	}
	if (!digits || !v)
		return -EINVAL;
	*port = htons((uint16_t)v);
	*s = p;
	return 0;
}

int ctl_parse_flow(const char *text, struct xm_flow_key *key)
{
	const char *s = skip_blanks(text), *gap;

	memset(key, 0, sizeof(*key));
	if (!strncmp(s, "tcp", 3))
		key->proto = IPPROTO_TCP;
	else if (!strncmp(s, "udp", 3))
		key->proto = IPPROTO_UDP;
	else
		return -EINVAL;
	gap = s + 3;
	s = skip_blanks(gap);
	if (s == gap || parse_end(&s, &key->saddr, &key->sport))
		return -EINVAL;
	gap = s;
	s = skip_blanks(s);
	if (s[0] == '-' && s[1] == '>')
		s = skip_blanks(s + 2);
	if (s == gap || parse_end(&s, &key->daddr, &key->dport))
		return -EINVAL;
	return *skip_blanks(s) ? -EINVAL : 0;
}

const char *ctl_format_flow(char buf[CTL_FLOW_STR], const struct xm_flow_key *key)
{
	char s[XM_ADDR_STR], d[XM_ADDR_STR];

	snprintf(buf, CTL_FLOW_STR, "%s %s:%u->%s:%u", key->proto == IPPROTO_TCP ? "tcp" : "udp",
		 text_addr(s, key->saddr), ntohs(key->sport), text_addr(d, key->daddr),
		 ntohs(key->dport));
	return buf;
}

/* A name that reads as an address is an address: CNIs name no interface so. */
int ctl_parse_pod(const char *text, struct ctl_request *req)
{
	size_t len = strlen(text);

	if (!text_parse_addr(text, len, &req->flush.addr)) {
		req->flush.what = CTL_FLUSH_POD_ADDR;
		return 0;
	}
	if (!text_is_ifname(text, len))
		return -EINVAL;
	req->flush.what = CTL_FLUSH_POD_IF;
	memcpy(req->flush.ifname, text, len + 1);
	return 0;
}
