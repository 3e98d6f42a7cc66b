// Package fault names the places at which tests let the agent fail. In a build
// without the tag "faults" At is empty: the shipped program cannot be made to
// fail by it. With the tag, STOCKADE_FAULT says what happens where:
//
//	NAME[:N]=kill|error|delay:DURATION[,...]
//
// the Nth time that the point is reached, 1 if N is not given; @FILE names a
// file that says so, and is read anew whenever a point is reached.
package fault

// Point is a place at which something can fail.
type Point struct {
	Name string
	// Sure marks what cannot fail by itself: there, being killed and being
	// slow is all that can happen.
	Sure bool
}

// Points lists every point, in the order in which a life of the agent meets
// them first.
var Points = []Point{
	// The first start.
	{Name: "agent.lock"},          // the lock of the agent
	{Name: "bpf.load-object"},     // before the BPF programs
	{Name: "bpf.new-registry"},    // making the registry
	{Name: "bpf.map-memory"},      // before each map that is mapped
	{Name: "bpf.tai-offset"},      // telling the programs of UTC
	{Name: "bpf.attach"},          // before each hook
	{Name: "bpf.describe"},        // the registry's header
	{Name: "bpf.pin-folder"},      // before the folder of pins
	{Name: "bpf.pin-map"},         // before each pin of a map
	{Name: "bpf.pin-link"},        // before each pin of a link
	{Name: "bpf.pin-program"},     // before that of the program
	{Name: "bpf.pin-registry"},    // before that of the registry: then the set is whole
	{Name: "agent.begin"},         // everything is pinned, nothing is installed
	{Name: "bpf.guard"},           // before directories of our own are noted
	{Name: "bpf.claim"},           // before a number is taken
	{Name: "bpf.clear-counters"},  // a number's plan is gone, its counts are not
	{Name: "bpf.clear-sequence"},  // nor its sequence
	{Name: "bpf.clear-terminals"}, // nor whose terminals are
	{Name: "bpf.clear-record"},    // nor its record
	{Name: "bpf.name"},            // all of a name is written but its first byte
	{Name: "bpf.register-root"},   // before a root is noted
	{Name: "agent.memory-write"},  // before a memory, or grants, are written
	{Name: "agent.memory-rename"}, // written, not in force
	{Name: "agent.install"},       // before a plan is installed
	{Name: "bpf.arena"},           // before a table is written
	{Name: "bpf.plan-store"},      // written, not in force
	{Name: "bpf.grace-period"},    // before each wait for programs to end
	{Name: "bpf.flip-second"},     // between the two stores of a plan and a mode
	{Name: "bpf.installed", Sure: true},
	{Name: "agent.installed", Sure: true},
	{Name: "agent.groups"},  // before the cgroups are looked at
	{Name: "agent.confine"}, // before a cgroup's id is known
	{Name: "bpf.confine"},   // before a cgroup is put under a workload
	{Name: "bpf.open-ring"}, // before the ring is opened
	{Name: "agent.listen"},  // before the socket is made
	{Name: "agent.file-watch"},
	// The start of the next agent.
	{Name: "bpf.adopt-registry"}, // before the registry is opened
	{Name: "bpf.adopt-map"},      // before each other map
	{Name: "bpf.adopt-link"},     // before each link
	{Name: "bpf.adopt-program"},  // before the program
	{Name: "bpf.recover"},        // before the arena is looked through
	{Name: "agent.recall"},       // before a memory is read
	// A container that a runtime has prepared.
	{Name: "agent.container-stage"},                // before what it gets is checked
	{Name: "agent.container-mark"},                 // its plan is installed, nothing is confined
	{Name: "agent.container-confine"},              // it is known for a container's, its cgroup is not confined
	{Name: "agent.container-confined", Sure: true}, // confined, before the answer
	// The start of an agent of another build.
	{Name: "bpf.heir-workload"},           // before each workload is given to the new set
	{Name: "bpf.heir-attach"},             // before what takes marks over
	{Name: "bpf.heir-marks"},              // before each look at all tasks
	{Name: "bpf.heir-entry"},              // before each cgroup, or terminal
	{Name: "bpf.heir-place"},              // all is taken over, the old set counts
	{Name: "bpf.heir-placed", Sure: true}, // the new one counts, the old one enforces, too
	{Name: "bpf.bury"},                    // before its hooks are detached
	{Name: "bpf.bury-count"},              // detached and read, not counted
	// Denials.
	{Name: "bpf.read-ring", Sure: true}, // taken from the ring, not handed on
	{Name: "agent.deliver"},             // before a denial is written to its log
	{Name: "agent.logged", Sure: true},  // written, not counted
	{Name: "bpf.account", Sure: true},   // the count is sealed, not in force
	{Name: "bpf.accounted", Sure: true}, // counted, its place on the ring not given back
	// What waits for the agent.
	{Name: "bpf.open-holds"},            // before their ring is opened
	{Name: "agent.hold-group"},          // before the group that hears of them
	{Name: "agent.hold-mark"},           // before each mark
	{Name: "bpf.pin-hold"},              // before each pin of what confirms them
	{Name: "bpf.hold-flags"},            // before the programs are told
	{Name: "bpf.adopt-holds"},           // before the links of what confirms
	{Name: "bpf.read-hold", Sure: true}, // taken from the ring, not handed on
	{Name: "bpf.image"},                 // judged, before the image is written
	{Name: "bpf.answer"},                // before the answer is written
	{Name: "agent.go-on", Sure: true},   // answered, still waiting
	// Changes.
	{Name: "agent.reload"},               // before the configuration is read
	{Name: "agent.stage"},                // before each workload is checked
	{Name: "agent.commit"},               // before each workload is changed
	{Name: "bpf.mode-store"},             // before a mode is stored
	{Name: "agent.mode", Sure: true},     // stored, not noted
	{Name: "agent.answer"},               // done, before the answer is written
	{Name: "agent.appeared", Sure: true}, // a cgroup appeared: the next look finds it too
	{Name: "bpf.release"},                // before a number is given back
	{Name: "agent.forget"},               // given back, before its memory goes
	{Name: "respond.step"},               // before each step of a response
	// The end.
	{Name: "agent.empty"},      // before it is made sure that nobody is confined
	{Name: "bpf.unpin"},        // before each pin is removed
	{Name: "bpf.unpin-folder"}, // before the folder of pins is
	{Name: "agent.forget-all"}, // before the memories are
}
