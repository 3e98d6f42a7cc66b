/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Kinds of sockets: which any confined task may have, and which only those to
 * whose workload they were granted. What is not named here is nobody's. */
#pragma once

#include "verdict.h"

/* kind_of_inet is for both families of addresses. Ping sockets are as harmless as
 * UDP; who may have them, the host says by ping_group_range. */
static __always_inline u32 kind_of_inet(u32 type, u32 protocol)
{
	if (type == SOCK_RAW)
		return SOCKET_RAW;
	switch (protocol) {
	case 0:
		return type == SOCK_STREAM || type == SOCK_DGRAM ? SOCKET_FREE : SOCKET_OTHER;
	case IPPROTO_TCP:
		return type == SOCK_STREAM ? SOCKET_FREE : SOCKET_OTHER;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return type == SOCK_DGRAM ? SOCKET_FREE : SOCKET_OTHER;
	case IPPROTO_DCCP:
		return SOCKET_DCCP;
	case IPPROTO_L2TP:
		return SOCKET_L2TP;
	case IPPROTO_SCTP:
		return SOCKET_SCTP;
	case IPPROTO_UDPLITE:
		return SOCKET_UDPLITE;
	case IPPROTO_SMC:
		return SOCKET_SMC;
	case IPPROTO_MPTCP:
		return SOCKET_MPTCP;
	}
	return SOCKET_OTHER;
}

/* kind_of_socket names what a family, a type and a protocol make. Of netlink,
 * uevents may be received by all: sending is judged by itself. */
static __always_inline u32 kind_of_socket(u32 family, u32 type, u32 protocol)
{
	switch (family) {
	case AF_UNIX:
		return SOCKET_FREE; /* judged where it connects */
	case AF_INET:
	case AF_INET6:
		return kind_of_inet(type, protocol);
	case AF_NETLINK:
		if (protocol == NETLINK_ROUTE || protocol == NETLINK_KOBJECT_UEVENT)
			return SOCKET_FREE;
		return protocol < 32 ? SOCKET_NETLINK + protocol : SOCKET_OTHER;
	case AF_PACKET:
		return SOCKET_PACKET;
	case AF_KEY:
		return SOCKET_KEY;
	case AF_RDS:
		return SOCKET_RDS;
	case AF_IB:
		return SOCKET_IB;
	case AF_CAN:
		return SOCKET_CAN;
	case AF_TIPC:
		return SOCKET_TIPC;
	case AF_BLUETOOTH:
		return SOCKET_BLUETOOTH;
	case AF_ALG:
		return SOCKET_ALG;
	case AF_VSOCK:
		return SOCKET_VSOCK;
	case AF_KCM:
		return SOCKET_KCM;
	case AF_QIPCRTR:
		return SOCKET_QIPCRTR;
	case AF_SMC:
		return SOCKET_SMC;
	case AF_XDP:
		return SOCKET_XDP;
	}
	return SOCKET_OTHER;
}

/* socket_errno is what lets programs do without: what the kernel answers where it
 * lacks the protocol or the family, and for packets what it answers to users. */
static __always_inline int socket_errno(u32 family, u32 kind)
{
	if (kind == SOCKET_PACKET || kind == SOCKET_RAW)
		return -EPERM;
	if (family == AF_INET || family == AF_INET6 || family == AF_NETLINK)
		return -EPROTONOSUPPORT;
	return -EAFNOSUPPORT;
}

/* refuse_kind refuses, and the event names the kind. */
static __always_inline int refuse_kind(u32 w, u32 kind, int err)
{
	return refuse_number(w, BOUNDARY_NETWORK, 0, kind, err);
}

/* on_kind refuses a kind of socket that was not granted to the workload. Inline: a
 * walk in the event is at the depth of calls that the verifier allows. */
static __always_inline int on_kind(u32 w, u32 kind, int err)
{
	struct workload *wl = workload_of(w);

	if (wl && kind > SOCKET_OTHER && wl->sockets >> (kind & 63) & 1)
		return 0;
	return refuse_kind(w, kind, err);
}

/* on_received judges a socket that another process hands over, as if it were made
 * here. The file is one of sockfs. */
static __noinline int on_received(u32 w, u64 file)
{
	struct socket *socket = BPF_CORE_READ((struct file *)file, private_data);
	struct sock *sk = BPF_CORE_READ(socket, sk);
	u32 family, kind;

	if (!sk)
		return refuse_kind(w, SOCKET_OTHER, -EPERM);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	kind = kind_of_socket(family, BPF_CORE_READ(sk, sk_type), BPF_CORE_READ(sk, sk_protocol));
	return kind ? on_kind(w, kind, socket_errno(family, kind)) : 0;
}
