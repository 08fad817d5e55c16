//go:build unix

package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// follow returns where path leads to: path itself, unless it is a symbolic
// link. One in a folder that others can write may be theirs, and lead to keys
// of their choice.
func follow(path string) (string, error) {
	for range 40 {
		info, err := os.Lstat(path)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return path, nil
		}
		folder := filepath.Dir(path)
		if info, err = os.Stat(folder); err != nil {
			return "", err
		}
		if info.Mode()&0o022 != 0 || !ours(info) {
			return "", &unsafeError{fmt.Sprintf("%s is a symbolic link in a folder that others can write", path), "name the file itself"}
		}
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(folder, target)
		}
		path = target
	}
	return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
}

// openSafely opens the file at path, which is no symbolic link, for reading.
func openSafely(path string) (*os.File, error) {
	// Before opening, for the sake of its message where opening would fail,
	// and since opening a device may do something.
	info, err := os.Lstat(path)
	if err == nil {
		err = guard(path, info)
	}
	if err != nil {
		return nil, err
	}
	// What is opened may be another by now: so no link is followed, no pipe
	// waited for, and what was opened is what is judged.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = guard(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// guard refuses what others may have put there or may read.
func guard(path string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return &unsafeError{"it is not a regular file", "name the file itself"}
	case !ours(info):
		return &unsafeError{"it belongs to another user", fmt.Sprintf("see who made it; if it is right, chown %d %s", os.Geteuid(), path)}
	case info.Mode().Perm()&0o077 != 0:
		return &unsafeError{fmt.Sprintf("others can get at it, its mode is %04o", info.Mode().Perm()), "if nobody has, chmod 600 " + path}
	}
	return nil
}

// ours reports whether the owner is who we are, or root, who can do all anyway.
func ours(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// syncFolder makes durable what was made, renamed or removed in a folder.
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
