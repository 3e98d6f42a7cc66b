package vmtest

import (
	"os"
	"strings"
	"testing"
)

// rootPrograms does as root what package managers and the entrypoints of images do.
// What agents do besides is in TestPrograms.
const rootPrograms = `
set -e
rm -rf /tmp/out/root && mkdir -p /tmp/out/root && cd /tmp/out/root
mkdir one && echo x >one/f
mkdir -p pkg/DEBIAN pkg/opt/tiny && echo x >pkg/opt/tiny/file
printf 'Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: tiny\n' >pkg/DEBIAN/control
printf '#!/bin/sh\nexit 0\n' >pkg/DEBIAN/postinst && chmod 755 pkg/DEBIAN/postinst
dpkg-deb -b pkg tiny.deb >/dev/null
dpkg -i tiny.deb >/dev/null && test -f /opt/tiny/file && dpkg -P tiny >/dev/null
if command -v apt-get >/dev/null; then apt-get --version >/dev/null; fi
python3 - <<'END'
import socket, subprocess, threading
subprocess.run(["true"], check=True)
s = socket.socket(); s.bind(("127.0.0.1", 80)); s.listen(); s.close()
threading.Thread(target=lambda: None).start()
END
mkdir theirs && chown -R 1000:1000 theirs && chmod 700 theirs && touch theirs/f && chown 1000 theirs/f && chmod 600 theirs/f
install -o 1000 -g 1000 -m 644 one/f theirs/g && tar -C theirs -cf t.tar . && mkdir un && tar -C un -xf t.tar --same-owner
mkfifo fifo && cp -a theirs copy && ln -s f link
setpriv --reuid=1000 --regid=1000 --clear-groups --bounding-set=-sys_boot true
setpriv --reuid=1000 --regid=1000 --init-groups true
chroot / true
nice -n 5 true && ulimit -Sn 512
sleep 100 & kill $! && wait $! || true
echo all
`

// TestRootPrograms runs them confined: nothing is denied.
func TestRootPrograms(t *testing.T) {
	byAgent(t)
	must(os.WriteFile("/policy/all.cedar", []byte("permit (principal, action, resource);\n"), 0o644))
	r := stockade(t, "run", "--policy", "/policy/all.cedar", "--", "bash", "-c", rootPrograms)
	if r.want(t, 0); !strings.HasSuffix(r.stdout, "all\n") {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
}

func TestCapIsGranted(t *testing.T) {
	byAgent(t)
	const script = `chrt -f 1 true`
	confined(t, "", script).want(t, 1, "denied the use of SYS_NICE by /usr/bin/chrt[")
	confined(t, "", script, "--mode", "audit").wantAudit(t, "denied the use of SYS_NICE by /usr/bin/chrt[", "0 operations would be denied, 1 was denied at the boundary")
	confined(t, "", script, "--cap", "cap_sys_nice").want(t, 0)
	for name, want := range map[string]string{"NICE": "no capability", "SYS_ADMIN": "never granted"} {
		if r := confined(t, "", script, "--cap", name); r.code != 125 || !strings.Contains(r.stderr, want) {
			t.Errorf("--cap %s: exit %d: %s", name, r.code, r.stderr)
		}
	}
	nothingLeft(t)
}

// wantAudit is want for one denial at the boundary in audit mode.
func (r result) wantAudit(t *testing.T, denial, summary string) {
	t.Helper()
	if got := r.denials(); r.code != 1 || len(got) != 1 || !strings.Contains(got[0], denial) || !strings.Contains(r.stderr, summary) {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}
