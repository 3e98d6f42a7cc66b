package vmtest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// attack is one way round that must fail, or a limit that is told. Its trials
// are those whose names begin so, "" for Test and a slash; elsewhere says which
// other run has them: see scripts/verify.
type attack struct {
	what      string
	trials    []string
	elsewhere string
}

// attacks lists what any sandbox of this kind is attacked by.
var attacks = []attack{
	// Names.
	{what: "plain open", trials: []string{"Names/plain_open"}},
	{what: "detour by dots and slashes", trials: []string{"Names/detour_by_dots"}},
	{what: "symbolic link", trials: []string{"Names/symbolic_link_is", "Names/symbolic_link_to_a_directory"}},
	{what: "/proc/self/root", trials: []string{"Names/proc_self_root"}},
	{what: "working directory of a peer", trials: []string{"Names/working_directory_of_a_peer"}},
	{what: "O_PATH, then reopened", trials: []string{"Names/reopened_O_PATH"}},
	{what: "hard link out of a secret place", trials: []string{"Moves/link_to_a_secret"}},
	{what: "link of a descriptor", trials: []string{"Moves/link_of_a_descriptor", "Moves/link_through_proc"}},
	{what: "rename of a secret directory or of an ancestor", trials: []string{"Moves/secret_directory", "Ancestors/ancestor_of_a_forbidden_file_is_not_moved", "Ancestors/higher_ancestor"}},
	{what: "exchange, both ways", trials: []string{"Moves/exchange_with_a_secret", "Moves/exchange_from_a_secret", "Ancestors/ancestor_of_a_forbidden_file_is_not_exchanged"}},
	{what: "rename or link that gains a right", trials: []string{"Moves/rename_that_gains", "Moves/link_that_gains", "Moves/rename_that_gains_nothing"}},
	{what: "deleted file reopened", trials: []string{"Deleted/deleted_file_keeps"}},
	{what: "file named like a deleted one", trials: []string{"Deleted/name_that_ends_in_(deleted)", "Deleted/plain_name"}},
	{what: "path that is too long", trials: []string{"LongPaths/", "Depth/129"}},
	{what: "many components", trials: []string{"Depth/21", "Depth/128"}},
	{what: "odd bytes in names", trials: []string{"OddNames/newline", "OddNames/invalid_UTF-8", "OddNames/star", "OddNames/backslash", "OddNames/quote"}},
	{what: "directory that ignores case", trials: []string{"IgnoredCase/"}},
	{what: "file handle", trials: []string{"Names/file_handle"}},
	// Modes.
	{what: "truncate without open", trials: []string{"Modes/truncate_without_open"}},
	{what: "read-only open that truncates", trials: []string{"Modes/read-only_open_that_truncates"}},
	{what: "truncation of a writable file", trials: []string{"Modes/truncation_of_a_writable_file"}},
	{what: "creating open", trials: []string{"Modes/new_file_by_open"}},
	{what: "mkdir, mknod, symlink, unlink, rmdir", trials: []string{"Modes/mkdir", "Modes/mknod", "Modes/symlink", "Modes/unlink", "Modes/rmdir"}},
	{what: "O_TMPFILE and linkat", trials: []string{"Modes/file_without_a_name_is_denied", "Modes/file_without_a_name_gets_none"}},
	{what: "chmod and chown", trials: []string{"Modes/chmod", "Modes/chown", "Modes/fchmod", "Modes/fchown"}},
	{what: "stat, access, readlink", trials: []string{"Modes/stat_of_a_secret", "Modes/access_to_a_secret", "Modes/readlink_of_a_secret"}},
	{what: "extended attributes and ACLs", trials: []string{"Metadata/setxattr", "Metadata/removexattr", "Metadata/setting_an_ACL"}},
	{what: "copy between allowed files", trials: []string{"Modes/copy_between"}},
	{what: "directory moved, filled, to a forbidden name", trials: []string{"Losses/directory_does_not", "Ancestors/directory_is_not_moved_to"}},
	{what: "symbolic link in place of a forbidden directory", trials: []string{"Losses/symbolic_link_in", "Losses/symbolic_link_is_not"}},
	{what: "half a repository left by mv", trials: []string{"Losses/repository's", "Ancestors/ancestor_of_a_forbidden_file_is_not_moved"}},
	// Descriptors.
	{what: "descriptor from before", trials: []string{"StrictDescriptors/read", "StrictDescriptors/not_strict"}},
	{what: "SCM_RIGHTS", trials: []string{"BoundaryReceived/secret_file_is_not_received"}},
	{what: "pidfd_getfd", trials: []string{"BoundaryFetched/"}},
	{what: "directory outside the root", trials: []string{"InnerRoot/descriptor_above_the_root", "InnerRoot/working_directory_above"}},
	{what: "received descriptor for writing", trials: []string{"BoundaryReceived/readable_file_for_writing"}},
	{what: "received userfaultfd and seccomp listener", trials: []string{"BoundaryReceivedPowers/userfaultfd", "BoundaryReceivedPowers/seccomp_listener"}},
	{what: "received queues and files of debugfs", trials: []string{"Queues/queue_is_not_received", "BoundaryReceivedControls/"}},
	// Mounts and namespaces.
	{what: "user namespace", trials: []string{"BoundaryMounts/user_namespace"}},
	{what: "chroot that spoofs a program", trials: []string{"Chroots/program_shown", "BoundaryMounts/chroot"}},
	{what: "chroot that hides a secret", trials: []string{"Chroots/secret_shown"}},
	{what: "bind over a program", trials: []string{"BoundaryMounts/bind_of_a_file"}},
	{what: "bind of a secret", trials: []string{"BoundaryMounts/bind_of_a_secret_is_denied"}},
	{what: "open_tree clone", trials: []string{"FalseLayers/tree_cloned_by_the_workload"}},
	{what: "move_mount", trials: []string{"BoundaryMounts/move_mount_is_denied"}},
	{what: "fsopen and fsmount", trials: []string{"FalseLayers/mount_made_by_the_workload", "BoundaryMounts/attaching_a_new_file_system"}},
	{what: "directory of a detached mount", trials: []string{"FalseLayers/file_on_a_detached_mount"}},
	{what: "new overlay over a secret", trials: []string{"FalseLayers/overlay_without_a_place", "BoundaryMounts/new_mount", "Overlay/copy-up_needs"}},
	{what: "pivot_root and setns", trials: []string{"BoundaryMounts/pivot_root", "BoundaryNamespaces/", "BoundaryForeignNamespaces/"}},
	{what: "FUSE at an allowed path", trials: []string{"BoundaryMounts/new_mount"}},
	{what: "block devices, /dev/mem, kcore", trials: []string{"BoundaryDevices/mknod", "BoundaryDevices/reading_dev_mem", "BoundaryControlFiles/reading_kcore"}},
	{what: "filesystem of a block device", trials: []string{"BoundaryBlockDevices"}},
	{what: "directory moved out of a bind", trials: []string{"HandedDirectories/file_of_a_bind"}},
	// Execution.
	{what: "copied program", trials: []string{"Execution/copied_program"}},
	{what: "program by /proc/self/root", trials: []string{"Execution/program_through_proc_root"}},
	{what: "loader", elsewhere: "TestLoader"},
	{what: "program in memory", trials: []string{"Execution/program_in_memory"}},
	{what: "program without a name", trials: []string{"Execution/program_that_never_had", "Execution/program_whose_name"}},
	{what: "script", trials: []string{"Execution/script_that", "Execution/script_whose"}},
	{what: "data that an interpreter runs", trials: []string{"InterpretedData/"}},
	{what: "anonymous executable memory", trials: []string{"StrictMemory/executable_memory_is_denied", "Execution/anonymous"}},
	{what: "writable memory made executable", trials: []string{"StrictMemory/memory_made_executable", "StrictMemory/private_mapping_that_was_written"}},
	{what: "memory of another process", trials: []string{"BoundaryProcesses/", "StrictMemory/task_inside"}},
	{what: "LD_PRELOAD", trials: []string{"Execution/executable_mapping"}, elsewhere: "TestLoaderPreload"},
	{what: "thread's name", trials: []string{"Execution/thread's_name"}},
	{what: "core_pattern, binfmt_misc, modprobe", trials: []string{"BoundaryControlFiles/writing_/proc/sys/kernel/core_pattern", "BoundaryControlFiles/writing_/proc/sys/kernel/modprobe"}},
	// io_uring.
	{what: "open by io_uring", trials: []string{"Rings/open_inline"}},
	{what: "its worker", trials: []string{"Rings/open_async"}},
	{what: "its polling thread", trials: []string{"Rings/open_sqpoll"}},
	{what: "terminal of another session", trials: []string{"TerminalsOfOthers/", "TerminalsUsedAgain/", "BoundaryTerminals/", "BoundaryForcedTerminals/terminal_of"}},
	{what: "ring from outside", trials: []string{"BoundaryReceivedPowers/ring", "BoundaryFetched/ring"}},
	{what: "chain that goes on under older credentials", trials: []string{"CapabilitiesWithheld/interface_by_a_chain", "OldWorkers/user_of_a_chain"}},
	{what: "call chosen for a request's capability", trials: []string{"CapabilitiesWithheld/another's_number_in_a_message_of_io_uring", "CapabilitiesOfRings/"}},
	{what: "its other operations, and fixed files", trials: []string{"Rings/rename_inline", "Rings/link_inline", "Rings/unlink_inline", "Rings/open_fixed"}},
	// Cgroups and control.
	{what: "cgroup of one's own making", trials: []string{"OwnCgroups/"}},
	{what: "moving out", trials: []string{"Children/task_does_not_move_itself", "Children/task_that_moves_itself", "Moved/task_moved_out"}},
	{what: "clone outward", trials: []string{"BoundaryClones/child_cloned"}},
	{what: "cgroup's name used again", trials: []string{"Unconfined/cgroup_with_the_name"}},
	{what: "fork while a policy is installed", trials: []string{"Swap/"}},
	{what: "maps, programs and pins", trials: []string{"BoundaryPins/", "BoundaryKernel/"}},
	{what: "moving, covering or changing mounts of what controls", trials: []string{"BoundaryPins/reconfiguring", "BoundaryPins/moving_bpffs", "BoundaryPins/move_mount_of_what_carries", "AuditKeepsTheBoundary/umount_of_cgroups"}},
	{what: "kill or trace the agent", trials: []string{"BoundarySignals/SIGKILL", "BoundaryProcesses/attaching"}},
	{what: "sockets of services", trials: []string{"BoundarySockets/", "BoundaryNamelessSockets/"}},
	{what: "socket of another session where files may be written", trials: []string{"BoundarySockets/stream_where", "BoundarySockets/datagram_where", "BoundarySockets/stream_as_a_user"}},
	{what: "its connection from outside", trials: []string{"BoundarySockets/stream_that_an_outsider", "BoundarySockets/dgram_that_an_outsider"}},
	// Capabilities.
	{what: "realtime, priorities and limits", trials: []string{"Capabilities/realtime", "Capabilities/priority", "Capabilities/raising"}},
	{what: "interfaces", trials: []string{"Capabilities/changing_an_interface", "CapabilitiesOfNamespaces/interface"}},
	{what: "clock", trials: []string{"ClockIsSetByNobody/", "Capabilities/timer_that_wakes"}},
	{what: "forged audit records", trials: []string{"Capabilities/forged"}},
	{what: "poisoned and offlined pages", trials: []string{"Capabilities/poisoning", "Capabilities/taking_a_page"}},
	{what: "System V objects of others", trials: []string{"Capabilities/memory_of_another", "Capabilities/removing_memory"}},
	{what: "System V objects used up, for good", trials: []string{"BoundaryCrowds/memory_of_System_V_is_denied", "BoundaryCrowds/queue", "BoundaryCrowds/semaphores"}},
	{what: "process group of outsiders", trials: []string{"BoundaryGroups/process_group"}},
	{what: "watchdogs and other devices in audit mode", trials: []string{"AuditKeepsTheBoundary/device_that"}},
	{what: "userfaultfd as a way to code that no file holds", trials: []string{"StrictMemory/filling"}},
	{what: "keys given to a parent outside", trials: []string{"BoundaryParentsKeys/"}},
	{what: "pipe of another executable", trials: []string{"ExecutableIsNotTraced/pipe"}},
	{what: "kernel's log", trials: []string{"Capabilities/reading_the_kernel's_log", "Capabilities/opening_the_kernel's_log"}},
	{what: "mount or superblock before a hook is asked", trials: []string{"CapabilitiesOfNamespaces/", "BoundaryMounts/attaching_a_new", "BoundaryMounts/attributes_of_a_cloned"}},
	{what: "thousands of copies of a mount", trials: []string{"Metadata/path_beside_thousands", "BoundaryMounts/attaching_a_cloned"}},
	{what: "mount or superblock by a newer system call", trials: []string{"NewerCalls/cloning_a_mount_by_a_newer", "NewerCalls/context_of_a_file_system", "NewerCalls/mount_attributes"}},
	{what: "refusals that fail nothing as noise", trials: []string{"NamesNotKnownYet/", "SignalsToGroups/"}},
	{what: "what the agent and runs keep", trials: []string{"BoundaryOwnDirectories/"}},
	{what: "the same, and pins, through a layer of an overlay", trials: []string{"BoundaryOwnDirectories/reading_a_layer", "BoundaryOwnDirectories/making_a_file_in_a_layer", "BoundaryOwnDirectories/truncating_in_a_layer", "BoundaryOwnDirectories/an_overlay's_directory"}},
	{what: "grant that would end enforcement", trials: []string{"Grants/"}},
	{what: "audit mode as a way out", trials: []string{"AuditKeepsTheBoundary/"}},
	// Commands to open files.
	{what: "verity by a descriptor for reading", trials: []string{"BoundaryCommands/verity"}},
	{what: "encryption policy by a descriptor for reading", trials: []string{"BoundaryCommands/encryption"}},
	{what: "snapshots and subvolumes", trials: []string{"BoundaryCommands/snapshot", "BoundaryCommands/second_kind", "BoundaryCommands/new_subvolume", "BoundaryCommands/removing"}},
	{what: "unknown commands to filesystems, devices and terminals", trials: []string{"BoundaryCommands/command", "BoundaryCommands/unknown", "BoundaryCommands/line_discipline", "BoundaryLeases/fcntl"}},
	{what: "commands that any file gets", trials: []string{"CommandsThatPass/"}},
	{what: "leases", trials: []string{"BoundaryLeases/lease", "BoundaryLeases/exclusive_lease"}},
	{what: "delegation of a directory", trials: []string{"BoundaryLeases/delegation"}},
	{what: "locks on what may only be read", trials: []string{"BoundaryLeases/exclusive_lock", "BoundaryLeases/shared_lock"}},
	{what: "signals of an outsider's file", trials: []string{"BoundaryHandedFiles/beginning", "BoundaryHandedFiles/going_on"}},
	{what: "device by a rename", trials: []string{"BoundaryClones/device"}},
	// Sockets and queues.
	{what: "packets, raw sockets and other kinds", trials: []string{"BoundaryKinds/packets_by", "BoundaryKinds/raw_IPv4", "BoundaryKinds/generic_netlink", "BoundaryKinds/AF_ALG", "BoundaryGrantedKinds/"}},
	{what: "kinds in pairs, by io_uring and as a user", trials: []string{"BoundaryKindsElsewhere/packets_by_as", "BoundaryKindsElsewhere/packets_by_socketpair", "BoundaryKindsElsewhere/packets_by_uring"}},
	{what: "forged uevent", trials: []string{"BoundaryNetlink/event_for_udev", "BoundaryNetlink/event_by_way", "BoundaryNetlink/forged_events"}},
	{what: "netlink to other processes", trials: []string{"BoundaryNetlink/message_to_listeners", "BoundaryNetlink/message_by"}},
	{what: "sockets from outside", trials: []string{"BoundaryReceivedKinds/"}},
	{what: "other protocols on top of TCP and UDP", trials: []string{"BoundaryUpperProtocols/"}},
	{what: "modules of socket families", trials: []string{"BoundaryModulesOfFamilies/"}},
	{what: "POSIX message queues", trials: []string{"Queues/", "QueuesNowhere/"}},
	// What others share.
	{what: "crowd in the middle of verdicts", elsewhere: "TestNobodyElsePays"},
	{what: "flood of denials", trials: []string{"FullRing/denials_are_all", "FullRing/flood"}},
	{what: "flood of asks", trials: []string{"FullAsks/asks_are_all"}},
	{what: "evaluators of asks that are kept up", elsewhere: "TestNobodyWaitsForAnotherWorkload"},
	{what: "number of a workload that left something behind", trials: []string{"EndedWorkloads/task", "EndedWorkloads/child", "EndedWorkloads/next"}},
	{what: "second run of one name", elsewhere: "TestSameNameTwiceIsRefused"},
	{what: "races of open and rename", elsewhere: "TestRace, TestRaceLinks"},
}

// coverage prints what became of each attack, and reports whether each has its
// trials. After a choice of tests it says nothing.
func (m *matrix) coverage() bool {
	if f := flag.Lookup("test.run"); os.Getenv("STOCKADE_VM") != "1" || f == nil || f.Value.String() != "" {
		return true
	}
	var missing string // at the end, where a report shows it
	for i, a := range attacks {
		counts := map[result]int{}
		for _, pattern := range a.trials {
			found := false
			for _, name := range m.names {
				if strings.HasPrefix(name, "Test"+pattern) {
					found = true
					counts[m.results[name]]++
				}
			}
			if !found {
				missing += fmt.Sprintf("attack %d, %s: no trial %q\n", i+1, a.what, pattern)
			}
		}
		text := ""
		for _, r := range []result{isDenied, isAllowed, isLimit, isBetter, isAbsent, isFailed} {
			if counts[r] > 0 {
				text += fmt.Sprintf(" %s %d", r, counts[r])
			}
		}
		if a.elsewhere != "" {
			text += " see " + a.elsewhere
		}
		fmt.Printf("attack %d %s: %s:%s\n", i+1, kernel(), a.what, text)
	}
	fmt.Print(missing)
	return missing == ""
}

// TestIgnoredCase opens files in a directory that ignores case: whatever the
// name is, there are others for the same file, so no path leads there.
//
//	@/plain/key  open and read
//	@/ci/        tmpfs whose directories may ignore case: open and read
//	└── d/       ignores case
//	    ├── key    nothing, by this name
//	    └── OTHER  nothing, by another spelling
func TestIgnoredCase(t *testing.T) {
	s := newStage(t, permit(look, "@/ci/", "@/plain/"), forbid("*", "@/ci/d/key", "@/ci/d/other"))
	s.tree("ci/", "plain/key")
	if !s.has("name of a file in another case is denied", unix.Mount("none", s.at("@/ci"), "tmpfs", 0, "casefold"), unix.EINVAL) {
		return
	}
	t.Cleanup(func() { unix.Unmount(s.at("@/ci"), unix.MNT_DETACH) })
	s.tree("ci/d/")
	dir := must1(os.Open(s.at("@/ci/d")))(t)
	defer dir.Close()
	const casefold = 0x40000000
	must(t, unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, casefold))
	s.tree("ci/d/key", "ci/d/OTHER")
	folded := func(path string) denial {
		return denial{actions: "open,read", path: path, reason: abi.ReasonFolded, status: abi.PathFolded}
	}
	s.run(
		trial{name: "name of a file in its own case is denied", control: []string{"open", "r", "@/plain/key"}, probe: []string{"open", "r", "@/ci/d/key"}, errno: eacces,
			want: folded("@/ci/d/key")},
		trial{name: "name of a file in another case is denied", control: []string{"open", "r", "@/plain/key"}, probe: []string{"open", "r", "@/ci/d/other"}, errno: eacces,
			want: folded("@/ci/d/OTHER")},
	)
}

// TestInterpretedData lets a program that may run read what it then acts upon:
// of that only the reading is judged.
func TestInterpretedData(t *testing.T) {
	s := newStage(t, permit("execute", "@/bin/"), permit(look, "@/ws/"))
	s.program("bin/tool")
	s.tree("ws/script", "secret/script")
	s.run(trial{name: "data for a permitted program is a limit", probe: []string{"exec", "@/bin/tool", "tool", "@/ws/script"}, limit: limitData})
	s.step("data that may not be read is denied", isDenied, func() {
		a := s.start("", nil, 0, "exec", "@/bin/tool", "tool", "@/secret/script").wait()
		if a.code != int(eacces) {
			s.t.Errorf("%v", a)
		}
		s.expectEvents(a.pid, denial{actions: "open,read", path: "@/secret/script", exe: "@/bin/tool"})
	})
}
