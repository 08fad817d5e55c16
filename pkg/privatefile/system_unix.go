//go:build unix

package privatefile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// modesCount says that permission bits mean something.
const modesCount = true

// openFlags keep the last name from being a link, and a FIFO that was put there
// at the last moment from blocking.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// ours reports whether the owner is who we are, or root, who can do all anyway.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// SyncFolder makes durable what was made, renamed or removed in a folder. One
// that may be written but not read cannot be synced, and is no error.
func SyncFolder(folder string) error {
	f, err := os.Open(folder)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err // the two are of file systems that have no need, or no means
	}
	return nil
}
