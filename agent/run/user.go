package run

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that a command runs as.
type account struct {
	credential *syscall.Credential
	home, name string
}

// lookupUser resolves NAME or UID, optionally with :GROUP or :GID. A group
// given replaces all of the user's groups.
func lookupUser(text string) (*account, error) {
	name, group, explicit := strings.Cut(text, ":")
	fail := func(err error) (*account, error) {
		return nil, fmt.Errorf("user %q: %w: nothing was started; use NAME or UID, optionally with :GROUP or :GID", text, err)
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	a := &account{credential: &syscall.Credential{}, home: "/", name: name}
	switch {
	case err == nil:
		a.home, a.name = u.HomeDir, u.Username
	case isNumber(name) && explicit:
		u = &user.User{Uid: name}
	case isNumber(name):
		return fail(errors.New("not in the user database, and no group given"))
	default: // the library's errors name numbers that nobody wrote
		return fail(errors.New("not in the user database"))
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return fail(err)
	}
	a.credential.Uid = uint32(uid)
	if explicit {
		a.credential.Gid, err = lookupGroup(group)
	} else {
		err = a.allGroups(u)
	}
	if err != nil {
		return fail(err)
	}
	return a, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func lookupGroup(text string) (uint32, error) {
	g, err := user.LookupGroup(text)
	if err == nil {
		text = g.Gid
	}
	gid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("group %q: not in the group database", text)
	}
	return uint32(gid), nil
}

// allGroups gives the account the user's groups from the database.
func (a *account) allGroups(u *user.User) error {
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	a.credential.Gid = uint32(gid)
	ids, err := u.GroupIds()
	if err != nil {
		return err
	}
	for _, id := range ids {
		gid, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return err
		}
		a.credential.Groups = append(a.credential.Groups, uint32(gid))
	}
	return nil
}

// environ replaces what the environment says of the user.
func (a *account) environ(env []string) []string {
	out := make([]string, 0, len(env)+3)
	for _, v := range env {
		key, _, _ := strings.Cut(v, "=")
		if key != "HOME" && key != "USER" && key != "LOGNAME" {
			out = append(out, v)
		}
	}
	return append(out, "HOME="+a.home, "USER="+a.name, "LOGNAME="+a.name)
}
