//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// tools maps each program of the host that vm uses to its Debian package.
var tools = []struct{ program, packageName string }{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"xz", "xz-utils"},
	{"mke2fs", "e2fsprogs"},
	{"dpkg-deb", "dpkg"},
	{"tar", "tar"},
	{"ldconfig", "libc-bin"},
}

// lookTool finds a program also where a plain user's PATH does not.
func lookTool(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not installed: nothing done; run: vm deps", program)
}

func missingPackages() []string {
	var missing []string
	for _, tool := range tools {
		if _, err := lookTool(tool.program); err != nil {
			missing = append(missing, tool.packageName)
		}
	}
	return missing
}

func installTools() error {
	missing := missingPackages()
	if len(missing) == 0 {
		fmt.Println("vm: deps: everything is installed")
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("deps: only root can install packages: nothing done; run: sudo apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	for _, args := range [][]string{
		{"update"},
		append([]string{"install", "-y", "--no-install-recommends"}, missing...),
	} {
		command := exec.Command("apt-get", args...)
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			return fmt.Errorf("deps: apt-get %s failed: %w: not everything is installed; mend the host's apt and run vm deps again", args[0], err)
		}
	}
	fmt.Println("vm: deps: installed", strings.Join(missing, " "))
	return nil
}
