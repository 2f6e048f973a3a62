// SPDX-License-Identifier: GPL-2.0-only
/* No reason without a test. */
#include "node.h"
#include "suites.h"
#include "tap.h"

/*
 * Out of reach of TEST_RUN:
 *   none           is returned for packets that are not counted at all
 *   helper-failed  no program calls a helper any more that could fail half way; the number stays
 *   odd-csum       wants CHECKSUM_PARTIAL, which TEST_RUN does not make; tests/netns/csum.bats
 *                  has it from a packet socket
 */
#define UNREACHABLE (R(NONE) | R(HELPER_FAILED) | R(ODD_CSUM))

void suite_reasons(void)
{
	for (int i = 0; i < XM_R_MAX; i++) {
		tap_case("reasons: %s is covered", reason_name(i));
		if (UNREACHABLE >> i & 1)
			CHECK(!(reasons_covered >> i & 1), "listed as out of reach, yet seen");
		else
			CHECK(reasons_covered >> i & 1, "no test expects it");
	}
}
