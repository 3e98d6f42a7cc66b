// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Which sockets there are for confined tasks: by an allow-list of families, types
 * and protocols, and what was granted beside it. Unix sockets are judged in
 * escape.bpf.c, where they connect.
 *
 * socket_create       socket, socketpair, io_uring: the kinds of socket.h. Before the kernel looks for
 *                     a module of that family: none is loaded for what is refused
 * netlink_send        a kind that came from before, too; an event in the kernel's name, and what goes
 *                     to other processes: never
 * socket_setsockopt   what makes another kind of a socket: TCP_ULP, whose name lies in memory that
 *                     could change until the kernel reads it; UDP_ENCAP
 */
#include "socket.h"

SEC("lsm/socket_create")
int BPF_PROG(socket_create, int family, int type, int protocol, int kern)
{
	u32 kind = kind_of_socket(family, type, protocol), w;

	if (!kind || kern)
		return 0;
	w = who();
	return w ? on_kind(w, kind, socket_errno(family, kind)) : 0;
}

/* to_others: is a message for more than the kernel? The kernel asks for
 * CAP_NET_ADMIN where it is addressed so; not where the socket was connected so,
 * by whoever made it. */
static __always_inline bool to_others(struct sock *sk, struct sk_buff *skb)
{
	u64 cb = (u64)skb + bpf_core_field_offset(struct sk_buff, cb);
	u32 group = 1;

	if (BPF_CORE_READ((struct netlink_sock *)sk, dst_portid))
		return true;
	return bpf_probe_read_kernel(&group, sizeof(group),
				     (void *)(cb + bpf_core_field_offset(struct netlink_skb_parms, dst_group))) ||
	       group;
}

SEC("lsm/netlink_send")
int BPF_PROG(netlink_send, struct sock *sk, struct sk_buff *skb)
{
	u32 w = who(), protocol;

	if (!w)
		return 0;
	protocol = sk->sk_protocol;
	if (protocol == NETLINK_ROUTE)
		return to_others(sk, skb) ? refuse_kind(w, SOCKET_NETLINK + protocol, -EPERM) : 0;
	return on_kind(w, protocol < 32 ? SOCKET_NETLINK + protocol : SOCKET_OTHER, -EPERM);
}

SEC("lsm/socket_setsockopt")
int BPF_PROG(socket_setsockopt, struct socket *sock, int level, int option)
{
	u32 kind, w;

	if (level == IPPROTO_TCP && option == TCP_ULP)
		kind = SOCKET_TCP_ULP;
	else if (level == IPPROTO_UDP && option == UDP_ENCAP)
		kind = SOCKET_UDP_ENCAP;
	else
		return 0;
	w = who();
	return w ? on_kind(w, kind, -EPROTONOSUPPORT) : 0;
}
