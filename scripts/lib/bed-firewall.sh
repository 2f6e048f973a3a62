# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-firewall.sh - what kube-proxy (iptables mode) and flannel put into a node's
# netfilter, for testbed.sh. Conntrack comes with it.

PODS_CIDR=10.244.0.0/16
# Services beside the working ones: they cost what a real cluster's cost.
FILLER_SERVICES=300

# Prints the iptables flavour that this kernel takes the rules from.
firewall_tool()
{
	local t

	for t in ${XMASQ_TESTBED_IPTABLES:-iptables-nft iptables-legacy}; do
		command -v "$t-restore" >/dev/null || continue
		if printf '%s\n' '*nat' '-A POSTROUTING -m mark --mark 0x1/0x1 -j MASQUERADE --random-fully' COMMIT |
		   in_ns out "$t-restore" --test 2>/dev/null; then
			printf '%s\n' "$t"
			return 0
		fi
	done
	die "neither iptables-nft nor iptables-legacy works here: install iptables," \
	    "or use 'up --no-firewall'"
}

firewall_up()
{
	local i tool

	tool=$(firewall_tool)
	for ((i = 1; i <= NODES; i++)); do
		{ firewall_filter; firewall_nat "$i"; } |
			in_ns "n$i" "$tool-restore" --wait 5 ||
			die "$tool-restore refuses the rules of n$i: its message is above"
	done
}

# A pod that starts to be denied is -I FORWARD ... -j DROP, as a policy agent writes it.
firewall_filter()
{
	cat <<-END
		*filter
		:INPUT ACCEPT [0:0]
		:FORWARD ACCEPT [0:0]
		:OUTPUT ACCEPT [0:0]
		:KUBE-FIREWALL - [0:0]
		:KUBE-FORWARD - [0:0]
		:KUBE-SERVICES - [0:0]
		:FLANNEL-FWD - [0:0]
		-A INPUT -j KUBE-FIREWALL
		-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
		-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
		-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A OUTPUT -j KUBE-FIREWALL
		-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
		-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
		-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
		-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		-A FLANNEL-FWD -s $PODS_CIDR -j ACCEPT
		-A FLANNEL-FWD -d $PODS_CIDR -j ACCEPT
		COMMIT
	END
}

firewall_nat()
{
	local i=$1 target n

	target=$(who_ip "n${NODES}p1")
	cat <<-END
		*nat
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
		-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
		-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
		-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
		-A KUBE-MARK-DROP -j MARK --or-mark 0x8000
		-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
		-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
		-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
		-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
		-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
		-A FLANNEL-POSTRTG -s 10.244.$i.0/24 -d $PODS_CIDR -j RETURN
		-A FLANNEL-POSTRTG -s $PODS_CIDR -d 10.244.$i.0/24 -j RETURN
		-A FLANNEL-POSTRTG ! -s $PODS_CIDR -d 10.244.$i.0/24 -j RETURN
		-A FLANNEL-POSTRTG -s $PODS_CIDR ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
		-A FLANNEL-POSTRTG ! -s $PODS_CIDR -d $PODS_CIDR -j MASQUERADE --random-fully
	END
	# The fillers come first: a packet for a working service walks past them, as it
	# does on average on a real node.
	for ((n = 1; n <= FILLER_SERVICES; n++)); do
		printf -v name 'FILL%04d' "$n"
		service_rules "$name" "10.96.$((1 + n / 250)).$((1 + n % 250))" tcp 80 \
			"10.244.$((1 + n % NODES)).$((200 + n % 50))" 8080
	done
	service_rules XMTTCP80 10.96.0.10 tcp 80 "$target" 80
	service_rules XMTUDP5000 10.96.0.10 udp 5000 "$target" 5000
	service_rules XMTALLTCP 10.96.0.11 tcp '' "$target" ''
	service_rules XMTALLUDP 10.96.0.11 udp '' "$target" ''
	cat <<-END
		-A KUBE-NODEPORTS -p tcp -m comment --comment "testbed/xmttcp80" -m tcp --dport 30080 -j KUBE-MARK-MASQ
		-A KUBE-NODEPORTS -p tcp -m comment --comment "testbed/xmttcp80" -m tcp --dport 30080 -j KUBE-SVC-XMTTCP80
		-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; must be last" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
		COMMIT
	END
}

# service_rules NAME ADDRESS PROTO PORT POD-ADDRESS POD-PORT; no port: all of them
service_rules()
{
	local svc=KUBE-SVC-$1 sep=KUBE-SEP-$1 match to=$5

	match="-d $2/32 -p $3 -m comment --comment \"testbed/${1,,}\" -m $3"
	[ -z "$4" ] || match+=" --dport $4"
	[ -z "$6" ] || to+=:$6
	cat <<-END
		:$svc - [0:0]
		:$sep - [0:0]
		-A KUBE-SERVICES $match -j $svc
		-A $svc ! -s $PODS_CIDR $match -j KUBE-MARK-MASQ
		-A $svc -m comment --comment "testbed/${1,,}" -j $sep
		-A $sep -s $5/32 -j KUBE-MARK-MASQ
		-A $sep -p $3 -m $3 -j DNAT --to-destination $to
	END
}
