//go:build unix

package wallet

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// openSafely opens a file for reading, if it is a regular one that is ours and
// that nobody else can read or replace.
func openSafely(path string) (*os.File, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	return openOurs(real, os.O_RDONLY)
}

// openLock opens the file that is there to be locked, and makes it if need be.
func openLock(path string) (*os.File, error) { return openOurs(path, os.O_RDWR|os.O_CREATE) }

// openOurs opens a regular file that is ours alone.
func openOurs(path string, flag int) (*os.File, error) {
	// No link is followed, no pipe waited for, and what was opened is what is judged.
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := guard(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func guard(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		return token.Errorf(token.ErrUsage, "%s is not a regular file", path)
	case !ours(info):
		return token.Errorf(token.ErrUsage, "%s belongs to another user", path).WithHint("see who made it; if it is right, chown %d %s", os.Geteuid(), path)
	case info.Mode().Perm()&0o077 != 0:
		return token.Errorf(token.ErrUsage, "others can get at %s, its mode is %04o", path, info.Mode().Perm()).WithHint("if nobody has, chmod 600 %s", path)
	}
	return guardFolder(filepath.Dir(path))
}

// guardFolder refuses a folder in which others can replace what is ours.
func guardFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case err != nil:
		return err
	case !ours(info):
		return token.Errorf(token.ErrUsage, "the folder %s belongs to another user", folder).WithHint("set XDG_CONFIG_HOME or HOME to one of your own")
	case info.Mode().Perm()&0o022 != 0:
		return token.Errorf(token.ErrUsage, "others can replace what is in %s, its mode is %04o", folder, info.Mode().Perm()).WithHint("if nobody has, chmod 700 %s", folder)
	}
	return nil
}

// ours reports whether the owner is who we are, or root, who can do all anyway.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// syncFolder makes durable what was renamed in a folder.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err // the two are of file systems that have no need, or no means
	}
	return nil
}
