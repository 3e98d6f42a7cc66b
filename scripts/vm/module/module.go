// Package module names modules that machines are given beside those that boot them.
package module

// Sockets are those by which the kernel lists sockets. It loads them by itself where it can
// call modprobe.
var Sockets = []string{"tcp_diag", "udp_diag", "raw_diag", "unix_diag", "af_packet_diag", "netlink_diag", "mptcp_diag"}
