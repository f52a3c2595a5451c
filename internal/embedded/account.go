package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// nobodyID is the conventional id of nobody, for images without /etc/passwd.
const nobodyID = 65534

// account is who Postgres runs as. Postgres refuses to run as root, so root
// hands it to somebody who owns nothing else of importance.
type account struct {
	name     string
	uid, gid int
	switched bool // we are root and run children as somebody else
}

// currentAccount is who this process is.
func currentAccount() account {
	return account{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}
}

// postgresAccount chooses who Postgres runs as: ourselves, unless we are root;
// then the owner of an existing cluster (data that a user made is not taken
// from them by one run with sudo), else postgres, else nobody.
func postgresAccount(cluster string) account {
	if os.Geteuid() != 0 {
		return currentAccount()
	}
	if fi, err := os.Stat(cluster); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return account{name: strconv.Itoa(int(st.Uid)), uid: int(st.Uid), gid: int(st.Gid), switched: true}
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.Atoi(u.Uid)
		gid, errG := strconv.Atoi(u.Gid)
		if errU == nil && errG == nil && uid != 0 {
			return account{name: name, uid: uid, gid: gid, switched: true}
		}
	}
	return account{name: strconv.Itoa(nobodyID), uid: nobodyID, gid: nobodyID, switched: true}
}

// apply makes cmd run as the account.
func (a account) apply(cmd *exec.Cmd) {
	if !a.switched {
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)},
	}
}

// own gives path to the account; without a switch it is ours already.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	if err := os.Lchown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("giving %s to user %s: %w", path, a.name, err)
	}
	return nil
}

// ownAll gives a whole tree to the account.
func (a account) ownAll(root string) error {
	if !a.switched {
		return nil
	}
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return a.own(path)
	})
}

// reaches tells whether the account may pass through path and everything above
// it, by mode bits. Parts that do not exist yet are ours to make and are passed
// over. ACLs are not looked at: where they matter the start of Postgres says so.
func (a account) reaches(path string) bool {
	if !a.switched {
		return true
	}
	for dir := path; ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		if err == nil && !a.searchable(fi) {
			return false
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

func (a account) searchable(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mode := fi.Mode().Perm()
	switch {
	case int(st.Uid) == a.uid:
		return mode&0o100 != 0
	case int(st.Gid) == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
