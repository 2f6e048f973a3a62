// SPDX-License-Identifier: GPL-2.0-only
/* Configuration: any text is refused with a place and a reason, or read as it says. */
#include <errno.h>
#include <json-c/json.h>

#include "config.h"
#include "fuzz.h"

/* Everything that config.h promises of what it accepts. */
static void must_be_valid(const struct config *c)
{
	MUST(c->n_underlay <= CONFIG_NICS_MAX && c->underlay_auto == !c->n_underlay);
	for (unsigned int i = 0; i < c->n_underlay; i++)
		MUST(*c->underlay[i] && memchr(c->underlay[i], '\0', sizeof(c->underlay[i])));
	MUST(c->n_overlay <= XM_OVERLAYS_MAX);
	for (unsigned int i = 0; i < c->n_overlay; i++)
		MUST(c->overlay[i].port && (c->overlay[i].type == XM_OVERLAY_VXLAN ||
					    c->overlay[i].type == XM_OVERLAY_GENEVE));
	MUST(config_mode_name(c->mode));
	MUST(c->masquerade_port >= 1024 && c->masquerade_port < XM_LABEL_PORT_BASE);
	MUST(c->lease_ms >= XM_LEASE_MS_MIN && c->lease_ms <= XM_LEASE_MS_MAX);
	MUST(c->flows >= XM_FLOWS_MIN && c->flows <= XM_FLOWS_MAX && !(c->flows & (c->flows - 1)));
	MUST(c->peers >= XM_PEERS_MIN && c->peers <= XM_PEERS_MAX && !(c->peers & (c->peers - 1)));
	MUST(c->n_include <= CONFIG_CIDRS_MAX && c->n_exclude <= CONFIG_CIDRS_MAX);
	for (unsigned int i = 0; i < c->n_include; i++)
		MUST(c->include[i].len <= 32);
	for (unsigned int i = 0; i < c->n_exclude; i++)
		MUST(c->exclude[i].len <= 32);
	MUST(c->tc_priority >= 1 && c->tc_priority <= 65535);
	MUST(c->tc_observe_priority >= 1 && c->tc_observe_priority <= 65535);
	MUST(c->tc_handle >= 1 && c->tc_handle <= 0xffff);
	MUST(memchr(c->pin_dir, '\0', sizeof(c->pin_dir)));
	MUST(memchr(c->control_socket, '\0', sizeof(c->control_socket)));
	MUST(memchr(c->state_dir, '\0', sizeof(c->state_dir)));
	MUST(memchr(c->psk_file, '\0', sizeof(c->psk_file)));
}

/* What "xmasqctl config" shows is a configuration that says the same. */
static void must_survive_json(const struct config *c)
{
	struct json_object *o = config_to_json(c), *o2;
	struct config_error err;
	struct config again;
	const char *text;

	MUST(o);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
	memset(&again, 0, sizeof(again));
	MUST(!config_parse(text, strlen(text), &again, &err));
	must_be_valid(&again);
	MUST(!config_reload_needs_restart(c, &again));
	o2 = config_to_json(&again);
	MUST(o2 && json_object_equal(o, o2));
	json_object_put(o2);
	json_object_put(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size), shown[1024];
	struct config c, pattern;
	struct config_error err;
	int ret;

	memset(&pattern, 0x5a, sizeof(pattern));
	memset(&err, 0x5a, sizeof(err));
	c = pattern;
	ret = config_parse(text, size, &c, &err);
	if (ret) {
		MUST(ret == -EINVAL);
		MUST(!memcmp(&c, &pattern, sizeof(c)));
		MUST(*err.text && memchr(err.text, '\0', sizeof(err.text)));
		MUST(config_error_str(&err, "f.yaml", shown, sizeof(shown)) > 0);
	} else {
		must_be_valid(&c);
		config_allows(&c, 0x0a0b0c0d);
		must_survive_json(&c);
	}
	free(text);
	return 0;
}
