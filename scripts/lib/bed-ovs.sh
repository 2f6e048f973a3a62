# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-ovs.sh - Open vSwitch as a node's CNI, for testbed.sh: Debian's daemons, the kernel's
# datapath, and a pipeline like Antrea's (encapsulation, kube-proxy's rules on the node).
#
#   pods ── br-int ── tun0		tunnel port; each packet is told the far end
#             |
#         antrea-gw0			the node's end, 10.244.N.1: the pods' default gateway
#
# Each node has daemons of its own, with all their files in STATE/nN/ovs. A packet's way:
#
#   Classifier 0		where from: tunnel, gateway or pod
#   SpoofGuard 10		a pod sends from its own MAC and address
#   ARPResponder 20		gateways of other nodes have the virtual MAC; else an ordinary switch
#   ConntrackZone 30		zone 65520
#   ConntrackState 31		invalid: drop. Answers to what came by the gateway go back there, so
#			that the node can undo its NAT
#   EgressRule 50		"testbed.sh policy"
#   L3Forwarding 70		to other nodes: tunnel address, virtual MAC; from the tunnel: MACs of the
#			pod and the gateway
#   L3DecTTL 72		unless the node's stack has done it
#   L2ForwardingCalc 80	MAC to port
#   IngressRule 90		(where Antrea has ingress policies; empty)
#   ConntrackCommit 105	new connections, with a mark when they come by the gateway
#   Output 110
#
# A service's packets leave by the gateway, are translated by the node's iptables and come back
# by the gateway, as in Antrea without AntreaProxy: the same rules serve every overlay here.

OVS_TUN=1 OVS_GW=2		# ports; a pod's is 100 and its number
VIRTUAL_MAC=aa:bb:cc:dd:ee:ff
OVS_SCHEMA=/usr/share/openvswitch/vswitch.ovsschema

ovs_gw_mac() { printf -v GW_MAC '0a:58:0a:f4:%02x:01' "$1"; }

# ovs I COMMAND...: with the paths of node I's daemons, in its namespace
ovs()
{
	local dir=$STATE/n$1/ovs ns=$PREFIX-n$1

	shift
	OVS_RUNDIR=$dir OVS_DBDIR=$dir OVS_LOGDIR=$dir OVS_SYSCONFDIR=$dir \
		nsenter --net="/run/netns/$ns" -- "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

# Both warn on stderr about being slow, which a machine under emulation always is.
ovs_vsctl()
{
	ovs "$1" ovs-vsctl -vconsole:err --db="unix:$STATE/n$1/ovs/db.sock" "${@:2}"
}
ovs_ofctl() { ovs "$1" ovs-ofctl -vconsole:err -O OpenFlow13 "${@:2}"; }
# Flows come from stdin.
ovs_flows() { ovs_ofctl "$1" add-flows br-int -; }

# ovs_prepare: once for all nodes
ovs_prepare()
{
	ovsdb-tool create "$STATE/empty.db" "$OVS_SCHEMA" || die "ovsdb-tool failed: its message is above"
}

# ovs_up I: daemons, bridge with gateway, tunnel and the pods' ports, flows, routes
ovs_up()
{
	local i=$1 dir=$STATE/n$1/ovs

	mkdir "$dir"
	cp -- "$STATE/empty.db" "$dir/conf.db"
	ovs "$i" ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --detach \
		--pidfile="$dir/ovsdb.raw" --unixctl="$dir/ovsdb.ctl" \
		-vconsole:off -vsyslog:off --log-file="$dir/ovsdb.log" ||
		die "n$i: ovsdb-server does not start: see $dir/ovsdb.log"
	ovs_pid "$i" ovsdb
	ovs_ports "$i"
	ovs_wait_boot
	# The first thing that it does is to make the bridge; it returns when that is done.
	ovs "$i" ovs-vswitchd "unix:$dir/db.sock" --detach \
		--pidfile="$dir/vswitchd.raw" --unixctl="$dir/vswitchd.ctl" \
		-vconsole:off -vsyslog:off --log-file="$dir/vswitchd.log" || ovs_failed "$i" "it ended"
	ovs_pid "$i" vswitchd
	ovs_all_flows "$i"
	ovs_flows "$i" <<< "$FLOWS" || ovs_failed "$i" "it does not take the flows"
	ovs_gateway "$i"
}

# ovs-vswitchd counts the CPUs once ten seconds have passed since it did so last, at first since
# the clock's zero, which is boot. Earlier it takes the machine for one without CPUs, starts no
# thread for upcalls, and loses every packet that misses the kernel's flow table.
ovs_wait_boot()
{
	local seconds

	while read -r seconds _ < /proc/uptime && [ "${seconds%.*}" -lt 11 ]; do
		sleep 0.5
	done
}

ovs_failed()
{
	local dir=$STATE/n$1/ovs

	tail -n 20 "$dir/vswitchd.log" >&2 || :
	explain_kernel
	die "n$1: ovs-vswitchd: $2; its log is above"
}

# ovs_pid I NAME: from the daemon's pid file to ours, which knows when the process began
ovs_pid()
{
	local pid

	read -r pid < "$STATE/n$1/ovs/$2.raw"
	pid_save "$STATE/n$1/ovs/$2.pid" "$pid"
}

# ovs_ports I: the bridge with all that it has now, written down before vswitchd looks
ovs_ports()
{
	local i=$1 p csum=true

	[ "$TUNNEL_CSUM" = on ] || csum=false
	ovs_gw_mac "$i"
	local args=(-- add-br br-int -- set Bridge br-int fail_mode=secure
		"other_config:hwaddr=$GW_MAC"
		-- add-port br-int tun0 -- set Interface tun0 "type=${OVERLAY#ovs-}"
		options:remote_ip=flow options:key=flow "options:csum=$csum" "ofport_request=$OVS_TUN"
		-- add-port br-int antrea-gw0 -- set Interface antrea-gw0 type=internal
		"mac=\"$GW_MAC\"" "mtu_request=$POD_MTU" "ofport_request=$OVS_GW")
	pods_of "$i"
	for p in "${PODS_OF[@]}"; do
		pod_load "$i" "$p"
		! ovs_has_port || args+=(-- add-port br-int "$VETH"
			-- set Interface "$VETH" "ofport_request=$((100 + p))")
	done
	ovs_vsctl "$i" --no-wait init "${args[@]}" || die "n$i: ovs-vsctl failed: its message is above"
}

# Whether the pod that pod_load found is a port.
ovs_has_port() { [[ $KIND == veth || $KIND == netkit-l2 ]]; }

# ovs_gateway I: the node's side, which exists only now
ovs_gateway()
{
	local i=$1 j

	q "n$i" "addr add 10.244.$i.1/24 dev antrea-gw0
link set antrea-gw0 up"
	for ((j = 1; j <= NODES; j++)); do
		[ "$i" = "$j" ] ||
			q "n$i" "route add 10.244.$j.0/24 via 10.244.$j.1 dev antrea-gw0 onlink"
	done
	ovs_answers "$i"
	flush "n$i"
}

# ovs_answers I: for routed pods, see node_answers, which had no gateway yet
ovs_answers()
{
	local p

	pods_of "$i"
	for p in "${PODS_OF[@]}"; do
		pod_load "$i" "$p"
		if ! ovs_has_port; then
			node_answers "n$i"
			return
		fi
	done
}

# ovs_all_flows I: sets FLOWS
ovs_all_flows()
{
	local i=$1 j p hex gw answer mark

	ovs_gw_mac "$i"
	gw="mod_dl_dst:$GW_MAC"
	mark='exec(load:0x20->NXM_NX_CT_MARK[])'
	# Turns a question into its answer, but for the address that was asked for.
	answer="move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:$VIRTUAL_MAC,"
	answer+='load:2->NXM_OF_ARP_OP[],move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],'
	answer+="load:0x${VIRTUAL_MAC//:/}->NXM_NX_ARP_SHA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[]"
	FLOWS="table=0,priority=200,in_port=$OVS_TUN actions=load:1->NXM_NX_REG0[0..3],goto_table:30
table=0,priority=200,in_port=$OVS_GW actions=load:2->NXM_NX_REG0[0..3],goto_table:10
table=10,priority=200,ip,in_port=$OVS_GW actions=goto_table:30
table=10,priority=200,arp,in_port=$OVS_GW actions=goto_table:20
table=20,priority=190,arp actions=NORMAL
table=30,priority=200,ip actions=ct(table=31,zone=65520)
table=31,priority=210,ct_state=-new+trk,ct_mark=0x20,ip,reg0=2/0xf actions=goto_table:50
table=31,priority=200,ct_state=-new+trk,ct_mark=0x20,ip actions=$gw,load:1->NXM_NX_REG0[18],goto_table:50
table=31,priority=190,ct_state=+inv+trk,ip actions=drop
table=31,priority=0 actions=goto_table:50
table=50,priority=0 actions=goto_table:70
table=70,priority=220,ip,reg0=0x40000/0x40000 actions=goto_table:80
table=70,priority=210,ip,nw_dst=10.244.$i.1 actions=$gw,goto_table:80
table=70,priority=150,ip,reg0=1/0xf,nw_dst=10.244.$i.0/24 actions=$gw,goto_table:80
table=70,priority=0 actions=goto_table:80
table=72,priority=210,ip,reg0=2/0xf actions=goto_table:80
table=72,priority=200,ip actions=dec_ttl,goto_table:80
table=80,priority=200,dl_dst=$VIRTUAL_MAC actions=load:$OVS_TUN->NXM_NX_REG1[],goto_table:90
table=80,priority=200,dl_dst=$GW_MAC actions=load:$OVS_GW->NXM_NX_REG1[],goto_table:90
table=90,priority=0 actions=goto_table:105
table=105,priority=200,ct_state=+new+trk,ip,reg0=2/0xf actions=ct(commit,table=110,zone=65520,$mark)
table=105,priority=190,ct_state=+new+trk,ip actions=ct(commit,table=110,zone=65520)
table=105,priority=0 actions=goto_table:110
table=110,priority=200,ip actions=output:NXM_NX_REG1[]"
	for ((j = 1; j <= NODES; j++)); do
		[ "$i" != "$j" ] || continue
		printf -v hex '0x0af4%02x01' "$j"
		FLOWS+="
table=20,priority=200,arp,arp_op=1,arp_tpa=10.244.$j.1 actions=$answer,load:$hex->NXM_OF_ARP_SPA[],IN_PORT"
		printf -v hex '0xac1f00%02x' "$j"
		FLOWS+="
table=70,priority=200,ip,nw_dst=10.244.$j.0/24 actions=mod_dl_src:$GW_MAC,mod_dl_dst:$VIRTUAL_MAC"
		FLOWS+=",load:$hex->NXM_NX_TUN_IPV4_DST[],goto_table:72"
	done
	pods_of "$i"
	for p in "${PODS_OF[@]}"; do
		ovs_pod_flows "$i" "$p"
	done
}

# ovs_pod_flows I P: appends to FLOWS
ovs_pod_flows()
{
	local port=$((100 + $2)) cookie

	pod_load "$1" "$2"
	ovs_has_port || return 0
	who_ip "n$1p$2"
	ovs_gw_mac "$1"
	cookie=cookie=$port
	FLOWS+="
$cookie,table=0,priority=190,in_port=$port actions=load:3->NXM_NX_REG0[0..3],goto_table:10
$cookie,table=10,priority=200,ip,in_port=$port,dl_src=$MAC,nw_src=$IP actions=goto_table:30
$cookie,table=10,priority=200,arp,in_port=$port,arp_spa=$IP,arp_sha=$MAC actions=goto_table:20
$cookie,table=70,priority=200,ip,reg0=1/0xf,nw_dst=$IP actions=mod_dl_src:$GW_MAC,mod_dl_dst:$MAC,goto_table:72
$cookie,table=80,priority=200,dl_dst=$MAC actions=load:$port->NXM_NX_REG1[],goto_table:90"
}

ovs_pod_add()
{
	FLOWS=''
	ovs_pod_flows "$1" "$2"
	if [ -z "$FLOWS" ]; then
		return 0
	fi
	ovs_vsctl "$1" -- --may-exist add-port br-int "$VETH" \
		-- set Interface "$VETH" "ofport_request=$((100 + $2))"
	ovs_flows "$1" <<< "$FLOWS"
}

ovs_pod_del()
{
	ovs_has_port || return 0
	ovs_ofctl "$1" del-flows br-int "cookie=$((100 + $2))/-1"
	ovs_vsctl "$1" -- --if-exists del-port br-int "$VETH"
}

# ovs_down I: both daemons; the datapath goes with the namespace
ovs_down()
{
	pid_stop "$STATE/n$1/ovs/vswitchd.pid" KILL
	pid_stop "$STATE/n$1/ovs/ovsdb.pid" KILL
}

# ovs_alive I
ovs_alive()
{
	pid_alive "$STATE/n$1/ovs/ovsdb.pid" && pid_alive "$STATE/n$1/ovs/vswitchd.pid"
}
