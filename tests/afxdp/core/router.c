// SPDX-License-Identifier: GPL-2.0-only
#include "router.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "pkt.h"

#define TCP_RST 0x04

struct router {
	struct router_config cfg;
	struct router_stats stats;
	__be32 mask;
	struct arp *arp;
	struct nat *nat;
	uint64_t swept_ms;
};

/* Whether @addr can be a host of our network other than we are. */
static bool is_neighbour(const struct router *r, __be32 addr)
{
	__be32 host = addr & ~r->mask;

	if ((addr ^ r->cfg.addr) & r->mask || addr == r->cfg.addr)
		return false;
	/* RFC 3021: of two addresses none is the network's or everybody's. */
	return r->cfg.prefix >= 31 || (host && host != ~r->mask);
}

static bool is_client(const struct router *r, __be32 addr)
{
	uint32_t i;

	for (i = 0; i < r->cfg.nclients; i++)
		if (r->cfg.clients[i] == addr)
			return true;
	return !r->cfg.nclients;
}

/* Of the flows that a killed router left: another server, or other clients, may be configured now. */
static bool is_wanted(const struct nat_flow *f, const void *with)
{
	const struct router *r = with;
	__be32 a = f->key[NAT_INITIATOR].raddr, b = f->key[NAT_RESPONDER].raddr;
	__be32 client = a == r->cfg.server ? b : a;

	return (a == r->cfg.server || b == r->cfg.server) && client != r->cfg.server &&
	       is_neighbour(r, client) && is_client(r, client);
}

struct router *router_new(const struct router_config *config)
{
	struct router *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->cfg = *config;
	r->mask = config->prefix ? htonl(UINT32_MAX << (32 - config->prefix)) : 0;
	r->arp = arp_new(config->mac, config->addr, config->seed);
	r->nat = nat_new(config->flows, config->seed, config->memory);
	if (!r->arp || !r->nat) {
		router_free(r);
		return NULL;
	}
	if (config->memory)
		r->stats.recovered = nat_recover(r->nat, is_wanted, r);
	return r;
}

void router_free(struct router *r)
{
	if (!r)
		return;
	arp_free(r->arp);
	nat_free(r->nat);
	free(r);
}

/* The other end for what @p, which belongs to no flow, may begin. Return: WHY_OK or why it may not. */
static enum why responder(const struct router *r, const struct pkt *p, __be32 *to)
{
	if (p->kind == PKT_ECHO_REPLY || (p->kind == PKT_TCP && p->tcp_flags & TCP_RST))
		return WHY_NO_STATE;
	if (p->saddr == r->cfg.server) {
		*to = r->cfg.clients[0];
		return r->cfg.nclients == 1 ? WHY_OK : WHY_NO_STATE;
	}
	*to = r->cfg.server;
	return is_client(r, p->saddr) ? WHY_OK : WHY_NOT_CLIENT;
}

static enum why readdress(struct router *r, struct pkt *p, uint64_t now_ms)
{
	struct nat_key key = { .raddr = p->saddr,
			       .rport = p->sport,
			       .lport = p->dport,
			       .vlan = p->vlan,
			       .proto = p->proto };
	enum nat_side side = NAT_INITIATOR;
	struct nat_flow *flow = nat_find(r->nat, &key, &side);
	const struct nat_key *other;
	struct pkt_to to;
	enum why why;
	__be32 end;

	if (!flow) {
		why = responder(r, p, &end);
		if (why != WHY_OK)
			return why;
		flow = nat_add(r->nat, &key, end, now_ms, &why);
		if (!flow)
			return why;
		r->stats.flows++;
	}
	nat_seen(flow, side, p->tcp_flags, now_ms);
	other = &flow->key[!side];
	to = (struct pkt_to){ r->cfg.addr, other->raddr, other->lport, other->rport };
	pkt_rewrite(p, &to);
	return WHY_OK;
}

/* The packet that the error is about is one of ours: it is looked up by what its answer would be. */
static enum why readdress_error(struct router *r, struct pkt *p)
{
	struct nat_key key = { .raddr = p->about_daddr,
			       .rport = p->dport,
			       .lport = p->sport,
			       .vlan = p->vlan,
			       .proto = p->about_proto };
	const struct nat_key *other;
	struct pkt_to to, about;
	struct nat_flow *flow;
	enum nat_side side;

	if (p->about_saddr != r->cfg.addr)
		return WHY_NO_STATE;
	flow = nat_find(r->nat, &key, &side);
	if (!flow)
		return WHY_NO_STATE;
	other = &flow->key[!side];
	to = (struct pkt_to){ .saddr = r->cfg.addr, .daddr = other->raddr };
	about = (struct pkt_to){ other->raddr, r->cfg.addr, other->rport, other->lport };
	pkt_rewrite_error(p, &to, &about);
	return WHY_OK;
}

/* Return: WHY_OK with the verdict ROUTER_SEND or ROUTER_HOLD, or why the frame is dropped. */
static enum why forward(struct router *r, struct pkt *p, struct frame *f, uint64_t now_ms,
			enum router_verdict *verdict)
{
	const uint8_t *mac;
	enum why why;

	if (memcmp(f->data, r->cfg.mac, 6) || p->daddr != r->cfg.addr)
		return WHY_NOT_OURS;
	if (!is_neighbour(r, p->saddr))
		return WHY_SOURCE;
	if (p->data[p->l3 + 8] <= 1)
		return WHY_TTL;
	if (p->end > r->cfg.max_len + (p->vlan ? 4 : 0))
		return WHY_TOO_LONG;
	why = p->kind == PKT_ERROR ? readdress_error(r, p) : readdress(r, p, now_ms);
	if (why != WHY_OK)
		return why;
	/* Padding must not be summed up when the kernel completes the checksum. */
	f->len = p->end;
	if (p->partial) {
		r->stats.partial++;
		if (r->cfg.offload) {
			f->csum_start = p->l4;
			f->csum_offset = pkt_csum_offset(p);
		} else {
			pkt_complete(p);
		}
	}
	memcpy(f->data + 6, r->cfg.mac, 6);
	mac = arp_find(r->arp, p->vlan, p->daddr, now_ms, &why);
	if (mac) {
		memcpy(f->data, mac, 6);
		return WHY_OK;
	}
	if (why != WHY_OK)
		return why;
	*verdict = ROUTER_HOLD;
	return arp_hold(r->arp, p->vlan, p->daddr, f);
}

static void sent(struct router *r, uint32_t len)
{
	r->stats.tx++;
	r->stats.tx_bytes += len;
}

enum router_verdict router_input(struct router *r, struct frame *f, uint64_t now_ms)
{
	enum router_verdict verdict = ROUTER_SEND;
	struct pkt p;
	enum why why;

	r->stats.rx++;
	r->stats.rx_bytes += f->len;
	f->csum_start = 0;
	f->csum_offset = 0;
	why = pkt_parse(&p, f->data, f->len);
	if (why == WHY_OK && p.kind == PKT_ARP)
		why = arp_input(r->arp, &p, &f->len, now_ms);
	else if (why == WHY_OK)
		why = forward(r, &p, f, now_ms, &verdict);
	r->stats.why[why]++;
	if (why != WHY_OK)
		return ROUTER_DROP;
	if (verdict == ROUTER_SEND)
		sent(r, f->len);
	return verdict;
}

bool router_next(struct router *r, struct frame *f, enum router_verdict *verdict)
{
	enum why why;

	if (!arp_released(r->arp, f, &why))
		return false;
	*verdict = ROUTER_SEND;
	if (why == WHY_OK) {
		sent(r, f->len);
		return true;
	}
	*verdict = ROUTER_DROP;
	r->stats.why[WHY_OK]--;
	r->stats.why[why]++;
	return true;
}

uint32_t router_request(struct router *r, uint8_t *frame, uint64_t now_ms)
{
	uint32_t len;

	/* The whole table in some 16 s, whatever its size. */
	if (now_ms >= r->swept_ms + 250) {
		r->swept_ms = now_ms;
		nat_expire(r->nat, now_ms, nat_capacity(r->nat) / 64 + 1);
	}
	len = arp_request(r->arp, frame, now_ms);
	if (len)
		sent(r, len);
	return len;
}

uint64_t router_deadline(const struct router *r)
{
	return arp_deadline(r->arp);
}

void router_not_sent(struct router *r, uint32_t len, enum why why, bool request)
{
	r->stats.tx--;
	r->stats.tx_bytes -= len;
	/* What came in is counted once; a request did not. */
	if (!request)
		r->stats.why[WHY_OK]--;
	r->stats.why[why]++;
}

const struct router_stats *router_stats(const struct router *r)
{
	return &r->stats;
}

void router_arp_stats(const struct router *r, struct arp_stats *stats)
{
	arp_stats(r->arp, stats);
}

uint32_t router_flows(const struct router *r)
{
	return nat_count(r->nat);
}
