# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-firewall.sh - what kube-proxy (iptables mode) and flannel put into a node's
# netfilter, for testbed.sh. Conntrack comes with it.

PODS_CIDR=10.244.0.0/16
# Services beside the working ones: they cost what a real cluster's cost.
FILLER_SERVICES=300

# firewall_tool: sets IPTABLES to the flavour whose rules this kernel takes
firewall_tool()
{
	local t rules

	rules=$'*nat\n-A POSTROUTING -m mark --mark 0x1/0x1 -j MASQUERADE --random-fully\nCOMMIT'
	for t in ${XMASQ_TESTBED_IPTABLES:-iptables-nft iptables-legacy}; do
		command -v "$t-restore" >/dev/null || continue
		if in_ns out "$t-restore" --test <<< "$rules" 2>/dev/null; then
			IPTABLES=$t
			return 0
		fi
	done
	die "neither iptables-nft nor iptables-legacy works here: install iptables," \
	    "or use 'up --no-firewall'"
}

firewall_up()
{
	local i nodes=()

	firewall_tool
	firewall_filter
	firewall_services
	# shellcheck disable=SC2153 # NODES comes from bed_load
	for ((i = 1; i <= NODES; i++)); do
		nodes+=("$i")
	done
	run_all firewall_node "${nodes[@]}" || die "no firewall: the message is above"
}

firewall_node()
{
	firewall_nat "$1"
	in_ns "n$1" "$IPTABLES-restore" --wait 5 <<< "$RULES_FILTER$RULES_NAT$RULES_SERVICES" ||
		die "$IPTABLES-restore refuses the rules of n$1: its message is above"
}

# A pod that starts to be denied is -I FORWARD ... -j DROP, see bed-policy.sh.
firewall_filter()
{
	RULES_FILTER="*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
:FLANNEL-FWD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FLANNEL-FWD -s $PODS_CIDR -j ACCEPT
-A FLANNEL-FWD -d $PODS_CIDR -j ACCEPT
COMMIT
"
}

# firewall_nat I: sets RULES_NAT, the part that is node I's own
firewall_nat()
{
	RULES_NAT="*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-MARK-DROP - [0:0]
:FLANNEL-POSTRTG - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG
-A KUBE-MARK-DROP -j MARK --or-mark 0x8000
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
-A FLANNEL-POSTRTG -s 10.244.$1.0/24 -d $PODS_CIDR -j RETURN
-A FLANNEL-POSTRTG -s $PODS_CIDR -d 10.244.$1.0/24 -j RETURN
-A FLANNEL-POSTRTG ! -s $PODS_CIDR -d 10.244.$1.0/24 -j RETURN
-A FLANNEL-POSTRTG -s $PODS_CIDR ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s $PODS_CIDR -d $PODS_CIDR -j MASQUERADE --random-fully
"
}

# firewall_services: sets RULES_SERVICES, the same on every node
firewall_services()
{
	local n

	RULES_SERVICES=''
	# The fillers come first: a packet for a working service walks past them, as it
	# does on average on a real node.
	for ((n = 1; n <= FILLER_SERVICES; n++)); do
		service_rules "FILL$n" "10.96.$((1 + n / 250)).$((1 + n % 250))" tcp ' --dport 80' \
			"10.244.$((1 + n % NODES)).$((200 + n % 50))" :8080
	done
	who_ip "n${NODES}p1"
	service_rules XMTTCP80 10.96.0.10 tcp ' --dport 80' "$IP" :80
	service_rules XMTUDP5000 10.96.0.10 udp ' --dport 5000' "$IP" :5000
	service_rules XMTALLTCP 10.96.0.11 tcp '' "$IP" ''
	service_rules XMTALLUDP 10.96.0.11 udp '' "$IP" ''
	RULES_SERVICES+='-A KUBE-NODEPORTS -p tcp -m comment --comment "testbed/xmttcp80" -m tcp --dport 30080 -j KUBE-MARK-MASQ
-A KUBE-NODEPORTS -p tcp -m comment --comment "testbed/xmttcp80" -m tcp --dport 30080 -j KUBE-SVC-XMTTCP80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; must be last" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
'
}

# service_rules NAME ADDRESS PROTO PORT-MATCH POD-ADDRESS POD-PORT; no port: all of them. Called
# hundreds of times, so that it is one statement.
service_rules()
{
	RULES_SERVICES+=":KUBE-SVC-$1 - [0:0]
:KUBE-SEP-$1 - [0:0]
-A KUBE-SERVICES -d $2/32 -p $3 -m comment --comment \"testbed/$1\" -m $3$4 -j KUBE-SVC-$1
-A KUBE-SVC-$1 ! -s $PODS_CIDR -d $2/32 -p $3 -m comment --comment \"testbed/$1\" -m $3$4 -j KUBE-MARK-MASQ
-A KUBE-SVC-$1 -m comment --comment \"testbed/$1\" -j KUBE-SEP-$1
-A KUBE-SEP-$1 -s $5/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-$1 -p $3 -m $3 -j DNAT --to-destination $5$6
"
}
