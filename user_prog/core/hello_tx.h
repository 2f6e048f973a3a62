/* SPDX-License-Identifier: GPL-2.0-only */
/* What struct hello sends, and when the next is due. */
#ifndef XM_HELLO_TX_H
#define XM_HELLO_TX_H

#include "hello.h"

/**
 * hello_tx_hello() - TCP probe, UDP probe and hello with one fresh nonce, and set next_ms
 *
 * Sends nothing while the peer's Ethernet address is unknown or random numbers fail.
 */
void hello_tx_hello(struct hello *h, struct hello_peer *p, uint64_t now_ms);

/** hello_tx_answer() - answer a hello; @echo is that hello's nonce, @fresh whether it was */
void hello_tx_answer(struct hello *h, const struct hello_peer *p, uint64_t echo, bool fresh);

/** hello_tx_bye() - an answer to the peer's newest hello that says goodbye */
void hello_tx_bye(struct hello *h, const struct hello_peer *p);

#endif
