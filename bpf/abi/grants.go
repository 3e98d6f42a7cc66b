package abi

// Grants are what the boundary lets one workload do beside what every workload
// may. None of it is an action of a policy.
type Grants struct {
	Caps    uint64 `json:"caps,omitempty"`    // capabilities, bit N is number N of capability.h
	Sockets uint64 `json:"sockets,omitempty"` // kinds of sockets
}
